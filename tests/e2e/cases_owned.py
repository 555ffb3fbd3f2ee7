# SPDX-License-Identifier: Apache-2.0
"""A pod of a Deployment keeps its place: its ReplicaSet neither makes a third pod nor deletes the moved one."""
import json
import subprocess
import threading
import time

from cluster import PATIENCE, Failed, objects
from pods import NS, TOLERATIONS, Chain, condition, container, explain, is_running, marks, migration, pod


def pods_of(home, app):
    items = json.loads(home.ok("get", "pods", "-n", NS, "-l", "app=" + app, "-o", "json"))["items"]
    return [p for p in items if "deletionTimestamp" not in p["metadata"]]


class Owned(Chain):
    """The one pod of a Deployment, and what becomes of it."""

    def __init__(self, case, home, app, containers):
        self.case, self.home, self.ns, self.app = case, home, NS, app
        self.containers, self.logs, self.moves = [c["name"] for c in containers], [], []
        # where a replacement would go is not what is asked here
        template = pod(app, containers, tolerations=TOLERATIONS)
        home.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app, "namespace": NS}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": app}}, "template": {"metadata": {"labels": {"app": app}}, "spec": template["spec"]}}})
        case.clean(lambda: home.delete("deployment", app, NS))
        home.watch("deployments", app, NS, lambda d: d.get("status", {}).get("readyReplicas") == 1, 90, "ready")
        first = pods_of(home, app)[0]["metadata"]
        self.name, self.owner = first["name"], first["ownerReferences"][0]["uid"]
        home.watch("pods", self.name, NS, is_running, 60, "running")
        self.follow()
        self.wait_ticks(2)

    def made(self):
        """How many pods the ReplicaSet says that it has made and deleted."""
        events = json.loads(self.home.ok("get", "events", "-n", NS, "-o", "json"))["items"]
        return sum(e.get("count") or 1 for e in events if e["involvedObject"].get("uid") == self.owner and e["reason"] == "SuccessfulCreate")

    def check_place(self):
        """The moved pod is the Deployment's only one, and stays it."""
        self.home.watch("deployments", self.app, NS, lambda d: d["status"].get("readyReplicas") == 1 and d["status"].get("replicas") == 1, 30, "whole")
        time.sleep(3)
        found = pods_of(self.home, self.app)
        if [p["metadata"]["name"] for p in found] != [self.name]:
            raise Failed("the Deployment has %s, not %s" % ([p["metadata"]["name"] for p in found], self.name))
        if [o["kind"] for o in found[0]["metadata"].get("ownerReferences", [])] != ["ReplicaSet"]:
            raise Failed("the moved pod belongs to %s" % found[0]["metadata"].get("ownerReferences"))
        if self.made() != 1:
            raise Failed("the ReplicaSet has made %d pods, not 1" % self.made())


