# SPDX-License-Identifier: Apache-2.0
from common import Closed, KeyValue, Lines


class Client(KeyValue):
    conn = None

    def open(self):
        self.conn = Lines(self.address, self.timeout)

    def close(self):
        if self.conn:
            self.conn.close()

    def put(self, key, value):
        self.conn.send(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value), value.encode()))
        line = self.conn.line()
        if line != b"STORED":
            raise Closed(line.decode())

    def get(self, key):
        self.conn.send(b"get %s\r\n" % key.encode())
        head = self.conn.line().split()
        if head[0] != b"VALUE":
            return None
        value = self.conn.take(int(head[3]) + 2)[:-2]
        self.conn.line()
        return value.decode()
