# SPDX-License-Identifier: Apache-2.0
"""Redis and Valkey: keys that must stay, a counter of each worker that must neither lose nor repeat an increment."""
from common import Closed, KeyValue, Lines, Wrong


class Client(KeyValue):
    conn = None

    def __init__(self, *args):
        super().__init__(*args)
        self.count, self.unsure = 0, 0

    def open(self):
        self.conn = Lines(self.address, self.timeout)

    def close(self):
        if self.conn:
            self.conn.close()

    def command(self, *words):
        self.conn.send(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(w).encode() for w in words)))
        line = self.conn.line()
        if line[:1] == b"$":
            n = int(line[1:])
            return None if n < 0 else self.conn.take(n + 2)[:-2].decode()
        if line[:1] == b"-":
            raise Closed(line.decode())
        return line[1:].decode()

    def put(self, key, value):
        self.command("SET", key, value)

    def get(self, key):
        return self.command("GET", key)

    def step(self):
        super().step()
        self.unsure += 1
        got = int(self.command("INCR", "count-%d" % self.number))
        if not self.count < got <= self.count + self.unsure:
            raise Wrong("counter is %d, %d were acknowledged and %d not" % (got, self.count, self.unsure - 1))
        self.count, self.unsure = got, 0
        if self.acked % 500 == 0 and self.options.get("save"):
            try:
                self.command(self.options["save"])
            except Closed as e:
                if "in progress" not in str(e) and "scheduled" not in str(e):
                    raise
