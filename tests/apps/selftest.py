#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The load clients notice what they are there for: each is put before a server that lies."""
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import run  # noqa: E402
import table  # noqa: E402


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


def load(kind, port, threads=1):
    """What the client says to `mark` and `stop`."""
    p = subprocess.run([sys.executable, os.path.join(HERE, "load/main.py"), kind, "127.0.0.1", str(port), str(threads), "{}"], input="mark\n" * 8 + "stop\n", stdout=subprocess.PIPE,
                       text=True, timeout=60)
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


class Clients(unittest.TestCase):
    def wrong(self, server, kind):
        said = load(kind, server.server_address[1])
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


class Table(unittest.TestCase):
    def test_lines(self):
        moved = {"name": "x", "title": "X", "verdict": "moves", "downtime_ms": [200, None, 300], "client_gap_ms": [2000], "client_ms_calm": [1.2, 4.0],
                 "client_ms": [[1, 9.0], [1, 30.0]], "bytes": [1 << 20, 3 << 20], "errors": {"TimeoutError": 2},
                 "verified": 7, "verified_what": "keys", "configure": "A=1", "why": "because"}
        self.assertRegex(table.line(moved), r"^x +moves +200-300 +2000-2000 +4, 9-30 +3 +2 +7  TimeoutError 2$")
        self.assertIn("| X | moves | 200-300 | 2000-2000 | 4, 9-30 | 3 | 2 | 7: keys | A=1: because |", table.markdown([moved]))
        self.assertRegex(table.line({"name": "y", "verdict": "FAILS", "problem": "lost"}), "^y +FAILS +lost$")

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
