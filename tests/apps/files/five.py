# SPDX-License-Identifier: Apache-2.0
"""The middle one of five containers: what is PUT goes to Redis, memcached and PostgreSQL over 127.0.0.1, and must be the same in all three when it is read."""
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BOOT = os.urandom(4).hex()
LOCAL = threading.local()


class Conn:
    """A connection that is made again, once, when it has been closed."""

    def __init__(self, port, hello):
        self.port, self.hello, self.file = port, hello, None

    def use(self, f):
        for last in (False, True):
            try:
                if not self.file:
                    self.file = socket.create_connection(("127.0.0.1", self.port), timeout=2).makefile("rwb")
                    self.hello(self.file)
                return f(self.file)
            except (OSError, EOFError):
                self.file = None
                if last:
                    raise


def line(f):
    text = f.readline()
    if not text.endswith(b"\r\n"):
        raise EOFError
    return text[:-2]


def redis(*words):
    def do(f):
        f.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        f.flush()
        head = line(f)
        return line(f) if head[:1] == b"$" and head != b"$-1" else None
    return conns()[0].use(do)


def memcached(key, value=None):
    def do(f):
        if value is not None:
            f.write(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
            f.flush()
            return line(f)
        f.write(b"get %s\r\n" % key)
        f.flush()
        if line(f) == b"END":
            return None
        data = line(f)
        line(f)
        return data
    return conns()[1].use(do)


def packets(f):
    rows = []
    while True:
        head = f.read(5)
        if len(head) != 5:
            raise EOFError
        kind, n = struct.unpack("!cI", head)
        body = f.read(n - 4)
        if kind == b"D":
            rows.append(body[6:])
        if kind == b"E":
            raise OSError(body)
        if kind == b"Z":
            return rows


def pg_hello(f):
    body = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
    f.write(struct.pack("!I", len(body) + 4) + body)
    f.flush()
    packets(f)


def postgres(sql):
    def do(f):
        f.write(b"Q" + struct.pack("!I", len(sql) + 5) + sql + b"\0")
        f.flush()
        return packets(f)
    return conns()[2].use(do)


def conns():
    if not hasattr(LOCAL, "conns"):
        LOCAL.conns = (Conn(6379, lambda f: None), Conn(11211, lambda f: None), Conn(5432, pg_hello))
    return LOCAL.conns


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if self.path == "/boot":
            return self.answer(200, BOOT.encode())
        key = self.path.rsplit("/", 1)[1].encode()
        try:
            rows = postgres(b"SELECT v FROM kv WHERE k = '%s'" % key)
            found = [redis(b"GET", key), memcached(key), rows[0] if rows else None]
        except (OSError, EOFError) as e:
            return self.answer(503, str(e).encode())
        if len(set(found)) != 1:
            return self.answer(200, b"the three differ: " + repr(found).encode())
        return self.answer(404 if found[0] is None else 200, found[0] or b"")

    def do_PUT(self):
        key, value = self.path.rsplit("/", 1)[1].encode(), self.rfile.read(int(self.headers["Content-Length"]))
        try:
            redis(b"SET", key, value)
            memcached(key, value)
            postgres(b"INSERT INTO kv VALUES ('%s', '%s') ON CONFLICT (k) DO NOTHING" % (key, value))
        except (OSError, EOFError) as e:
            return self.answer(503, str(e).encode())
        return self.answer(200, b"")

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", 8081), Handler).serve_forever()
