# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ by STOMP: each message that the broker has confirmed is in the durable queue at the end, with its content."""
from common import Closed, Lines, Session, Wrong, value_of


class Client(Session):
    conn = None
    timeout = 5.0

    def __init__(self, *args):
        super().__init__(*args)
        self.n, self.acked = 0, set()

    def open(self):
        self.conn = Lines(self.address, self.timeout)
        self.frame("CONNECT", {"accept-version": "1.2", "host": "/", "login": "guest", "passcode": "guest", "heart-beat": "0,0"})
        self.expect("CONNECTED")

    def close(self):
        if self.conn:
            self.conn.close()

    @property
    def queue(self):
        return "/queue/w%d" % self.number

    def frame(self, command, headers, body=""):
        self.conn.send(("%s\n%s\n\n%s\0" % (command, "\n".join("%s:%s" % h for h in headers.items()), body)).encode())

    def expect(self, *commands):
        text = self.conn.until(b"\0").decode().lstrip("\n")
        head, _, body = text.partition("\n\n")
        command, *headers = head.split("\n")
        if command not in commands:
            raise Closed("%s: %s" % (command, body or head))
        return command, dict(h.split(":", 1) for h in headers), body

    def step(self):
        self.n += 1
        text = "%d %s" % (self.n, value_of(str(self.n)))
        self.frame("SEND", {"destination": self.queue, "persistent": "true", "receipt": str(self.n)}, text)
        _, headers, _ = self.expect("RECEIPT")
        if headers.get("receipt-id") != str(self.n):
            raise Wrong("receipt %s for message %d" % (headers.get("receipt-id"), self.n))
        self.acked.add(self.n)

    def verify(self):
        self.frame("SUBSCRIBE", {"id": "0", "destination": self.queue, "ack": "auto"})
        left = set(self.acked)
        while left:
            try:
                _, _, body = self.expect("MESSAGE")
            except OSError:
                raise Wrong("%d confirmed messages are lost (%s ..)" % (len(left), sorted(left)[:3]))
            n, _, value = body.partition(" ")
            if value != value_of(n):
                raise Wrong("message %s has other content" % n)
            left.discard(int(n))
        return len(self.acked)
