# SPDX-License-Identifier: Apache-2.0
"""The table of all rows: who is hit, with what, while a migration stands at which step, on the way there (a -> b, the source decides) or back (b -> a, the
destination decides)."""
import fnmatch

# In the order in which a migration comes by; the part before the dot is the program that stands there.
THERE = ["controller.creating", "controller.created", "source.connected", "source.standby", "source.freezing", "source.dumping", "source.sent",
         "destination.restoring", "monitor.barrier", "destination.prepared", "source.committing", "source.committed", "destination.committed", "monitor.opening",
         "destination.running", "source.running", "controller.deleting"]
BACK = ["controller.created", "source.standby", "source.dumping", "source.sent", "monitor.barrier", "destination.prepared", "destination.committed",
        "destination.running", "source.running", "controller.deleting"]
STEPS = {"there": THERE, "back": BACK}

# Who is not born before, or is gone after, these steps.
FROM = {"source-worker": "source.connected", "destination-worker": "source.standby", "monitor": "source.connected"}
UNTIL = {"source-worker": "source.running", "destination-worker": "destination.running"}

PROGRAMS = ["controller", "source-agent", "source-worker", "destination-agent", "destination-worker", "monitor", "containerd-a", "containerd-b", "kubelet-a",
            "kubelet-b", "apiserver-a", "apiserver-b", "virtual-kubelet"]
KINDS = [(who, what) for what in ("kill", "stop") for who in PROGRAMS]
KINDS += [("link", "cut"), ("link", "loss"), ("clock-a", "plus-1h"), ("clock-a", "minus-1h"), ("clock-b", "plus-1h"), ("clock-b", "minus-1h")]
SINGLE = [("disk", "full-dump", "source.freezing"), ("disk", "full-receive", "source.freezing"), ("disk", "full-restore", "destination.restoring"),
          ("memory", "limit", "destination.restoring")]

# About two minutes: each program once, each side of the commit.
FAST = ["source-worker/kill/source.dumping", "source-worker/kill/source.committing", "source-worker/kill/source.committed", "source-agent/kill/source.sent",
        "source-agent/kill/source.committing", "destination-agent/kill/destination.restoring", "destination-agent/kill/source.committed",
        "controller/kill/controller.created", "controller/kill/source.committed", "apiserver-a/kill/source.committing", "apiserver-a/kill/source.running",
        "disk/full-receive/*", "link/cut/source.sent", "link/cut/source.committed"]


class Row:
    def __init__(self, number, who, what, step, way):
        self.number, self.who, self.what, self.step, self.way = number, who, what, step, way
        self.plain = "%s/%s/%s" % (who, what, step)
        self.id = self.plain + ("" if way == "there" else "@back")
        self.name = "f%d" % number      # of the pod and the PodMigration
        self.container = "f%dc" % number

    @property
    def batch(self):
        return self.who, self.what, self.way


def exists(who, step, way):
    steps = STEPS[way]
    order = THERE if step in THERE else BACK
    at = order.index(step)
    return at >= order.index(FROM.get(who, order[0])) and at <= order.index(UNTIL.get(who, order[-1])) and step in steps


def everything():
    found = [(who, what, step, way) for who, what in KINDS for way in STEPS for step in STEPS[way] if exists(who, step, way)]
    found += [(who, what, step, way) for who, what, step in SINGLE for way in STEPS if step in STEPS[way] or way == "there"]
    return [Row(i + 1, *r) for i, r in enumerate(found)]


def select(patterns):
    """Rows of any pattern; the way there unless a pattern ends in @back, @* or is all stars."""
    def matches(row, pattern):
        return fnmatch.fnmatchcase(row.id, pattern)
    return [r for r in everything() if any(matches(r, p) for p in patterns)]