class Endpoints:
    """Which addresses a Service has ready, and when that changed, as its EndpointSlices tell; followed in a thread."""

    def __init__(self, case, home, service):
        self.slices, self.ready, self.log, self.changed = {}, set(), [], threading.Condition()      # log: (unix ms, the addresses that are ready since)
        self.process = subprocess.Popen(home.command("get", "endpointslices", "-n", NS, "-l", "kubernetes.io/service-name=" + service, "-o", "json", "-w", "--output-watch-events"),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        case.clean(self.process.wait)
        case.clean(self.process.kill)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for event in objects(self.process.stdout, time.monotonic() + 3600):
            s = event["object"]
            self.slices[s["metadata"]["name"]] = [] if event["type"] == "DELETED" else s.get("endpoints") or []
            with self.changed:
                self.ready = {a for endpoints in self.slices.values() for e in endpoints if e.get("conditions", {}).get("ready") for a in e["addresses"]}
                self.log.append((time.time() * 1000, self.ready))
                self.changed.notify_all()

    def wait(self, ready, timeout):
        with self.changed:
            if not self.changed.wait_for(lambda: self.ready == ready, timeout * PATIENCE):
                raise Failed("the Service's ready addresses are %s, not %s" % (sorted(self.ready), sorted(ready)))

    def first_ms(self, good, since=0):
        """Unix ms of the first change, from `since` on, to addresses that are good."""
        return next(at for at, ready in self.log if at >= since and good(ready))

    def check_order(self, since, old, new):
        """The Service was never without: when the old address was not ready any more the new one was. since: how long the log was before."""
        self.wait({new}, 30)
        without = next(ready for _, ready in self.log[since:] if old not in ready)
        if new not in without:
            raise Failed("the Service lost %s before it had %s: %s" % (old, new, [sorted(ready) for _, ready in self.log[since:]]))


OLD_READY_S = 5         # so long after the freeze the old address may be given to clients


def switched(endpoints, m, old, new):
    """Milliseconds from the freeze until the old address was not ready any more, and until the new one was."""
    endpoints.wait({new}, 30)
    frozen, there = marks(m)["frozen"], endpoints.first_ms(lambda ready: old in ready)
    gone, come = (round(endpoints.first_ms(good, there) - frozen) for good in (lambda ready: old not in ready, lambda ready: new in ready))
    if not 0 <= gone <= OLD_READY_S * 1000 * PATIENCE:
        raise Failed("the old address was taken from the Service %d ms after the freeze" % gone)
    return gone, come


def deployment(case, home, away):
    """the pod of a Deployment a->b, b->a: one pod at every moment, every count; its Service has the old address until the freeze, and in the end only the new one"""
    chain, times = Owned(case, home, "owned", [container("one", 8)]), []
    home.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "owned", "namespace": NS}, "spec": {"selector": {"app": "owned"}, "ports": [{"port": 80}]}})
    case.clean(lambda: home.delete("service", "owned", NS))
    address = lambda: home.get("pod", chain.name, NS)["status"]["podIP"]
    for where in ({"cluster": away.name}, {"node": home.name}):
        old, endpoints = address(), Endpoints(case, home, "owned")
        endpoints.wait({old}, 30)
        before = len(endpoints.log)
        m = chain.move(**where)
        chain.check_place()
        endpoints.check_order(before, old, address())
        times.append(switched(endpoints, m, old, address()))
    case.note(gap_ms=chain.check(), old_gone_ms=[t[0] for t in times], new_ready_ms=[t[1] for t in times])


def events_of(home, uid):
    items = json.loads(home.ok("get", "events", "-n", NS, "-o", "json"))["items"]
    return {e["reason"]: sum(i.get("count") or 1 for i in items if i["involvedObject"].get("uid") == uid and i["reason"] == e["reason"])
            for e in items if e["involvedObject"].get("uid") == uid}


def not_ready(case, home, away):
    """a Deployment's pod that is not ready yet where it was moved to: its frozen source fails its liveness probe, and the kubelet, which kills it, cannot start it anew beside the one that runs"""
    exec_ = lambda *words: {"exec": {"command": ["/tool", *words]}}
    # (a probe that executes something says nothing of a frozen container)
    chain = Owned(case, home, "late", [container("one", image="kinds", args=["http=8080"], lifecycle={"postStart": exec_("add", "/state/ready", "yes")},
                                                 readinessProbe={**exec_("show", "/state/ready"), "periodSeconds": 60},
                                                 livenessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 2, "failureThreshold": 3})])
    source = home.get("pod", chain.name, NS)
    home.ok("exec", "-n", NS, chain.name, "--", "/tool", "remove", "/state/ready")
    home.apply(migration("late-1", chain.name, NS, cluster=away.name))
    case.clean(lambda: home.delete("podmigration", "late-1", NS))
    case.migrations.append((NS, "late-1"))
    home.watch("podmigrations", "late-1", NS, lambda m: m.get("status", {}).get("phase") == "Committed", 90, "committed")
    dead = home.watch("pods", chain.name, NS, lambda p: p["status"]["containerStatuses"][0]["state"].get("running") is None, 60, "killed by its kubelet")
    m = home.watch("podmigrations", "late-1", NS, lambda m: m.get("status", {}).get("phase") in ("Succeeded", "Failed", "Cancelled"), 120, "at an end")
    chain.arrived(m)
    said = events_of(home, source["metadata"]["uid"])
    if said.get("Unhealthy", 0) < 1 or said.get("Started") != 1:
        raise Failed("the source's container was not killed, or was started %s times: %s, %s" % (said.get("Started"), said, dead["status"]["containerStatuses"]))
    if condition(m, "InvariantViolated").get("status") == "True":
        raise Failed("%s, %s" % (explain(m), condition(m, "InvariantViolated")["message"]))
    chain.check()
    case.note(source=",".join("%s:%d" % item for item in sorted(said.items())))


CASES = {"deployment": deployment, "not-ready": not_ready}
