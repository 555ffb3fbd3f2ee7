# SPDX-License-Identifier: Apache-2.0
"""What the tests share: checks, controller processes, and someone who plays kubelet and agents (their real parts are tested elsewhere)."""
import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time
import traceback
import urllib.request

from kube import ApiError, PM

LABEL = "podmigration.dev/migration-uid"
NS = "demo"


class Checks:
    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def check(self, name, ok, detail=""):
        with self.lock:
            if ok:
                self.passed += 1
                print(f"ok   {name}", flush=True)
            else:
                self.failed += 1
                print(f"FAIL {name}: {detail}", flush=True)
        return ok

    def equal(self, name, got, want):
        return self.check(name, got == want, f"got {got!r}, want {want!r}")

    def run(self, name, fn, *args):
        """A test that ends by an exception has failed."""
        try:
            fn(*args)
        except Exception as e:
            self.check(name, False, f"{type(e).__name__}: {e}\n{traceback.format_exc()}")

    def together(self, tests):
        """Tests that mostly wait, side by side."""
        threads = [threading.Thread(target=self.run, args=t) for t in tests]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


def until(fn, seconds=30, what="condition"):
    end = time.monotonic() + seconds
    while True:
        v = fn()
        if v:
            return v
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true in {seconds} s")
        time.sleep(0.02)


class Controller:
    """One real podmigration-controller process."""

    def __init__(self, binary, kubeconfig, port, log, *options):
        self.port = port
        self.log = log
        self.process = subprocess.Popen(
            [binary, "--kubeconfig", kubeconfig, "--port", str(port), "--lease-seconds", "4", "--renew-seconds", "3", "--retry-ms", "500", "-v", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(log, "ab"), close_fds=True)

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def leads(self):
        return "leading" in self.http("/readyz")[1]

    @contextlib.contextmanager
    def stopped(self):
        """As if it were far away for a moment; shorter than its lease."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout=30)


class Kubelet(threading.Thread):
    """Ends pods that are being deleted and runs destination pods, as a node would; `how` maps a node's name to what it does with new pods; one
    with "mute" in its name does nothing."""

    def __init__(self, kube):
        super().__init__(daemon=True)
        self.kube = kube
        self.how = {}
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.02):
            try:
                pods = self.kube.get(f"/api/v1/namespaces/{NS}/pods")["items"]
            except (ApiError, OSError, http.client.HTTPException):
                continue
            # what one pod refuses does not keep the others waiting
            for pod in pods:
                try:
                    self.look(pod)
                except (ApiError, OSError, http.client.HTTPException):
                    pass

    def look(self, pod):
        path = f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}"
        if "deletionTimestamp" in pod["metadata"]:
            if not pod["metadata"].get("finalizers") and self.how.get(pod["spec"].get("nodeName")) != "dead":
                # by its UID, as a kubelet: another of that name may be there by now
                self.kube.delete(path, 0, pod["metadata"]["uid"])
            return
        if "podmigration.dev/migration" not in pod["metadata"].get("annotations", {}) or pod["status"].get("phase") != "Pending":
            return
        node = pod["spec"].get("nodeName", "")
        how = self.how.get(node, "none" if "mute" in node else "run")
        status = running(pod) if how == "run" else how if isinstance(how, dict) else None
        if status and not pod["status"].get("containerStatuses") and pod["status"].get("reason") != status.get("reason", ""):
            self.kube.merge(path + "/status", {"status": status})


def running(pod, ip="10.9.9.9"):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state = lambda c: {"name": c["name"], "image": c["image"], "imageID": "docker.io/lab/app@sha256:" + "a" * 64, "ready": True, "restartCount": 0,
                       "started": True, "state": {"running": {"startedAt": now}}}
    s = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "containerStatuses": [state(c) for c in pod["spec"]["containers"]]}
    if pod["spec"].get("initContainers"):
        s["initContainerStatuses"] = [state(c) for c in pod["spec"]["initContainers"] if c.get("restartPolicy") == "Always"]
    return s


class World:
    """Objects of the tests' namespace."""

    def __init__(self, kube, checks):
        self.kube = kube
        self.c = checks
        self.number = 0
        self.run = f"{int(time.time()) % 46656:x}"          # several runs against one API server do not meet
        self.lock = threading.Lock()

    def unique(self, base):
        with self.lock:
            self.number += 1
            return f"{base}-{self.run}-{self.number}"

    def node(self, name, ready=True, labels=None, unschedulable=False, pressure=None, allocatable=None, taints=None):
        self.kube.delete(f"/api/v1/nodes/{name}")
        self.kube.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels or {}},
                                           "spec": {"unschedulable": unschedulable, "taints": taints or []}})
        conditions = {"Ready": ready, **({pressure: True} if pressure else {})}
        self.kube.merge(f"/api/v1/nodes/{name}/status", {"status": {"allocatable": allocatable or {}, "conditions": [
            {"type": t, "status": "True" if v else "False", "reason": "Test", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z", "lastHeartbeatTime": "2026-01-01T00:00:00Z"} for t, v in conditions.items()]}})

    def pod(self, name=None, node="n1", run=True, metadata=None, **spec):
        name = name or self.unique("web")
        base = {"nodeName": node, "containers": [{"name": "app", "image": "docker.io/lab/app:1"}], "terminationGracePeriodSeconds": 5}
        base.update(spec)
        pod = self.kube.create(f"/api/v1/namespaces/{NS}/pods", {"apiVersion": "v1", "kind": "Pod",
                                                                 "metadata": {"name": name, **(metadata or {})}, "spec": base})
        if run:
            self.kube.merge(f"/api/v1/namespaces/{NS}/pods/{name}/status", {"status": running(pod, "10.1.1.1")})
        return pod

    def migrate(self, pod, name=None, **spec):
        base = {"podName": pod, "destination": {"nodeName": "n2"}}
        base.update(spec)
        return self.kube.create(f"{PM}/namespaces/{NS}/podmigrations", {
            "apiVersion": "podmigration.dev/v1alpha1", "kind": "PodMigration", "metadata": {"name": name or self.unique("m")}, "spec": base})

    def path(self, m):
        return f"{PM}/namespaces/{NS}/podmigrations/{m['metadata']['name']}"

    def get(self, m):
        return self.kube.get(self.path(m))

    def find_pod(self, name):
        return self.kube.find(f"/api/v1/namespaces/{NS}/pods/{name}")

    def wait_phase(self, m, phase, seconds=30):
        seen = []

        def there():
            o = self.get(m)
            seen[:] = [json.dumps(o.get("status", {}))]
            return o if o.get("status", {}).get("phase") == phase else None
        try:
            return until(there, seconds, f"phase {phase} of {m['metadata']['name']}")
        except TimeoutError as e:
            raise TimeoutError(f"{e}; last status: {seen[0][:1500]}") from None

    def agent(self, m, state=None, decision=None, **source):
        """What an agent writes: a merge patch that names the UID."""
        status = {"source": {**({"state": state} if state else {}), **source}}
        if decision:
            status["decision"] = decision
        return self.kube.merge(self.path(m) + "/status", {"metadata": {"uid": m["metadata"]["uid"]}, "status": status}, "podmigration-agent")

    def events(self, uid):
        items = self.kube.get(f"/apis/events.k8s.io/v1/namespaces/{NS}/events")["items"]
        return [e["reason"] for e in items if e["regarding"].get("uid") == uid]


def condition(m, kind):
    for c in m.get("status", {}).get("conditions", []):
        if c["type"] == kind:
            return c
    return {}
