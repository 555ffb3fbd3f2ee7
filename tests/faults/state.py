# SPDX-License-Identifier: Apache-2.0
"""After a batch: nothing may be left of its migrations, and the lab must be well again before the next one."""
import glob
import os
import signal
import time

import install
import processes
import victims
from cluster import Failed, parallel

LEFT_S = 75             # a source whose lost destination was deleted beside it dials for a minute before it looks whether its own pod is gone
PLACES = ("/run/podmigration/source/*", "/run/podmigration/destination/*", "/var/lib/podmigration/journal/*")
PROGRAMS = ("criu", "runc")


def what_is_left(machines):
    found = []
    for m in machines:
        found += ["%s: %s" % (m.name, path[len(m.root):]) for where in PLACES for path in glob.glob(m.path(where))]
        found += ["%s: process %s" % (m.name, " ".join(processes.arguments(pid)[:4])) for name in PROGRAMS for pid in processes.named(m, name)]
        found += ["%s: frozen cgroup" % m.name for _ in set(frozen(m))]
    return found


def frozen(machine):
    """freezer.state of the frozen cgroups of pods that still hold a process (cgroup v1, as the lab has it)."""
    for pid in processes.all_of(machine):
        for line in processes.read(pid, "cgroup").splitlines():
            number, kinds, path = line.split(":", 2)
            if "freezer" in kinds.split(",") and "kubepods" in path:
                state = "/sys/fs/cgroup/freezer%s/freezer.state" % path
                try:
                    with open(state, encoding="ascii") as f:
                        if f.read().strip() != "THAWED":
                            yield state
                except OSError:
                    pass


def mend(machines):
    """What is left behind is said, and then taken away: the next batch must not suffer."""
    for m in machines:
        for name in PROGRAMS:
            for pid in processes.named(m, name):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # ended meanwhile
        for path in set(frozen(m)):
            with open(path, "w", encoding="ascii") as f:
                f.write("THAWED")
        for where in PLACES:
            if glob.glob(m.path(where)):
                # CRIU's mounts of the node's cgroups first, if they are among what was left behind
                m.run("sh", "-c", 'for m in $(grep -o " /run/podmigration/[^ ]*cgyard[^ /]* " /proc/self/mountinfo); do umount -l "$m"; done; rm -rf --one-file-system ' + where)


def wait_nothing(machines, seconds):
    end = time.monotonic() + seconds
    left = what_is_left(machines)
    while left and time.monotonic() < end:
        time.sleep(0.5)
        left = what_is_left(machines)
    return left


def recover(clusters, machines, row, kept):
    """Lines about what should not be there."""
    if wait_nothing(machines, LEFT_S / 3):
        kept.empty()    # a worker whose source did not say its last word has a folder as long as its pod lives
    left = wait_nothing(machines, LEFT_S)
    if left:
        mend(machines)
    who = victims.WHO.get(row.who)
    renew(clusters, who.pods if who else None)
    well(clusters)
    return ["left behind: " + text for text in left]


def renew(clusters, namespace):
    """Pods of programs that were killed start afresh: the kubelet would wait longer from time to time, up to five minutes."""
    if namespace not in ("podmigration-system", "podmigration-agent", "liqo-tenant-b"):
        return
    for c in clusters if namespace == "podmigration-agent" else clusters[:1]:
        c.ok("delete", "pods", "--all", "-n", namespace, "--wait=false")


def well(clusters):
    home = clusters[0]
    parallel([lambda c=c: c.watch("daemonset", "podmigration-agent", "podmigration-agent", install.ready, 60, "ready") for c in clusters])
    home.watch("deployment", "podmigration-controller", "podmigration-system", install.controller_ready, 60, "ready")
    for c in clusters:
        for node in c.ok("get", "nodes", "-o", "name").split():
            c.ok("wait", "--for=condition=Ready", node, "--timeout=180s", timeout=200)
    if not home.get("node", clusters[1].name):
        raise Failed("the virtual node is gone")
