# SPDX-License-Identifier: Apache-2.0
"""spec.dryRun: the answer, and nothing else."""
import contextlib
import threading
import time

from harness import LABEL, NS, condition, until
from test_preflight import CONTAINER, DESTINATIONS, owner


def own(pod):
    """All but its status, which is its kubelet's."""
    meta = pod["metadata"]
    return {"spec": pod["spec"], **{k: meta.get(k) for k in ("uid", "labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp")}}


def untouched(w, what, pod, m, asked=False):
    """Neither label, annotation, Secret nor pod of it anywhere; asked: there was a destination pod, whose Secret Kubernetes collects with it."""
    now, uid = w.find_pod(pod["metadata"]["name"]), m["metadata"]["uid"]
    w.c.check(f"dry run: {what}: the source pod is as it was", own(now) == w.was[pod["metadata"]["name"]], now["metadata"])
    pods = w.kube.get(f"/api/v1/namespaces/{NS}/pods?labelSelector={LABEL}%3D{uid}")["items"]
    secrets = [w.kube.find(f"/api/v1/namespaces/{ns}/secrets/{name}") for ns, name in ((NS, f"podmigration-{uid}"), ("podmigration-agent", uid))]
    w.c.check(f"dry run: {what}: no pod, no Secret", not pods and secrets[1] is None and (asked or not secrets[0]), f"{pods}, {secrets}")
    w.c.check(f"dry run: {what}: no destination pod in status", asked or "destinationPod" not in m["status"], m["status"])
    until(lambda: not w.get(m)["metadata"].get("finalizers"), 30, "no finalizer")
    w.c.check(f"dry run: {what}: nothing is violated", not condition(w.get(m), "InvariantViolated"), condition(w.get(m), "InvariantViolated"))


def start(w, pod, **spec):
    if not hasattr(w, "was"):
        w.was = {}
    w.was[pod["metadata"]["name"]] = own(w.find_pod(pod["metadata"]["name"]))
    return w.migrate(pod["metadata"]["name"], dryRun=True, **spec)


def well(w):
    pod = w.pod()
    m = w.wait_phase(start(w, pod), "Preparing")
    # meanwhile another one may really move it: a dry run has no claim
    w.agent(m, "Ready", agent="n1")
    until(lambda: w.get(m)["status"].get("decision") == "Abort", 30, "Abort")
    time.sleep(0.3)
    w.c.equal("dry run: the agent's word is waited for", w.get(m)["status"]["phase"], "Preparing")
    w.agent(m, "Aborted", error={"reason": "Cancelled", "message": "the controller gave the migration up"})
    m = w.wait_phase(m, "Succeeded")
    w.c.equal("dry run: conditions", {k: condition(m, k).get("status") for k in ("Migratable", "Succeeded", "Ready", "Stalled", "Committed", "SourceFrozen")},
              {"Migratable": "True", "Succeeded": "True", "Ready": "True", "Stalled": "False", "Committed": "False", "SourceFrozen": "False"})
    w.c.check("dry run: said in words", "nothing was touched" in condition(m, "Succeeded").get("message", ""), condition(m, "Succeeded"))
    w.c.check("dry run: one Event says how it ended", until(lambda: "Succeeded" in w.events(m["metadata"]["uid"]), 30) and
              "Aborting" not in w.events(m["metadata"]["uid"]), w.events(m["metadata"]["uid"]))
    untouched(w, "well", pod, m)


def beside(w):
    """A dry run keeps nobody from moving the pod."""
    pod = w.pod()
    dry = w.wait_phase(start(w, pod), "Preparing")
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring")
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    w.wait_phase(m, "Cancelled")
    w.kube.delete(w.path(dry))
    until(lambda: w.kube.find(w.path(dry)) is None, 30, "the dry run gone")
    w.c.check("dry run: has no claim to the pod", True)


