#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The load clients notice what they are there for: each is put before a server that lies."""
import http.server
import json
import os
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import images  # noqa: E402
import run  # noqa: E402
import table  # noqa: E402

sys.path.insert(0, os.path.join(HERE, "load"))
import s3  # noqa: E402


def serve(handle):
    """A server whose connections are answered by handle(file); its port."""
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            try:
                handle(self.rfile, self.wfile)
            except OSError:
                pass
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def web(answer):
    """A web server whose requests are answered by answer(method, path, body): status and bytes."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def any(self):
            status, data = answer(self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        do_GET = do_PUT = do_POST = any

        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def load(kind, port, threads=1, options=None):
    """What the client says to `mark` and `stop`."""
    p = subprocess.run([sys.executable, os.path.join(HERE, "load/main.py"), kind, "127.0.0.1", str(port), str(threads), json.dumps(options or {})], input="mark\n" * 8 + "stop\n",
                       stdout=subprocess.PIPE, text=True, timeout=60)
    return [json.loads(line) for line in p.stdout.splitlines()]


def redis(forget=False, count_back=False, cut=0):
    store, counts, commands = {}, {}, [0]

    def handle(rfile, wfile):
        while True:
            head = rfile.readline()
            if not head:
                return
            words = []
            for _ in range(int(head[1:])):
                words.append(rfile.read(int(rfile.readline()[1:]) + 2)[:-2])
            commands[0] += 1
            if cut and commands[0] < 40 and commands[0] % cut == 0:   # not for ever: the last look reads all at once
                return
            if words[0] == b"SET":
                if not (forget and len(store) == 3):
                    store[words[1]] = words[2]
                wfile.write(b"+OK\r\n")
            elif words[0] == b"GET":
                v = store.get(words[1])
                wfile.write(b"$-1\r\n" if v is None else b"$%d\r\n%s\r\n" % (len(v), v))
            else:
                counts[words[1]] = 1 if count_back and counts.get(words[1]) == 3 else counts.get(words[1], 0) + 1
                wfile.write(b":%d\r\n" % counts[words[1]])
    return serve(handle)


def teller(answers):
    left = list(answers)

    def handle(rfile, wfile):
        while rfile.readline():
            wfile.write((left.pop(0) if len(left) > 1 else left[0]).encode() + b"\n")
    return serve(handle)


def files(metric):
    """Files of numbers, and how often it was asked: what metric(count) says."""
    count = [0]

    def answer(method, path, body):
        if path == "/metrics":
            return 200, metric(count[0]).encode()
        count[0] += 1
        return 200, "".join("%d\n" % i for i in range(1, 1000 * int(path.rsplit("-")[1]) + 1)).encode()
    return web(answer)


def consul(forget=False, drop=False):
    store, asked = {}, [0]

    def answer(method, path, body):
        asked[0] += 1
        key, _, more = path.rpartition("/")[2].partition("?")
        if path.startswith("/v1/session/create"):
            return 200, b'{"ID": "one"}'
        if method == "PUT":
            if not (forget and len(store) == 3):
                store[key] = body
            return 200, b"true"
        if key.startswith("held"):
            return 200, json.dumps([{"Session": "other" if drop else "one"}]).encode()
        return (200, store[key].encode()) if key in store else (404, b"")
    return web(answer)


def vault(seal=0):
    store, asked = {}, [0]

    def answer(method, path, body):
        asked[0] += 1
        if path == "/v1/sys/seal-status":
            return 200, json.dumps({"sealed": 0 < seal < asked[0]}).encode()
        if method == "PUT":
            store[path] = body
            return 204, b""
        return 200, json.dumps({"data": json.loads(store[path])}).encode()
    return web(answer)


def clickhouse(forget=False):
    rows = []

    def answer(method, path, body):
        if body.startswith("INSERT"):
            rows.append(re.search(r"\((\d+), '(\w+)'\)", body).groups())
        if "FORMAT" in body:
            return 200, "".join("%s\t%s\n" % r for r in rows[1 if forget else 0:]).encode()
        found = re.search(r"WHERE n = (\d+)", body)
        return 200, "".join(v + "\n" for n, v in rows if found and n == found[1]).encode()
    return web(answer)


def objects(change=False):
    store = {}

    def answer(method, path, body):
        if method == "PUT":
            store[path] = body
            return 200, b""
        return 200, (store[path][:-1] + "x" if change else store[path]).encode()
    return web(answer)


OPTIONS = {"vault": {"token": "t"}, "s3": {"user": "u", "secret": "s", "times": 3}, "files": {"status": "/metrics", "metric": "requests"}}
METRIC = 'requests{a="1"} %d\nrequests{a="2"} 1\nother 1\n'


class Clients(unittest.TestCase):
    def wrong(self, server, kind):
        said = load(kind, server.server_address[1], options=OPTIONS.get(kind))
        server.shutdown()
        server.server_close()
        return " ".join(t for s in said for t in s["wrong"])

    def test_good(self):
        server = redis()
        said = load("redis", server.server_address[1], 2)
        self.assertEqual([s["wrong"] for s in said if s["wrong"]], [])
        self.assertGreater(said[-1]["verified"], 0)

    def test_connections_that_end_are_errors_and_nothing_worse(self):
        server = redis(cut=7)
        said = load("redis", server.server_address[1])
        self.assertEqual([s["wrong"] for s in said if s["wrong"]], [])
        self.assertGreater(sum(n for s in said for n in s["errors"].values()), 0)

    def test_lost_write(self):
        self.assertRegex(self.wrong(redis(forget=True), "redis"), "was acknowledged and is now None")

    def test_counter_goes_back(self):
        self.assertRegex(self.wrong(redis(count_back=True), "redis"), "counter is 1, 3 were acknowledged")

    def test_restarted_program(self):
        self.assertRegex(self.wrong(teller(["ok 1 aaaaaaaa", "ok 2 aaaaaaaa", "ok 3 bbbbbbbb"]), "ask"), "started anew")

    def test_program_that_complains(self):
        self.assertRegex(self.wrong(teller(["ok 1 aaaaaaaa", "BAD a pending signal is gone"]), "ask"), "a pending signal is gone")

    def test_good_web(self):
        for kind, server in (("files", files(lambda n: METRIC % n)), ("consul", consul()), ("vault", vault()), ("clickhouse", clickhouse()), ("s3", objects())):
            said = load(kind, server.server_address[1], options=OPTIONS.get(kind))
            self.assertEqual([s["wrong"] for s in said if s["wrong"]], [], kind)
            self.assertGreater(said[-1]["verified"], 0, kind)
            server.shutdown()
            server.server_close()

    def test_web_that_lies(self):
        for kind, server, expected in (("files", files(lambda n: METRIC % (100 - n)), "was started anew"), ("files", files(lambda n: "other 1\n"), "does not tell requests"),
                                       ("consul", consul(forget=True), "was acknowledged and is now None"), ("consul", consul(drop=True), "key that this client holds is lost"),
                                       ("vault", vault(seal=9), "it is sealed"), ("clickhouse", clickhouse(forget=True), "row 0 was acknowledged"),
                                       ("s3", objects(change=True), "is now '192 bytes, not the 192 of it'")):
            self.assertRegex(self.wrong(server, kind), expected)

    def test_signature(self):
        """The example "GET Bucket Lifecycle" of Amazon's S3 API reference."""
        said = s3.signed("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "GET", "/?lifecycle=", "examplebucket.s3.amazonaws.com", b"", 1369353600)
        self.assertEqual(said["Authorization"].rpartition("=")[2], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")


class Images(unittest.TestCase):
    def left(self, text, pattern):
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "a.go"), "w") as f:
                f.write(text)
            images.leave_out({"a.go": pattern}, d)
            with open(os.path.join(d, "a.go")) as f:
                return f.read()

    def test_lines_are_left_out(self):
        self.assertEqual(self.left("one\n\ttwo here\nthree\n", r"\btwo\b"), "one\nthree\n")
        self.assertEqual(self.left("if two {\n\tthree\n\t}\nfour\n", r"two \{\n.*\n\s*\}"), "four\n")

    def test_a_pattern_that_matches_nothing_is_a_mistake(self):
        with self.assertRaisesRegex(images.Unbuilt, "no line of a.go matches two"):
            self.left("one\n", "two")

    def test_a_merged_usr(self):
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(os.path.join(d, "bin"))
            os.makedirs(os.path.join(d, "usr/bin"))
            open(os.path.join(d, "bin/sh"), "w").close()
            images.merge_usr(d)
            self.assertEqual(os.readlink(os.path.join(d, "bin")), "usr/bin")
            self.assertTrue(os.path.exists(os.path.join(d, "usr/bin/sh")))


