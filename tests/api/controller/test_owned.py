# SPDX-License-Identifier: Apache-2.0
"""Pods of a Deployment, with the real kube-controller-manager: the ReplicaSet neither makes a third pod nor deletes the moved one."""
import subprocess
import threading
import time

from harness import LABEL, NS, condition, until
from test_flow import destination

PODS = f"/api/v1/namespaces/{NS}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NS}/deployments"


class ControllerManager:
    """Only what keeps Deployments and ReplicaSets."""

    def __init__(self, binary, kubeconfig, log):
        self.process = subprocess.Popen([binary, "--kubeconfig", kubeconfig, "--leader-elect=false", "--controllers=deployment-controller,replicaset-controller",
                                         "--secure-port=0", "--kube-api-qps=200", "--kube-api-burst=400"],
                                        stdin=subprocess.DEVNULL, stdout=open(log, "ab"), stderr=subprocess.STDOUT, close_fds=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)


class Nodes(threading.Thread):
    """Binds new pods of the Deployment to n1 and lets them run; `ready` says which pods are Ready (by name: a function)."""

    def __init__(self, w, app):
        super().__init__(daemon=True)
        self.w, self.app, self.stopped, self.ready, self.seen = w, app, threading.Event(), lambda name: True, {}
        self.start()

    def run(self):
        while not self.stopped.wait(0.01):
            try:
                self.look()
            except Exception:       # the API server's word is what counts, in the checks
                time.sleep(0.05)

    def look(self):
        for pod in self.w.kube.get(f"{PODS}?labelSelector=app%3D{self.app}")["items"]:
            name = pod["metadata"]["name"]
            self.seen[pod["metadata"]["uid"]] = name
            if not pod["spec"].get("nodeName"):
                self.w.kube.create(f"{PODS}/{name}/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                                                             "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"}})
            if pod["status"].get("phase") != "Running" and pod["spec"].get("nodeName"):
                run(self.w, name, self.ready(name))


def run(w, name, ready):
    w.kube.merge(f"{PODS}/{name}/status", {"status": {"phase": "Running", "podIP": "10.1.1.1", "conditions": [
        {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}], "containerStatuses": [
        {"name": "app", "image": "i", "imageID": "docker.io/lab/app@sha256:" + "a" * 64, "ready": ready, "restartCount": 0, "started": True, "state": {"running": {}}}]}})


def deploy(w, app, replicas):
    w.kube.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": {"metadata": {"labels": {"app": app, "tier": "front"}}, "spec": {
            "containers": [{"name": "app", "image": "docker.io/lab/app:1"}]}}}})
    return until(lambda: (lambda p: p if len(p) == replicas and all(x["status"].get("phase") == "Running" for x in p) else None)(mine(w, app)), 30, "pods of the Deployment")


def mine(w, app):
    return [p for p in w.kube.get(f"{PODS}?labelSelector=app%3D{app}")["items"] if "deletionTimestamp" not in p["metadata"]]


def made(w, app):
    """How many pods the ReplicaSet says that it has made: one that lived for a moment only would be seen here."""
    events = w.kube.get(f"/api/v1/namespaces/{NS}/events")["items"]
    return sum(e.get("count") or 1 for e in events if e["involvedObject"]["kind"] == "ReplicaSet" and e["reason"] == "SuccessfulCreate"
               and e["involvedObject"]["name"].startswith(app + "-"))


def owner(pod):
    return [o["kind"] for o in pod["metadata"].get("ownerReferences", []) if o.get("controller")]


def move(w, app, pod, nodes, ready_after=0.0):
    """Returns the destination pod at the end, and all pods that ever carried the app's label while it went on."""
    nodes.seen.clear()
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring")
    dest = destination(w, m)
    w.c.check("owned: the destination has neither the labels nor the owner before the commit", "app" not in dest["metadata"]["labels"] and not owner(dest), dest["metadata"])
    run(w, dest["metadata"]["name"], False)
    w.agent(m, "Freezing")
    w.wait_phase(m, "Freezing")
    w.agent(m, "Committed", decision="Commit")
    w.agent(m, "Running")
    if ready_after:
        time.sleep(ready_after)
        w.c.check("owned: as long as it is not Ready, the source keeps its place", w.get(m)["status"]["phase"] == "Committed" and
                  "deletionTimestamp" not in w.find_pod(pod["metadata"]["name"])["metadata"], w.get(m)["status"])
    run(w, dest["metadata"]["name"], True)
    w.wait_phase(m, "Succeeded")
    return w.find_pod(dest["metadata"]["name"])


