# SPDX-License-Identifier: Apache-2.0
"""An agent, or its worker, is killed in the middle: the pod ends in exactly one place, with nothing lost, and the PodMigration says which."""
import subprocess

from cluster import LAB, PATIENCE, Failed
from pods import Chain, container, explain, migrate, migration, pod, reason_of

# Looks, without starting a process, until a file that matches holds the word; then kills what has the argument. A worker's arguments are
# NUL-separated: `source` or `destination` alone in one.
HUNTER = """
while :; do
	for f in %(files)s; do
		[ -e "$f" ] || continue
		line=; read -r line <"$f" || :
		case $line in *%(word)s*) break 2 ;; esac
	done
done 2>/dev/null
for p in $(grep -lazx '%(prey)s' /proc/[0-9]*/cmdline); do
	p=${p#/proc/}
	kill -9 ${p%%/cmdline} && echo killed ${p%%/cmdline}
done
"""
JOURNAL = "/var/lib/podmigration/journal/*.json"
MONITORS = "/run/podmigration/containers/*/state"
SOURCE, DESTINATION, AGENT = "[s]ource", "[d]estination", "/usr/bin/[p]odmigration-agent"


class Hunter:
    """Kills something in one cluster's node as soon as a file there holds a word."""

    def __init__(self, case, cluster, files, word, prey):
        script = HUNTER % {"files": files, "word": word, "prey": prey}
        self.what = "%s at %s" % (prey.replace("[", "").replace("]", ""), word)
        self.process = subprocess.Popen([LAB, "exec", cluster.name, "timeout", str(int(60 * PATIENCE)), "sh", "-c", script], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        case.clean(self.process.kill)

    def check(self):
        try:
            out, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            out = ""
        if "killed" not in out:
            raise Failed("nothing was killed (%s): %s" % (self.what, out.strip()[-200:]))


def settle(case, chain, hunter, **where):
    """Migrates, and finds the pod where the PodMigration says that it is. Returns the PodMigration."""
    name = "%s-%d" % (chain.name[:40], len(chain.moves) + 1)
    m = migrate(case, chain.home, migration(name, chain.name, chain.ns, **where))
    hunter.check()
    if m["status"]["phase"] == "Succeeded":
        chain.arrive(m)
    else:
        chain.check_untouched()
    case.note(phase=m["status"]["phase"], gap_ms=chain.check())
    return m


def expect(m, phase, reason=None):
    if m["status"]["phase"] != phase or (reason and reason_of(m) != reason):
        raise Failed("expected %s %s, and it ended %s" % (phase, reason or "", explain(m)))


def source_frozen(case, home, away):
    """the source's worker is killed with the pod frozen: thawed, and Failed"""
    chain = Chain(case, home, pod("cr-frozen", [container("one", 64), container("two", 8)]))
    hunter = Hunter(case, home, JOURNAL, '"Freeze"', SOURCE)
    expect(settle(case, chain, hunter, cluster=away.name), "Failed", "InternalError")


def source_commit(case, home, away):
    """the source's worker is killed when the commit may be in the record: the record tells which it is"""
    chain = Chain(case, home, pod("cr-commit", [container("one", 16)]))
    settle(case, chain, Hunter(case, home, JOURNAL, '"Commit"', SOURCE), cluster=away.name)


def agent_commit(case, home, away):
    """the whole agent of the source is killed then, and starts again"""
    chain = Chain(case, home, pod("cr-agent", [container("one", 16)]))
    settle(case, chain, Hunter(case, home, JOURNAL, '"Commit"', AGENT), cluster=away.name)


def destination_barrier(case, home, away):
    """the destination's worker is killed with a container at the barrier"""
    chain = Chain(case, home, pod("cr-barrier", [container("one", 16)]))
    settle(case, chain, Hunter(case, away, MONITORS, "barrier", DESTINATION), cluster=away.name)


def back_home(case, home, away):
    """on the way back the deciding destination's worker is killed at the barrier, and on another way back the source's with all sent"""
    chain = Chain(case, home, pod("cr-back", [container("one", 16)]))
    chain.move(cluster=away.name)
    expect(settle(case, chain, Hunter(case, home, MONITORS, "barrier", DESTINATION), node=home.name), "Succeeded")
    chain.move(cluster=away.name)
    settle(case, chain, Hunter(case, away, JOURNAL, '"Sent"', SOURCE), node=home.name)


CASES = {"crash-frozen": source_frozen, "crash-commit": source_commit, "crash-agent": agent_commit, "crash-barrier": destination_barrier,
         "crash-back": back_home}
