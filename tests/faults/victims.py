# SPDX-License-Identifier: Apache-2.0
"""Who is hit, and how. A victim belongs to one migration, or to all of a batch."""
import os
import signal
import threading
import time

import points
import processes
from cluster import Failed, lab

STOPPED_S = 60
DECIDED_S = 5           # a controller that stands at a step itself decides nothing
LATE_S = 20             # the destination has heard of the commit another way, runs, and the source pod is being deleted
DOWN_S = 5              # what systemd waits before it starts a service again
LOSS_S = 30
TRIES = 20              # to leave a disk no room while others write to it
CUT_S = 30
MIGRATIONS = "/apis/podmigration.dev/v1alpha1/namespaces/demo/podmigrations/"
HOUR_S = 3600


class Side:
    """Where a migration comes from and goes to."""

    def __init__(self, home, source, destination):
        self.home, self.source, self.destination = home, source, destination


# --- who: side -> host pids, of all migrations or of one ---

def leader(side, row):
    holder = side.home.api.get("/apis/coordination.k8s.io/v1/namespaces/podmigration-system/leases/podmigration-controller")["spec"]["holderIdentity"]
    return [pid for pid in processes.named(side.home, "podmigration-controller") if holder.startswith(processes.environment(pid, "POD_NAME") or "?")]


def source_agent(side, row):
    return processes.agents(side.source)


def destination_agent(side, row):
    return processes.agents(side.destination)


def virtual_kubelet(side, row):
    return processes.named(side.home, "virtual-kubelet")


def source_worker(side, row):
    return [points.passed(side.source, "source", row.uid, 5)]


def destination_worker(side, row):
    return [points.passed(side.destination, "destination", row.uid, 5)]


def monitor(side, row):
    return processes.monitors(side.destination, row.uid)


def one_monitor(side, row):
    """Of several containers' that which stands at the point; the others go on."""
    return [pid for pid in [processes.host_pid(side.destination, row.stands())] if pid]


def restored(side, row):
    """What has been restored and does not run yet. Whose it is says its environment, which lies in memory that is filled a quarter of a second after the open (fill_serve.c, HOLD_US) or later."""
    end = time.monotonic() + 5
    while True:
        found = [pid for name in row.programs for pid in processes.counters(side.destination, name)]
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


