# SPDX-License-Identifier: Apache-2.0
"""People and accidents at each phase: cancel, deletion of the object, of either pod, of the namespace, of either node, of the peering; limits; what is said when something cannot be put right; and
the invariants."""
import re
import time

from harness import LABEL, NS, condition, until
from kube import ApiError, PM
from test_flow import destination, lives_on

STATES = {"Transferring": None, "Freezing": "Freezing", "Restoring": "Restoring", "Committed": "Committed"}


def reach(w, phase, source="n1", where=None, **spec):
    """A migration in this phase, its destination pod recorded."""
    pod = w.pod(node=source)
    m = w.migrate(pod["metadata"]["name"], destination=where or {"nodeName": "n-mute" if phase == "Preparing" else "n2"}, **spec)
    if phase == "Preparing":
        return pod, until(lambda: (lambda o: o if o.get("status", {}).get("destinationPod", {}).get("uid") else None)(w.get(m)), 30, "destination pod recorded")
    m = w.wait_phase(m, "Transferring")
    if STATES[phase]:
        w.agent(m, "Ready")
        w.agent(m, STATES[phase], decision="Commit" if phase == "Committed" else None)
        m = w.wait_phase(m, phase)
    return pod, m


def follow_abort(w, m):
    """The agent learns of the abort, thaws and tells, when it had begun at all."""
    def aborted():
        o = w.kube.find(w.path(m))
        return "gone" if o is None else o if o["status"].get("decision") == "Abort" else None
    o = until(aborted, 60, "Abort")
    if o != "gone" and o["status"].get("source", {}).get("state") and o["status"]["source"]["state"] != "Aborted":
        w.agent(m, "Aborted")


def delete_pod(w, name):
    w.kube.delete(f"/api/v1/namespaces/{NS}/pods/{name}")


ACTS = {
    "cancelled": lambda w, pod, m: w.kube.merge(w.path(m), {"spec": {"cancel": True}}),
    "deleted": lambda w, pod, m: w.kube.delete(w.path(m)),
    "the source pod deleted": lambda w, pod, m: delete_pod(w, pod["metadata"]["name"]),
    "the destination pod deleted": lambda w, pod, m: delete_pod(w, m["status"]["destinationPod"]["name"]),
}
ENDS = {"cancelled": ("Cancelled", {"Cancelled"}), "the source pod deleted": ("Failed", {"SourceLost", "PodTerminating"}),
        "the destination pod deleted": ("Failed", {"DestinationLost"})}


def before_commit(w, act, phase):
    what = f"{act} in {phase}"
    pod, m = reach(w, phase)
    ACTS[act](w, pod, m)
    follow_abort(w, m)
    if act == "deleted":
        until(lambda: w.kube.find(w.path(m)) is None, 30, "the PodMigration gone")
        w.c.check(f"{what}: no destination pod", destination(w, m) is None)
        now = w.find_pod(pod["metadata"]["name"])
        w.c.check(f"{what}: the source goes on", now and "deletionTimestamp" not in now["metadata"] and LABEL not in now["metadata"].get("labels", {}))
        return
    end, reasons = ENDS[act]
    m = w.wait_phase(m, end)
    w.c.check(f"{what}: ends as {end}, {condition(m, 'Succeeded').get('reason')}", condition(m, "Succeeded").get("reason") in reasons, condition(m, "Succeeded"))
    if act == "the source pod deleted":
        w.c.check(f"{what}: no destination pod", destination(w, m) is None)
        until(lambda: not w.get(m)["metadata"].get("finalizers"), 30, "no finalizer")
    else:
        lives_on(w, what, pod, m)
    w.c.check(f"{what}: nobody is asked for, nothing is violated", not condition(w.get(m), "AttentionNeeded") and not condition(w.get(m), "InvariantViolated"),
              w.get(m)["status"].get("conditions"))


