# SPDX-License-Identifier: Apache-2.0
"""PostCopy: the pod runs at the destination before its memory is there."""
import time

from cases_memory import look_at_every_page
from cluster import PATIENCE, Failed, lab
from pods import NS, Chain, condition, container, marks, migration, pod, unix_ms

# docs/api.md, "Limits of time": so long a lost link is bridged, and no longer. The source dials as long, but only from when its stream has been silent for 20 s (include/net/tls.h).
LOST_S, SILENT_S, SLACK_S = 60, 20, 10


def there_and_back(mib):
    def run(case, home, away):
        chain = Chain(case, home, pod("later%d" % mib, [container("one", mib)]))
        downtimes = []
        for where in ({"cluster": away.name}, {"node": home.name}):
            m = chain.move(strategy="PostCopy", **where)
            downtimes.append(m["status"].get("downtime"))
            if condition(m, "MemoryComplete").get("status") != "True":
                raise Failed("MemoryComplete is %s" % condition(m, "MemoryComplete"))
            if "complete" not in marks(m):
                raise Failed("the timeline does not tell when the memory was complete")
            look_at_every_page(home, chain)
        case.note(gap_ms=chain.check(), downtime=downtimes, pages=[c.get("pages") for c in m["status"]["source"]["containers"]])
    run.__doc__ = "1 container of %d MiB, there and back: every count, and every page" % mib
    return run


def begin(case, home, away, name, mib, rate):
    """The pod runs at the destination, and its memory comes over a slow link."""
    lab("link", "--rate", rate)
    case.clean(lambda: lab("link", "--clear", check=False))
    chain = Chain(case, home, pod(name, [container("one", mib)]))
    home.apply(migration(name, chain.name, cluster=away.name, strategy="PostCopy"))
    case.clean(lambda: home.delete("podmigration", name, NS))
    m = home.watch("podmigrations", name, NS, lambda o: condition(o, "MemoryComplete").get("status") == "False" or condition(o, "Stalled").get("status") == "True", 60,
                   "seen to run without its memory")
    if condition(m, "Stalled").get("status") == "True":
        raise Failed("stalled: %s" % condition(m, "Stalled"))
    return chain


def link_is_cut_for_a_while(case, home, away):
    """the link is cut for 5 s while memory is still at the source: the program waits, and goes on with all of it"""
    chain = begin(case, home, away, "patient", 256, "200mbit")
    lab("cut")
    case.clean(lambda: lab("heal", check=False))
    time.sleep(5)
    lab("heal")
    m = home.watch("podmigrations", "patient", NS, lambda o: o.get("status", {}).get("phase") == "Succeeded", 120, "Succeeded")
    chain.arrived(m)
    look_at_every_page(home, chain)
    case.note(gap_ms=chain.check(), downtime=m["status"].get("downtime"))


def killed_at(p):
    """When the first of the pod's containers that was started anew had ended, unix; a whole second."""
    ends = [s["lastState"]["terminated"]["finishedAt"] for s in p["status"]["containerStatuses"] if s["restartCount"]]
    return unix_ms(ends[0]) / 1000


def expect_within(what, seconds, least, most):
    if not least <= seconds <= most + SLACK_S * PATIENCE:
        raise Failed("%s %.0f s after the link was cut: not between %d and %d s" % (what, seconds, least, most + SLACK_S * PATIENCE))


def link_is_lost(case, home, away):
    """the link is lost for good: the pod is lost within the time that is said, the frozen source is kept, and a person is told"""
    chain = begin(case, home, away, "unlucky", 256, "100mbit")
    start = time.time()
    lab("cut")
    case.clean(lambda: lab("heal", check=False))
    m = home.watch("podmigrations", "unlucky", NS, lambda o: condition(o, "Stalled").get("status") == "True", 180, "Stalled")
    told_s = time.time() - start
    case.note(told_s=round(told_s), reason=condition(m, "Stalled").get("reason"), message=condition(m, "Stalled").get("message"))
    lab("heal")
    name = m["status"]["destinationPod"]["name"]
    p = home.watch("pods", name, NS, lambda p: any(s["restartCount"] for s in p["status"].get("containerStatuses", [])), 60, "started anew")
    lost_s = killed_at(p) - start
    case.note(lost_s=round(lost_s))
    expect_within("a person was told", told_s, 0, LOST_S + SILENT_S)
    expect_within("the pod was lost", lost_s, LOST_S - 1, LOST_S)
    m = home.get("podmigration", "unlucky", NS)
    if m["status"]["phase"] != "Committed" or not home.get("pod", chain.name, NS):
        raise Failed("phase %s, and the source pod must be kept" % m["status"]["phase"])
    # the next case finds the peering as it was
    home.watch("nodes", away.name, None, lambda n: condition(n, "Ready").get("status") == "True", 120, "Ready")


CASES = {"postcopy-16": there_and_back(16), "postcopy-1024": there_and_back(1024), "postcopy-cut": link_is_cut_for_a_while, "postcopy-lost": link_is_lost}
