#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the controller costs, against a real kube-apiserver and etcd: make bench-controller [PODS=10000].  usage: controller.py KUBECONFIG CONTROLLER LOGDIR

Resident memory idle, with so many watched pods and after so many migrations, from exec to ready, events a second of a core, a queue of PodMigrations made at once, and how long it takes until another
one leads. Writes build/bench-controller.json.
"""
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path.insert(1, os.path.join(ROOT, "tests/api/controller"))

import report  # noqa: E402
from harness import LABEL, NS, Checks, Controller, Kubelet, World, until  # noqa: E402
from kube import PM, Kube  # noqa: E402
from main import controller_kubeconfig, free_port, furnish  # noqa: E402

PODS = int(os.environ.get("PODS") or 10000)
EVENTS = int(os.environ.get("EVENTS") or 20000)
QUEUE = int(os.environ.get("QUEUE") or 100)
MOVES = int(os.environ.get("MOVES") or 1000)
MOVES_STEP = 200
FAILOVERS = 3
AT_ONCE = 8
TICK = os.sysconf("SC_CLK_TCK")
PATH = f"/api/v1/namespaces/{NS}/pods"

# key, what it means, what it should be at most (or at least, when negative)
GOALS = (
    ("rss_idle_mib", "resident memory, idle, MiB", 16),
    ("rss_more_mib", "more of it with %d watched pods, MiB" % PODS, 5),
    ("ready_s", "from exec to ready, s", 1),
    ("events_per_core_s", "watch events a second of one core", -15000),
    ("queue_moved", "of %d PodMigrations made at once, how many it brought on their way" % QUEUE, -QUEUE),
    ("queue_more_mib", "more memory with all of them under way, MiB", 5),
    ("moves_last_mib", "after %d migrations, what the last %d of them added, MiB" % (MOVES, MOVES_STEP), 0.25),
    ("failover_crash_s.p99", "another leads after a crash, s", 20),
    ("failover_stop_s.p99", "another leads after a clean stop, s", 5),
)


class Watched(Controller):
    """A controller as deploy/ starts it: with the lease's own times."""

    def __init__(self, binary, kubeconfig, log):
        self.port, self.log, self.begin = free_port(), log, time.monotonic()
        with open(log, "ab") as out:
            self.process = subprocess.Popen([binary, "--kubeconfig", kubeconfig, "--port", str(self.port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out)

    def wait_ready(self):
        """Seconds from exec."""
        until(lambda: self.http("/readyz")[0] == 200, 60, "the controller is ready")
        return time.monotonic() - self.begin

    def wait_leads(self):
        until(self.leads, 60, "the controller leads")

    def rss_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return round(next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024, 2)

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def settle(self):
        """Until it has nothing to do any more."""
        while True:
            before = self.cpu_s()
            time.sleep(1)
            if self.cpu_s() - before <= 0.02:
                return


def together(fn, items):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fn, items))


def pod(i):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"watched-{i}", "labels": {LABEL: "00000000-0000-0000-0000-%012d" % i}},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "app", "image": "docker.io/lab/app:1"}]}}


def memory_and_events(kube, start):
    r = {}
    first = start()
    r["ready_s"] = round(first.wait_ready(), 3)
    first.wait_leads()
    first.settle()
    r["rss_idle_mib"] = first.rss_mib()
    print("%d pods are made" % PODS, flush=True)
    together(lambda i: kube.create(PATH, pod(i)), range(PODS))
    first.settle()
    r["rss_pods_mib"] = first.rss_mib()
    r["rss_more_mib"] = round(r["rss_pods_mib"] - r["rss_idle_mib"], 2)
    print("%d events" % EVENTS, flush=True)
    cpu, begin = first.cpu_s(), time.monotonic()
    together(lambda i: kube.merge(f"{PATH}/watched-{i % PODS}", {"metadata": {"annotations": {"turn": str(i)}}}), range(EVENTS))
    r["events_s"] = round(EVENTS / (time.monotonic() - begin))
    first.settle()
    used = first.cpu_s() - cpu
    r["events_cpu_s"] = round(used, 2)
    r["events_per_core_s"] = round(EVENTS / used) if used else None
    r["rss_after_mib"] = first.rss_mib()
    first.stop()
    again = start()
    r["ready_pods_s"] = round(again.wait_ready(), 3)
    again.wait_leads()
    again.settle()
    r["rss_restart_mib"] = again.rss_mib()
    again.stop()
    return r


