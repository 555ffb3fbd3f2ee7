# SPDX-License-Identifier: Apache-2.0
"""pgbench's own transaction (TPC-B) on pgbench's tables, by PostgreSQL's protocol 3.0. A client of our own, since pgbench gives up when a connection ends.

No committed transaction may be lost: each leaves its mark in pgbench_history, and the four sums must be equal at the end."""
import random
import struct

from common import Closed, Lines, Session, Wrong


class Client(Session):
    conn = None
    timeout = 5.0

    def __init__(self, *args):
        super().__init__(*args)
        self.n, self.acked = 0, []
        self.random = random.Random(self.number)

    def open(self):
        self.conn = Lines(self.address, self.timeout)
        body = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
        self.conn.send(struct.pack("!I", len(body) + 4) + body)
        self.answer()

    def close(self):
        if self.conn:
            self.conn.close()

    def answer(self):
        """Rows up to ReadyForQuery."""
        rows, error = [], None
        while True:
            kind, length = struct.unpack("!cI", self.conn.take(5))
            body = self.conn.take(length - 4)
            if kind == b"D":
                rows.append(self.row(body))
            elif kind == b"E":
                error = b" ".join(f[1:] for f in body.split(b"\0") if f[:1] in b"SCM").decode()
                if b"\0C57P" in body or b"FATAL" in body:
                    raise Closed(error)
            elif kind == b"Z":
                if error:
                    raise Closed(error)
                return rows

    @staticmethod
    def row(body):
        values, at = [], 2
        for _ in range(struct.unpack("!H", body[:2])[0]):
            n = struct.unpack("!i", body[at:at + 4])[0]
            at += 4
            values.append(None if n < 0 else body[at:at + n].decode())
            at += max(n, 0)
        return values

    def query(self, sql):
        body = sql.encode() + b"\0"
        self.conn.send(b"Q" + struct.pack("!I", len(body) + 4) + body)
        return self.answer()

    def step(self):
        r, self.n = self.random, self.n + 1
        account, teller, delta, mark = r.randint(1, 100000), r.randint(1, 10), r.randint(-5000, 5000), "w%d-%d" % (self.number, self.n)
        self.query("BEGIN")
        self.query("UPDATE pgbench_accounts SET abalance = abalance + %d WHERE aid = %d" % (delta, account))
        if len(self.query("SELECT abalance FROM pgbench_accounts WHERE aid = %d" % account)) != 1:
            raise Wrong("account %d is gone" % account)
        self.query("UPDATE pgbench_tellers SET tbalance = tbalance + %d WHERE tid = %d" % (delta, teller))
        self.query("UPDATE pgbench_branches SET bbalance = bbalance + %d WHERE bid = 1" % delta)
        self.query("INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler) VALUES (%d, 1, %d, %d, CURRENT_TIMESTAMP, '%s')" % (teller, account, delta, mark))
        self.query("COMMIT")
        self.acked.append(mark)

    def verify(self):
        marks = [row[0].strip() for row in self.query("SELECT filler FROM pgbench_history WHERE filler LIKE 'w%d-%%'" % self.number)]
        lost = set(self.acked) - set(marks)
        if lost or len(marks) != len(set(marks)):
            raise Wrong("%d committed transactions are lost (%s ..), %d are there twice" % (len(lost), sorted(lost)[:3], len(marks) - len(set(marks))))
        sums = self.query("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(bbalance) FROM pgbench_branches),"
                          " (SELECT coalesce(sum(delta), 0) FROM pgbench_history)")[0]
        if len(set(sums)) != 1:
            raise Wrong("the balances do not agree: %s" % sums)
        return len(self.acked)
