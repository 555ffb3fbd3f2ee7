# SPDX-License-Identifier: Apache-2.0
"""What speaks HTTP: servers of files, stores, etcd, Prometheus, something that only grows."""
import base64
import hashlib
import http.client
import json

from common import Closed, KeyValue, Session, Wrong


class Web(Session):
    conn = None

    def open(self):
        self.conn = http.client.HTTPConnection(*self.address, timeout=self.timeout)

    def close(self):
        if self.conn:
            self.conn.close()

    def ask(self, method, path, body=None):
        try:
            self.conn.request(method, path, body=body)
            answer = self.conn.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as e:
            raise Closed("%s %s" % (type(e).__name__, e))

    def good(self, method, path, body=None):
        status, data = self.ask(method, path, body)
        if status != 200:
            raise Closed("HTTP %d" % status)
        return data


class Files(Web):
    """Files of known content ("/file-K", made by `seq`); and, where the server tells it, its own count of requests, which is in its memory."""

    def __init__(self, *args):
        super().__init__(*args)
        self.n, self.requests = 0, 0

    def step(self):
        k = 1 + self.n % self.options.get("files", 20)
        data = self.good("GET", "/file-%d" % k)
        want = "".join("%d\n" % i for i in range(1, k * 1000 + 1)).encode()
        if hashlib.sha256(data).digest() != hashlib.sha256(want).digest():
            raise Wrong("/file-%d: %d bytes came, %d are right" % (k, len(data), len(want)))
        self.n += 1
        if "status" in self.options and self.n % 10 == 0:
            self.check_requests()

    def check_requests(self):
        words = self.good("GET", self.options["status"]).split()
        n = int(words[self.options.get("word", 0)])
        if n < self.requests:
            raise Wrong("the server has counted %d requests, and %d before: it was started anew" % (n, self.requests))
        self.requests = n

    def verify(self):
        self.step()
        return self.n


class Store(KeyValue, Web):
    """PUT and GET below /kv/; GET /boot tells a number that only this process knows."""
    boot = None

    def put(self, key, value):
        self.good("PUT", "/kv/" + key, value)

    def get(self, key):
        status, data = self.ask("GET", "/kv/" + key)
        if status not in (200, 404):
            raise Closed("HTTP %d" % status)
        return data.decode() if status == 200 else None

    def step(self):
        boot = self.good("GET", "/boot")
        if self.boot not in (None, boot):
            raise Wrong("the server was started anew")
        self.boot = boot
        super().step()


class Etcd(KeyValue, Web):
    """The v3 API as JSON (etcd's gRPC gateway)."""

    def call(self, path, **fields):
        return json.loads(self.good("POST", path, json.dumps(fields)))

    def put(self, key, value):
        self.call("/v3/kv/put", key=base64.b64encode(key.encode()).decode(), value=base64.b64encode(value.encode()).decode())

    def get(self, key):
        found = self.call("/v3/kv/range", key=base64.b64encode(key.encode()).decode()).get("kvs", [])
        return base64.b64decode(found[0]["value"]).decode() if found else None


class Prometheus(Web):
    """It watches itself: samples that were stored once are there for ever, and their number only grows."""
    pause = 0.1

    def __init__(self, *args):
        super().__init__(*args)
        self.samples, self.first = 0, None

    def query(self, path):
        answer = json.loads(self.good("GET", path))
        if answer.get("status") != "success":
            raise Closed(str(answer)[:200])
        return answer["data"]["result"]

    def step(self):
        found = self.query("/api/v1/query?query=count_over_time(up%5B1h%5D)")
        n = int(float(found[0]["value"][1])) if found else 0
        if n < self.samples:
            raise Wrong("%d samples are stored, %d were before" % (n, self.samples))
        self.samples = n
        found = self.query("/api/v1/query?query=min_over_time(timestamp(up)%5B1h:1s%5D)")
        first = found[0]["value"][1] if found else None
        if self.first and first != self.first:
            raise Wrong("the first sample is of %s, it was of %s" % (first, self.first))
        self.first = first

    def verify(self):
        self.step()
        return self.samples


class Growing(Web):
    """One file of lines 1, 2, 3 .. that something writes on and on."""
    pause = 0.05

    def __init__(self, *args):
        super().__init__(*args)
        self.last = 0

    def step(self):
        lines = self.good("GET", self.options["path"]).decode().split("\n")[:-1]
        if lines != [str(i) for i in range(1, len(lines) + 1)]:
            bad = next(i for i, line in enumerate(lines, 1) if line != str(i))
            raise Wrong("line %d is %r" % (bad, lines[bad - 1]))
        if len(lines) < self.last:
            raise Wrong("%d lines, %d before" % (len(lines), self.last))
        if len(lines) == self.last:
            raise Closed("it does not grow")
        self.last = len(lines)

    def verify(self):
        self.step()
        return self.last