def one(w, replicas, ready_after):
    app = w.unique("dep")
    nodes = Nodes(w, app)
    try:
        pods = deploy(w, app, replicas)
        dest = move(w, app, pods[0], nodes, ready_after)
        # the ReplicaSet has had its say by then
        until(lambda: w.kube.get(f"{DEPLOYMENTS}/{app}")["status"].get("readyReplicas") == replicas, 30, "the Deployment is whole")
        time.sleep(1)
        now = mine(w, app)
        what = f"owned: {replicas} replica(s), Ready {'later' if ready_after else 'at once'}"
        w.c.check(f"{what}: the moved pod is there, with labels and owner", any(p["metadata"]["uid"] == dest["metadata"]["uid"] for p in now) and
                  owner(dest) == ["ReplicaSet"] and dest["metadata"]["labels"].get("tier") == "front" and "pod-template-hash" in dest["metadata"]["labels"] and
                  LABEL in dest["metadata"]["labels"], dest["metadata"])
        want = {p["metadata"]["uid"] for p in pods} | {dest["metadata"]["uid"]}
        w.c.check(f"{what}: no other pod was ever made", set(nodes.seen) <= want and len(now) == replicas, f"{nodes.seen}, {[p['metadata']['name'] for p in now]}")
        w.c.equal(f"{what}: the ReplicaSet has made as many as it was told to", made(w, app), replicas)
        w.c.check(f"{what}: the source is gone", all(p["metadata"]["uid"] != pods[0]["metadata"]["uid"] for p in now))
        return app, nodes, dest
    except Exception:
        nodes.stopped.set()
        raise


def owned(w, binary, kubeconfig, log):
    with ControllerManager(binary, kubeconfig, log):
        for replicas, ready_after in ((1, 0.0), (1, 1.5), (3, 0.0), (1, 0.0), (1, 0.0), (1, 0.0)):
            app, nodes, dest = one(w, replicas, ready_after)
            if replicas == 1 and ready_after:
                there_and_back(w, app, nodes, dest)
            nodes.stopped.set()
            w.kube.delete(f"{DEPLOYMENTS}/{app}")
        given_up(w)


def there_and_back(w, app, nodes, first):
    """What was moved once is the ReplicaSet's pod like any other: it moves again, and is replaced when it is deleted."""
    dest = move(w, app, first, nodes)
    w.c.check("owned: moved twice", owner(dest) == ["ReplicaSet"] and [p["metadata"]["uid"] for p in mine(w, app)] == [dest["metadata"]["uid"]])
    w.kube.delete(f"{PODS}/{dest['metadata']['name']}", 0)
    until(lambda: len(mine(w, app)) == 1, 30, "a new pod")
    w.c.check("owned: deleted afterwards, it is replaced", mine(w, app)[0]["metadata"]["uid"] != dest["metadata"]["uid"])


def given_up(w):
    """Before the commit nothing of the ReplicaSet's view has changed."""
    app = w.unique("dep")
    nodes = Nodes(w, app)
    source = deploy(w, app, 1)[0]
    m = w.wait_phase(w.migrate(source["metadata"]["name"]), "Transferring")
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    m = w.wait_phase(m, "Cancelled")
    time.sleep(0.5)
    now = mine(w, app)
    w.c.check("owned: given up: the source is the only pod, as before", [p["metadata"]["uid"] for p in now] == [source["metadata"]["uid"]] and
              "controller.kubernetes.io/pod-deletion-cost" not in now[0]["metadata"].get("annotations", {}) and not condition(m, "AttentionNeeded"), now)
    nodes.stopped.set()
    w.kube.delete(f"{DEPLOYMENTS}/{app}")