def agent_finds(w):
    pod = w.pod()
    m = w.wait_phase(start(w, pod), "Preparing")
    w.agent(m, "Aborted", error={"reason": "IOUringInUse", "message": "process 7 (node) uses io_uring"})
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: what the agent found is in Migratable", c.get("status") == "False" and c.get("reason") == "IOUringInUse" and "io_uring" in c["message"], c)
    untouched(w, "agent finds", pod, m)


def looked(w, m):
    """The agent has looked, found nothing, and hears that this was all."""
    m = w.wait_phase(m, "Preparing")
    w.agent(m, "Ready", agent="n1")
    until(lambda: w.get(m)["status"].get("decision") == "Abort", 30, "Abort")
    w.agent(m, "Aborted", error={"reason": "Cancelled", "message": "the controller gave the migration up"})
    return w.wait_phase(m, "Failed")


def refused(w):
    bad = {"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/tmp"}}], "containers": [{**CONTAINER, "tty": True, "stdin": True}]}
    pod = w.pod(metadata=owner("Job"), **bad)
    m = w.wait_phase(start(w, pod, destination={"nodeName": "nowhere"}), "Preparing")
    c = condition(m, "Migratable")
    w.c.check("dry run: what the checks found is told before the agent has looked", c.get("status") == "False" and c.get("reason") == "OwnedPod"
              and condition(m, "Stalled").get("status") == "False", m["status"]["conditions"])
    m = looked(w, m)
    c = condition(m, "Migratable")
    want = ("OwnedPod", "HostNamespace", "UnsupportedVolume", "TerminalAttached", "NoSuchDestination")
    w.c.check("dry run: all that is in the way, at once", c.get("status") == "False" and all(r + ": " in c["message"] for r in want), c)
    w.c.equal("dry run: its end says the same", [condition(m, k).get(f) for k in ("Succeeded", "Stalled") for f in ("reason", "message")], ["OwnedPod", c["message"]] * 2)
    untouched(w, "refused", pod, m)
    for what, reason, destination in DESTINATIONS[:3]:
        pod = w.pod()
        m = looked(w, start(w, pod, destination=destination))
        w.c.equal(f"dry run: {what}", condition(m, "Migratable").get("reason"), reason)
        untouched(w, what, pod, m)
    both_levels(w)


def both_levels(w):
    pod = w.pod(hostNetwork=True)
    m = w.wait_phase(start(w, pod, destination={"nodeName": "nowhere"}), "Preparing")
    w.agent(m, "Aborted", error={"reason": "IOUringInUse", "message": "process 7 (node) uses io_uring"})
    m = w.wait_phase(m, "Failed")
    c, text = condition(m, "Migratable"), condition(m, "Succeeded").get("message", "")
    want = ("HostNamespace: ", "NoSuchDestination: ", "IOUringInUse: process 7 (node) uses io_uring")
    w.c.check("dry run: what the checks and what the agent found, at once", c.get("reason") == "HostNamespace" and all(t in c["message"] for t in want) and text == c["message"], c)
    w.c.check("dry run: an Event names it", until(lambda: "HostNamespace" in w.events(m["metadata"]["uid"]), 30), w.events(m["metadata"]["uid"]))
    untouched(w, "both levels", pod, m)
    pod = w.pod(run=False)
    m = w.wait_phase(start(w, pod), "Failed", 10)
    w.c.equal("dry run: no agent is asked for a pod that does not run", condition(m, "Migratable").get("reason"), "PodNotRunning")


def remote(w):
    pod = w.pod(node="virtual-b", metadata={"annotations": {"podmigration.dev/migration": "44444444-4444-4444-4444-444444444444"}})
    m = w.wait_phase(start(w, pod), "Succeeded")
    w.c.check("dry run: a remote source's node is not asked, and that is said", "was not asked" in condition(m, "Succeeded").get("message", ""), condition(m, "Succeeded"))
    untouched(w, "remote", pod, m)


