# SPDX-License-Identifier: Apache-2.0
"""preCopy.allowAutoConverge: a program that writes faster than the link carries is slowed down, and afterwards has what it is entitled to, wherever it is."""
import json
import subprocess
import time

from cases_crash import AGENT, SOURCE, TRIES, Hunter
from cluster import LAB, PATIENCE, Failed, lab
from pods import NS, Chain, condition, container, explain, migrate, migration, pod

RATE = "240mbit"        # 30 MB/s each way
DIRTY = "60"            # twice as much
MIB = 32
PRECOPY = {"allowAutoConverge": True, "maxRounds": 16}
LIMIT = "800m"
OWN = {"writer": "80000", "quiet": "-1"}       # what that is in each 100 ms, and none
FIND = "find /sys/fs/cgroup/cpu*/ /sys/fs/cgroup/kubepods* -path '*%s/cpu.*' 2>/dev/null | grep -E '/cpu.(cfs_quota_us|max)$' | head -n 1"
NOTES = "/var/lib/podmigration/throttled/*.json"
# Each value that stood there, one a line, until its own file is gone.
SAMPLE = "file=$(%s); : >%s; while [ -e %s ] && read -r now <$file; do [ \"$now\" = \"$last\" ] || echo $now; last=$now; sleep 0.02; done"


def writer():
    c = container("writer", MIB)
    c["env"] = c["env"] + [{"name": "DIRTY", "value": DIRTY}]
    c["resources"] = {"limits": {"cpu": LIMIT}, "requests": {"cpu": "10m"}}
    return pod("writer", [c, container("quiet", 1)])


def ids(home, name):
    return {s["name"]: s["containerID"].split("/")[-1] for s in home.get("pod", name, NS)["status"]["containerStatuses"]}


def quotas(cluster, home, name):
    """Of each container of the pod, as the kernel has it: microseconds of each period."""
    return {c: lab("exec", cluster.name, "sh", "-c", "cat $(%s)" % (FIND % i)).split()[0].replace("max", "-1") for c, i in ids(home, name).items()}


def own_again(cluster, home, name, seconds=0):
    end = time.monotonic() + seconds * PATIENCE
    while True:
        now = quotas(cluster, home, name)
        if now == OWN:
            return
        if time.monotonic() > end:
            raise Failed("the quotas at %s are %s, not %s" % (cluster.name, now, OWN))
        time.sleep(0.2)


