#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Moves pods there and back, N times in all, and shows that nothing grows: figures at the start, after the warm-up and at the end, and what one migration
adds between the last two. Ends with `N passed, N failed`.

  soak.py [N] [--pods P] [--seconds S] [--keep] [--no-install]       environment: LAB_NAME (soak)

One pod unless said: P of them move at the same time, so that N moves are over sooner.

build/soak.json holds all figures, also those in between.
"""
import argparse
import concurrent.futures
import json
import os
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
import paths  # noqa: E402,F401

os.environ.setdefault("LAB_NAME", "soak")

import continuity  # noqa: E402
import figures  # noqa: E402
import install  # noqa: E402
import pods  # noqa: E402
import product  # noqa: E402
import workload  # noqa: E402
from cluster import ROOT, Cluster, Failed, lab  # noqa: E402
from machines import Machine  # noqa: E402

TTL = "1s"              # the product removes its own ended objects
ANY = float("inf")
CALM_S = 60             # kubelets and Liqo clear away after a move

# What may be more at the end than after the warm-up: (part of the figure's name, fixed, for each migration, and at most). The first that matches counts. Memory of allocators and of
# Go's collector goes up and down, and levels; everything that can be counted may not grow at all, but for what comes and goes by itself.
LIMITS = [
    ("(", ANY, 0, ANY),
    ("events", 20, 8, ANY),     # the API server keeps them for an hour
    ("RSS KiB", 1024, 1, 2048),
    ("/run KiB", 256, 0.5, ANY),
    ("fds", 4, 0, ANY),
    ("threads", 4, 0, ANY),
    ("", 2, 0, ANY),
]


def limit(name, moves):
    fixed, each, most = next(rest for part, *rest in LIMITS if part in name)
    return min(fixed + each * moves, most)


class Chain:
    """One pod on its way: where it is, and all that its program has written so far."""

    def __init__(self, name, home, away):
        self.home, self.away, self.name, self.pod, self.at_home, self.lines, self.log = home, away, name, name, True, [], None
        self.began = 0

    def begin(self):
        self.home.api.call("POST", workload.collection(pods.NS), pods.pod(self.pod, [pods.container(self.name, 8)], pods.NS, self.home.name))

    def wait_begun(self):
        self.home.api.wait(workload.collection(pods.NS), self.pod, workload.is_running)
        self.log = workload.Log(self.home, self.pod, self.name)
        self.log.wait_ticks(1)

    def move(self, number):
        where = {"cluster": self.away.name} if self.at_home else {"node": self.home.name}
        self.began = time.monotonic()
        self.home.api.call("POST", "%s/namespaces/%s/podmigrations" % (product.GROUP, pods.NS),
                           pods.migration("%s-%d" % (self.name, number), self.pod, pods.NS, ttlAfterFinished=TTL, **where))

    def wait_moved(self, number):
        """All logs make one: the pod may have lived too briefly for a line."""
        m, _ = product.finish(self.home, pods.NS, "%s-%d" % (self.name, number), 180)
        took = time.monotonic() - self.began
        self.at_home, self.pod = not self.at_home, m["status"]["destinationPod"]["name"]
        self.lines += self.log.lines()
        self.log.close()
        self.log = workload.Log(self.home if self.at_home else self.away, self.pod, self.name)
        return took

    def counted(self):
        self.log.wait_ticks(1)
        return continuity.check([self.lines + self.log.lines()])

    def end(self):
        self.home.api.delete("%s/%s" % (workload.collection(pods.NS), self.pod), {"gracePeriodSeconds": 1})


class Soak:
    def __init__(self, home, away, n):
        self.home, self.away, self.moves, self.seconds = home, away, 0, []
        self.chains = [Chain("soak" if n == 1 else "soak%d" % i, home, away) for i in range(n)]

    def begin(self):
        for c in self.chains:
            c.begin()
        for c in self.chains:
            c.wait_begun()

    @property
    def at_home(self):
        return self.chains[0].at_home

    def move(self):
        """Each pod once, all at the same time; each is waited for at once, since an ended PodMigration is soon gone."""
        def one(c):
            c.move(self.moves)
            return c.wait_moved(self.moves)
        with concurrent.futures.ThreadPoolExecutor(len(self.chains)) as threads:
            self.seconds += threads.map(one, self.chains)
        self.moves += len(self.chains)

    def counted(self):
        return max(c.counted() for c in self.chains)

    def calm(self):
        """The figures when nothing changes any more."""
        end = time.monotonic() + CALM_S
        time.sleep(3)
        last = figures.take(self.home, self.away)
        while True:
            time.sleep(2)
            now = figures.take(self.home, self.away)
            same = all(now[k] == last[k] for k in now if "KiB" not in k and not k.startswith("("))
            last = now
            if (same and now["podmigrations"] == 0) or time.monotonic() > end:
                return now

    def end(self):
        for c in self.chains:
            c.end()


def judge(start, warm, last, moves):
    """Prints the table; names of the figures that grew too much."""
    bad = []
    print("%-34s %10s %10s %10s %14s %8s" % ("figure", "start", "warm", "end", "per migration", "limit"))
    for name in sorted(last, key=lambda n: (n.startswith("("), n)):
        grown, most = last[name] - warm.get(name, 0), limit(name, moves)
        if grown > most:
            bad.append(name)
        print("%-34s %10d %10d %10d %14.3f %8s %s" % (name, start.get(name, 0), warm.get(name, 0), last[name], grown / max(1, moves),
                                                     "-" if most == float("inf") else "%d" % most, "GROWS" if name in bad else ""))
    return bad


def run(soak, n, seconds):
    """All moves with figures on the way; (figures by number of moves, the number that counts as warm)."""
    soak.begin()
    soak.move()
    soak.move()
    taken = {soak.moves: soak.calm()}
    round_trip = 2 * len(soak.chains)               # figures are taken when the pods are at home
    warm = max(4, min(100, n // 5)) // round_trip * round_trip or 2 * round_trip
    step = max(1, 100 // round_trip) * round_trip
    end = time.monotonic() + seconds
    while soak.moves < n and (time.monotonic() < end or not soak.at_home):
        soak.move()
        if soak.at_home and (soak.moves == warm or soak.moves % step == 0):
            taken[soak.moves] = soak.calm()
            print("%d moves, the last took %.1f s" % (soak.moves, soak.seconds[-1]), flush=True)
    taken[soak.moves] = soak.calm()
    return taken, warm if warm in taken else min(taken)


def is_up():
    try:
        return Cluster("b").run("get", "--raw", "/readyz", timeout=20)[0] == 0
    except Exception:
        return False


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("n", nargs="?", type=int, default=1000)
    p.add_argument("--pods", type=int, default=int(os.environ.get("PODS", "1")), help="so many move at the same time")
    p.add_argument("--seconds", type=float, default=float("inf"), help="begin no further round after so long")
    p.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up")
    p.add_argument("--no-install", action="store_true", help="podmigration is there already")
    args = p.parse_args()
    round_trip = 2 * args.pods
    n = max(4, -(-args.n // round_trip)) * round_trip
    was_up, checks = is_up(), []
    try:
        if not was_up:
            lab("up")
        clusters = [Cluster("a"), Cluster("b")]
        if not args.no_install:
            install.images(clusters)
            install.install(clusters[0], clusters[1:])
        clusters[0].ok("delete", "podmigrations,pods", "--all", "-n", pods.NS, "--timeout=120s", timeout=150)
        soak = Soak(Machine("a"), Machine("b"), args.pods)
        try:
            taken, warm = run(soak, n, args.seconds)
            first, last = min(taken), max(taken)
            bad = judge(taken[first], taken[warm], taken[last], last - warm)
            checks += [name not in bad for name in taken[last] if not name.startswith("(")]
            gap = soak.counted()
            checks.append(True)
            took = sorted(soak.seconds)
            print("%d migrations of %d pod(s), every count there; largest gap %d ms; a move took %.2f s (median), %.2f s at most" %
                  (soak.moves, args.pods, gap, took[len(took) // 2], took[-1]))
            with open(os.path.join(ROOT, "build/soak.json"), "w", encoding="utf-8") as f:
                json.dump({"moves": soak.moves, "pods": args.pods, "warm": warm, "largest_gap_ms": gap, "seconds": soak.seconds, "grown": bad, "figures": taken}, f, indent=1)
        finally:
            soak.end()
    except (Failed, OSError) as e:
        print("soak: %s" % e, file=sys.stderr)
        checks.append(False)
    finally:
        if not was_up and not args.keep:
            lab("down", check=False)
    print("%d passed, %d failed" % (sum(checks), len(checks) - sum(checks)))
    return 0 if checks and all(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