def silent_agent(w):
    pod, bad = w.pod(), w.pod(hostIPC=True)
    m, n = start(w, pod), start(w, bad)
    m = w.wait_phase(m, "Failed", 45)
    w.c.equal("dry run: no agent there", condition(m, "Succeeded").get("reason"), "AgentUnavailable")
    untouched(w, "no agent", pod, m)
    n = w.wait_phase(n, "Failed", 45)
    c = condition(n, "Migratable")
    w.c.check("dry run: no agent there, and the checks have found something", c.get("reason") == "HostNamespace" and "; AgentUnavailable: " in c["message"], c)
    untouched(w, "no agent, hostIPC", bad, n)


def cancelled(w):
    pod = w.pod()
    m = w.wait_phase(start(w, pod), "Preparing")
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    m = w.wait_phase(m, "Cancelled")
    untouched(w, "cancelled", pod, m)


# --- dryRunScope: Destination ---

def asks(w, pod, **spec):
    """Up to where the source's agent has looked."""
    m = w.wait_phase(start(w, pod, dryRunScope="Destination", **spec), "Preparing")
    w.agent(m, "Ready", agent="n1")
    return m


def addressed(w, m):
    """The destination pod runs, and the agent of the source's node may ask it."""
    return until(lambda: (lambda o: o if o["status"].get("destinationPod", {}).get("podIP") else None)(w.get(m)), 30, "the destination pod's address")


def tells(w, m, reason, message):
    """The source's agent, of what came of asking."""
    return w.agent(m, "Aborted", decision="Abort", error={"reason": reason, "message": message})


def destination_well(w):
    pod = w.pod()
    m = w.wait_phase(start(w, pod, dryRunScope="Destination"), "Preparing")
    time.sleep(0.3)
    w.c.check("dry run: destination: no pod before the source's agent has looked", "uid" not in w.get(m)["status"].get("destinationPod", {}), w.get(m)["status"])
    w.agent(m, "Ready", agent="n1")
    m = addressed(w, m)
    dest = w.find_pod(m["status"]["destinationPod"]["name"])
    w.c.equal("dry run: destination: it stays Preparing", m["status"]["phase"], "Preparing")
    w.c.check("dry run: destination: its pod is there as for a migration", dest["spec"].get("runtimeClassName") == "podmigration" and
              dest["metadata"]["annotations"].get("podmigration.dev/migration") == m["metadata"]["uid"], dest["metadata"])
    w.c.check("dry run: destination: the agents have the key", w.kube.find(f"/api/v1/namespaces/podmigration-agent/secrets/{m['metadata']['uid']}") is not None)
    w.c.check("dry run: destination: the source pod carries nothing", own(w.find_pod(pod["metadata"]["name"])) == w.was[pod["metadata"]["name"]])
    tells(w, m, "DryRun", "the agent of node n2 found nothing in the way")
    m = w.wait_phase(m, "Succeeded")
    w.c.equal("dry run: destination: conditions", {k: condition(m, k).get("status") for k in ("Migratable", "Succeeded", "Ready", "Stalled", "Committed", "SourceFrozen")},
              {"Migratable": "True", "Succeeded": "True", "Ready": "True", "Stalled": "False", "Committed": "False", "SourceFrozen": "False"})
    text = condition(m, "Succeeded").get("message", "")
    w.c.check("dry run: destination: said in words", all(t in text for t in ("node n1", "node n2", "the pod was not touched", dest["metadata"]["name"], "is removed")), text)
    untouched(w, "destination, well", pod, m, True)


def destination_refuses(w):
    pod = w.pod()
    m = addressed(w, asks(w, pod))
    tells(w, m, "CPUIncompatible", "the destination node's CPU lacks avx512f")
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: destination: what it refuses is in Migratable", c.get("status") == "False" and c.get("reason") == "CPUIncompatible" and "avx512f" in c["message"]
              and "not asked" not in c["message"], c)
    untouched(w, "destination refuses", pod, m, True)


