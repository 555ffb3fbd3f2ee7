# SPDX-License-Identifier: Apache-2.0
"""An agent, or its worker, is killed in the middle: the pod ends in exactly one place, with nothing lost, and the PodMigration says which."""
import subprocess

import continuity
from cluster import LAB, PATIENCE, Failed, Log, lab
from pods import Chain, container, explain, migrate, migration, pod, reason_of

# Looks, without starting a process, until a file that matches holds the word; then kills what has the argument. A worker's arguments are
# NUL-separated: `source` or `destination` alone in one. It ends early when its own file is gone.
HUNTER = """
: >%(own)s
while [ -e %(own)s ]; do
	for f in %(files)s; do
		[ -e "$f" ] || continue
		line=; read -r line <"$f" || :
		case $line in *%(word)s*) break 2 ;; esac
	done
done 2>/dev/null
[ -e %(own)s ] || exit 0
for p in $(grep -lazx '%(prey)s' /proc/[0-9]*/cmdline); do
	p=${p#/proc/}
	kill -9 ${p%%/cmdline} && echo killed ${p%%/cmdline}
done
"""
JOURNAL = "/var/lib/podmigration/journal/*.json"
MONITORS = "/run/podmigration/containers/*/state"
SOURCE, DESTINATION, AGENT = "[s]ource", "[d]estination", "/usr/bin/[p]odmigration-agent"
TRIES = 3               # the moment may be over before a busy machine lets the hunter look


class Hunter:
    """Kills something in one cluster's node as soon as a file there holds a word."""

    def __init__(self, case, cluster, files, word, prey):
        self.cluster, self.own, self.killed = cluster.name, "/run/hunter-%s" % case.name, None
        script = HUNTER % {"files": files, "word": word, "prey": prey, "own": self.own}
        self.process = subprocess.Popen([LAB, "exec", self.cluster, "timeout", str(int(60 * PATIENCE)), "nice", "-n", "-15", "sh", "-c", script],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        case.clean(self.end)

    def end(self):
        """True when something was killed."""
        if self.killed is None:
            lab("exec", self.cluster, "rm", "-f", self.own)
            self.killed = "killed" in self.process.communicate(timeout=60 * PATIENCE)[0]
        return self.killed


def settle(case, chain, hunt, where, back):
    """Migrates with something killed on the way, and finds the pod where the PodMigration says that it is. hunt: arguments of Hunter; back: how to try again."""
    for _ in range(TRIES):
        hunter = Hunter(case, *hunt)
        m = migrate(case, chain.home, migration("%s-%d" % (chain.name[:40], len(chain.moves) + 1), chain.name, chain.ns, **where))
        killed = hunter.end()
        if m["status"]["phase"] == "Succeeded":
            chain.arrive(m)
        else:
            chain.check_untouched()
        case.note(phase=m["status"]["phase"], gap_ms=chain.check())
        if killed:
            return m
        if m["status"]["phase"] != "Succeeded":
            raise Failed("nothing was killed, and the migration ended %s" % explain(m))
        chain.move(**back)
    raise Failed("nothing was killed in %d tries: %s" % (TRIES, " ".join(hunt[1:])))


def expect(m, phase, reason=None):
    if m["status"]["phase"] != phase or (reason and reason_of(m) != reason):
        raise Failed("expected %s %s, and it ended %s" % (phase, reason or "", explain(m)))


def talking(name, *args):
    """Holds connections inside the pod, which must not notice anything (tests/apps/pairs.c)."""
    return container(name, image="pairs", args=list(args))


def source_frozen(case, home, away):
    """the source's worker is killed with the pod frozen: thawed, and Failed; connections inside it go on"""
    chain = Chain(case, home, pod("cr-frozen", [container("big", 64), talking("one", "serve=6000"), talking("two", "call=127.0.0.1:6000")]))
    expect(settle(case, chain, (home, JOURNAL, "Freeze", SOURCE), {"cluster": away.name}, {"node": home.name}), "Failed", "AgentRestarted")


def source_commit(case, home, away):
    """the source's worker is killed when the commit may be in the record: the record tells which it is"""
    chain = Chain(case, home, pod("cr-commit", [container("one", 16)]))
    settle(case, chain, (home, JOURNAL, "Commit", SOURCE), {"cluster": away.name}, {"node": home.name})


def agent_commit(case, home, away):
    """the whole agent of the source is killed then, and starts again"""
    chain = Chain(case, home, pod("cr-agent", [container("one", 16)]))
    settle(case, chain, (home, JOURNAL, "Commit", AGENT), {"cluster": away.name}, {"node": home.name})


def destination_barrier(case, home, away):
    """the destination's worker is killed with a container at the barrier"""
    chain = Chain(case, home, pod("cr-barrier", [container("one", 16)]))
    settle(case, chain, (away, MONITORS, "barrier", DESTINATION), {"cluster": away.name}, {"node": home.name})


def back_home(case, home, away):
    """on the way back the deciding destination's worker is killed at the barrier, and on another way back the source's with all sent; connections inside the pod go on"""
    chain = Chain(case, home, pod("cr-back", [talking("one", "serve=6000", "call=[::1]:6000")]))
    chain.move(cluster=away.name)
    expect(settle(case, chain, (home, MONITORS, "barrier", DESTINATION), {"node": home.name}, {"cluster": away.name}), "Succeeded")
    chain.move(cluster=away.name)
    settle(case, chain, (away, JOURNAL, "Sent", SOURCE), {"node": home.name}, {"cluster": away.name})


def crashed_and_moved_on(case, home, away):
    """the first container of a pod that was moved crashes there and is started anew: the pod is moved on, and both go on from where they were"""
    chain = Chain(case, home, pod("cr-first", [container("one", 9), container("two", 16)]))
    chain.move(cluster=away.name)
    lab("exec", away.name, "pkill", "-KILL", "-f", " 9 /state/count$")
    home.watch("pods", chain.name, chain.ns, lambda p: any(s["name"] == "one" and s["restartCount"] and "running" in s["state"] for s in p["status"]["containerStatuses"]),
               60, "started anew")
    chain.containers = ["two"]          # the other one's counts begin anew here
    logs = []

    def follow_one():
        logs.append(Log(home, chain.ns, chain.name, "one"))
        case.clean(logs[-1].close)
        logs[-1].wait(continuity.has_ticks(2), 40, "counts")
    follow_one()
    chain.move(node=home.name)
    logs[-1].wait_end(30)
    follow_one()
    case.note(gap_ms=max(chain.check(), continuity.check([log.lines for log in logs])))


CASES = {"crash-first": crashed_and_moved_on, "crash-frozen": source_frozen, "crash-commit": source_commit, "crash-agent": agent_commit, "crash-barrier": destination_barrier,
         "crash-back": back_home}
