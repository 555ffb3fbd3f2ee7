# SPDX-License-Identifier: Apache-2.0
"""Pods and PodMigrations of the cases."""
from datetime import datetime

import continuity
from cluster import Failed, Log

NS = "demo"
ENDED = ("Succeeded", "Failed", "Cancelled")
TOLERATIONS = [{"key": "virtual-node.liqo.io/not-allowed", "operator": "Exists"}]


def container(name, mib=8, image="counter", args=None, **more):
    return {"name": name, "image": "localhost/e2e/%s:1" % image, "imagePullPolicy": "IfNotPresent", "env": [{"name": "NAME", "value": name}],
            "args": args if args is not None else [str(mib), "/state/count"], **more}


def pod(name, containers, ns=NS, node="a", annotations=None, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": ns, "annotations": annotations or {}},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 1, "containers": containers, **spec}}


def migration(name, pod_name, ns=NS, cluster=None, node=None, **spec):
    destination = {"liqoCluster": cluster} if cluster else {"nodeName": node}
    return {"apiVersion": "podmigration.dev/v1alpha1", "kind": "PodMigration", "metadata": {"name": name, "namespace": ns},
            "spec": {"podName": pod_name, "destination": destination, **spec}}


def unix_ms(rfc3339):
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp() * 1000


def marks(m):
    """{step: unix ms} of the cut-over."""
    return {e["step"]: unix_ms(e["time"]) for e in m["status"]["source"]["timeline"]}


def condition(o, kind):
    return next((c for c in o.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def is_running(p):
    """All containers run; a container that cannot come up is said so at once."""
    statuses = p.get("status", {}).get("containerStatuses", [])
    for s in statuses:
        waiting = s.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "CreateContainerError", "RunContainerError"):
            raise Failed("container %s: %s %s" % (s["name"], waiting["reason"], waiting.get("message", "")))
    return bool(statuses) and all("running" in s.get("state", {}) for s in statuses)


class Chain:
    """One counting pod and what becomes of it, move after move; its logs are followed from the first line to the last."""

    def __init__(self, case, home, manifest):
        self.case, self.home = case, home
        self.ns, self.name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        sidecars = [c for c in manifest["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"]
        self.containers = [c["name"] for c in sidecars + manifest["spec"]["containers"]]
        self.logs = []                  # one {container: Log} for each pod of the chain
        self.moves = []
        home.apply(manifest)
        self.case.clean(lambda: home.delete("pod", manifest["metadata"]["name"], self.ns, "--grace-period=1"))
        home.watch("pods", self.name, self.ns, is_running, 60, "running")
        self.follow()
        self.wait_ticks(2)

    def follow(self):
        logs = {c: Log(self.home, self.ns, self.name, c) for c in self.containers}
        self.logs.append(logs)
        for log in logs.values():
            self.case.clean(log.close)

    def wait_ticks(self, more, timeout=40):
        """`more` further lines of counts from every container of the pod that runs now."""
        for log in self.logs[-1].values():
            log.wait(continuity.has_ticks(len(continuity.ticks(log.lines)) + more), timeout, "%d counts" % (more * continuity.STEP))

    def move(self, timeout=120, **where):
        """Moves the pod and follows it; returns the PodMigration as it ended."""
        name = "%s-%d" % (self.name[:40], len(self.moves) + 1)
        m = migrate(self.case, self.home, migration(name, self.name, self.ns, **where), timeout)
        return self.arrived(m)

    def arrived(self, m):
        """The pod was moved by this PodMigration: follows it from here on."""
        if m["status"].get("phase") != "Succeeded":
            raise Failed("the migration ended %s" % explain(m))
        self.arrive(m)
        return m

    def arrive(self, m):
        """The pod is where the PodMigration says, and nowhere else."""
        self.moves.append(m)
        for log in self.logs[-1].values():
            log.wait_end(30)
        if self.home.get("pod", self.name, self.ns):
            raise Failed("the source pod %s is still there" % self.name)
        self.name = m["status"]["destinationPod"]["name"]
        self.case.clean(lambda n=self.name: self.home.delete("pod", n, self.ns, "--grace-period=1"))
        self.follow()
        self.wait_ticks(2)

    def check(self):
        """Every count of every container, over all moves. Returns the largest gap in ms."""
        return max(continuity.check([logs[c].lines for logs in self.logs]) for c in self.containers)

    def check_untouched(self):
        """The pod goes on as if nothing had been: counts, restarts, no other pod of its name."""
        self.wait_ticks(2)
        p = self.home.get("pod", self.name, self.ns)
        if not p or any(s["restartCount"] or "running" not in s["state"] for s in p["status"]["containerStatuses"]):
            raise Failed("the source pod was touched")
        self.check()


def migrate(case, home, manifest, timeout=120):
    """Applies a PodMigration and returns it as it ended."""
    name, ns = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    home.apply(manifest)
    case.clean(lambda: home.delete("podmigration", name, ns))
    case.migrations.append((ns, name))
    return home.watch("podmigrations", name, ns, lambda m: m.get("status", {}).get("phase") in ENDED, timeout, "at an end")


def explain(m):
    c = condition(m, "Succeeded")
    return "%s, %s: %s" % (m["status"].get("phase"), c.get("reason"), c.get("message"))


def reason_of(m):
    return condition(m, "Succeeded").get("reason")