def queue(kube, start):
    """PodMigrations made at once, each of a pod of its own: until all are Transferring (a kubelet is played; no agent is), and until all are cancelled."""
    world, r = World(kube, Checks()), {}
    kubelet, controller = Kubelet(kube), start()
    controller.wait_leads()
    controller.settle()
    names = [world.pod()["metadata"]["name"] for _ in range(QUEUE)]
    rss, cpu = controller.rss_mib(), controller.cpu_s()
    kubelet.start()

    def seen(*phases):
        return sum(m.get("status", {}).get("phase") in phases for m in kube.get(f"{PM}/namespaces/{NS}/podmigrations")["items"])
    begin = time.monotonic()
    together(lambda name: world.migrate(name, name), names)
    r["queue_made_s"] = round(time.monotonic() - begin, 2)
    try:
        until(lambda: seen("Transferring") == QUEUE, 120, "all are on their way")
    except TimeoutError as e:
        print(e)    # how many, is the figure
    r["queue_s"], r["queue_moved"] = round(time.monotonic() - begin, 2), seen("Transferring")
    r["queue_more_mib"], r["queue_cpu_ms_each"] = round(controller.rss_mib() - rss, 2), round(1000 * (controller.cpu_s() - cpu) / QUEUE, 1)
    begin = time.monotonic()
    together(lambda name: kube.merge(f"{PM}/namespaces/{NS}/podmigrations/{name}", {"spec": {"cancel": True}}), names)
    until(lambda: seen("Cancelled", "Failed") == QUEUE, 120, "all are at an end")
    r["queue_cancelled_s"] = round(time.monotonic() - begin, 2)
    kubelet.stopped.set()
    kubelet.join()
    controller.stop()
    for name in names:
        kube.delete(f"{PM}/namespaces/{NS}/podmigrations/{name}")
        kube.delete(f"{PATH}/{name}", 0)
    return r


def one_move(world):
    """A whole migration; the agents' words are played."""
    kube = world.kube
    m = world.wait_phase(world.migrate(world.pod()["metadata"]["name"], ttlAfterFinished="1s"), "Transferring", 60)
    for state in ("Ready", "Freezing", "Restoring"):
        world.agent(m, state)
    world.agent(m, "Committed", decision="Commit")
    world.agent(m, "Running", downtimeMicroseconds=200000, bytesTransferred=1 << 26)
    until(lambda: (kube.find(world.path(m)) or {"status": {"phase": "Succeeded"}})["status"]["phase"] == "Succeeded", 60, "it has succeeded")
    kube.delete(f"/api/v1/namespaces/{NS}/pods/" + m["status"]["destinationPod"]["name"], 0)


def moves(kube, start):
    """Resident memory after so many migrations that succeed: it levels."""
    world, kubelet, controller, r = World(kube, Checks()), Kubelet(kube), start(), {}
    controller.wait_leads()
    kubelet.start()
    for done in range(MOVES_STEP, MOVES + 1, MOVES_STEP):
        together(lambda _: one_move(world), range(MOVES_STEP))
        time.sleep(3)
        controller.settle()
        r[str(done)] = controller.rss_mib()
    kubelet.stopped.set()
    kubelet.join()
    controller.stop()
    last = list(r.values())[-2:]
    return {"moves_rss_mib": r, "moves_last_mib": round(last[-1] - last[0], 2) if len(last) == 2 else None}


def failover(start, sig):
    """Seconds from the leader's end until the other one leads."""
    leader = start()
    leader.wait_leads()
    other = start()
    other.wait_ready()
    time.sleep(3)
    begin = time.monotonic()
    leader.process.send_signal(sig)
    other.wait_leads()
    took = time.monotonic() - begin
    leader.process.wait(timeout=30)
    other.stop()
    return took


def main():
    kubeconfig, binary, logs = sys.argv[1:4]
    kube, started = Kube(kubeconfig), []
    furnish(World(kube, Checks()))
    controller_kubeconfig(kube, f"{logs}/controller.kubeconfig")

    def start():
        started.append(Watched(binary, f"{logs}/controller.kubeconfig", f"{logs}/controller-{len(started)}.log"))
        return started[-1]
    try:
        result = {"pods": PODS, "cpus": os.cpu_count()}
        print("%d PodMigrations at once" % QUEUE, flush=True)
        result.update(queue(kube, start))
        print("%d migrations" % MOVES, flush=True)
        result.update(moves(kube, start))
        result.update(memory_and_events(kube, start))
        for name, sig in (("crash", signal.SIGKILL), ("stop", signal.SIGTERM)):
            print("failover, %s" % name, flush=True)
            result["failover_%s_s" % name] = report.stats([failover(start, sig) for _ in range(FAILOVERS)])
    finally:
        for c in started:
            c.stop(signal.SIGKILL)
    result["goals"] = report.goals(result, GOALS)
    with open(os.path.join(ROOT, "build/bench-controller.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
    print(json.dumps({k: v for k, v in result.items() if k != "goals"}, indent=1))
    print(report.goals_table(result["goals"]))


if __name__ == "__main__":
    main()
