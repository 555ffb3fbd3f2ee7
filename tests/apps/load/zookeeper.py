# SPDX-License-Identifier: Apache-2.0
"""ZooKeeper: nodes that must stay, and one session a worker with an ephemeral node, which must outlive every lost connection.

Its protocol is counted frames of big-endian fields (zookeeper.jute in its sources)."""
import struct

from common import Closed, KeyValue, Lines, Wrong

CREATE, GET = 1, 4
EPHEMERAL = 1
OK, NO_NODE, NODE_EXISTS = 0, -101, -110
SESSION_MS = 30000
EVERYBODY = struct.pack(">ii", 1, 31)   # one entry: all rights


def counted(data):
    return struct.pack(">i", len(data)) + data


class Client(KeyValue):
    conn, session, password, xid = None, 0, bytes(16), 0

    def open(self):
        self.conn = Lines(self.address, self.timeout)
        self.conn.send(counted(struct.pack(">iqiq", 0, 0, SESSION_MS, self.session) + counted(self.password)))
        answer = self.frame()
        _, _, session = struct.unpack(">iiq", answer[:16])
        if self.session and session != self.session:
            raise Wrong("the session of this client is lost")
        if not self.session:
            self.session, self.password = session, answer[20:36]
        self.create("/here-%d" % self.number, b"", EPHEMERAL)

    def close(self):
        if self.conn:
            self.conn.close()

    def frame(self):
        return self.conn.take(struct.unpack(">i", self.conn.take(4))[0])

    def ask(self, what, body, fine):
        self.xid += 1
        self.conn.send(counted(struct.pack(">ii", self.xid, what) + body))
        while True:
            answer = self.frame()
            xid, _, error = struct.unpack(">iqi", answer[:16])
            if xid != self.xid:
                continue
            if error not in fine:
                raise Closed("error %d" % error)
            return error, answer[16:]

    def create(self, path, data, flags):
        self.ask(CREATE, counted(path.encode()) + counted(data) + EVERYBODY + counted(b"world") + counted(b"anyone") + struct.pack(">i", flags), (OK, NODE_EXISTS))

    def put(self, key, value):
        self.create("/" + key, value.encode(), 0)

    def get(self, key):
        error, answer = self.ask(GET, counted(("/" + key).encode()) + b"\0", (OK, NO_NODE))
        return None if error else answer[4:4 + struct.unpack(">i", answer[:4])[0]].decode()

    def verify(self):
        n = super().verify()
        if self.get("here-%d" % self.number) is None:
            raise Wrong("the ephemeral node of this client is lost")
        return n + 1