def destination_does_not_run(w):
    pod = w.pod()
    m = asks(w, pod, destination={"nodeName": "n-noimage"})
    until(lambda: w.get(m)["status"].get("decision") == "Abort", 30, "Abort")
    w.agent(m, "Aborted", error={"reason": "Cancelled", "message": "the controller gave the migration up"})
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: destination: an image that is missing there", c.get("status") == "False" and c.get("reason") == "ImageMissing" and c["message"].endswith("was not asked"), c)
    untouched(w, "destination without the image", pod, m, True)


def destination_not_asked(w):
    """What is found before the destination pod is made: that one is not made at all."""
    pod = w.pod()
    m = w.wait_phase(start(w, pod, dryRunScope="Destination"), "Preparing")
    w.agent(m, "Aborted", decision="Abort", error={"reason": "IOUringInUse", "message": "process 7 (node) uses io_uring"})
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: destination: the source's agent found something", c.get("reason") == "IOUringInUse" and c["message"].endswith("was not asked")
              and "uid" not in m["status"]["destinationPod"], c)
    untouched(w, "destination, the agent finds", pod, m, True)
    pod = w.pod(hostNetwork=True)
    m = looked(w, start(w, pod, dryRunScope="Destination"))
    c = condition(m, "Migratable")
    w.c.check("dry run: destination: the checks found something", c.get("reason") == "HostNamespace" and c["message"].endswith("was not asked"), c)
    untouched(w, "destination, the checks find", pod, m)


def destination_beside(w):
    """Its pod has a name of its own, and it has no claim: a migration goes on beside it."""
    pod = w.pod()
    dry = addressed(w, asks(w, pod))
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring")
    w.c.check("dry run: destination: each has its own pod", m["status"]["destinationPod"]["name"] != dry["status"]["destinationPod"]["name"], m["status"]["destinationPod"])
    tells(w, dry, "DryRun", "the agent of node n2 found nothing in the way")
    w.wait_phase(dry, "Succeeded")
    w.c.check("dry run: destination: the migration's pods stay", w.find_pod(m["status"]["destinationPod"]["name"]) and
              w.find_pod(pod["metadata"]["name"])["metadata"]["labels"].get(LABEL) == m["metadata"]["uid"])
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    w.wait_phase(m, "Cancelled")


def destination_cancelled(w):
    pod = w.pod()
    m = addressed(w, asks(w, pod))
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    until(lambda: w.get(m)["status"].get("decision") == "Abort", 30, "Abort")
    w.agent(m, "Aborted", error={"reason": "Cancelled", "message": "the controller gave the migration up"})
    m = w.wait_phase(m, "Cancelled")
    untouched(w, "destination, cancelled", pod, m, True)


def destination_old_agent(w):
    """An agent that does not know of this waits for Transferring, and must not be given it."""
    pod = w.pod()
    m = addressed(w, asks(w, pod))
    until(lambda: w.get(m)["status"].get("decision") == "Abort", 45, "Abort")
    w.agent(m, "Aborted", error={"reason": "Cancelled", "message": "the controller gave the migration up"})
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: destination: an agent of an older version", c.get("status") == "False" and c.get("reason") == "AgentUnavailable" and
              [e["phase"] for e in m["status"]["phaseTransitionTimestamps"]] == ["Preparing", "Failed"], m["status"])
    untouched(w, "destination, an older agent", pod, m, True)


# --- of a pod in another cluster ---

BRINGING, EARLIER = "55555555-5555-5555-5555-555555555555", "66666666-6666-6666-6666-666666666666"


def away(w):
    """A pod that a migration brought to cluster b, with the order to abort that another one has left there."""
    pod = w.pod(node="virtual-b", metadata={"labels": {LABEL: BRINGING}, "annotations": {"podmigration.dev/migration": BRINGING, "podmigration.dev/order": "AAAA+/==",
                                                                                        "podmigration.dev/ordered": EARLIER + " abort 2026-11-24T16:00:03Z"}})
    return pod, lambda: w.find_pod(pod["metadata"]["name"])["metadata"]


