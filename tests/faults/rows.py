# SPDX-License-Identifier: Apache-2.0
"""The table of all rows: who is hit, with what, while a migration stands at which step, on the way there (a -> b, the source decides) or back (b -> a, the
destination decides)."""
import fnmatch

# In the order in which a migration comes by; the part before the dot is the program that stands there. With a capital: a state of the agents' machines
# (docs/state-machine.md) that has just been entered; else a point in the middle of something.
THERE = ["controller.create", "controller.created", "source.Dialling", "source.SendingAhead", "source.Freezing", "source.Sending", "source.dump", "source.Sent",
         "destination.restore", "monitor.barrier", "destination.Prepared", "source.Committing", "source.Delivering", "destination.Opening", "monitor.open",
         "destination.Telling", "source.NotingRunning", "source.Reporting", "controller.delete"]
BACK = ["controller.created", "source.SendingAhead", "source.dump", "source.InDoubt", "destination.restore", "monitor.barrier", "destination.Committing",
        "destination.Opening", "monitor.open", "destination.Telling", "destination.Reporting", "source.NotingRunning", "controller.delete"]
STEPS = {"there": THERE, "back": BACK}
# In the instant of the opening, both ways; for the rows of SINGLE alone.
OPENING = ["monitor.open", "monitor.released", "monitor.opened"]

# Who is not born before, or is gone after, these steps.
FROM = {"source-worker": {"there": "source.Dialling", "back": "source.SendingAhead"}, "destination-worker": {"there": "source.SendingAhead", "back": "source.SendingAhead"},
        "monitor": {"there": "source.Dialling", "back": "source.SendingAhead"}}
UNTIL = {"source-worker": {"there": "source.Reporting", "back": "source.NotingRunning"}, "destination-worker": {"there": "destination.Telling",
         "back": "destination.Reporting"}}

# At this step the other side may have gone on, and ended, or not.
MAYBE = {("source-worker", "destination.Reporting")}

PROGRAMS = ["controller", "source-agent", "source-worker", "destination-agent", "destination-worker", "monitor", "containerd-a", "containerd-b", "kubelet-a",
            "kubelet-b", "apiserver-a", "apiserver-b", "virtual-kubelet"]
KINDS = [(who, what) for what in ("kill", "stop") for who in PROGRAMS]
KINDS += [("person", "cancel"), ("link", "cut"), ("link", "severed"), ("link", "loss"), ("clock-a", "plus-1h"), ("clock-a", "minus-1h"), ("clock-b", "plus-1h"), ("clock-b", "minus-1h")]
SINGLE = [("disk", "full-dump", "source.Freezing"), ("disk", "full-receive", "source.Freezing"), ("disk", "full-restore", "destination.restore"),
          ("memory", "limit", "destination.restore"), ("source-worker", "kill-late", "source.Delivering"), ("source-worker", "kill-late", "source.InDoubt"),
          ("containerd-a", "restart", "source.SendingAhead"), ("containerd-b", "restart", "source.SendingAhead"), ("containerd-a", "restart", "destination.restore"),
          ("containerd-b", "restart", "destination.restore"), ("monitor", "kill", "monitor.released"), ("monitor", "kill", "monitor.opened"),
          ("source-agent", "term", "source.dump"), ("source-agent", "term", "source.Sent"), ("source-agent", "term", "destination.restore"), ("source-agent", "term", "source.InDoubt"),
          ("restored", "kill", "monitor.open"), ("one-monitor", "kill", "monitor.open")]

# While the source stands still and may still go on: how soon it does when that is decided (`make rollback`).
ROLLBACK = ["person/cancel/%s" % step for step in ("source.dump", "source.Sending", "source.Sent", "destination.restore", "monitor.barrier", "destination.Prepared", "source.Committing")]
ROLLBACK += ["person/cancel/%s@back" % step for step in ("source.dump", "destination.restore", "monitor.barrier", "destination.Committing")]
# The same with another strategy; only for `make rollback`.
ROLLBACK_LATER = ["source.dump", "source.Sent", "destination.Prepared", "source.Committing"]

# For four minutes, the lab included: workers and the agent on each side of the commit, the record out of reach at the commit, a commit that nobody can open.
FAST = ["source-worker/kill/source.dump", "source-worker/kill/source.Committing", "source-worker/kill/source.Delivering", "source-worker/kill-late/source.Delivering", "source-agent/kill/source.Sent",
        "source-agent/kill/source.Committing", "monitor/kill/source.Committing", "apiserver-a/kill/source.Committing", "apiserver-a/kill/source.Reporting", "link/severed/source.Delivering"]


class Row:
    def __init__(self, number, who, what, step, way):
        self.number, self.who, self.what, self.step, self.way = number, who, what, step, way
        self.plain = "%s/%s/%s" % (who, what, step)
        self.id = self.plain + ("" if way == "there" else "@back")
        self.name = "f%d" % number      # of the PodMigration
        self.containers = 2 if who.startswith("one-") else 1    # of the pod that is moved
        self.spec = {}                  # of its PodMigration, beside the rest
        self.missed = None              # why its victim could not be hit
        self.asked_ms = self.told_ms = None     # when a person said so; when it was decided and nothing stood in the way of the source's going on any more; unix

    @property
    def batch(self):
        return self.who, self.what, self.way


def exists(who, step, way):
    order = STEPS[way]
    at = order.index(step)
    first = order.index(FROM.get(who, {}).get(way, order[0]))
    last = order.index(UNTIL.get(who, {}).get(way, order[-1]))
    return first <= at <= last and (who, step) not in MAYBE


def everything():
    found = [(who, what, step, way) for who, what in KINDS for way in STEPS for step in STEPS[way] if exists(who, step, way)]
    found += [(who, what, step, way) for who, what, step in SINGLE for way in STEPS if step in STEPS[way] + OPENING]
    return [Row(i + 1, *r) for i, r in enumerate(found)]


def rollback():
    last = len(everything())
    later = [Row(last + i + 1, "person", "cancel", step, "there") for i, step in enumerate(ROLLBACK_LATER)]
    for row in later:
        row.spec, row.id = {"strategy": "PostCopy"}, row.id + " PostCopy"
    return select(ROLLBACK) + later


def select(patterns):
    """Rows of any pattern, in the order of the patterns."""
    rows = everything()
    found = {r.id: r for p in patterns for r in rows if fnmatch.fnmatchcase(r.id, p)}
    return list(found.values())
