# SPDX-License-Identifier: Apache-2.0
"""The pod that is moved, and what its application says about it.

The application is tests/apps/counter.c: it counts once a millisecond and prints, by its own clock, each pause longer than 20 ms. All downtimes of
the benchmark come from these lines; nothing that a mover says about itself is used for them.
"""

import glob
import os
import re

IMAGE = "localhost/bench/counter:1"
LINE = re.compile(r"^\S+ std\w+ F (\S+) (start|tick|GAP|CORRUPT|BACKWARDS|FILE|end)\b(.*)$")


def pod(name, sizes_mib, node, images=None):
    """A pod with one counter of so many MiB per container; images: one per container instead of IMAGE."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench"}, "annotations": {"liqo.io/api-server-support": "disabled"}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [{
                "name": "c%d" % i,
                "image": images[i] if images else IMAGE,
                "imagePullPolicy": "Never" if images else "IfNotPresent",
                "args": [str(mib), "/state"],
                "env": [{"name": "NAME", "value": "c%d" % i}],
            } for i, mib in enumerate(sizes_mib)],
        },
    }


def all_ready(p):
    """Every container of the pod runs (None: no such pod)."""
    if not p or p["status"].get("phase") in ("Failed", "Succeeded"):
        return False
    states = p["status"].get("containerStatuses", [])
    return len(states) == len(p["spec"]["containers"]) and all("running" in s["state"] for s in states)


class Log:
    """The log of one container on its node. Kept open: it stays readable when the kubelet has removed it with its pod."""

    def __init__(self, machine, pod_name, container):
        pattern = machine.path("/var/log/pods/*_%s_*/%s/*.log" % (glob.escape(pod_name), container))
        paths = sorted(glob.glob(pattern), key=os.path.getmtime)
        if not paths:
            raise FileNotFoundError(pattern)
        self.file = open(paths[-1], encoding="utf-8", errors="replace")  # pylint: disable=consider-using-with

    def events(self):
        """[(kind, {key: value})] of all lines so far; numbers are milliseconds or counts."""
        self.file.seek(0)
        found = []
        for line in self.file:
            m = LINE.match(line)
            if not m:
                continue
            kind, rest = m.group(2), m.group(3)
            values = dict(re.findall(r"(\w+)=(\w+)", rest))
            first = re.match(r" (\d+)", rest)
            if first:
                values["n"] = first.group(1)
            found.append((kind, {k: int(v) if v.isdigit() and k != "boot" else v for k, v in values.items()}))
        return found

    def close(self):
        self.file.close()


def check(events, where):
    """The application's own verdict on its memory, and one and the same life from the first line to the last."""
    bad = [e for e in events if e[0] in ("CORRUPT", "BACKWARDS", "FILE")]
    if bad:
        raise AssertionError("%s: the application complains: %s" % (where, bad[:3]))
    boots = {v["boot"] for _, v in events if "boot" in v}
    if len(boots) != 1:
        raise AssertionError("%s: not one life of the application but %s" % (where, boots))
    return boots.pop()


def longest_gap(events, after_ms):
    """The longest pause that ended after the given time: {n, start, end, tick}; None if there was none."""
    gaps = [v for kind, v in events if kind == "GAP" and v["end"] >= after_ms]
    return max(gaps, key=lambda g: g["n"], default=None)