class Table(unittest.TestCase):
    def test_lines(self):
        moved = {"name": "x", "title": "X", "verdict": "moves", "downtime_ms": [200, None, 300], "client_gap_ms": [2000], "client_ms_calm": [1.2, 4.0],
                 "client_ms": [[1, 9.0], [1, 30.0]], "bytes": [1 << 20, 3 << 20], "errors": {"TimeoutError": 2, "ConnectionResetError": 1, "BrokenPipeError": 2},
                 "verified": 7, "verified_what": "keys", "configure": "A=1", "why": "because"}
        self.assertRegex(table.line(moved), r"^x +moves +200-300 +2000-2000 +4, 9-30 +3 +5 +7  BrokenPipeError 2; ConnectionResetError 1; TimeoutError 2$")
        self.assertIn("| X | moves | 200-300 | 2000-2000 | 4, 9-30 | 3 | 3 resets, 2 timeouts | 7: keys | A=1: because |", table.markdown([moved]))
        self.assertRegex(table.line({"name": "y", "verdict": "FAILS", "problem": "lost"}), "^y +FAILS +lost$")

    def test_the_docs_have_its_columns(self):
        with open(os.path.join(HERE, "../../docs/applications.md")) as f:
            heads = [line.strip() for line in f if line.startswith("| application |")]
        self.assertIn(table.markdown([]).splitlines()[0], heads)

    def test_durations(self):
        self.assertEqual([run.milliseconds(d) for d in ("214ms", "1.5s", "1m2s", None, "")], [214, 1500, 62000, None, None])

    def test_every_application_is_complete(self):
        for name in run.all_names():
            app = run.load(name)
            self.assertTrue(re.fullmatch("[a-z-]+", name) and app["title"] and app["verified"] and app["image"] and app["pod"]["containers"], name)
            self.assertEqual("configure" in app, "why" in app, name)
            self.assertTrue("refused" in app or app["client"]["port"], name)


if __name__ == "__main__":
    unittest.main()