def ordered(meta, m):
    return until(lambda: meta()["annotations"].get("podmigration.dev/ordered", "").startswith(m["metadata"]["uid"] + " ask "), 10, "the order to look")


def remote_destination(w):
    pod, meta = away(w)
    m = addressed(w, w.wait_phase(start(w, pod, dryRunScope="Destination"), "Preparing"))
    ordered(meta, m)
    first = meta()["annotations"]["podmigration.dev/order"]
    w.c.equal("dry run: remote: it stays Preparing", m["status"]["phase"], "Preparing")
    w.c.equal("dry run: remote: the pod is claimed, for only one may write orders", meta()["labels"].get(LABEL), m["metadata"]["uid"])
    w.c.check("dry run: remote: no key for an agent of this cluster", w.kube.find(f"/api/v1/namespaces/podmigration-agent/secrets/{m['metadata']['uid']}") is None)
    until(lambda: meta()["annotations"]["podmigration.dev/order"] != first, 12, "the order once more, when nobody has heard of it")
    other = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Failed")
    w.c.equal("dry run: remote: a migration is refused meanwhile", condition(other, "Migratable").get("reason"), "AlreadyMigrating")
    w.agent(m, "Connecting", agent="n2")
    tells(w, m, "DryRun", "the agent of node n2 found nothing in the way")
    m = w.wait_phase(m, "Succeeded")
    text = condition(m, "Succeeded").get("message", "")
    w.c.check("dry run: remote: said in words", all(t in text for t in ("cluster b", "node n2", "taken back", "is removed")) and condition(m, "Migratable").get("status") == "True", text)
    untouched(w, "remote, well", pod, m, True)
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring")
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    w.wait_phase(m, "Cancelled")


@contextlib.contextmanager
def written_to(w, pod):
    """Somebody else writes to the pod all the time: it is put back as it was read, or not at all."""
    path, over = f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}", threading.Event()

    def write():
        n = 0
        while not over.wait(0.01):
            n += 1
            w.kube.merge(path, {"metadata": {"annotations": {"n": str(n)}}})
        w.kube.merge(path, {"metadata": {"annotations": {"n": None}}})
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def remote_finds(w):
    """What both agents have found comes by that of this cluster; and a person cancels another one."""
    pod, meta = away(w)
    m = addressed(w, w.wait_phase(start(w, pod, dryRunScope="Destination"), "Preparing"))
    ordered(meta, m)
    tells(w, m, "IOUringInUse", "container web: process 7 (node) uses io_uring; CgroupIncompatible: the source node uses cgroup v1, the destination v2")
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: remote: all that was found", c.get("status") == "False" and c.get("reason") == "IOUringInUse" and "IOUringInUse: container web" in c["message"]
              and "; CgroupIncompatible: " in c["message"] and "not asked" not in c["message"], c)
    untouched(w, "remote, found", pod, m, True)
    m = addressed(w, w.wait_phase(start(w, pod, dryRunScope="Destination"), "Preparing"))
    ordered(meta, m)
    with written_to(w, pod):
        w.kube.merge(w.path(m), {"spec": {"cancel": True}})
        m = w.wait_phase(m, "Cancelled")
    untouched(w, "remote, cancelled", pod, m, True)
    m = start(w, pod, dryRunScope="Destination", destination={"nodeName": "n-noimage"})
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: remote: nobody was asked", c.get("reason") == "ImageMissing" and c["message"].endswith("neither the agent of the source's node nor that of the destination's was asked"), c)
    untouched(w, "remote, no image", pod, m, True)
    m = w.wait_phase(start(w, pod, dryRunScope="Destination", destination={"nodeName": "n-none"}), "Failed")
    c = condition(m, "Migratable")
    w.c.check("dry run: remote: refused by the checks, and nobody was asked", c.get("reason") == "NoSuchDestination"
              and c["message"].endswith("neither the agent of the source's node nor that of the destination's was asked"), c)
