#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every page of both ends of a real migration, in the instant before the commit: the source stands still, the destination is restored up to its barrier and has not run.

  verify.py [--keep] [--no-install]       environment: N (moves of each pod, 2), LAB_NAME (faults)

The pods write all the time. A process there is that of the same number in the pod's pid namespaces here. One line a move, then `N passed, N failed`.
"""
import argparse
import ctypes
import os
import re
import struct
import sys
import time

import paths  # noqa: F401

os.environ.setdefault("LAB_NAME", "faults")
os.environ.setdefault("PM_IMAGES", "build/faults/image")

import install  # noqa: E402
import points  # noqa: E402
import pods  # noqa: E402
import processes  # noqa: E402
import product  # noqa: E402
import workload  # noqa: E402
from cluster import Cluster, Failed, lab  # noqa: E402
from faults import is_up  # noqa: E402
from machines import Machine  # noqa: E402

NS = pods.NS
MIGRATIONS = "%s/namespaces/%s/podmigrations" % (product.GROUP, NS)
HERE_S = 90
CHUNK = 1 << 20
RSEQ = 32
PAGE = os.sysconf("SC_PAGE_SIZE")
MAP = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)$")
LIBC = ctypes.CDLL(None, use_errno=True)


class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def with_env(c, **more):
    return {**c, "env": c["env"] + [{"name": k, "value": v} for k, v in more.items()]}


PODS = {
    "written": [with_env(pods.container("one", 128), DIRTY="100")],
    "two": [pods.container("one", 64), with_env(pods.container("two", 16), DIRTY="20")],
    "family": [with_env(pods.container("one", 32), CHILDREN="3")],
    "shared": [with_env(pods.container("one", 32), SHARED="1")],
}


def read(pid, start, length):
    """Through process_vm_readv(2), which waits for a page that the destination still lacks; /proc/PID/mem would not."""
    out = ctypes.create_string_buffer(length)
    mine, its = Span(ctypes.addressof(out), length), Span(start, length)
    n = LIBC.process_vm_readv(ctypes.c_int(pid), ctypes.byref(mine), ctypes.c_ulong(1), ctypes.byref(its), ctypes.c_ulong(1), ctypes.c_ulong(0))
    if n != length:
        raise Failed("process %d: %d of %d bytes at %x can be read: %s" % (pid, n, length, start, os.strerror(ctypes.get_errno())))
    return out.raw


def mappings(pid):
    """{(start, end): (rights, name)} of what a program can read and what the kernel does not make by itself."""
    found = {}
    for m in filter(None, map(MAP.match, processes.read(pid, "maps").splitlines())):
        if m[3][0] == "r" and not m[4].startswith(("[vvar", "[vdso", "[vsyscall")):
            found[int(m[1], 16), int(m[2], 16)] = m[3], m[4]
    return found


def covered(start, end, rights, its):
    """Is there a mapping of these rights all along? Neighbours may have become one."""
    for (a, b), (r, _) in sorted(its.items()):
        if a <= start < b and r == rights:
            start = b
    return start >= end


def is_rseq(a, b):
    """What the kernel writes into a thread's struct rseq (rseq(2), linux/rseq.h; 32 bytes, on such a boundary) whenever it has been on another processor: CRIU's code in the source is enough. On
    both sides it names a processor, twice, and the restartable sequence is the same. Where the destination goes on it is written anew."""
    (start_a, cpu_a, cs_a), (start_b, cpu_b, cs_b) = struct.unpack_from("<IIQ", a), struct.unpack_from("<IIQ", b)
    return start_a == cpu_a < os.cpu_count() and start_b == cpu_b < os.cpu_count() and cs_a == cs_b


def differs(a, b):
    """Offsets of pages that are not the same, but for what the kernel says in one struct rseq each."""
    wrong = []
    for page in range(0, len(a), PAGE):
        if a[page:page + PAGE] != b[page:page + PAGE]:
            blocks = [i for i in range(page, page + PAGE, RSEQ) if a[i:i + RSEQ] != b[i:i + RSEQ]]
            if len(blocks) != 1 or not is_rseq(a[blocks[0]:blocks[0] + RSEQ], b[blocks[0]:blocks[0] + RSEQ]):
                wrong.append(page)
    return wrong


def compare(here, there):
    """How many pages were compared. Raises with the first that is another."""
    mine, its, pages = mappings(here), mappings(there), 0
    lacking = [k for k in mine if not covered(*k, mine[k][0], its)]
    if lacking or not mine:
        raise Failed("mappings of the source that the destination has not: %s" % ", ".join("%x-%x %s %s" % (*k, *mine[k]) for k in lacking[:5]))
    for (start, end), (_, name) in mine.items():
        for at in range(start, end, CHUNK):
            size = min(CHUNK, end - at)
            a, b = read(here, at, size), read(there, at, size)
            wrong = differs(a, b) if a != b else []
            if wrong:
                first = next(i for i in range(wrong[0], size) if a[i] != b[i])
                raise Failed("%d pages of %x-%x %s differ, the first at %x" % (len(wrong), start, end, name, at + first))
            pages += size // PAGE
    return pages


def of_pod(machine, names):
    """{(container, number in its pid namespace): host pid} of the pods' programs, whose names are theirs alone in the lab."""
    found = {}
    for pid in processes.named(machine, "counter"):
        mount = next((m[1] for m in [re.search(r"/containers/([^/ ]+)/[0-9a-f]+ /dev/termination-log ", processes.read(pid, "mountinfo"))] if m), None)
        if mount in names:
            found[mount, processes.status(pid, "NSpid").split()[-1]] = pid
    return found


