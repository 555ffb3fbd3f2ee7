# SPDX-License-Identifier: Apache-2.0
"""The pod that is moved, and what its application says about it.

The application is tests/apps/counter.c: it counts once a millisecond and prints, by its own clock, each pause longer than 20 ms. All downtimes of
the benchmark come from these lines; nothing that a mover says about itself is used for them.
"""
import glob
import os
import re
import time

import continuity
import pods
from cluster import Failed

CRI_LINE = re.compile(r"^\S+ std(?:out|err) F (.*)$")
END = re.compile(r"^\S+ end tick=(\d+) ms=(\d+) gap=(\d+)$")
GAP_TICK = re.compile(r"^\S+ GAP (\d+) start=(\d+) end=(\d+) tick=(\d+)$")


def manifest(name, ns, sizes_mib, node, images=None, dirty=None, packs=False):
    """A pod with one counter of so many MiB per container; images: one per container instead of the counter's own; dirty: MB/s that each writes; packs: memory that compresses to half."""
    containers = [pods.container("c%d" % i, mib) for i, mib in enumerate(sizes_mib)]
    for c in containers if dirty is not None else []:
        c["env"].append({"name": "DIRTY", "value": str(dirty)})
    for c in containers if packs else []:
        c["env"].append({"name": "PACKS", "value": "1"})
    for c, image in zip(containers, images or []):
        c.update(image=image, imagePullPolicy="Never")
    return pods.pod(name, containers, ns, node)


def collection(ns):
    return "/api/v1/namespaces/%s/pods" % ns


def is_running(p):
    return bool(p) and len(p["status"].get("containerStatuses", [])) == len(p["spec"]["containers"]) and pods.is_running(p)


def start(machine, ns, name, sizes_mib, dirty=None, packs=False):
    """Create the pod and wait until every application has counted three seconds; its logs."""
    machine.api.call("POST", collection(ns), manifest(name, ns, sizes_mib, machine.name, dirty=dirty, packs=packs))
    machine.api.wait(collection(ns), name, is_running)
    logs = [Log(machine, name, "c%d" % i) for i in range(len(sizes_mib))]
    for log in logs:
        log.wait_ticks(3)
    return logs


def remove(machine, ns, name):
    """Whether it is there or not, and until it is gone."""
    machine.api.delete("%s/%s" % (collection(ns), name), {"gracePeriodSeconds": 1})
    machine.api.wait(collection(ns), name, lambda p: p is None)


class Log:
    """The log of one container on its node. Kept open: it stays readable when the kubelet has removed it with its pod."""

    def __init__(self, machine, pod, container):
        pattern = machine.path("/var/log/pods/*_%s_*/%s/*.log" % (glob.escape(pod), container))
        paths = sorted(glob.glob(pattern), key=os.path.getmtime)
        if not paths:
            raise Failed("no log of %s/%s on %s" % (pod, container, machine.name))
        self.who = "%s/%s on %s" % (pod, container, machine.name)
        self.file = open(paths[-1], encoding="utf-8", errors="replace")

    def lines(self):
        self.file.seek(0)
        return [m[1] for m in map(CRI_LINE.match, self.file) if m]

    def wait_ticks(self, n, timeout=60):
        """n lines of counts. Polled, so slowly that it does not disturb; nothing is measured meanwhile."""
        end = time.monotonic() + timeout
        while not continuity.has_ticks(n)(self.lines()):
            if time.monotonic() > end:
                raise Failed("log of %s: no %d counts after %d s; last: %s" % (self.who, n * continuity.STEP, timeout, self.lines()[-2:]))
            time.sleep(0.1)

    def close(self):
        self.file.close()


def longest_gap(lines, after_ms):
    """(ms, start, end, tick) of the longest pause that ended after the given time; None if there was none above 20 ms."""
    found = [tuple(map(int, m.groups())) for m in map(GAP_TICK.match, lines) if m]
    return max((g for g in found if g[2] >= after_ms), default=None)


def last_words(lines):
    """(tick, ms) of the line an application prints on SIGTERM."""
    return next(((int(m[1]), int(m[2])) for m in map(END.match, reversed(lines)) if m), None)


def one_life(*logs):
    """The same program all along, and content with its memory and files."""
    for line in (line for lines in logs for line in lines):
        if " CORRUPT " in line or " FILE " in line:
            raise Failed("the program complains: " + line)
    if len({boot for lines in logs for _, _, boot in continuity.ticks(lines)}) != 1:
        raise Failed("the application was started anew, not restored")