class Programs:
    """Processes that somebody else starts again: the kubelet, the agent, nobody."""

    def __init__(self, find, each=False, pods=None):
        self.find, self.each, self.pods = find, each, pods

    def pids(self, side, rows):
        """Of all rows. A row whose victim is not there cannot be hit, and says so; the others are none the worse for it."""
        found = []
        for row in rows if self.each else rows[:1]:
            try:
                mine = self.find(side, row)
            except Failed as e:
                mine, row.missed = [], str(e)
            if not mine and not row.missed:
                row.missed = "nobody to hit"
            found += mine
        if not found and rows:
            raise Failed(rows[0].missed)
        return found

    def signal(self, pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # somebody was faster, such as a liveness probe


class Component:
    """One of the lab's, which nobody starts again by itself."""

    def __init__(self, cluster, name):
        self.cluster, self.name, self.each, self.pods = cluster, name, False, None

    def pids(self, side, rows):
        return None

    def signal(self, pids, number):
        lab("kill", self.cluster, self.name, {signal.SIGKILL: "KILL", signal.SIGSTOP: "STOP", signal.SIGCONT: "CONT"}[number])


WHO = {
    "controller": Programs(leader, pods="podmigration-system"),
    "source-agent": Programs(source_agent, pods="podmigration-agent"),
    "source-worker": Programs(source_worker, each=True),
    "destination-agent": Programs(destination_agent, pods="podmigration-agent"),
    "destination-worker": Programs(destination_worker, each=True),
    "monitor": Programs(monitor, each=True), "one-monitor": Programs(one_monitor, each=True), "restored": Programs(restored, each=True),
    "containerd-a": Component("a", "containerd"), "containerd-b": Component("b", "containerd"),
    "kubelet-a": Component("a", "kubelet"), "kubelet-b": Component("b", "kubelet"),
    "apiserver-a": Component("a", "apiserver"), "apiserver-b": Component("b", "apiserver"),
    "virtual-kubelet": Programs(virtual_kubelet, pods="liqo-tenant-b"),
}


# --- what: each is called with everybody standing at their points, calls go() to let them go on, and returns when the fault is over ---

def kill(who, side, rows, go):
    victim = WHO[who]
    victim.signal(victim.pids(side, rows), signal.SIGKILL)
    go()
    if isinstance(victim, Component):
        time.sleep(DOWN_S)
        lab("start", victim.cluster, victim.name)


def term(who, side, rows, go):
    """It is asked to end, as by an upgrade of its DaemonSet, and what stands still meanwhile may go on at once."""
    victim = WHO[who]
    victim.signal(victim.pids(side, rows), signal.SIGTERM)
    go()
    for row in rows:
        row.asked_ms = row.told_ms = time.time() * 1000


def kill_late(who, side, rows, go):
    time.sleep(LATE_S)
    kill(who, side, rows, go)


def restart(who, side, rows, go):
    """As kill, but whoever stands at a point goes on only when containerd is there again: it must know the containers that wait."""
    kill(who, side, rows, lambda: None)
    lab("exec", WHO[who].cluster, "ctr", "--connect-timeout", "60s", "version")
    go()


def stop(who, side, rows, go):
    victim = WHO[who]
    pids = victim.pids(side, rows)
    victim.signal(pids, signal.SIGSTOP)
    go()
    time.sleep(STOPPED_S)
    victim.signal(pids, signal.SIGCONT)


def cancel(who, side, rows, go):
    """A person's word. They go on when it is decided. A source that stands at a step can hear of it only then; one whose destination does hears of it as soon as it is decided: after the last look
    that did not see it so."""
    def undecided(row):
        now = time.time() * 1000
        if not side.home.api.get(MIGRATIONS + row.name).get("status", {}).get("decision"):
            row.told_ms = now
            return True
        return False
    for row in rows:
        row.asked_ms = row.told_ms = time.time() * 1000
        side.home.api.call("PATCH", MIGRATIONS + row.name, {"spec": {"cancel": True}})
    end = time.monotonic() + DECIDED_S
    left = [row for row in rows if undecided(row)]
    while left and time.monotonic() < end:
        time.sleep(0.002)
        left = [row for row in left if undecided(row)]
    now = time.time() * 1000
    go()
    for row in rows:
        if row.step.startswith(("source.", "controller.")):
            row.told_ms = now


def cut(who, side, rows, go):
    lab("cut")
    try:
        go()
        time.sleep(CUT_S)
    finally:
        lab("heal")


class Severed:
    """The pod network is gone until all have ended; the API servers still reach each other."""

    def __call__(self, who, side, rows, go):
        lab("cut", "--pods")
        go()

    def after(self, side):
        lab("heal")


def loss(who, side, rows, go):
    lab("link", "--loss", "30")
    try:
        go()
        time.sleep(LOSS_S)
    finally:
        lab("link", "--clear")


class Full:
    """The file system of the images, the node's /run, has no room from the point on, for anybody. (One of its own for the images alone would not do: they are linked
    to from folders beside theirs.)"""

    def __init__(self, where):
        self.where, self.size = where, None

    def resize(self, side, size):
        getattr(side, self.where).run("mount", "-o", "remount,size=%d" % size, "/run")

    def __call__(self, who, side, rows, go):
        for left in reversed(range(TRIES)):
            s = os.statvfs(getattr(side, self.where).path("/run"))
            self.size = s.f_blocks * s.f_frsize
            try:
                self.resize(side, max(4096, (s.f_blocks - s.f_bfree) * s.f_frsize))
                break
            except Failed:      # somebody has written since: less than what is in use it cannot become
                if not left:
                    raise
        go()

    def after(self, side):
        if self.size:
            self.resize(side, self.size)


def memory_limit(who, side, rows, go):
    """The destination pod may use no more than it does now, and a little: CRIU is killed in the middle of the restore."""
    for row in rows:
        pod = side.home.api.get("/api/v1/namespaces/demo/pods/" + row.destination())
        uid = pod["metadata"]["uid"]
        found = side.destination.run("sh", "-c", 'find /sys/fs/cgroup/memory /sys/fs/cgroup -maxdepth 6 -type d -name "*$1*" 2>/dev/null | head -n 1', "sh", "pod" + uid)
        if not found.strip():  # behind Liqo the pod there has a UID of its own
            found = side.destination.run("sh", "-c", 'd=$(ls -d /var/log/pods/*_"$1"_* | head -n 1); u=${d##*_}; '
                                         'find /sys/fs/cgroup -maxdepth 7 -type d -path "*memory*" -name "*pod$u" | head -n 1', "sh", row.destination())
        side.destination.run("sh", "-c", 'echo 4M >"$1/memory.limit_in_bytes"', "sh", found.strip())
    go()


class Clock:
    """The product's programs of one machine see their clock jump (FAULT_CLOCK_US): the machines share the host's real one, which is not ours to set."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, who, side, rows, go):
        machine = {"clock-a": side.home, "clock-b": next(m for m in (side.source, side.destination) if m is not side.home)}[who]
        for folder in points.folders(machine):
            with open(folder + "/clock.new", "w", encoding="ascii") as f:
                f.write("%d\n" % self.seconds)
            os.chmod(folder + "/clock.new", 0o644)
            os.rename(folder + "/clock.new", folder + "/clock")
        go()


WHAT = {"kill": kill, "term": term, "kill-late": kill_late, "restart": restart, "stop": stop, "cancel": cancel, "cut": cut, "severed": Severed(), "loss": loss, "plus-1h": Clock(HOUR_S), "minus-1h": Clock(-HOUR_S),
        "full-dump": Full("source"), "full-receive": Full("destination"), "full-restore": Full("destination"), "limit": memory_limit}


def in_background(f):
    """f in a thread; its failure is raised by join()."""
    box = []

    def run():
        try:
            f()
        except Exception as e:  # handed over
            box.append(e)
    t = threading.Thread(target=run)
    t.start()

    def join():
        t.join()
        if box:
            raise box[0]
    return join
