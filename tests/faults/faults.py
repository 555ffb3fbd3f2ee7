#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a running pod when something breaks while it is moved: one line a row, then `N passed, N failed`.

  faults.py [--list] [--fast] [--rollback] [--keep] [--no-install]       environment: FAULTS_ROWS="who/what/step ..", LAB_NAME (faults)

Rows that hit the same victim in the same way are one batch: each has a pod and a PodMigration of its own that stands at its own step when the victim is hit.
build/faults.json holds the results. docs/testing.md says what the columns mean.
"""
import argparse
import concurrent.futures
import itertools
import json
import os
import sys
import time

import paths  # noqa: F401

os.environ.setdefault("LAB_NAME", "faults")
os.environ.setdefault("PM_IMAGES", "build/faults/image")

import evidence  # noqa: E402
import install  # noqa: E402
import points  # noqa: E402
import pod  # noqa: E402
import pool  # noqa: E402
import rows  # noqa: E402
import state  # noqa: E402
import victims  # noqa: E402
from cluster import ROOT, Cluster, Failed, lab, parallel  # noqa: E402
from machines import Machine  # noqa: E402

AT_ONCE = int(os.environ.get("FAULTS_AT_ONCE", "10"))    # migrations; more would only wait for the processor
WAY_AT_ONCE = 4         # of them on their way to their points
HERE_S = 90 * pod.PATIENCE      # to its point
AGAIN_MS = 50           # a source that is told to goes on
BOUND_S = int(os.environ.get("FAULTS_BOUND", "0")) or 180 * pod.PATIENCE        # from the end of the fault to the end of all
LINE = "%-4s %-18s %-12s %-27s %-10s %-22s %5s  %-12s %6s  %s"


def at_once(f, items, limit=None):
    with concurrent.futures.ThreadPoolExecutor(limit or len(items)) as threads:
        return list(threads.map(f, items))


def bring_to_steps(batch):
    """Those that stand there. A few at a time are on their way: all of them at once would only wait for the processor, and for each other. The latest steps come first: what
    is sent or committed waits as long as it must, while a stream that nothing comes from is given up."""
    at_once(pod.Moved.start, batch, WAY_AT_ONCE)
    points.prepare(batch[0].side.source)
    points.prepare(batch[0].side.destination)
    there = [m for m in batch if m.chain]
    waiting, way = there[::-1], []
    while waiting or way:
        while waiting and len(way) < WAY_AT_ONCE:
            way.append(waiting.pop(0))
            way[-1].go()
        way = on_their_way(way)
    return there


def on_their_way(moved):
    """Without those that have come to their points, and those that have ended before: these will not come."""
    left = [m for m in moved if not m.point.reached(1 / len(moved))]
    pod.look(left)
    for m in list(left):
        if m.ended():
            m.problem = "it ended %s before it came to its step: %s" % (m.phase(), " ".join(m.said()))
        elif time.time() * 1000 > m.begin_ms + HERE_S * 1000:
            m.problem = "it did not come to its step within %d s: phase %s" % (HERE_S, m.phase())
        else:
            continue
        left.remove(m)
    return left


def wait_ends(batch):
    end = time.monotonic() + BOUND_S
    left = list(batch)
    while left and time.monotonic() < end:
        pod.look(left)
        for m in [m for m in left if m.ended()]:
            m.seconds = time.monotonic() - m.hit
            left.remove(m)
        time.sleep(0.3)
    for m in left:
        m.problem = m.problem or "not at an end %d s after the fault: phase %s, %s" % (BOUND_S, m.phase(), " ".join(m.said()))


def release(batch):
    for m in batch:
        m.point.release()


def hit(batch):
    row, side = batch[0].row, batch[0].side
    pod.look(batch)
    for m in batch:
        m.hit = time.monotonic()
        if m.given_up():
            m.problem = "it was given up while it stood at its step, before the fault: %s" % " ".join(m.said())
    if row.who == "monitor":
        at_once(pod.Moved.note_running, batch)
    try:
        victims.WHAT[row.what](row.who, side, [m.row for m in batch if not m.problem], lambda: release(batch))
    except Failed as e:
        for m in batch:
            m.problem = m.problem or "the fault could not be done: %s" % e
    finally:
        release(batch)
    for m in batch:
        m.problem = m.problem or m.row.missed and "the fault could not be done: %s" % m.row.missed


def run_batch(batch, clusters, kept):
    """Results of all its rows."""
    what, side = victims.WHAT[batch[0].row.what], batch[0].side
    results = []
    try:
        there = bring_to_steps(batch)
        if there:
            hit(there)
            wait_ends(there)
        results = [report(m, *found) for m, found in zip(batch, at_once(pod.Moved.judge, batch))]
        if not all(r["ok"] for r in results):
            evidence.write(batch, results, clusters)
    except Failed as e:
        results = [report(m, 0, 0, None, "%s" % e) for m in batch]
        evidence.write(batch, results, clusters)
    finally:
        points.forget(side.source)
        points.forget(side.destination)
        release_all(batch)
        if hasattr(what, "after"):
            what.after(side)
        for m in batch:
            m.clean(kept)
    return results


def release_all(batch):
    for m in batch:
        if m.point:
            m.point.release()


def report(m, running, frozen, gap, problem):
    row = m.row
    reason, message = m.said()
    seconds = None if m.seconds is None else round(m.seconds, 1)
    continuity = "-" if problem or gap is None else "every, %d ms" % gap
    again = "" if m.again_ms is None else "went on after %d ms, %d after the person's word" % (m.again_ms, m.asked_ms)
    print(LINE % ("FAIL" if problem else "ok", row.who, row.what, row.step + ("" if row.way == "there" else " @back") + "".join(" " + v for v in row.spec.values()), m.phase(), reason,
                  "%d+%d" % (running, frozen), continuity, seconds if seconds is not None else "-", problem or again), flush=True)
    return {"row": row.id, "who": row.who, "what": row.what, "step": row.step, "way": row.way, "ok": not problem, "problem": problem, "phase": m.phase(),
            "reason": reason, "message": message, "running": running, "frozen": frozen, "gap_ms": gap, "seconds": seconds, "again_ms": m.again_ms, "asked_ms": m.asked_ms}


def rollback(results):
    """A line a step: how soon the source went on. Results that say which were too late."""
    for row in dict.fromkeys(r["row"] for r in results if "step" in r):
        took = sorted((r["again_ms"], r["asked_ms"]) for r in results if r.get("row") == row and r.get("again_ms") is not None)
        print("rollback: %-36s ms: %-24s after the person's word: %s" % (row.split("/")[-1], " ".join(str(t[0]) for t in took) or "-", " ".join(str(t[1]) for t in took) or "-"))
    late = [r for r in results if r["ok"] and (r["again_ms"] is None or r["again_ms"] > AGAIN_MS)]
    return [{"row": r["row"], "ok": False, "problem": "it went on after %s ms, wanted %d" % (r["again_ms"], AGAIN_MS)} for r in late]


def batches(selected):
    """Lists of rows that are run at once: of one victim, one way of being hit and one way of the move; the way there and the way back in turn, so that the pods of one are
    those of the next."""
    groups = {}
    for r in selected:
        groups.setdefault((r.who, r.what), {}).setdefault(r.way, []).append(r)
    for ways in groups.values():
        cut = {way: [group[i:i + AT_ONCE] for i in range(0, len(group), AT_ONCE)] for way, group in ways.items()}
        for there, back in itertools.zip_longest(cut.get("there", []), cut.get("back", [])):
            yield from filter(None, (there, back))


def run_all(groups, clusters):
    a, b = Machine("a"), Machine("b")
    results, kept = [], pool.Pool(a, AT_ONCE)
    print(LINE % ("", "who", "what", "step", "ended", "reason", "run+frozen"[:5], "counts, gap", "s", ""))
    for group in groups:
        side = victims.Side(a, a, b) if group[0].way == "there" else victims.Side(a, b, a)
        results += run_batch([pod.Moved(r, side, kept.take(side.source, r.containers)) for r in group], clusters, kept)
        left = state.recover(clusters, (a, b), group[0], kept) + kept.check()
        for text in left:
            print("FAIL %s: %s" % (group[0].id, text), flush=True)
            results.append({"row": group[0].id, "ok": False, "problem": text})
        write(results)
    kept.empty()
    return results


def write(results):
    failed = sum(not r["ok"] for r in results)
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    with open(os.path.join(ROOT, "build/faults.json"), "w", encoding="utf-8") as f:
        json.dump({"passed": len(results) - failed, "failed": failed, "rows": results}, f, indent=1)
    return failed


def is_up():
    try:
        return Cluster("b").run("get", "--raw", "/readyz", timeout=20)[0] == 0
    except Exception:
        return False


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--list", action="store_true", help="name the rows")
    p.add_argument("--fast", action="store_true", help="the subset of `make check`")
    p.add_argument("--rollback", action="store_true", help="one at a time, N times (3) each: how soon a source that stands still goes on when it is told to")
    p.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up")
    p.add_argument("--no-install", action="store_true", help="the fault build is there already")
    args = p.parse_args()
    wanted = (os.environ.get("FAULTS_ROWS") or "").split()
    selected = rows.rollback() if args.rollback and not wanted else rows.select(wanted or (rows.FAST if args.fast else ["*"]))
    if args.list:
        print("\n".join(r.id for r in selected))
        return 0
    groups = [[r] for _ in range(int(os.environ.get("N") or 3)) for r in (rows.select(wanted) if wanted else rows.rollback())] if args.rollback else batches(selected)
    was_up, results = is_up(), []
    try:
        if not was_up:
            lab("up")
        clusters = [Cluster("a"), Cluster("b")]
        if not args.no_install:
            install.images(clusters)
            install.install(clusters[0], clusters[1:])
        state.mend((Machine("a"), Machine("b")))      # what an earlier run, interrupted, has left
        clusters[0].ok("delete", "podmigrations,pods", "--all", "-n", "demo", "--timeout=120s", timeout=150)
        results = run_all(groups, clusters)
        results += rollback(results) if args.rollback else []
    except Failed as e:
        print("faults: %s" % e, file=sys.stderr)
        results.append({"row": "all", "ok": False, "problem": str(e)})
    finally:
        if not was_up and not args.keep:
            lab("down", check=False)
    failed = write(results)
    print("%d passed, %d failed" % (len(results) - failed, failed or (0 if results else 1)))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
