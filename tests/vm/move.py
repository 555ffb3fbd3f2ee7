#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole migrations on the one node of the virtual machine: a pod goes to a new pod on the same node, with everything that a move between clusters does but for the
wire between them.  One line a case, then `N passed, N failed`."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
os.environ.setdefault("LAB_NAME", "vm")

import continuity  # noqa: E402
import install  # noqa: E402
import run  # noqa: E402
from cluster import Cluster, Failed, lab  # noqa: E402
from pods import NS, Chain, container, pod  # noqa: E402

DEFAULT_PROFILE = "cri-containerd.apparmor.d"   # containerd's, of a container that asks for none (RuntimeDefault)
LOCAL_PROFILE = "podmigration-test"
LOCAL_RULES = "profile %s flags=(attach_disconnected,mediate_deleted) { file, network, capability, signal, ptrace, mount, umount, unix, deny /data/forbidden w, }\n" % LOCAL_PROFILE
LIMITS = {"limits": {"memory": "64Mi", "cpu": "1"}, "requests": {"memory": "32Mi", "cpu": "100m"}}


def said(m):
    """What the status tells of each container, and of the whole."""
    of = m["status"].get("source", {}).get("containers", [])
    pages = ["%s:%s" % (c["name"], "/".join(str(r["pages"]) for r in c.get("rounds", []))) for c in of]
    return "%s frozen %s, %s sent, tracking %s, pages of each round %s" % (m["spec"].get("strategy", "default"), m["status"].get("downtime"), m["status"].get("transferred"),
                                                                           ",".join("%s:%s" % (c["name"], c.get("tracking", "?")) for c in of), ",".join(pages))


def twice(case, home, **spec):
    chain = Chain(case, home, pod("twice", [container("one", 16), container("two", 8)]))
    for n in (1, 2):
        m = chain.move(node=home.name, timeout=240, **spec)
        case.note(**{"move%d" % n: "[%s]" % said(m)})
    case.note(gap_ms=chain.check())


def limits(case, home, _):
    """a Burstable pod with limits of memory and processor time, with files in an emptyDir"""
    mounts = [{"name": "data", "mountPath": "/data"}]
    chain = Chain(case, home, pod("limits", [container("one", args=["8", "/data/count", "/dev/shm/count"], volumeMounts=mounts, resources=LIMITS)],
                                  volumes=[{"name": "data", "emptyDir": {}}]))
    m = chain.move(node=home.name, timeout=240)
    case.note(gap_ms=chain.check(), move="[%s]" % said(m))
    for name, value in (("memory.max", str(64 << 20)), ("cpu.max", "100000 100000")):
        out = home.ok("exec", "-n", NS, chain.name, "-c", "one", "--", "/tool", "show", "/sys/fs/cgroup/" + name)
        if out.strip() != value:
            raise Failed("%s of the moved container is %s" % (name, out.strip()))


def cgroup_mount(case, home, _):
    """the options of the node's cgroup2 mount are what they were when the machine came up (criu#3029)"""
    now = next(line.split()[-1] for line in open("/proc/1/mountinfo") if " - cgroup2 " in line)
    case.note(options=now)
    if "nsdelegate" not in now or "memory_recursiveprot" not in now:
        raise Failed("the cgroup2 mount has lost options: %s" % now)


def label(home, chain, name):
    """The profile of the container's first program, and of one that joins it."""
    of = [home.ok("exec", "-n", NS, chain.name, "-c", name, "--", "/tool", "show", "/proc/%s/attr/current" % who).strip() for who in ("1", "self")]
    if of[0] != of[1]:
        raise Failed("container %s: the first program is %s, one that joins it %s" % (name, *of))
    return of[0]


def apparmor(case, home, _):
    """AppArmor: a container with the runtime's profile, one with a profile of the node, one without; moved twice, the profiles stay and still forbid"""
    subprocess.run(["apparmor_parser", "-r"], input=LOCAL_RULES, text=True, check=True, timeout=60)
    data = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    asks = {"default": {}, "local": {"type": "Localhost", "localhostProfile": LOCAL_PROFILE}, "none": {"type": "Unconfined"}}
    wanted = {"default": DEFAULT_PROFILE + " (enforce)", "local": LOCAL_PROFILE + " (enforce)"}
    chain = Chain(case, home, pod("apparmor", [container(name, 8, **data, **({"securityContext": {"appArmorProfile": ask}} if ask else {})) for name, ask in asks.items()],
                                  volumes=[{"name": "data", "emptyDir": {}}]))
    for n in (0, 1, 2):
        if n:
            case.note(**{"move%d" % n: "[%s]" % said(chain.move(node=home.name, timeout=240))})
        seen = {name: label(home, chain, name) for name in asks}
        # Debian gives runc itself a profile that confines nothing: what is started without one stays in that.
        wanted.setdefault("none", seen["none"])
        if seen != wanted or "unconfined" not in wanted["none"]:
            raise Failed("after %d moves the profiles are %s" % (n, seen))
        rc, out, err = home.run("exec", "-n", NS, chain.name, "-c", "local", "--", "/tool", "add", "/data/forbidden", "x")
        if rc == 0:
            raise Failed("after %d moves the profile lets /data/forbidden be written: %s%s" % (n, out, err))
        home.ok("exec", "-n", NS, chain.name, "-c", "none", "--", "/tool", "add", "/data/forbidden", "x")
        home.ok("exec", "-n", NS, chain.name, "-c", "none", "--", "/tool", "remove", "/data/forbidden")
    case.note(gap_ms=chain.check())


def two_containers(case, home, _):
    """two containers, moved twice"""
    twice(case, home)


def stop_and_copy(case, home, _):
    """the same by StopAndCopy"""
    twice(case, home, strategy="StopAndCopy")


def post_copy(case, home, _):
    """the same by PostCopy"""
    twice(case, home, strategy="PostCopy")


CASES = {"two-containers": two_containers, "limits": limits, "apparmor": apparmor, "stop-and-copy": stop_and_copy, "post-copy": post_copy, "cgroup-mount": cgroup_mount}


def main():
    home = Cluster("a")
    home.run("create", "namespace", NS)
    install.images([home])
    install.install(home, [])
    run.CASES.update(CASES)
    results = [run.run_case(name, [home, home]) for name in sys.argv[1:] or CASES]
    failed = sum(not r["ok"] for r in results)
    print("%d passed, %d failed" % (len(results) - failed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
