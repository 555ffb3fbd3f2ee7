# SPDX-License-Identifier: Apache-2.0
"""preCopy.allowAutoConverge: a program that writes faster than the link carries is slowed down, and afterwards has what it is entitled to, wherever it is."""
import json
import time

from cases_crash import AGENT, SOURCE
from cases_memory import of_source
from cluster import Failed, lab
from pods import NS, Chain, condition, container, explain, migration, pod

RATE = "80mbit"         # 10 MB/s each way
DIRTY = "20"            # twice as much
PRECOPY = {"allowAutoConverge": True, "maxRounds": 16}
LIMIT = "800m"
OWN = {"writer": "80000", "quiet": "-1"}       # what that is in each 100 ms, and none
FIND = "find /sys/fs/cgroup/cpu*/ /sys/fs/cgroup/kubepods* -path '*%s/cpu.*' 2>/dev/null | grep -E '/cpu.(cfs_quota_us|max)$' | head -n 1 | xargs cat"


def writer():
    c = container("writer", 16)
    c["env"] = c["env"] + [{"name": "DIRTY", "value": DIRTY}]
    c["resources"] = {"limits": {"cpu": LIMIT}, "requests": {"cpu": "10m"}}
    return pod("writer", [c, container("quiet", 1)])


def quotas(cluster, home, name):
    """Of each container of the pod, as the kernel has it: microseconds of each period."""
    p = home.get("pod", name, NS)
    ids = {s["name"]: s["containerID"].split("/")[-1] for s in p["status"]["containerStatuses"]}
    return {c: lab("exec", cluster.name, "sh", "-c", FIND % i).split()[0].replace("max", "-1") for c, i in ids.items()}


def shaped(case, home):
    lab("link", "--rate", RATE)
    case.clean(lambda: lab("link", "--clear", check=False))
    return Chain(case, home, writer())


def throttled(case, home, away, chain):
    """A PodMigration of it whose source is slowed down by now."""
    home.apply(migration(chain.name, chain.name, cluster=away.name, preCopy=PRECOPY))
    case.clean(lambda: home.delete("podmigration", chain.name, NS))
    case.migrations.append((NS, chain.name))
    m = home.watch("podmigrations", chain.name, NS, lambda o: condition(o, "SourceThrottled").get("status") == "True" or condition(o, "Succeeded").get("status") in ("True", "False"),
                   60, "slowed down")
    said = condition(m, "SourceThrottled")
    if said.get("status") != "True" or "container writer: " not in said.get("message", "") or "quiet" in said["message"]:
        raise Failed("it is not said that the writer is slowed down: %s, %s" % (said, explain(m)))
    now = quotas(home, home, chain.name)
    if int(now["writer"]) >= int(OWN["writer"]) or now["quiet"] != OWN["quiet"]:
        raise Failed("the quotas are %s while it is slowed down" % now)
    return m


def own_again(cluster, home, name, seconds=0):
    end = time.monotonic() + seconds
    while quotas(cluster, home, name) != OWN:
        if time.monotonic() > end:
            raise Failed("the quotas at %s are %s, not %s" % (cluster.name, quotas(cluster, home, name), OWN))
        time.sleep(0.2)


def downtime(m):
    return m["status"]["source"]["downtimeMicroseconds"] / 1000