def after_commit(w, act):
    what = f"{act} in Committed"
    pod, m = reach(w, "Committed")
    ACTS[act](w, pod, m)
    if act == "the destination pod deleted":
        m = until(lambda: (lambda o: o if condition(o, "AttentionNeeded").get("status") == "True" else None)(w.get(m)), 30, "AttentionNeeded")
        w.c.equal(f"{what}: a person is asked for", (m["status"]["phase"], condition(m, "AttentionNeeded")["reason"]), ("Committed", "CommittedNotRunning"))
        now = w.find_pod(pod["metadata"]["name"])
        w.c.check(f"{what}: the source is kept", now and "deletionTimestamp" not in now["metadata"])
        w.kube.delete(w.path(m))
        return
    time.sleep(0.5)
    w.c.equal(f"{what}: no way back", w.get(m)["status"]["phase"], "Committed")
    w.agent(m, "Running")
    if act == "deleted":
        until(lambda: w.kube.find(w.path(m)) is None, 30, "the PodMigration gone")
    else:
        w.wait_phase(m, "Succeeded")
    w.c.check(f"{what}: the destination is the only copy", w.find_pod(pod["metadata"]["name"]) is None and destination(w, m) is not None)


def at_each_phase(w):
    for act in ACTS:
        w.c.together([(f"{act} in {phase}", before_commit, w, act, phase) for phase in ("Preparing", "Transferring", "Freezing", "Restoring")] +
                     [(f"{act} in Committed", after_commit, w, act)])


def pending(w, stopped):
    """Before any controller has looked at it: with all of them stopped."""
    pod = w.pod()
    with stopped():
        cancelled = w.migrate(pod["metadata"]["name"])
        w.kube.merge(w.path(cancelled), {"spec": {"cancel": True}})
        gone = w.migrate(pod["metadata"]["name"])
        w.kube.delete(w.path(gone))
    m = w.wait_phase(cancelled, "Cancelled", 20)
    w.c.check("cancelled in Pending: nothing was made", not m["status"].get("destinationPod") and not m["status"].get("decision"), m["status"])
    w.c.check("deleted in Pending: gone", w.kube.find(w.path(gone)) is None)
    w.c.check("cancelled in Pending: the source is untouched", LABEL not in w.find_pod(pod["metadata"]["name"])["metadata"].get("labels", {}))


# --- the namespace, the node ---

