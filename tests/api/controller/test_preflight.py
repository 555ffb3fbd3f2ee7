# SPDX-License-Identifier: Apache-2.0
"""What cannot be moved, or not there, is refused with its reason, the source pod untouched."""
import threading
import time

from harness import LABEL, NS, condition, until
from kube import PM

CONTAINER = {"name": "app", "image": "docker.io/lab/app:1"}


def owner(kind, controller=True):
    return {"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "11111111-1111-1111-1111-111111111111", "controller": controller}]}


# what, reasons that must be named, pod: metadata, fields of spec
PODS = [
    ("a ReplicaSet's pod of another API group", ["OwnedPod"], {"ownerReferences": [{**owner("ReplicaSet")["ownerReferences"][0], "apiVersion": "x.example/v1"}]}, {}),
    ("a DaemonSet's pod", ["OwnedPod"], owner("DaemonSet"), {}),
    ("a StatefulSet's pod", ["OwnedPod"], owner("StatefulSet"), {}),
    ("a static pod", ["StaticPod"], {"annotations": {"kubernetes.io/config.mirror": "0123456789abcdef", "kubernetes.io/config.source": "file"}}, {}),
    ("hostNetwork", ["HostNamespace"], {}, {"hostNetwork": True}),
    ("hostPID", ["HostNamespace"], {}, {"hostPID": True}),
    ("hostIPC", ["HostNamespace"], {}, {"hostIPC": True}),
    ("hostPath", ["UnsupportedVolume"], {}, {"volumes": [{"name": "v", "hostPath": {"path": "/tmp"}}]}),
    ("a PVC", ["UnsupportedVolume"], {}, {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
    ("NFS", ["UnsupportedVolume"], {}, {"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}),
    ("a GPU", ["DeviceInUse"], {}, {"containers": [{**CONTAINER, "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}),
    ("huge pages", ["UnsupportedContainer"], {}, {"containers": [{**CONTAINER, "resources": {"limits": {"hugepages-2Mi": "4Mi", "cpu": "1", "memory": "8Mi"}}}]}),
    ("huge pages of a sidecar, and a volume of them", ["UnsupportedVolume", "UnsupportedContainer"], {},
     {"volumes": [{"name": "v", "emptyDir": {"medium": "HugePages-2Mi"}}], "containers": [CONTAINER],
      "initContainers": [{**CONTAINER, "name": "side", "restartPolicy": "Always", "resources": {"limits": {"hugepages-2Mi": "4Mi", "cpu": "1", "memory": "8Mi"}}}]}),
    ("a block device", ["DeviceInUse", "UnsupportedVolume"], {},
     {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}], "containers": [{**CONTAINER, "volumeDevices": [{"name": "v", "devicePath": "/d"}]}]}),
    ("stdin", ["TerminalAttached"], {}, {"containers": [{**CONTAINER, "stdin": True}]}),
    ("a tty", ["TerminalAttached"], {}, {"containers": [{**CONTAINER, "tty": True}]}),
    ("a runtime of its own", ["UnsupportedRuntime"], {}, {"runtimeClassName": "kata"}),
    ("a pod behind a virtual node that nobody brought there", ["UnsupportedSource"], {}, {"nodeName": "virtual-b"}),
    ("all of it at once", ["OwnedPod", "HostNamespace", "UnsupportedVolume", "DeviceInUse", "TerminalAttached"], owner("Job"),
     {"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/tmp"}}],
      "containers": [{**CONTAINER, "tty": True, "stdin": True, "resources": {"limits": {"amd.com/gpu": "1"}}}]}),
]

# what, reason, destination
DESTINATIONS = [
    ("a node that does not exist", "NoSuchDestination", {"nodeName": "nowhere"}),
    ("a cluster that is no peer", "NoSuchDestination", {"liqoCluster": "atlantis"}),
    ("a node that is not Ready", "DestinationNotReady", {"nodeName": "n-down"}),
    ("a cordoned node", "DestinationNotReady", {"nodeName": "n-cordoned"}),
    ("a node whose disk is full", "InsufficientResources", {"nodeName": "n-pressed"}),
    ("a node with a taint that evicts", "DestinationNotReady", {"nodeName": "n-tainted"}),
    ("a virtual node that is not Ready", "DestinationNotReady", {"liqoCluster": "down"}),
    ("a namespace that is not offloaded", "NamespaceNotOffloaded", {"liqoCluster": "lonely"}),
    ("a peer that only consumes", "NoSuchDestination", {"liqoCluster": "consumer"}),
    ("a peer whose API server is gone", "DestinationNotReady", {"liqoCluster": "silent"}),
]


def is_refused(w, what, m, reasons):
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check(f"preflight: {what}: {', '.join(reasons)}",
              c.get("status") == "False" and c.get("reason") in reasons and all(r + ": " in c.get("message", "") for r in reasons),
              f"condition Migratable {c}")
    return m


def untouched(w, what, pod):
    now = w.find_pod(pod["metadata"]["name"])
    ok = now and now["metadata"]["uid"] == pod["metadata"]["uid"] and "deletionTimestamp" not in now["metadata"] \
        and LABEL not in now["metadata"].get("labels", {})
    w.c.check(f"preflight: {what}: the source is untouched", ok, now and now["metadata"])


def pods(w):
    for what, reasons, metadata, spec in PODS:
        pod = w.pod(metadata=metadata, **spec)
        is_refused(w, what, w.migrate(pod["metadata"]["name"]), reasons)
        untouched(w, what, pod)
    others(w)


def others(w):
    m = is_refused(w, "no such pod", w.migrate("nobody"), ["PodNotFound"])
    ready = {k: condition(m, k).get("status") for k in ("Succeeded", "Ready", "Reconciling", "Stalled")}
    w.c.equal("preflight: conditions of a refusal", ready, {"Succeeded": "False", "Ready": "False", "Reconciling": "False", "Stalled": "True"})
    said = [condition(m, k).get("message") for k in ("SourceFrozen", "Committed")]
    w.c.equal("preflight: no such pod: nothing is said to run", said, ["no source pod runs"] * 2)
    w.c.equal("preflight: observedGeneration", m["status"]["observedGeneration"], m["metadata"]["generation"])
    pod = w.pod(run=False)
    is_refused(w, "a pod that is Pending", w.migrate(pod["metadata"]["name"]), ["PodNotRunning"])
    pod = w.pod(containers=[CONTAINER, {**CONTAINER, "name": "two"}])
    w.kube.merge(f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}/status", {"status": {"containerStatuses": [
        {"name": "app", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": {"running": {}}},
        {"name": "two", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}})
    is_refused(w, "a container that does not run", w.migrate(pod["metadata"]["name"]), ["PodNotRunning"])
    pod = w.pod()
    is_refused(w, "another UID", w.migrate(pod["metadata"]["name"], podUID="22222222-2222-2222-2222-222222222222"), ["PodReplaced"])
    pod = w.pod(metadata={"finalizers": ["test.example/stay"]})
    path = f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}"
    w.kube.delete(path)
    is_refused(w, "a pod that is being deleted", w.migrate(pod["metadata"]["name"]), ["PodTerminating"])
    w.kube.merge(path, {"metadata": {"finalizers": None}})
    pod = w.pod()
    w.kube.call("PATCH", f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}/ephemeralcontainers",
                {"spec": {"ephemeralContainers": [{"name": "debug", "image": "i"}]}}, "application/strategic-merge-patch+json")
    is_refused(w, "an ephemeral container", w.migrate(pod["metadata"]["name"]), ["UnsupportedContainer"])


def destinations(w):
    for what, reason, destination in DESTINATIONS:
        pod = w.pod()
        is_refused(w, what, w.migrate(pod["metadata"]["name"], destination=destination), [reason])
        untouched(w, what, pod)
    pod = w.pod(containers=[{**CONTAINER, "resources": {"requests": {"cpu": "1", "memory": "1025Mi"}}}])
    is_refused(w, "a node too small for the pod", w.migrate(pod["metadata"]["name"], destination={"nodeName": "n-small"}), ["InsufficientResources"])
    untouched(w, "a node too small for the pod", pod)
    pod = w.pod(hostUsers=False)
    is_refused(w, "a user namespace, to another cluster", w.migrate(pod["metadata"]["name"], destination={"liqoCluster": "b"}), ["UnsupportedContainer"])
    untouched(w, "a user namespace, to another cluster", pod)
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring")
    w.c.check("preflight: a user namespace, to another node", True)
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    for toleration in ({"operator": "Exists"}, {"key": "example.com/drain", "value": "a"}, {"key": "example.com/drain", "operator": "Exists", "effect": "NoExecute"}):
        pod = w.pod(tolerations=[toleration])
        m = w.wait_phase(w.migrate(pod["metadata"]["name"], destination={"nodeName": "n-tainted"}), "Transferring")
        w.c.check(f"preflight: {toleration} tolerates it", True)
        w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    pod = w.pod(tolerations=[{"key": "example.com/drain", "value": "b"}, {"key": "example.com/drain", "operator": "Exists", "effect": "NoSchedule"}])
    is_refused(w, "a taint of another value", w.migrate(pod["metadata"]["name"], destination={"nodeName": "n-tainted"}), ["DestinationNotReady"])
    long = "a" * 61 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 63
    pod = w.pod(name=long, metadata=owner("StatefulSet"))
    m = is_refused(w, "names of 253 characters", w.migrate(long, name=long), ["OwnedPod"])
    w.c.check("preflight: names of 253 characters: the message is whole", condition(m, "Migratable")["message"].endswith("belongs to StatefulSet x"),
              condition(m, "Migratable")["message"])
    rc = w.kube.get("/apis/node.k8s.io/v1/runtimeclasses/podmigration")
    w.kube.delete("/apis/node.k8s.io/v1/runtimeclasses/podmigration")
    pod = w.pod()
    is_refused(w, "no RuntimeClass", w.migrate(pod["metadata"]["name"]), ["RuntimeClassMissing"])
    w.kube.create("/apis/node.k8s.io/v1/runtimeclasses", {"apiVersion": rc["apiVersion"], "kind": rc["kind"], "handler": rc["handler"],
                                                          "metadata": {"name": "podmigration"}})


def competing(w):
    """Several PodMigrations of one pod at the same moment: exactly one goes on."""
    for _ in range(4):
        pod = w.pod()
        made = []
        threads = [threading.Thread(target=lambda: made.append(w.migrate(pod["metadata"]["name"]))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        phases = lambda: sorted(w.get(m).get("status", {}).get("phase", "") for m in made)
        want = ["Failed"] * 3 + ["Transferring"]
        try:
            until(lambda: phases() == want, 20)
        except TimeoutError:
            pass
        if phases() != want:
            break
    w.c.equal("preflight: of four migrations of one pod at once, one goes on, each time", phases(), want)
    made.sort(key=lambda m: w.get(m)["status"]["phase"])
    w.c.equal("preflight: the others are told", {condition(w.get(m), "Migratable").get("reason") for m in made[:3]}, {"AlreadyMigrating"})
    is_refused(w, "a pod that is being moved", w.migrate(pod["metadata"]["name"]), ["AlreadyMigrating"])
    w.kube.merge(w.path(made[3]), {"spec": {"cancel": True}})
    w.wait_phase(made[3], "Cancelled")


FLOOD = 300


def flood(w):
    """Somebody makes hundreds of PodMigrations that come to nothing; another's goes its way meanwhile, and each of the hundreds is answered."""
    made, first = [], w.migrate("no-such-pod")

    def make(n):
        made.extend(w.migrate("no-such-pod") for _ in range(n))
    threads = [threading.Thread(target=make, args=(FLOOD // 6,)) for _ in range(6)]
    for t in threads:
        t.start()
    pod = w.pod()
    begun = time.monotonic()
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring", 60)
    took = time.monotonic() - begun
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    for t in threads:
        t.join()
    ended = lambda: [o["status"]["phase"] for o in w.kube.get(f"{PM}/namespaces/{NS}/podmigrations")["items"]
                     if o["spec"]["podName"] == "no-such-pod" and o.get("status", {}).get("phase") == "Failed"]
    try:
        until(lambda: len(ended()) >= FLOOD + 1, 120)
    except TimeoutError:
        pass
    w.c.equal("flood: each of many is answered", len(ended()), FLOOD + 1)
    w.c.check("flood: another's migration is not held up for long", took < 30, f"{took:.1f} s")
    print(f"     (apply to Transferring beside {FLOOD} others: {took * 1000:.0f} ms)")
    for o in [first, *made]:
        w.kube.delete(w.path(o))
    w.wait_phase(m, "Cancelled", 30)
