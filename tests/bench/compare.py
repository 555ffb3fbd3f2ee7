#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py OLD.json [NEW.json]: two runs of the bench, row by row. NEW: build/bench.json. Exit code 1 when a median got worse by more than a fifth and more than both
runs' own spread."""
import json
import os
import sys

import report

FIGURES = (("downtime, ms", "gap_ms"), ("apply to Succeeded, s", "apply_to_succeeded_s"))
WORSE = 1.2


def change(old, new):
    """(text, whether it is worse beyond doubt): the slowest of the old runs was faster than the fastest of the new ones."""
    ratio = new["median"] / old["median"] if old["median"] else 0
    worse = ratio > WORSE and new["min"] > old["max"]
    return "%.2f%s" % (ratio, " worse" if worse else ""), worse


def compare(old, new):
    rows, worse = [], 0
    for key in new:
        for title, figure in FIGURES:
            a, b = (report.lookup(r, "%s.podmigration.%s" % (key, figure)) for r in (old, new))
            if not a or not b:
                continue
            text, bad = change(a, b)
            worse += bad
            rows.append([key, title, report.spread(a), report.spread(b), text])
    return rows, worse


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    results = []
    for path in (sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.path.join(root, "build/bench.json")):
        with open(path, encoding="utf-8") as f:
            results.append(json.load(f))
    rows, worse = compare(*results)
    print("machine: old %s\n         new %s\n" % tuple(r.get("machine") for r in results))
    print(report.table(["row", "figure", "old, median / p99 (n)", "new", "new / old"], rows))
    return 1 if worse or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
