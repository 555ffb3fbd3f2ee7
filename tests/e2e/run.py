#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole migrations between two real clusters. One line a case, then `N passed, N failed`.

  run.py [--list] [--case NAME ..] [--keep] [--install-only] [--no-install]

LAB_NAME (default e2e) names the lab; it is brought up when it is not, and then taken down at the end unless --keep or KEEP=1.
CHECK_AGAIN=1 runs only the cases that failed the last time; those that passed then are counted with them.
build/check/e2e.json holds the results, build/check/e2e/CASE.txt what was going on when a case failed.
"""
import argparse
import glob
import importlib
import json
import os
import sys
import time
import traceback

os.environ.setdefault("LAB_NAME", "e2e")

import install  # noqa: E402
from cluster import ROOT, Cluster, Failed, lab  # noqa: E402

# Installing first: the runtime can be taken away only from a node without moved pods.
MODULES = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases_*.py")), key=lambda f: (not f.endswith("cases_install.py"), f))
CASES, ON_REQUEST = {}, {}
for module in [importlib.import_module(os.path.basename(f)[:-3]) for f in MODULES]:
    CASES.update(module.CASES)
    ON_REQUEST.update(getattr(module, "ON_REQUEST", {}))  # what takes long: by --case only
OUT = os.path.join(ROOT, "build/check")


class Case:
    def __init__(self, name):
        self.name, self.cleanups, self.migrations, self.notes = name, [], [], {}

    def clean(self, f):
        """f runs when the case has ended, whichever way; the last one first."""
        self.cleanups.append(f)

    def note(self, **what):
        self.notes.update(what)

    def end(self):
        while self.cleanups:
            try:
                self.cleanups.pop()()
            except Exception as e:  # the next case must not suffer
                print("    %s: cleaning up: %s" % (self.name, e), file=sys.stderr)


def evidence(case, clusters, text):
    os.makedirs(os.path.join(OUT, "e2e"), exist_ok=True)
    with open(os.path.join(OUT, "e2e", case.name + ".txt"), "w") as f:
        f.write(text + "\n")
        for c in clusters:
            for args in (["get", "podmigrations", "-A", "-o", "yaml"], ["get", "pods", "-A", "-o", "wide"], ["get", "events", "-A", "--sort-by=.lastTimestamp"],
                         ["logs", "-n", "podmigration-agent", "ds/podmigration-agent", "--tail=200"],
                         ["logs", "-n", "podmigration-system", "-l", "app.kubernetes.io/name=podmigration-controller", "--prefix", "--tail=200"]):
                if c.name != clusters[0].name and "podmigration-system" in args:
                    continue
                try:
                    _, out, err = c.run(*args, timeout=20)
                except Exception as e:
                    out, err = "", str(e)
                f.write("\n=== %s: kubectl %s\n%s%s" % (c.name, " ".join(args), out, err))


def run_case(name, clusters):
    case, start, problem = Case(name), time.monotonic(), None
    try:
        {**CASES, **ON_REQUEST}[name](case, *clusters)
    except Failed as e:
        problem = str(e)
    except Exception as e:
        problem = "%s: %s" % (type(e).__name__, e)
        traceback.print_exc()
    if problem:
        evidence(case, clusters, problem)
    case.end()
    seconds = time.monotonic() - start
    notes = " ".join("%s=%s" % item for item in case.notes.items())
    print("%-4s %-18s %5.1f s  %s" % ("FAIL" if problem else "ok", name, seconds, problem or notes), flush=True)
    return {"case": name, "ok": not problem, "seconds": round(seconds, 1), "problem": problem, **case.notes}


def passed_before():
    """Cases that need not be run again: none, unless that was asked for and the last run came to its end."""
    try:
        with open(os.path.join(OUT, "e2e.json")) as f:
            return [c for c in json.load(f)["cases"] if c["ok"]] if os.environ.get("CHECK_AGAIN") == "1" else []
    except OSError:
        return []


def is_up():
    try:
        return Cluster("b").run("get", "--raw", "/readyz", timeout=20)[0] == 0
    except Exception:
        return False


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--list", action="store_true", help="name the cases")
    p.add_argument("--case", action="append", choices=[*CASES, *ON_REQUEST], metavar="NAME")
    p.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up")
    p.add_argument("--install-only", action="store_true", help="install in the running lab, and end")
    p.add_argument("--no-install", action="store_true", help="podmigration is there already")
    args = p.parse_args()
    if args.list:
        for name, f in {**CASES, **ON_REQUEST}.items():
            print("%-18s %s%s" % (name, (f.__doc__ or "").strip(), " (only when asked for)" if name in ON_REQUEST else ""))
        return 0
    was_up, results, before = is_up(), [], passed_before()
    try:
        if not was_up:
            if args.install_only:
                raise Failed("lab %s is not up" % os.environ["LAB_NAME"])
            lab("up")
        clusters = [Cluster("a"), Cluster("b")]
        if not args.no_install:
            install.images(clusters)
            install.install(clusters[0], clusters[1:])
        if args.install_only:
            return 0
        # what earlier runs, or the demo, left
        clusters[0].ok("delete", "podmigrations,pods", "--all", "-n", "demo", "--timeout=120s", timeout=150)
        results = before + [run_case(name, clusters) for name in args.case or CASES if name not in {c["case"] for c in before}]
    except Failed as e:
        print("e2e: %s" % e, file=sys.stderr)
    finally:
        if not was_up and not args.keep:
            lab("down", check=False)
    failed = sum(not r["ok"] for r in results)
    if not args.install_only:
        os.makedirs(OUT, exist_ok=True)
        with open(os.path.join(OUT, "e2e.json"), "w") as f:
            json.dump({"passed": len(results) - failed, "failed": failed, "cases": results}, f, indent=1)
        print("%d passed, %d failed" % (len(results) - failed, failed or (0 if results else 1)))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
