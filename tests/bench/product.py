# SPDX-License-Identifier: Apache-2.0
"""podmigration itself: a PodMigration is created, watched to its end, and the application's logs are read."""
import glob
import json
import os
import re
import time
from datetime import datetime

import continuity
import pods
import workload
from cluster import Failed
from machines import ApiError

GROUP = "/apis/podmigration.dev/v1alpha1"
TABLE = "podmigration-bench"
PORT = 7117


class WireCounter:
    """Bytes on the wire of the agents' stream, with all headers, as the source's kernel counts them (both ways)."""

    def __init__(self, machine):
        self.machine = machine
        rules = "".join("  chain %s { type filter hook %s priority 0; tcp %s %d counter name sent; }\n" % (hook, hook, port, PORT)
                        for hook, port in (("postrouting", "dport"), ("prerouting", "sport")))
        machine.run("nft", "add table ip %s; delete table ip %s; table ip %s {\n  counter sent { }\n%s}" % (TABLE, TABLE, TABLE, rules))

    def take(self):
        """Bytes since the last call."""
        said = json.loads(self.machine.run("nft", "-j", "reset", "counter", "ip", TABLE, "sent"))
        return next(o["counter"]["bytes"] for o in said["nftables"] if "counter" in o)


def processes(cgroup_part, comm=None):
    """Host pids of processes whose cgroup path contains the text."""
    for path in glob.glob("/proc/[0-9]*/cgroup"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                if cgroup_part not in f.read():
                    continue
            pid = path.split("/")[2]
            with open("/proc/%s/comm" % pid, encoding="ascii", errors="replace") as f:
                if comm is None or f.read().strip() == comm[:15]:
                    yield pid
        except OSError:
            continue  # ended meanwhile


def field_kib(path, key):
    with open(path, encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(key + ":"))


def state_bytes(pod):
    """What a copy cannot do without: the private memory of the pod's processes."""
    return 1024 * sum(field_kib("/proc/%s/smaps_rollup" % pid, "Anonymous") for pid in processes(pod["metadata"]["uid"], "counter"))


def resident(lab_name):
    """{program: [MiB, ..]} of the product's own processes in this lab."""
    return {name: [round(field_kib("/proc/%s/status" % pid, "VmRSS") / 1024, 1) for pid in processes("pmlab-" + lab_name, name)]
            for name in ("podmigration-controller", "podmigration-agent")}


def agents_cpu_s(machine_names):
    """Seconds of processor time that the agents' containers have used on these machines of the lab, their workers that have ended included."""
    total = 0
    for name in machine_names:
        for pid in processes("pmlab-%s/%s/" % (os.environ["LAB_NAME"], name), "podmigration-agent"):
            with open("/proc/%s/cgroup" % pid, encoding="ascii") as f:
                path = next((path.strip() for _, kinds, path in (line.split(":", 2) for line in f) if "cpuacct" in kinds.split(",")), None)
            if path:    # version 1, as the lab has it
                with open("/sys/fs/cgroup/cpuacct%s/cpuacct.usage" % path, encoding="ascii") as f:
                    total += int(f.read()) / 1e9
                break   # all of them are in one container
    return total


def pace(lines, begin, sending, frozen):
    """How much longer the program took for a count while memory was sent than before: 1.05 is 5 % slower. None when that was too short to say."""
    ticks = continuity.ticks(lines)
    steps = [(a[1], b[1], (b[1] - a[1]) / (b[0] - a[0])) for a, b in zip(ticks, ticks[1:])]
    before, during = [d for _, e, d in steps if e <= begin], [d for s, e, d in steps if s >= sending and e <= frozen]
    return sum(during) / len(during) / (sum(before) / len(before)) if before and during else None


def real_ms(rfc3339):
    m = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", rfc3339)
    return datetime.fromisoformat(m[1] + "+00:00").timestamp() * 1000 + float("0." + (m[2] or "0")) * 1000


def timeline(status):
    """[(step, unix ms)] in order."""
    return [(e["step"], real_ms(e["time"])) for e in status.get("source", {}).get("timeline", [])]


def phases(status, begin_ms):
    """Milliseconds from the creation of the object to each phase."""
    return {e["phase"]: real_ms(e["time"]) - begin_ms for e in status.get("phaseTransitionTimestamps", [])}


def ended(m):
    return bool(m) and m.get("status", {}).get("phase") in pods.ENDED


def create(home, ns, name, away_name, **spec):
    """Creates the PodMigration of the pod of this name; unix ms before the request."""
    begin = time.time() * 1000
    home.api.call("POST", "%s/namespaces/%s/podmigrations" % (GROUP, ns), pods.migration(name, name, ns, cluster=away_name, **spec))
    return begin


def finish(home, ns, name, timeout):
    """The PodMigration as it ended, and the unix ms when we heard of it."""
    m = home.api.wait("%s/namespaces/%s/podmigrations" % (GROUP, ns), name, ended, timeout)
    at = time.time() * 1000
    if m["status"]["phase"] != "Succeeded":
        raise Failed("the migration ended " + pods.explain(m))
    return m, at


def read_result(home, away, ns, name, logs, begin, m, at):
    status, containers = m["status"], []
    arrived = [workload.Log(away, status["destinationPod"]["name"], "c%d" % i) for i in range(len(logs))]
    for old, new in zip(logs, arrived):
        new.wait_ticks(1)
        lines = old.lines(), new.lines()
        continuity.check(lines)  # every count is there, once
        gap = workload.longest_gap(lines[1], begin)
        if not gap:
            raise Failed("the application noticed no pause")
        sending, frozen = begin + phases(status, begin).get("Transferring", 0), dict(timeline(status)).get("freeze", 0)
        earlier = workload.longest_gap([line for line in lines[0] if not (g := workload.GAP_TICK.match(line)) or int(g[3]) < frozen], begin)
        containers.append({"gap_ms": gap[0], "start": gap[1], "end": gap[2], "pace": pace(lines[0], begin, sending, frozen), "pause_before_ms": earlier[0] if earlier else 0})
        new.close()
    return {"gap_ms": max(c["gap_ms"] for c in containers), "containers": containers, "total_s": (at - begin) / 1000,
            "agents_ms": status.get("source", {}).get("downtimeMicroseconds", 0) / 1000, "payload_bytes": status.get("bytesTransferred"),
            "phases_ms": phases(status, begin), "timeline": timeline(status), "reports": status.get("source", {}).get("containers", [])}


def forget(home, ns, name):
    """The PodMigration, the pod it was for and the one it brought, however it ended."""
    path = "%s/namespaces/%s/podmigrations" % (GROUP, ns)
    arrived = None
    try:
        arrived = home.api.get("%s/%s" % (path, name)).get("status", {}).get("destinationPod", {}).get("name")
        home.api.delete("%s/%s" % (path, name))
        home.api.wait(path, name, lambda o: o is None)
    except ApiError as e:
        if e.status != 404:
            raise
    for pod in {name, arrived} - {None}:
        workload.remove(home, ns, pod)


def move(home, away, ns, name, logs, wire, **spec):
    """Move one pod to the other cluster, with more of a PodMigration's spec; it is removed there again."""
    state = state_bytes(home.api.get("%s/%s" % (workload.collection(ns), name)))
    wire.take()
    try:
        cpu = agents_cpu_s((home.name, away.name))
        begin = create(home, ns, name, away.name, **spec)
        m, at = finish(home, ns, name, 300)
        cpu = agents_cpu_s((home.name, away.name)) - cpu
        result = read_result(home, away, ns, name, logs, begin, m, at)
    finally:
        forget(home, ns, name)
    return {**result, "state_bytes": state, "wire_bytes": wire.take(), "agents_cpu_s": cpu}


def move_many(home, away, ns, names, logs):
    """All pods at once; (results of those that arrived, with the seconds since the first object was created; why the others did not)."""
    results, failures = [], []
    try:
        begin = {n: create(home, ns, n, away.name) for n in names}
        first = min(begin.values())
        for n in names:
            try:
                m, at = finish(home, ns, n, 600)
                if "completionTime" in m["status"]:  # we may have been waiting for another one
                    at = real_ms(m["status"]["completionTime"])
                results.append({**read_result(home, away, ns, n, logs[n], begin[n], m, at), "since_first_s": (at - first) / 1000})
            except Failed as e:
                failures.append("%s: %s" % (n, e))
        return results, failures
    finally:
        for n in names:
            forget(home, ns, n)


def versions(machine):
    """What runs on a node, for the report."""
    info = machine.api.get("/api/v1/nodes/" + machine.name)["status"]["nodeInfo"]
    runc = machine.run("runc", "--version").split("\n")[0].split()[-1]
    criu = re.search(r"Version: (\S+)", machine.run("criu", "--version"))[1]
    return {"kernel": info["kernelVersion"], "kubelet": info["kubeletVersion"], "containerd": info["containerRuntimeVersion"].split("//")[-1],
            "runc": runc, "criu": criu, "cgroup": 1 if os.path.isdir("/sys/fs/cgroup/freezer") else 2}
