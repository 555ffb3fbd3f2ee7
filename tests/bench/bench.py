#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a migration costs, measured by the application itself, beside the way of others, in one run on one machine.

  bench.py [--seated-only] [--keep] [--no-install]       environment: N (runs a row), QUICK=1, ROWS="two one", LAB_NAME (bench)

build/bench.json holds the figures and every single run, build/bench.md the tables, docs/timeline.svg a picture of one migration. Exit code 1 when
a run failed; what else was measured is written all the same. docs/performance.md says what the figures mean.
"""
import argparse
import dataclasses
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "..", "e2e"))
os.environ.setdefault("LAB_NAME", "bench")

import install  # noqa: E402
import picture  # noqa: E402
import plots  # noqa: E402
import product  # noqa: E402
import report  # noqa: E402
import seated  # noqa: E402
import weather  # noqa: E402
import workload  # noqa: E402
from cluster import ROOT, Cluster, Failed, lab, parallel  # noqa: E402
from machines import Machine  # noqa: E402

NS = "demo"             # offloaded by the lab
PLAIN_NS = "default"    # of the baseline, in both clusters
AT_ONCE = 20
GBIT = 1e9 / 8


@dataclasses.dataclass
class Row:
    title: str
    sizes: tuple                # MiB of each container
    runs: float = 0.6           # as shares of N: podmigration, and the baseline
    baseline: float = 0
    quick: bool = False         # also with QUICK=1
    strategy: str = "PreCopy"
    link: tuple = ()            # of `lab link`; none: not limited
    packs: bool = False         # its memory compresses to half
    bandwidth: str = None       # spec.bandwidth
    dirty: int = None           # MB/s that each container writes; None: a page a millisecond


def gib(strategy, **more):
    return Row("1 container, 1 GiB, %s" % strategy, (1024,), strategy=strategy, **more)


def dirtied(rate):
    return Row("1 container, 512 MiB, %d MB/s written" % rate, (512,), dirty=rate)


def linked(what, *link, **more):
    return Row("1 container, 256 MiB, %s" % what, (256,), runs=0.4, link=link, **more)


ROWS = {
    "two_containers": Row("2 containers, 64 + 16 MiB", (64, 16), 2, 1, True),
    "smallest": Row("1 container, 1 MiB", (1,), 1, 0.6, True),
    "containers_1": Row("1 container, 8 MiB", (8,), 1, 0.6, True),
    "containers_2": Row("2 containers, 8 MiB each", (8,) * 2, 1, 0.4),
    "containers_3": Row("3 containers, 8 MiB each", (8,) * 3, 1, 0.4),
    "containers_5": Row("5 containers, 8 MiB each", (8,) * 5, 1, 0.4),
    "containers_10": Row("10 containers, 8 MiB each", (8,) * 10, 1, 0.6, True),
    "one_gib": gib("PreCopy", runs=1, baseline=0.4),
    "one_gib_stopandcopy": gib("StopAndCopy"),
    "one_gib_postcopy": gib("PostCopy"),
    "memory_16": Row("1 container, 16 MiB", (16,)),
    "memory_256": Row("1 container, 256 MiB", (256,)),
    "memory_4096": Row("1 container, 4 GiB", (4096,), 0.4),
    "link_1gbit": Row("1 container, 1 GiB, link of 1 Gbit/s, StopAndCopy", (1024,), 0.4, strategy="StopAndCopy", link=("--rate", "1gbit")),
    "link_1g": Row("1 container, 1 GiB, 50 MB/s written, link of 1 Gbit/s and 1 ms", (1024,), link=("--rate", "1gbit", "--delay", "500us"), dirty=50),
    "link_100m": linked("link of 100 Mbit/s", "--rate", "100mbit"),
    "link_10g": linked("link of 10 Gbit/s", "--rate", "10gbit"),
    "link_20ms": linked("link of 1 Gbit/s and 20 ms", "--rate", "1gbit", "--delay", "10ms"),
    "link_100m_packs": linked("compresses to half, link of 100 Mbit/s", "--rate", "100mbit", packs=True),
    "link_20ms_packs": linked("compresses to half, link of 1 Gbit/s and 20 ms", "--rate", "1gbit", "--delay", "10ms", packs=True),
    "packs": linked("compresses to half", packs=True),
    "capped": linked("bandwidth: 25M", bandwidth="25M"),
    **{"dirty_%d" % rate: dirtied(rate) for rate in (0, 10, 50, 200)},
}


class Bench:
    def __init__(self, home, away, n, with_product):
        self.home, self.away, self.n, self.with_product = home, away, n, with_product
        self.serial, self.failures, self.runs = 0, [], {}
        self.node = seated.Node(away)
        self.wire = product.WireCounter(home) if with_product else None

    def attempt(self, what, f):
        """One run; a failure is said, remembered, and does not stop the others."""
        begin = time.monotonic()
        try:
            result = f()
            print("  %-44s %7s ms  (%.0f s)" % (what, report.number(result["gap_ms"]), time.monotonic() - begin), flush=True)
            return [result]
        except (Failed, OSError) as e:
            self.failures.append("%s: %s" % (what, e))
            print("  %-44s FAILED: %s" % (what, e), flush=True)
            return []

    def ours(self, key, row):
        self.serial += 1
        name = "bench-%d" % self.serial

        def run():
            logs = []
            try:
                logs = workload.start(self.home, NS, name, row.sizes, row.dirty, row.packs)
                return product.move(self.home, self.away, NS, name, logs, self.wire, strategy=row.strategy, **({"bandwidth": row.bandwidth} if row.bandwidth else {}))
            finally:
                workload.remove(self.home, NS, name)
                for log in logs:
                    log.close()
        return self.attempt(key + ", podmigration", run)

    def theirs(self, key, sizes):
        self.serial += 1
        name = "seated-%d" % self.serial

        def run():
            logs = []
            try:
                logs = workload.start(self.home, PLAIN_NS, name, sizes)
                return seated.move(self.home, self.away, PLAIN_NS, name, logs, self.serial)
            finally:
                for machine in (self.home, self.away):
                    workload.remove(machine, PLAIN_NS, name)
                for log in logs:
                    log.close()
        return self.attempt(key + ", SEATED way", run)

    def row(self, key):
        row = ROWS[key]
        n = max(1, round(self.n * row.runs)) if self.with_product else 0
        m = max(1, round(self.n * row.baseline)) if row.baseline else 0
        print("%s: %d runs, baseline %d" % (row.title, n, m), flush=True)
        if row.link:
            lab("link", *row.link)
        ours, theirs = [], []
        try:
            for i in range(max(n, m)):  # in turns, so that both meet the same weather
                ours += self.ours(key, row) if i < n else []
                theirs += self.theirs(key, row.sizes) if i < m else []
        finally:
            if row.link:
                lab("link", "--clear")
        self.runs[key] = {"podmigration": ours, "seated": theirs}
        r = report.row(ours, theirs)
        if key == "link_1gbit" and ours:
            r["goodput_share"] = round(r["podmigration"]["sending_mb_per_s"]["median"] * 1e6 / GBIT, 3)
        return r

    def at_once(self):
        names = ["many-%d" % i for i in range(AT_ONCE)]
        logs = {}

        def start(name):
            logs[name] = workload.start(self.home, NS, name, (8,))

        try:
            parallel([lambda n=n: start(n) for n in names])
            results, failures = product.move_many(self.home, self.away, NS, names, logs)
            self.failures += failures
            self.runs["at_once"] = results
            alone = [r["total_s"] for r in self.runs.get("containers_1", {}).get("podmigration", [])]
            return report.at_once(results, len(names), report.median(alone) if alone else None) if results else None
        except (Failed, OSError) as e:
            self.failures.append("%d pods at once: %s" % (AT_ONCE, e))
            return None
        finally:
            for n in names:
                workload.remove(self.home, NS, n)


def is_up():
    try:
        return Cluster("b").run("get", "--raw", "/readyz", timeout=20)[0] == 0
    except Exception:
        return False


def prepare(args):
    clusters = [Cluster("a"), Cluster("b")]
    if args.seated_only:
        install.workload("counter", install.WORKLOADS["counter"], ["a", "b"])
    elif not args.no_install:
        install.images(clusters)
        install.install(clusters[0], clusters[1:])
    return Machine("a"), Machine("b")


def measure(bench, keys, quick, at_once):
    result = {"versions": product.versions(bench.home), "n": bench.n, "quick": quick, "machine": weather.look()}
    print("warming up", flush=True)
    if bench.with_product:
        result["resident_mib_idle"] = product.resident(os.environ["LAB_NAME"])
        bench.ours("warm-up", Row("warm-up", (8,)))
    bench.theirs("warm-up", (8,))
    for key in keys:
        result[key] = bench.row(key)
    if bench.with_product and at_once:
        print("%d pods at once" % AT_ONCE, flush=True)
        result["at_once"] = bench.at_once()
    if bench.with_product:
        result["resident_mib_after"] = product.resident(os.environ["LAB_NAME"])
    report.across(result)
    return result


def draw(runs):
    """The run of two containers with the median downtime."""
    if not runs:
        return
    run = sorted(runs, key=lambda r: r["gap_ms"])[(len(runs) - 1) // 2]
    if run["timeline"]:
        with open(os.path.join(ROOT, "docs/timeline.svg"), "w", encoding="utf-8") as f:
            f.write(picture.draw(run, "A pod of two containers (64 + 16 MiB) moves to another cluster"))


def write(bench, result):
    result.update(failures=bench.failures, goals=report.goals(result), runs=bench.runs)
    text = report.tables(result, {k: row.title for k, row in ROWS.items()})
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    with open(os.path.join(ROOT, "build/bench.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
    with open(os.path.join(ROOT, "build/bench.md"), "w", encoding="utf-8") as f:
        f.write(text)
    draw(bench.runs.get("two_containers", {}).get("podmigration"))
    plots.draw_all(result, os.path.join(ROOT, "docs"))
    print("\n" + text)
    print("%s\n%s%s" % (result["versions"], result["machine"],
          "\nthe machine was busy with something else: the figures are worse than it can do" if result["machine"]["busy_before"] > weather.BUSY else ""))
    for f in bench.failures:
        print("FAILED " + f)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seated-only", action="store_true", help="the baseline alone; podmigration is not installed")
    p.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up")
    p.add_argument("--no-install", action="store_true", help="podmigration is there already")
    args = p.parse_args()
    quick = bool(os.environ.get("QUICK"))
    n = int(os.environ.get("N") or (1 if quick else 3))
    wanted = (os.environ.get("ROWS") or "").split()
    keys = [k for k, row in ROWS.items() if (k in wanted if wanted else row.quick or not quick)]
    was_up = is_up()
    try:
        if not was_up:
            lab("up")
        bench = Bench(*prepare(args), n, not args.seated_only)
        result = measure(bench, keys, quick, "at_once" in wanted if wanted else not quick)
        write(bench, result)
        bench.node.close()
        return 1 if bench.failures else 0
    except Failed as e:
        print("bench: %s" % e, file=sys.stderr)
        return 1
    finally:
        if not was_up and not args.keep:
            lab("down", check=False)


if __name__ == "__main__":
    sys.exit(main())
