# SPDX-License-Identifier: Apache-2.0
"""Cases with much memory. Every count of every program is looked at, and at its end each program has checked every page it ever wrote."""
from pods import Chain, container, pod


def longest_gap(chain):
    return chain.check()


def of_source(m, key):
    return [c.get(key) for c in m["status"].get("source", {}).get("containers", [])]


def note(case, chain, m):
    case.note(gap_ms=longest_gap(chain), downtime=m["status"].get("downtime"), **{k: of_source(m, k) for k in ("pages", "pagesAhead", "tracking") if any(of_source(m, k))})


def one(mib):
    def run(case, home, away):
        chain = Chain(case, home, pod("mem%d" % mib, [container("one", mib)]))
        m = chain.move(cluster=away.name)
        chain.wait_ticks(5)
        note(case, chain, m)
    run.__doc__ = "1 container of %d MiB: every count, and every page" % mib
    return run


CASES = {"memory-%d" % mib: one(mib) for mib in (16, 256, 1024)}
