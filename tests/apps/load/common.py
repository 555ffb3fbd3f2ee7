# SPDX-License-Identifier: Apache-2.0
"""What the load clients have in common. Each speaks its protocol by itself: nothing but Python's own library is needed."""
import hashlib
import random
import socket


class Wrong(Exception):
    """An answer that no correct application gives: lost or changed data. Never excused."""


class Closed(Exception):
    """The connection ended, or the application says it is not ready. Counted; the client connects again."""


def value_of(key):
    """What belongs to a key, known without remembering it."""
    return hashlib.sha256(key.encode()).hexdigest()


class Lines:
    """A connection whose answers are lines, or lines and counted bytes."""

    def __init__(self, address, timeout):
        self.sock = socket.create_connection(address, timeout=timeout)
        self.sock.settimeout(timeout)
        self.data = b""

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        got = self.sock.recv(65536)
        if not got:
            raise Closed("closed by the other side")
        self.data += got

    def until(self, mark):
        while mark not in self.data:
            self._more()
        line, self.data = self.data.split(mark, 1)
        return line

    def line(self):
        return self.until(b"\r\n")

    def take(self, n):
        while len(self.data) < n:
            self._more()
        out, self.data = self.data[:n], self.data[n:]
        return out

    def close(self):
        self.sock.close()


class Session:
    """One worker. open() and step() raise OSError or Closed when the connection is gone, Wrong when an answer is."""
    timeout = 2.0
    pause = 0.01

    def __init__(self, address, number, options):
        self.address, self.number, self.options = address, number, options

    def open(self):
        pass

    def step(self):
        raise NotImplementedError

    def close(self):
        pass

    def verify(self):
        """At the end: everything that was acknowledged is there. Returns how many things were checked."""
        return 0


class KeyValue(Session):
    """put() and get() of one store; every acknowledged value must be there for ever, and now and then one is looked at."""

    def __init__(self, *args):
        super().__init__(*args)
        self.acked = 0
        self.random = random.Random(self.number)

    def key(self, n):
        return "%s-%d-%d" % (self.options.get("prefix", "k"), self.number, n)

    def check(self, n):
        key = self.key(n)
        got = self.get(key)
        if got != value_of(key):
            raise Wrong("%s was acknowledged and is now %r" % (key, got))

    def step(self):
        # The same key again after an error: it may have been written or not, its value is the same.
        key = self.key(self.acked)
        self.put(key, value_of(key))
        self.acked += 1
        self.check(self.random.randrange(self.acked))

    def verify(self):
        for n in range(self.acked):
            self.check(n)
        return self.acked
