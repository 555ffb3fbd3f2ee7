# SPDX-License-Identifier: Apache-2.0
"""What speaks HTTP: servers of files, stores, etcd, Consul, Vault, ClickHouse, Prometheus, something that only grows."""
import base64
import hashlib
import http.client
import json

from common import Closed, KeyValue, Session, Wrong, value_of


class Web(Session):
    conn, headers = None, {}

    def open(self):
        self.conn = http.client.HTTPConnection(*self.address, timeout=self.timeout)

    def close(self):
        if self.conn:
            self.conn.close()

    def ask(self, method, path, body=None):
        try:
            self.conn.request(method, path, body=body, headers=self.headers)
            answer = self.conn.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as e:
            raise Closed("%s %s" % (type(e).__name__, e))

    def good(self, method, path, body=None):
        status, data = self.ask(method, path, body)
        if status not in (200, 204):
            raise Closed("HTTP %d" % status)
        return data

    def found(self, path):
        """None where the server says that there is no such thing."""
        status, data = self.ask("GET", path)
        if status not in (200, 404):
            raise Closed("HTTP %d" % status)
        return data if status == 200 else None


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

    def counted(self, text):
        """The word of this number; or, of Prometheus' lines, all of one name."""
        if "metric" in self.options:
            lines = [line for line in text.decode().split("\n") if line.startswith(self.options["metric"] + "{")]
            if not lines:
                raise Wrong("the server does not tell %s" % self.options["metric"])
            return sum(int(float(line.split()[-1])) for line in lines)
        return int(text.split()[self.options.get("word", 0)])

    def check_requests(self):
        n = self.counted(self.good("GET", self.options["status"]))
        if n < self.requests:
            raise Wrong("the server has counted %d requests, and %d before: it was started anew" % (n, self.requests))
        self.requests = n

    def verify(self):
        self.step()
        if "status" in self.options:
            self.check_requests()
        return self.n


class Store(KeyValue, Web):
    """PUT and GET below /kv/; GET /boot tells a number that only this process knows."""
    boot = None

    def put(self, key, value):
        self.good("PUT", "/kv/" + key, value)

    def get(self, key):
        data = self.found("/kv/" + key)
        return None if data is None else data.decode()

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


class Consul(KeyValue, Web):
    """Keys; and a session for each client, renewed now and then, by which it holds a key that goes with it."""
    session = None

    def put(self, key, value):
        if self.good("PUT", "/v1/kv/" + key, value).strip() != b"true":
            raise Closed("not stored")

    def get(self, key):
        data = self.found("/v1/kv/%s?raw" % key)
        return None if data is None else data.decode()

    def begin(self):
        self.session = json.loads(self.good("PUT", "/v1/session/create", json.dumps({"TTL": "60s", "Behavior": "delete", "LockDelay": "0s"})))["ID"]
        if self.good("PUT", "/v1/kv/held-%d?acquire=%s" % (self.number, self.session), "here").strip() != b"true":
            self.session = None
            raise Closed("not held")

    def step(self):
        if self.session is None:
            self.begin()
        super().step()
        if self.acked % 50 == 0 and self.ask("PUT", "/v1/session/renew/" + self.session)[0] == 404:
            raise Wrong("the session of this client is lost")

    def verify(self):
        n = super().verify()
        held = self.found("/v1/kv/held-%d" % self.number)
        if held is None or json.loads(held)[0].get("Session") != self.session:
            raise Wrong("the key that this client holds is lost")
        return n + 1


class Vault(KeyValue, Web):
    """Secrets below /v1/secret/. A sealed Vault has been started anew: nobody has what opens it."""

    @property
    def headers(self):
        return {"X-Vault-Token": self.options["token"]}

    def put(self, key, value):
        self.good("PUT", "/v1/secret/" + key, json.dumps({"value": value}))

    def get(self, key):
        data = self.found("/v1/secret/" + key)
        return None if data is None else json.loads(data)["data"]["value"]

    def step(self):
        if json.loads(self.good("GET", "/v1/sys/seal-status"))["sealed"]:
            raise Wrong("it is sealed: the server was started anew")
        super().step()


class ClickHouse(KeyValue, Web):
    """Each row is an INSERT of its own, and so a part of the table that the server merges with others in the background."""
    pause, made = 0.05, False

    def query(self, sql):
        return self.good("POST", "/", sql).decode()

    def begin(self):
        self.query("CREATE TABLE IF NOT EXISTS w%d (n UInt32, value String) ENGINE = MergeTree() ORDER BY n" % self.number)
        self.made = True

    def key(self, n):
        return str(n)

    def put(self, key, value):
        self.query("INSERT INTO w%d VALUES (%s, '%s')" % (self.number, key, value))

    def get(self, key):
        return self.query("SELECT any(value) FROM w%d WHERE n = %s" % (self.number, key)).strip() or None

    def step(self):
        if not self.made:
            self.begin()
        super().step()

    def verify(self):
        there = dict(line.split("\t") for line in self.query("SELECT n, value FROM w%d FORMAT TabSeparated" % self.number).splitlines())
        for n in range(self.acked):
            if there.get(self.key(n)) != value_of(self.key(n)):
                raise Wrong("row %d was acknowledged and is now %r" % (n, there.get(self.key(n))))
        return self.acked


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
