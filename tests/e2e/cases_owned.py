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
    """The one pod of a Deployment, or one of them, and what becomes of it."""

    def __init__(self, case, home, app, containers, replicas=1):
        self.case, self.home, self.ns, self.app, self.replicas = case, home, NS, app, replicas
        self.containers, self.logs, self.moves = [c["name"] for c in containers], [], []
        # where a replacement would go is not what is asked here
        template = pod(app, containers, tolerations=TOLERATIONS)
        home.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app, "namespace": NS}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": {"metadata": {"labels": {"app": app}}, "spec": template["spec"]}}})
        case.clean(lambda: home.delete("deployment", app, NS))
        home.watch("deployments", app, NS, lambda d: d.get("status", {}).get("readyReplicas") == replicas, 90, "ready")
        first, *others = [p["metadata"] for p in pods_of(home, app)]
        self.others = [o["name"] for o in others]
        self.name, self.owner = first["name"], first["ownerReferences"][0]["uid"]
        home.watch("pods", self.name, NS, is_running, 60, "running")
        self.follow()
        self.wait_ticks(2)

    def made(self):
        """How many pods the ReplicaSet says that it has made and deleted."""
        events = json.loads(self.home.ok("get", "events", "-n", NS, "-o", "json"))["items"]
        return sum(e.get("count") or 1 for e in events if e["involvedObject"].get("uid") == self.owner and e["reason"] == "SuccessfulCreate")

    def check_place(self):
        """The moved pod is the Deployment's only one, or beside the others that it had, and stays it."""
        self.home.watch("deployments", self.app, NS, lambda d: d["status"].get("readyReplicas") == self.replicas and d["status"].get("replicas") == self.replicas, 30, "whole")
        time.sleep(3)
        found = {p["metadata"]["name"]: p["metadata"].get("ownerReferences", []) for p in pods_of(self.home, self.app)}
        if set(found) != {self.name, *self.others}:
            raise Failed("the Deployment has %s, not %s" % (sorted(found), sorted([self.name, *self.others])))
        if [o["kind"] for o in found[self.name]] != ["ReplicaSet"]:
            raise Failed("the moved pod belongs to %s" % found[self.name])
        if self.made() != self.replicas:
            raise Failed("the ReplicaSet has made %d pods, not %d" % (self.made(), self.replicas))


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


OLD_READY_MS = 100      # that the watch tells it here may take so long
AHEAD_MS = 1000         # so long before the freeze a pod that runs may be out of its Service
AGAIN_MS = 250          # so long the word of a kubelet may stand that a pod is Ready which stands still (src/agent/source_service.c); it says so once in ten seconds


def again_ms(log, address):
    """How long the address was there each time that it came back. log: from when it was there no more."""
    times, since = [], None
    for at, ready in log:
        if address in ready:
            since = since or at
        elif since:
            times.append(round(at - since))
            since = None
    return times if since is None else [*times, float("inf")]


def switched(endpoints, since, m, old, new, others=()):
    """
    Milliseconds from the freeze until the old address was not ready any more (negative: before), and until the new one was.  Once it was not, only its kubelet brings it back, for a moment.  since: how
    long the log was before.
    """
    endpoints.wait({new, *others}, 30)
    frozen, log = marks(m)["frozen"], endpoints.log[since:]
    gone, come = (next(i for i, (_, ready) in enumerate(log) if good(ready)) for good in (lambda ready: old not in ready, lambda ready: new in ready))
    told = [(round(at - frozen), sorted(ready)) for at, ready in log]
    if not -AHEAD_MS * PATIENCE <= told[gone][0] <= OLD_READY_MS * PATIENCE or gone > come:
        raise Failed("the Service had %s until %d ms after the freeze: %s" % (old, told[gone][0], told))
    if max(again_ms(log[gone:], old), default=0) > AGAIN_MS * PATIENCE:
        raise Failed("the Service had %s again: %s" % (old, told))
    return told[gone][0], told[come][0]


def deployment(case, home, away):
    """the pod of a Deployment a->b, b->a: one pod at every moment, every count; its Service has the old address until the freeze, the new one when that is ready, and the old one no more"""
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
        times.append(switched(endpoints, before, m, old, address()))
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