def stand(home, there, name, manifest):
    """A running pod, and the point at which its destination has prepared all of its containers."""
    home.api.call("POST", workload.collection(NS), manifest)
    home.api.wait(workload.collection(NS), name, workload.is_running)
    for c in manifest["spec"]["containers"]:
        log = workload.Log(home, name, c["name"])
        log.wait_ticks(2)
        log.close()
    m = home.api.call("POST", MIGRATIONS, pods.migration(name, name, NS, cluster=there.name, timeout="120s"))
    return points.Point(there, "destination.Prepared", m["metadata"]["uid"])


def end(home, name, point):
    point.release()
    try:
        return product.finish(home, NS, name, 120)[0]
    finally:
        point.close()


def one(home, there, name, containers):
    """Pages compared."""
    manifest = pods.pod(name, [{**c, "name": "%s-%s" % (name, c["name"])} for c in containers], NS, home.name)
    names = [c["name"] for c in manifest["spec"]["containers"]]
    points.prepare(home)
    points.prepare(there)
    point = stand(home, there, name, manifest)
    try:
        if not point.reached(HERE_S):
            raise Failed("it did not come to the commit within %d s" % HERE_S)
        mine, its = of_pod(home, names), of_pod(there, names)
        if len({c for c, _ in mine}) != len(names) or set(mine) != set(its):
            raise Failed("programs here: %s; there: %s" % (sorted(mine), sorted(its)))
        pages = sum(compare(pid, its[key]) for key, pid in mine.items())
        end(home, name, point)
        return len(mine), pages
    finally:
        point.release()
        points.forget(home)
        points.forget(there)
        product.forget(home, NS, name)


def run(home, there, n):
    passed = failed = 0
    for kind, containers in PODS.items():
        for i in range(n):
            name, begin = "v-%s-%d" % (kind, i), time.monotonic()
            try:
                programs, pages = one(home, there, name, containers)
                passed += 1
                print("ok   %-10s %d programs, %d pages compared, all the same (%.0f s)" % (kind, programs, pages, time.monotonic() - begin), flush=True)
            except (Failed, OSError) as e:
                failed += 1
                print("FAIL %-10s %s" % (kind, e), flush=True)
    print("%d passed, %d failed" % (passed, failed))
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up")
    p.add_argument("--no-install", action="store_true", help="the fault build is there already")
    args, was_up = p.parse_args(), is_up()
    try:
        if not was_up:
            lab("up")
        clusters = [Cluster("a"), Cluster("b")]
        if not args.no_install:
            install.images(clusters)
            install.install(clusters[0], clusters[1:])
        return 1 if run(Machine("a"), Machine("b"), int(os.environ.get("N") or 2)) else 0
    finally:
        if not was_up and not args.keep:
            lab("down", check=False)


if __name__ == "__main__":
    sys.exit(main())