class Sampler:
    """All quotas that one container has had."""

    def __init__(self, case, cluster, container_id):
        self.cluster, self.own = cluster.name, "/run/sampler-" + container_id[:12]
        script = SAMPLE % (FIND % container_id, self.own, self.own)
        self.process = subprocess.Popen([LAB, "exec", self.cluster, "timeout", str(int(120 * PATIENCE)), "sh", "-c", script], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        case.clean(self.end)

    def end(self):
        if self.process.returncode is not None:
            return []
        lab("exec", self.cluster, "rm", "-f", self.own)
        return [int(line.split()[0]) for line in self.process.communicate(timeout=60 * PATIENCE)[0].splitlines()]


def shaped(case, home, rate=RATE):
    chain = Chain(case, home, writer())
    lab("link", "--rate", rate)
    case.clean(lambda: lab("link", "--clear", check=False))
    own_again(home, home, chain.name)
    return chain


def told(home, m):
    """What the Events said of it, in order."""
    events = json.loads(home.ok("get", "events", "-n", NS, "-o", "json", "--sort-by=.metadata.creationTimestamp"))["items"]
    return [e["message"] for e in events if e["reason"] == "SourceThrottled" and e["involvedObject"].get("uid") == m["metadata"]["uid"]]


def of(m, key):
    return {c["name"]: c.get(key) for c in m["status"]["source"]["containers"]}


def downtime(m):
    return m["status"]["source"]["downtimeMicroseconds"] / 1000


def converges(case, home, away):
    """a writer that outruns the link: slowed down the rounds get shorter and the pause with them; at the destination it has its own quota; back without it the pause is longer"""
    chain = shaped(case, home)
    sampler = Sampler(case, home, ids(home, chain.name)["writer"])
    m = chain.move(preCopy=PRECOPY, cluster=away.name)
    seen, events = sampler.end(), told(home, m)
    own_again(away, home, chain.name)
    back = chain.move(node=home.name)
    own_again(home, home, chain.name)
    percent, rounds = of(m, "cpuPercent"), of(m, "rounds")["writer"]
    case.note(gap_ms=chain.check(), downtime_ms=downtime(m), without_ms=downtime(back), percent=percent, limit=of(m, "cpuLimit"), quotas=seen,
              rounds_mib=[round(r["bytes"] / 2 ** 20, 1) for r in rounds], percents=[r.get("cpuPercent") for r in rounds])
    if not percent["writer"] or percent["quiet"] or any(of(back, "cpuPercent").values()):
        raise Failed("slowed down to %s, and to %s where nobody has asked for it" % (percent, of(back, "cpuPercent")))
    if seen[0] != int(OWN["writer"]) or seen[-1] != seen[0] or min(seen) >= seen[0] or sorted(seen[1:-1], reverse=True) != seen[1:-1]:
        raise Failed("the writer's quotas at the source were %s" % seen)
    if not events or any("container writer: " not in e or "quiet" in e for e in events) or condition(m, "SourceThrottled").get("status") != "False":
        raise Failed("it was told by %s, and at last %s" % (events, condition(m, "SourceThrottled")))
    if rounds[-1]["bytes"] > MIB * 2 ** 20 / 2 or downtime(m) > downtime(back) * 0.8:
        raise Failed("%.0f ms slowed down, with %d bytes to be sent, and %.0f ms without" % (downtime(m), rounds[-1]["bytes"], downtime(back)))


def killed_once(case, home, away, chain, prey):
    """The PodMigration in which it was; None: the moment was over, and the pod is at home again."""
    hunter = Hunter(case, home, NOTES, '"set"', prey)
    lab("exec", home.name, "sh", "-c", "until [ -e %s ]; do sleep 0.1; done" % hunter.own, timeout=60)
    m = migrate(case, home, migration("%s-%d" % (chain.name[:40], len(chain.moves) + 1), chain.name, cluster=away.name, preCopy=PRECOPY))
    if hunter.end():
        return m
    chain.arrived(m)
    chain.move(node=home.name)
    return None


def killed(who, prey):
    def run(case, home, away):
        chain, m = shaped(case, home), None
        for _ in range(TRIES):
            sampler = Sampler(case, home, ids(home, chain.name)["writer"])
            m = killed_once(case, home, away, chain, prey)
            if m:
                break
            sampler.end()
        if not m:
            raise Failed("nothing was killed in %d tries" % TRIES)
        own_again(home, home, chain.name, 60)
        seen = sampler.end()
        case.note(phase=m["status"]["phase"], reason=condition(m, "Succeeded").get("reason"), quotas=seen)
        if m["status"]["phase"] != "Failed" or min(seen) >= seen[0] or seen[-1] != seen[0]:
            raise Failed("%s, and the writer's quotas were %s" % (explain(m), seen))
        if lab("exec", home.name, "sh", "-c", "ls %s 2>/dev/null || :" % NOTES).strip():
            raise Failed("the note stays")
        chain.check_untouched()
        case.note(gap_ms=chain.check())
    run.__doc__ = "the source's %s is killed while it slows a pod down: the pod has its own quota again, and goes on" % who
    return run


def cancelled(case, home, away):
    """given up while it is slowed down: its own quota is back with the abort"""
    chain = shaped(case, home, "120mbit")
    sampler = Sampler(case, home, ids(home, chain.name)["writer"])
    home.apply(migration(chain.name, chain.name, cluster=away.name, preCopy=PRECOPY))
    case.clean(lambda: home.delete("podmigration", chain.name, NS))
    case.migrations.append((NS, chain.name))
    home.watch("podmigrations", chain.name, NS, lambda o: condition(o, "SourceThrottled").get("status") == "True" or condition(o, "Succeeded").get("status") in ("True", "False"),
               60, "slowed down")
    home.ok("patch", "podmigration", chain.name, "-n", NS, "--type=merge", "-p", '{"spec":{"cancel":true}}')
    m = home.watch("podmigrations", chain.name, NS, lambda o: condition(o, "SourceThrottled").get("status") == "False", 60, "no longer slowed down")
    seen = sampler.end()
    case.note(quotas=seen)
    if m["status"].get("decision") != "Abort" or min(seen) >= seen[0] or seen[-1] != seen[0]:
        raise Failed("%s, and the quotas were %s" % (explain(m), seen))
    m = home.watch("podmigrations", chain.name, NS, lambda o: o.get("status", {}).get("phase") in ("Succeeded", "Failed", "Cancelled"), 60, "at an end")
    own_again(home, home, chain.name)
    chain.check_untouched()
    case.note(gap_ms=chain.check(), phase=m["status"]["phase"])


def back_home(case, home, away):
    """the same from the other cluster: the order carries the field, and the end tells how far it was slowed down"""
    chain = shaped(case, home)
    lab("link", "--clear")
    chain.move(cluster=away.name)
    lab("link", "--rate", RATE)
    m = chain.move(node=home.name, preCopy=PRECOPY)
    own_again(home, home, chain.name)
    percent = of(m, "cpuPercent")
    case.note(gap_ms=chain.check(), downtime_ms=downtime(m), percent=percent, limit=of(m, "cpuLimit"))
    if not percent["writer"] or percent["quiet"] or condition(m, "SourceThrottled").get("status") != "False":
        raise Failed("slowed down to %s, %s" % (percent, condition(m, "SourceThrottled")))


CASES = {"converge": converges}
ON_REQUEST = {"converge-killed": killed("agent", AGENT), "converge-worker-killed": killed("worker", SOURCE), "converge-cancelled": cancelled, "converge-back": back_home}
