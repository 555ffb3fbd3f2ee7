# SPDX-License-Identifier: Apache-2.0
"""MySQL and MariaDB by their own protocol (4.1, COM_QUERY): a row for each transaction, the same sum in two tables."""
import struct

from common import Closed, Lines, Session, Wrong

CAPABILITIES = 0x1 | 0x200 | 0x8 | 0x8000 | 0x2000 | 0x80000   # long password, protocol 4.1, database, secure connection, transactions, named plugin
TABLES = ("CREATE DATABASE IF NOT EXISTS test", "USE test",
          "CREATE TABLE IF NOT EXISTS done (worker INT, n INT, delta INT, PRIMARY KEY (worker, n)) ENGINE=InnoDB",
          "CREATE TABLE IF NOT EXISTS sums (worker INT PRIMARY KEY, total INT) ENGINE=InnoDB")


class Client(Session):
    conn = None
    timeout = 5.0
    made = False

    def __init__(self, *args):
        super().__init__(*args)
        self.n, self.acked = 0, set()

    def packet(self):
        head = self.conn.take(4)
        return head[3], self.conn.take(head[0] | head[1] << 8 | head[2] << 16)

    def send(self, number, body):
        self.conn.send(struct.pack("<I", len(body))[:3] + bytes([number]) + body)

    def open(self):
        self.conn = Lines(self.address, self.timeout)
        number, body = self.packet()
        self.refuse(body)
        self.send(number + 1, struct.pack("<IIB23x", CAPABILITIES, 1 << 24, 33) + b"root\0" + b"\0" + (b"test\0" if self.made else b"mysql\0") + b"mysql_native_password\0")
        number, body = self.packet()
        if body[:1] == b"\xfe":   # another way of proving nothing: an empty answer
            self.send(number + 1, b"")
            number, body = self.packet()
        self.refuse(body)
        if not self.made:   # once: tables that are gone later are a loss
            for sql in (*TABLES, "INSERT IGNORE INTO sums VALUES (%d, 0)" % self.number):
                self.query(sql)
            self.made = True

    def close(self):
        if self.conn:
            self.conn.close()

    @staticmethod
    def refuse(body):
        if body[:1] == b"\xff":
            raise Closed(body[3:].decode("utf-8", "replace"))

    @staticmethod
    def text(body, at):
        n = body[at]
        at += 1
        if n == 0xfb:
            return None, at
        if n == 0xfc:
            n, at = struct.unpack("<H", body[at:at + 2])[0], at + 2
        return body[at:at + n].decode(), at + n

    def query(self, sql):
        self.send(0, b"\x03" + sql.encode())
        _, body = self.packet()
        self.refuse(body)
        if body[:1] == b"\0":
            return []
        columns, rows = body[0], []
        for _ in range(columns):
            self.packet()
        self.packet()
        while True:
            _, body = self.packet()
            self.refuse(body)
            if body[:1] == b"\xfe" and len(body) < 9:
                return rows
            row, at = [], 0
            for _ in range(columns):
                value, at = self.text(body, at)
                row.append(value)
            rows.append(row)

    def step(self):
        self.n += 1
        delta = self.n * 7 % 100
        self.query("BEGIN")
        self.query("INSERT INTO done (worker, n, delta) VALUES (%d, %d, %d)" % (self.number, self.n, delta))
        self.query("UPDATE sums SET total = total + %d WHERE worker = %d" % (delta, self.number))
        self.query("COMMIT")
        self.acked.add(self.n)

    def verify(self):
        there = {int(r[0]) for r in self.query("SELECT n FROM done WHERE worker = %d" % self.number)}
        if not self.acked <= there:
            raise Wrong("committed transactions are lost: %s .." % sorted(self.acked - there)[:3])
        sums = self.query("SELECT (SELECT sum(delta) FROM done WHERE worker = %d), (SELECT total FROM sums WHERE worker = %d)" % (self.number, self.number))[0]
        if int(sums[0] or 0) != int(sums[1]):
            raise Wrong("the two tables do not agree: %s" % sums)
        return len(self.acked)
