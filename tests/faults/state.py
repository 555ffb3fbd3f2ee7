# SPDX-License-Identifier: Apache-2.0
"""After a batch: nothing may be left of its migrations, and the lab must be well again before the next one."""
import glob
import os
import time

import install
import processes
import victims
from cluster import Failed, parallel

LEFT_S = 30
PLACES = ("/run/podmigration/source/*", "/run/podmigration/destination/*", "/var/lib/podmigration/journal/*")
PROGRAMS = ("criu", "runc", "podmigration-hook")


def what_is_left(machines):
    found = []
    for m in machines:
        found += ["%s: %s" % (m.name, path[len(m.root):]) for where in PLACES for path in glob.glob(m.path(where))]
        found += ["%s: process %s" % (m.name, " ".join(processes.arguments(pid)[:4])) for name in PROGRAMS for pid in processes.named(m, name)]
        found += ["%s: frozen cgroup" % m.name for _ in frozen(m)]
    return found


def frozen(machine):
    """Frozen cgroups of pods; version 1 and 2."""
    for pid in processes.all_of(machine):
        for line in processes.read(pid, "cgroup").splitlines():
            number, kinds, path = line.split(":", 2)
            if "freezer" in kinds.split(",") and "kubepods" in path:
                try:
                    with open("/sys/fs/cgroup/freezer%s/freezer.state" % path, encoding="ascii") as f:
                        if f.read().strip() != "THAWED":
                            yield path
                except OSError:
                    pass


def recover(clusters, machines, row):
    """Lines about what should not be there."""
    end = time.monotonic() + LEFT_S
    left = what_is_left(machines)
    while left and time.monotonic() < end:
        time.sleep(0.5)
        left = what_is_left(machines)
    for m in machines:  # the next batch must not suffer
        for where in PLACES:
            if glob.glob(m.path(where)):
                m.run("sh", "-c", "rm -rf " + where)
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