def in_namespace(w, ns, phase):
    """A pod and its migration in a namespace of their own."""
    w.kube.ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}})
    w.kube.ensure(f"/api/v1/namespaces/{ns}/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
    pods, path = f"/api/v1/namespaces/{ns}/pods", f"{PM}/namespaces/{ns}/podmigrations"
    pod = w.kube.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "nodeName": "n1", "containers": [{"name": "app", "image": "docker.io/lab/app:1"}]}})
    up = {"status": {"phase": "Running", "podIP": "10.1.1.1", "containerStatuses": [
        {"name": "app", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": {"running": {}}}]}}
    w.kube.merge(f"{pods}/web/status", up)
    w.kube.create(path, {"apiVersion": "podmigration.dev/v1alpha1", "kind": "PodMigration", "metadata": {"name": "m"},
                         "spec": {"podName": "web", "destination": {"nodeName": "n2"}}})
    get = lambda: w.kube.find(f"{path}/m")
    m = until(lambda: (lambda o: o if o.get("status", {}).get("destinationPod", {}).get("uid") else None)(get()), 30, "destination pod")
    if phase != "Preparing":
        w.kube.merge(f"{pods}/{m['status']['destinationPod']['name']}/status", up)
        until(lambda: get()["status"]["phase"] == "Transferring", 30, "Transferring")
    if phase in ("Preparing", "Transferring"):
        return pods, path, get
    report = {"state": "Committed" if phase == "Committed" else phase}
    w.kube.merge(f"{path}/m/status", {"status": {"source": report, **({"decision": "Commit"} if phase == "Committed" else {})}}, "podmigration-agent")
    until(lambda: get()["status"]["phase"] == phase, 10, phase)
    return pods, path, get


def namespace_deleted(w, phase):
    """The namespace controller deletes what is in it, and nothing new can be made there."""
    ns = w.unique("gone")
    pods, path, get = in_namespace(w, ns, phase)
    w.kube.delete(f"/api/v1/namespaces/{ns}")
    w.kube.delete(f"{path}/m")
    for pod in w.kube.get(pods)["items"]:
        w.kube.delete(f"{pods}/{pod['metadata']['name']}", 0)
    if phase == "Committed":
        # both pods are gone: nothing can run any more, and the source's agent says so, unless the controller was quicker
        try:
            w.kube.merge(f"{path}/m/status", {"status": {"source": {"state": "Committed", "error": {"reason": "DestinationLost", "message": "gone"}}}},
                         "podmigration-agent")
        except ApiError as e:
            if e.code != 404:
                raise
    until(lambda: get() is None, 30, "the PodMigration gone")
    left = [p["metadata"]["name"] for p in w.kube.get(pods)["items"]]
    w.c.equal(f"namespace deleted in {phase}: nothing holds it up", left, [])


def take_down(w, cluster):
    """The peering, as Liqo takes it down: the virtual node, the map of namespaces, the foreign cluster."""
    w.kube.delete(f"/api/v1/nodes/virtual-{cluster}")
    w.kube.delete(f"/apis/offloading.liqo.io/v1beta1/namespaces/{NS}/namespacemaps/{cluster}")
    w.kube.delete(f"/apis/core.liqo.io/v1beta1/foreignclusters/{cluster}")


def goes_away(w, whose, phase):
    """A node is deleted, or a peering taken down: the pod garbage collector removes its pods."""
    from main import peer   # which knows us
    what, name = f"{whose} gone in {phase}", w.unique("mute" if phase == "Preparing" else "leaving")
    where, source = {"nodeName": name}, "n1"
    if whose == "the peering":
        peer(w, name)
        where = {"liqoCluster": name}
    else:
        w.node(name)
    if whose == "the source's node":
        where, source = None, name
    pod, m = reach(w, phase, source, where)
    pods = f"/api/v1/namespaces/{NS}/pods"
    if whose == "the peering":
        take_down(w, name)
    else:
        w.kube.delete(f"/api/v1/nodes/{name}")
    if whose == "the source's node":
        w.kube.delete(f"{pods}/{pod['metadata']['name']}", 0)
    else:
        w.kube.delete(f"{pods}/{m['status']['destinationPod']['name']}", 0)
    return what, pod, m


def away_before_commit(w, whose, phase):
    what, pod, m = goes_away(w, whose, phase)
    if whose == "the source's node":
        m = w.wait_phase(m, "Failed", 60)
        w.c.check(f"{what}: ends, {condition(m, 'Succeeded').get('reason')}", condition(m, "Succeeded").get("reason") in ("SourceLost", "PodTerminating"), condition(m, "Succeeded"))
        until(lambda: destination(w, m) is None, 30, "no destination pod")
        until(lambda: not w.get(m)["metadata"].get("finalizers"), 30, "no finalizer")
        return
    follow_abort(w, m)
    m = w.wait_phase(m, "Failed", 60)
    w.c.check(f"{what}: ends, {condition(m, 'Succeeded').get('reason')}", condition(m, "Succeeded").get("reason") in ("DestinationLost", "DestinationPodFailed"), condition(m, "Succeeded"))
    lives_on(w, what, pod, m)


def away_after_commit(w, whose):
    what, pod, m = goes_away(w, whose, "Committed")
    if whose == "the source's node":
        w.agent(m, "Running")
        m = w.wait_phase(m, "Succeeded", 60)
        w.c.check(f"{what}: the destination is the only copy", w.find_pod(pod["metadata"]["name"]) is None and destination(w, m) is not None)
        return
    m = until(lambda: (lambda o: o if condition(o, "AttentionNeeded").get("status") == "True" else None)(w.get(m)), 60, "AttentionNeeded")
    w.c.equal(f"{what}: a person is asked for", (m["status"]["phase"], condition(m, "AttentionNeeded")["reason"]), ("Committed", "CommittedNotRunning"))
    now = w.find_pod(pod["metadata"]["name"])
    w.c.check(f"{what}: the source is kept", now and "deletionTimestamp" not in now["metadata"])
    w.kube.delete(w.path(m))


def away(w):
    for whose in ("the destination's node", "the source's node", "the peering"):
        w.c.together([(f"{whose} in {phase}", away_before_commit, w, whose, phase) for phase in ("Preparing", "Transferring", "Freezing", "Restoring")] +
                     [(f"{whose} in Committed", away_after_commit, w, whose)])


# --- limits ---

def frozen_too_long(w):
    pod, m = reach(w, "Restoring", freezeTimeout="2s")
    follow_abort(w, m)
    m = w.wait_phase(m, "Failed")
    c = condition(m, "Succeeded")
    w.c.check("frozen for too long: reason", c.get("reason") == "TimedOut" and "freezeTimeout" in c.get("message", ""), c)
    lives_on(w, "frozen for too long", pod, m)


def nobody_reports_running(w):
    pod, m = reach(w, "Committed")
    m = until(lambda: (lambda o: o if condition(o, "AttentionNeeded").get("status") == "True" else None)(w.get(m)), 45, "AttentionNeeded")
    w.c.equal("nobody reports running: a person is asked for", (condition(m, "AttentionNeeded")["reason"], condition(m, "Stalled")["reason"]),
              ("CommittedNotRunning", "AgentUnavailable"))
    w.agent(m, "Running")
    m = w.wait_phase(m, "Succeeded")
    w.c.equal("nobody reports running: and then somebody does", condition(m, "AttentionNeeded").get("status"), "False")
    w.c.check("nobody reports running: the source is gone", w.find_pod(pod["metadata"]["name"]) is None)


def metric(controller, name):
    found = re.search(re.escape(name) + r" (\d+)", controller.http("/metrics")[1])
    return int(found.group(1)) if found else -1


def destination_does_not_go(w, controller):
    pod, m = reach(w, "Freezing")
    path = f"/api/v1/namespaces/{NS}/pods/{m['status']['destinationPod']['name']}"
    w.kube.merge(path, {"metadata": {"finalizers": ["test.example/stay"]}})
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    follow_abort(w, m)
    m = w.wait_phase(m, "Cancelled", 80)
    c = condition(m, "AttentionNeeded")
    w.c.check("a destination that does not go: a person is told what to do", c.get("status") == "True" and c["reason"] == "DestinationNotRemoved" and
              "--force" in c["message"], c)
    w.c.check("a destination that does not go: Event, metric", until(lambda: "DestinationNotRemoved" in w.events(m["metadata"]["uid"]), 30) and
              metric(controller, 'podmigration_attention_needed_total{reason="DestinationNotRemoved"}') >= 1)
    w.c.check("a destination that does not go: the record stays", w.get(m)["metadata"].get("finalizers"))
    w.kube.merge(path, {"metadata": {"finalizers": None}})
    until(lambda: not w.get(m)["metadata"].get("finalizers"), 30, "no finalizer")
    w.c.equal("a destination that does not go: and then it does", condition(w.get(m), "AttentionNeeded").get("status"), "False")
    lives_on(w, "a destination that does not go", pod, m)


def source_is_not_thawed(w, controller):
    _, m = reach(w, "Freezing")
    w.agent(m, "Aborted", error={"reason": "CheckpointFailed", "message": "THE SOURCE COULD NOT BE THAWED (x); thaw its cgroup by hand: CRIU: y"})
    m = w.wait_phase(m, "Failed")
    c = condition(m, "AttentionNeeded")
    w.c.check("a source that cannot be thawed: a person is told what to do", c.get("status") == "True" and c["reason"] == "SourceNotThawed" and
              "freezer.state" in c["message"], c)
    w.c.equal("a source that cannot be thawed: it is not said to run", condition(m, "SourceFrozen").get("status"), "True")
    w.c.check("a source that cannot be thawed: Event, metric", until(lambda: "SourceNotThawed" in w.events(m["metadata"]["uid"]), 30) and
              metric(controller, 'podmigration_attention_needed_total{reason="SourceNotThawed"}') >= 1)


# --- what must hold ---

def is_violated(w, controller, m, invariant, before):
    m = until(lambda: (lambda o: o if invariant in condition(o, "InvariantViolated").get("message", "") else None)(w.get(m)), 10, f"{invariant} violated")
    w.c.equal(f"invariant {invariant}: condition", condition(m, "InvariantViolated")["status"], "True")
    w.c.check(f"invariant {invariant}: Event", until(lambda: "InvariantViolated" in w.events(m["metadata"]["uid"]), 30))
    w.c.equal(f"invariant {invariant}: counted once", metric(controller, f'podmigration_invariant_violations_total{{invariant="{invariant}"}}') - before, 1)
    return m


def made_twice(w, count):
    """The kubelet made the destination's container twice before it was restored; what was restored runs, as the record says. No cold start."""
    before, (pod, m) = count("NoColdStart"), reach(w, "Committed")
    path = f"/api/v1/namespaces/{NS}/pods/{m['status']['destinationPod']['name']}"
    says = lambda restarts, one: {"status": {"containerStatuses": [{"name": "app", "image": "i", "imageID": "", "ready": True, "restartCount": restarts, "started": True,
                                                                    "containerID": "containerd://" + one, "state": {"running": {}}}]}}
    w.kube.merge(w.path(m) + "/status", {"status": {"destination": {"containers": [{"name": "app", "id": "c2"}]}}}, "podmigration-agent")
    w.kube.merge(path + "/status", says(1, "c2"))
    w.agent(m, "Running")
    m = w.wait_phase(m, "Succeeded")
    w.c.check("made twice before the restore: Succeeded, the source is gone", w.find_pod(pod["metadata"]["name"]) is None, m["status"])
    w.c.equal("made twice before the restore: no invariant is violated", (count("NoColdStart") - before, condition(m, "InvariantViolated")), (0, {}))
    return says


def invariants(w, controller):
    count = lambda name: metric(controller, f'podmigration_invariant_violations_total{{invariant="{name}"}}')
    # an agent says that the destination runs, and nothing was committed
    before, (_, m) = count("OneRunningCopy"), reach(w, "Freezing")
    w.agent(m, "Running")
    is_violated(w, controller, m, "OneRunningCopy", before)
    w.kube.delete(w.path(m))
    says = made_twice(w, count)
    # another container than the one that was restored runs
    before, (pod, m) = count("NoColdStart"), reach(w, "Committed")
    w.kube.merge(w.path(m) + "/status", {"status": {"destination": {"containers": [{"name": "app", "id": "c2"}]}}}, "podmigration-agent")
    w.kube.merge(f"/api/v1/namespaces/{NS}/pods/{m['status']['destinationPod']['name']}/status", says(2, "c3"))
    time.sleep(1)   # pods and PodMigrations come by watches of their own
    w.agent(m, "Running")
    m = is_violated(w, controller, m, "NoColdStart", before)
    w.c.equal("invariant NoColdStart: the record tells the restored container from another", m["status"]["phase"], "Committed")
    w.kube.delete(w.path(m))
    # the destination's container ends and is started from its image while the source still holds the memory
    before, (pod, m) = count("NoColdStart"), reach(w, "Committed")
    path = f"/api/v1/namespaces/{NS}/pods/{m['status']['destinationPod']['name']}"
    w.kube.merge(path + "/status", {"status": {"containerStatuses": [
        {"name": "app", "image": "i", "imageID": "", "ready": True, "restartCount": 1, "started": True, "state": {"running": {}}}]}})
    time.sleep(1)   # pods and PodMigrations come by watches of their own
    w.agent(m, "Running")
    m = is_violated(w, controller, m, "NoColdStart", before)
    w.c.check("invariant NoColdStart: no success, the source is kept", m["status"]["phase"] == "Committed" and
              condition(m, "Stalled").get("reason") == "RestoreFailed" and "deletionTimestamp" not in w.find_pod(pod["metadata"]["name"])["metadata"], m["status"])
    w.kube.delete(w.path(m))
    # somebody writes a phase that lies behind
    before, (_, m) = count("PhaseOrder"), reach(w, "Restoring")
    w.kube.merge(w.path(m) + "/status", {"status": {"phase": "Transferring"}})
    is_violated(w, controller, m, "PhaseOrder", before)
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    follow_abort(w, m)
    w.wait_phase(m, "Cancelled")
    quiet = [n for n in ("DecisionFinal", "EpochGrows", "EndTellsTruth", "NothingLeft", "FrozenHasDeadline", "PhaseHasDeadline") if count(n) > 0]
    w.c.equal("invariants: of all these tests nothing else was violated", quiet, [])


def forged_destination(w, start, current):
    """A pod of the right name and marks, but with a container more, where a restarted controller looks for its own: it is not taken."""
    pod = w.pod()
    m = w.migrate(pod["metadata"]["name"], destination={"nodeName": "n-mute"})
    m = until(lambda: (lambda o: o if o.get("status", {}).get("destinationPod", {}).get("uid") else None)(w.get(m)), 10)
    dest = destination(w, m)
    # the hand-over of the lease may take longer than a silent agent is waited for
    w.agent(m, "Ready")
    current.stop()
    path = f"/api/v1/namespaces/{NS}/pods"
    w.kube.delete(f"{path}/{dest['metadata']['name']}", 0)
    until(lambda: w.find_pod(dest["metadata"]["name"]) is None, 30)
    forged = {"apiVersion": "v1", "kind": "Pod", "metadata": {k: dest["metadata"][k] for k in ("name", "labels", "annotations")}, "spec": dest["spec"]}
    forged["spec"]["containers"].append({"name": "mesh", "image": "docker.io/lab/mesh:1"})
    w.kube.create(path, forged)
    w.kube.call("PATCH", w.path(m) + "/status?fieldManager=podmigration-controller", [{"op": "remove", "path": "/status/destinationPod/uid"}],
                "application/json-patch+json")
    again = start()
    until(again.leads, 30, "the next controller leads")
    follow_abort(w, m)
    m = w.wait_phase(m, "Failed")
    w.c.check("a destination pod that is another: given up, and why", condition(m, "Succeeded").get("reason") == "DestinationPodFailed" and
              "mesh was added" in condition(m, "Succeeded").get("message", ""), condition(m, "Succeeded"))
    # it is looked for when a turn is over, and the whole way to the end may be one turn
    said = lambda: condition(w.get(m), "InvariantViolated").get("message", "")
    until(said, 10, "an invariant violated")
    w.c.check("a destination pod that is another: said as a violation", "DestinationMatches" in said(), said())
    w.c.check("a destination pod that is another: it gets no key",
              w.kube.find(f"/api/v1/namespaces/{NS}/secrets/podmigration-{m['metadata']['uid']}")["metadata"]["ownerReferences"][0]["uid"] == dest["metadata"]["uid"])
    lives_on(w, "a destination pod that is another", pod, m)
    return again


def late_destination(w):
    """A leader that was stopped makes the destination pod of a migration that has ended meanwhile."""
    pod, m = reach(w, "Transferring")
    dest = destination(w, m)
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    m = w.wait_phase(m, "Cancelled")
    lives_on(w, "late destination", pod, m)
    w.kube.create(f"/api/v1/namespaces/{NS}/pods", {"apiVersion": "v1", "kind": "Pod", "spec": dest["spec"],
                                                    "metadata": {k: dest["metadata"][k] for k in ("name", "labels", "annotations")}})
    until(lambda: destination(w, m) is None, 30, "the late pod gone")
    w.c.check("late destination: the pod of an ended migration is deleted", True)
    w.c.check("late destination: the source is untouched", "deletionTimestamp" not in w.find_pod(pod["metadata"]["name"])["metadata"])
