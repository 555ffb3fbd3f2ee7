#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts load on one application and checks every answer.  main.py KIND HOST PORT THREADS OPTIONS-JSON

Commands come by stdin, one a line, each answered by one line of JSON:
  mark   when every worker has had an answer after this command (60 s): counts since the last mark
  stop   after a last look at everything that was acknowledged: the sums"""
import collections
import importlib
import json
import sys
import threading
import time

from common import Closed, Wrong

KINDS = {"redis": "resp", "memcached": "memcached", "files": "web:Files", "kv": "web:Store", "etcd": "web:Etcd", "prometheus": "web:Prometheus", "growing": "web:Growing",
         "consul": "web:Consul", "vault": "web:Vault", "clickhouse": "web:ClickHouse", "s3": "s3", "postgres": "postgres", "mysql": "mysql", "stomp": "stomp", "nats": "nats",
         "ask": "ask", "zookeeper": "zookeeper"}
SETTLE_S = 60


def session_class(kind):
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name or "Client")


class Worker(threading.Thread):
    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.stopping = session, threading.Event()
        self.good, self.errors, self.wrong = 0, collections.Counter(), []
        self.changed = threading.Condition()
        self.last, self.gap, self.times = time.monotonic(), 0.0, []

    def run(self):
        since = time.monotonic()
        while not self.stopping.is_set():
            try:
                self.session.open()
                while not self.stopping.is_set():
                    self.session.step()
                    self.succeeded(since)
                    self.stopping.wait(self.session.pause)
                    since = time.monotonic()
            except Wrong as e:
                self.failed(str(e))
                return
            except (OSError, Closed, EOFError) as e:
                self.errors[type(e).__name__] += 1
                self.stopping.wait(0.05)
            except Exception as e:  # a client that fell over has not checked anything
                self.failed("%s: %s" % (type(e).__name__, e))
                return
            finally:
                self.session.close()

    def succeeded(self, since):
        """A step took from when it was first tried, through every error and connection, to its answer."""
        now = time.monotonic()
        with self.changed:
            self.good += 1
            self.times.append(now - since)
            self.gap = max(self.gap, now - self.last)
            self.last = now
            self.changed.notify_all()

    def failed(self, text):
        with self.changed:
            self.wrong.append(text)
            self.changed.notify_all()

    def settle(self, deadline):
        """True when an answer has come, False when none has, or a wrong one."""
        with self.changed:
            n = self.good
            self.changed.wait_for(lambda: self.good > n + 1 or self.wrong, max(0.0, deadline - time.monotonic()))
            return self.good > n + 1

    def verify(self, deadline):
        self.stopping.set()
        self.join(30)
        while True:
            try:
                self.session.open()
                return self.session.verify()
            except Wrong as e:
                self.wrong.append(str(e))
                return 0
            except (OSError, Closed, EOFError) as e:
                if time.monotonic() > deadline:
                    self.wrong.append("no last look: %s" % e)
                    return 0
            finally:
                self.session.close()


def share(times, of):
    """The time within which this share of the steps had its answer, in ms."""
    return round(1000 * times[min(len(times) - 1, int(len(times) * of))], 1) if times else None


def report(workers, **more):
    errors, times = collections.Counter(), []
    for w in workers:
        with w.changed:
            times += w.times
            w.times = []
        errors.update(w.errors)
        w.errors = collections.Counter()
    times.sort()
    out = {"answers": sum(w.good for w in workers), "errors": dict(errors), "p50_ms": share(times, 0.5), "p99_ms": share(times, 0.99), "gap_ms": round(1000 * max(w.gap for w in workers)), "wrong": [t for w in workers for t in w.wrong], **more}
    for w in workers:
        w.gap = 0.0
    print(json.dumps(out), flush=True)


def main():
    kind, host, port, threads, options = sys.argv[1:6]
    make = session_class(kind)
    workers = [Worker(make((host, int(port)), i, json.loads(options))) for i in range(int(threads))]
    for w in workers:
        w.start()
    for line in sys.stdin:
        deadline = time.monotonic() + SETTLE_S
        if line.strip() == "mark":
            report(workers, silent=sum(not w.settle(deadline) for w in workers))
        elif line.strip() == "stop":
            # one after the other has stopped before anyone looks
            for w in workers:
                w.stopping.set()
            report(workers, verified=sum(w.verify(deadline) for w in workers))
            return


if __name__ == "__main__":
    main()