def converges(case, home, away):
    """a writer that outruns the link: slowed down the rounds get shorter and the pause with them; at the destination it has its own quota; back without it the pause is longer"""
    chain = shaped(case, home)
    own_again(home, home, chain.name)
    throttled(case, home, away, chain)
    m = home.watch("podmigrations", chain.name, NS, lambda o: o.get("status", {}).get("phase") in ("Succeeded", "Failed"), 120, "at an end")
    chain.arrived(m)
    own_again(away, home, chain.name)
    if condition(m, "SourceThrottled").get("status") != "False":
        raise Failed("it is still said to be slowed down: %s" % condition(m, "SourceThrottled"))
    events = json.loads(home.ok("get", "events", "-n", NS, "-o", "json"))["items"]
    told = sorted(e["message"] for e in events if e["reason"] == "SourceThrottled" and e["involvedObject"]["name"] == m["metadata"]["name"])
    if not told:
        raise Failed("no Event tells that it is slowed down")
    back = chain.move(node=home.name)
    own_again(home, home, chain.name)
    rounds = m["status"]["source"]["containers"][0]["rounds"]
    case.note(gap_ms=chain.check(), downtime_ms=downtime(m), without_ms=downtime(back), percent=of_source(m, "cpuPercent"), limit=of_source(m, "cpuLimit"),
              rounds_mib=[round(r["bytes"] / 2 ** 20, 1) for r in rounds], percents=[r.get("cpuPercent") for r in rounds], events=len(told))
    if of_source(back, "cpuPercent") != [None, None]:
        raise Failed("it was slowed down unasked: %s" % of_source(back, "cpuPercent"))
    if downtime(m) > downtime(back) * 0.7:
        raise Failed("%.0f ms slowed down, %.0f ms without" % (downtime(m), downtime(back)))


def killed(who, prey):
    def run(case, home, away):
        chain = shaped(case, home)
        throttled(case, home, away, chain)
        lab("exec", home.name, "sh", "-c", "kill -9 $(grep -lazx '%s' /proc/[0-9]*/cmdline | cut -d/ -f3)" % prey)
        own_again(home, home, chain.name, 60)
        m = home.watch("podmigrations", chain.name, NS, lambda o: o.get("status", {}).get("phase") in ("Succeeded", "Failed"), 120, "at an end")
        if m["status"]["phase"] != "Failed" or condition(m, "SourceThrottled").get("status") != "False":
            raise Failed("%s, and SourceThrottled is %s" % (explain(m), condition(m, "SourceThrottled")))
        chain.check_untouched()
        own_again(home, home, chain.name)
        case.note(gap_ms=chain.check(), reason=condition(m, "Succeeded").get("reason"))
    run.__doc__ = "the source's %s is killed while it slows a pod down: the pod has its own quota again, and goes on" % who
    return run


def cancelled(case, home, away):
    """given up while it is slowed down: its own quota is back with the abort"""
    chain = shaped(case, home)
    throttled(case, home, away, chain)
    home.ok("patch", "podmigration", chain.name, "-n", NS, "--type=merge", "-p", '{"spec":{"cancel":true}}')
    m = home.watch("podmigrations", chain.name, NS, lambda o: o.get("status", {}).get("phase") in ("Succeeded", "Failed", "Cancelled"), 60, "at an end")
    if m["status"]["phase"] != "Cancelled":
        raise Failed("the migration ended %s" % explain(m))
    own_again(home, home, chain.name)
    chain.check_untouched()
    case.note(gap_ms=chain.check())


def back_home(case, home, away):
    """the same from the other cluster: the order carries the field, and the end tells how far it was slowed down"""
    chain = shaped(case, home)
    lab("link", "--clear")
    chain.move(cluster=away.name)
    lab("link", "--rate", RATE)
    m = chain.move(node=home.name, preCopy=PRECOPY)
    own_again(home, home, chain.name)
    percent = of_source(m, "cpuPercent")
    case.note(gap_ms=chain.check(), downtime_ms=downtime(m), percent=percent, limit=of_source(m, "cpuLimit"))
    if not percent[0] or percent[1] or condition(m, "SourceThrottled").get("status") != "False":
        raise Failed("slowed down to %s, %s" % (percent, condition(m, "SourceThrottled")))


CASES = {"converge": converges, "converge-killed": killed("agent", AGENT)}
ON_REQUEST = {"converge-worker-killed": killed("worker", SOURCE), "converge-cancelled": cancelled, "converge-back": back_home}
