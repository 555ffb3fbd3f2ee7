# SPDX-License-Identifier: Apache-2.0
"""What a part of the product, or of its surroundings, holds at one moment: {name of the figure: number}."""
import glob
import os

import processes

KEPT = ("/run/podmigration", "/var/lib/podmigration")
SHIM = "containerd-shim-runc-v2"
GROUP = "/apis/podmigration.dev/v1alpha1/podmigrations"


def kib(pids):
    return sum(int(processes.status(pid, "VmRSS").split()[0]) for pid in pids if processes.status(pid, "VmRSS"))


def fds(pids):
    n = 0
    for pid in pids:
        try:
            n += len(os.listdir("/proc/%d/fd" % pid))
        except OSError:
            pass  # ended meanwhile
    return n


def threads(pids):
    return sum(int(processes.status(pid, "Threads") or 0) for pid in pids)


def part(found, name, pids):
    found[name + " processes"] = len(pids)
    found[name + " RSS KiB"] = kib(pids)
    found[name + " fds"] = fds(pids)
    found[name + " threads"] = threads(pids)


def node(found, m):
    """A machine: our programs, then what the node itself holds."""
    pids = list(processes.all_of(m))
    part(found, "agent " + m.name, processes.agents(m))
    part(found, "monitors " + m.name, [p for p in pids if processes.read(p, "comm").strip() == "pm-monitor"])
    found["shims " + m.name] = sum(SHIM in processes.read(p, "cmdline") for p in pids)
    found["all processes " + m.name] = len(pids)
    with open("/proc/%d/mountinfo" % m.pid, encoding="utf-8") as f:
        found["mounts " + m.name] = sum(1 for _ in f)
    found["cgroups " + m.name] = sum(1 for top in glob.glob("/sys/fs/cgroup/*/pmlab-%s/%s" % (os.environ["LAB_NAME"], m.name)) for _ in os.walk(top))
    s = os.statvfs(m.path("/run"))
    found["/run KiB " + m.name] = (s.f_blocks - s.f_bfree) * s.f_frsize // 1024
    for top in KEPT:
        found["files %s %s" % (top, m.name)] = sum(len(names) for _, _, names in os.walk(m.path(top)))


def objects(found, m):
    for kind in ("secrets", "pods", "configmaps"):
        found["%s %s" % (kind, m.name)] = len(m.api.get("/api/v1/" + kind)["items"])
    found["leases " + m.name] = len(m.api.get("/apis/coordination.k8s.io/v1/leases")["items"])
    events = m.api.get("/api/v1/events")["items"] + m.api.get("/apis/events.k8s.io/v1/events")["items"]
    ours = {e["metadata"]["uid"] for e in events if (e.get("involvedObject") or e.get("regarding") or {}).get("kind") == "PodMigration"}
    found["events of PodMigrations " + m.name] = len(ours)


def take(home, away):
    found = {}
    part(found, "controllers", processes.named(home, "podmigration-controller"))
    for m in (home, away):
        node(found, m)
        objects(found, m)
        for other in ("containerd", "kubelet"):  # not ours: shown, not judged
            part(found, "(%s %s)" % (other, m.name), processes.named(m, other))
    found["(Liqo RSS KiB)"] = kib([p for m in (home, away) for n in ("virtual-kubelet", "liqo-controller-manager", "crd-replicator", "webhook")
                                   for p in processes.named(m, n)])
    found["podmigrations"] = len(home.api.get(GROUP)["items"])
    return found
