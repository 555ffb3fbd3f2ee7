# SPDX-License-Identifier: Apache-2.0
"""Files: what is easily lost on the way, in the container's own root and in an emptyDir. The program looks by itself (tests/apps/kinds.c: odd, many)."""
from cases_kinds import kinds
from cases_memory import steps_ms
from cluster import Failed, lab
from pods import Chain, pod


def moved(name, *checks):
    def run(case, home, away):
        chain = Chain(case, home, pod(name, [kinds("one", *checks, volumeMounts=[{"name": "data", "mountPath": "/data"}])], volumes=[{"name": "data", "emptyDir": {}}]))
        m = chain.move(cluster=away.name)
        chain.wait_ticks(2)
        case.note(gap_ms=chain.check(), mib=round(m["status"].get("bytesTransferred", 0) / 2**20, 1))
    return run


def large(case, home, away):
    """100,000 small files in the root, as many in an emptyDir beside a sparse one of 4 GiB: there and back"""
    chain = Chain(case, home, pod("large", [kinds("one", "many=/state:100000"), kinds("two", "many=/data:100000", "odd=/data", volumeMounts=[{"name": "data", "mountPath": "/data"}])],
                                  volumes=[{"name": "data", "emptyDir": {}}]))
    for where in ({"cluster": away.name}, {"node": home.name}):
        chain.move(timeout=600, **where)
        # 1000 files are looked at ten times a second
        chain.wait_ticks(12)
    chain.check()
    case.note(downtime=[m["status"]["downtime"] for m in chain.moves], mib=[round(m["status"]["bytesTransferred"] / 2**20, 1) for m in chain.moves], ms=[steps_ms(m) for m in chain.moves])


def busy(case, home, away):
    """files that the program rewrites, moves, removes and writes to through a mapping while it is moved, there and back: it knows what each must hold"""
    chain = Chain(case, home, pod("busy", [kinds("one", "busy=/state", "many=/state:5000"), kinds("two", "busy=/data", "odd=/data", volumeMounts=[{"name": "data", "mountPath": "/data"}])],
                                  volumes=[{"name": "data", "emptyDir": {}}]))
    for where in ({"cluster": away.name}, {"node": home.name}):
        chain.move(**where)
        chain.wait_ticks(2)
    case.note(gap_ms=chain.check(), downtime=[m["status"]["downtime"] for m in chain.moves], mib=[round(m["status"]["bytesTransferred"] / 2**20, 1) for m in chain.moves])


def in_memory(case, home, away):
    """128 MiB in an emptyDir in memory and 64 MiB, all there is room for, in /dev/shm, a page of each written each millisecond, there and back over a link of 1 Gbit/s: little goes frozen"""
    chain = Chain(case, home, pod("inmem", [kinds("one", "pages=/mem/file:128", "pages=/dev/shm/file:64", volumeMounts=[{"name": "mem", "mountPath": "/mem"}])],
                                  volumes=[{"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "160Mi"}}]))
    lab("link", "--rate", "1000mbit")
    case.clean(lambda: lab("link", "--clear", check=False))
    for where in ({"cluster": away.name}, {"node": home.name}):
        chain.move(**where)
        chain.wait_ticks(4)
    files = [m["status"]["source"]["files"] for m in chain.moves]
    case.note(gap_ms=chain.check(), downtime=[m["status"]["downtime"] for m in chain.moves], files=files, ms=[steps_ms(m) for m in chain.moves])
    # the source of the way back is in another cluster and tells nothing of what went frozen
    if files[0]["frozenBytes"] >= 16 << 20 or any(f["bytes"] < 192 << 20 for f in files):
        raise Failed("of 192 MiB in memory so much went while the pod ran, and while it was frozen: %s" % files)


CASES = {"files-odd": moved("odd", "odd=/state", "odd=/data"), "files-many": moved("many", "many=/state", "memory=/dev/shm")}
CASES["files-busy"] = busy
CASES["files-in-memory"] = in_memory
CASES["files-odd"].__doc__ = "hard link, owner, mode, capability, time, 4 GiB sparse, deleted but open: in the root and in an emptyDir"
CASES["files-many"].__doc__ = "20,000 small files in the root"
ON_REQUEST = {"files-100k": large}
