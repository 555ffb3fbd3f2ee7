# SPDX-License-Identifier: Apache-2.0
"""NATS with JetStream: every message that the stream has acknowledged is there under its number."""
import base64
import json

from common import Closed, Lines, Session, Wrong, value_of


class Client(Session):
    conn = None

    def __init__(self, *args):
        super().__init__(*args)
        self.n, self.acked = 0, {}
        self.stream = "W%d" % self.number

    def open(self):
        self.conn = Lines(self.address, self.timeout)
        self.conn.line()
        self.conn.send(b'CONNECT {"verbose":false,"pedantic":false,"headers":false,"lang":"test","version":"1"}\r\nSUB inbox.%d 1\r\n' % self.number)
        answer = self.request("$JS.API.STREAM.CREATE." + self.stream,
                              json.dumps({"name": self.stream, "subjects": [self.stream.lower()], "storage": self.options.get("storage", "file"), "retention": "limits",
                                          "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "discard": "old", "num_replicas": 1}))
        if "error" in answer and answer["error"].get("err_code") != 10058:   # it exists
            raise Closed(str(answer["error"]))

    def close(self):
        if self.conn:
            self.conn.close()

    def request(self, subject, text):
        self.conn.send(b"PUB %s inbox.%d %d\r\n%s\r\n" % (subject.encode(), self.number, len(text), text.encode()))
        while True:
            line = self.conn.line()
            if line.startswith(b"MSG "):
                return json.loads(self.conn.take(int(line.split()[-1]) + 2)[:-2])
            if line == b"PING":
                self.conn.send(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise Closed(line.decode())

    def step(self):
        self.n += 1
        answer = self.request(self.stream.lower(), "%d %s" % (self.n, value_of(str(self.n))))
        if answer.get("stream") != self.stream:
            raise Closed(str(answer)[:200])
        if answer["seq"] in self.acked:
            raise Wrong("number %d was given twice" % answer["seq"])
        self.acked[answer["seq"]] = self.n

    def verify(self):
        for seq, n in self.acked.items():
            answer = self.request("$JS.API.STREAM.MSG.GET." + self.stream, json.dumps({"seq": seq}))
            if "message" not in answer:
                raise Wrong("message %d was acknowledged and is lost: %s" % (seq, answer.get("error")))
            if base64.b64decode(answer["message"]["data"]).decode() != "%d %s" % (n, value_of(str(n))):
                raise Wrong("message %d has other content" % seq)
        return len(self.acked)
