# SPDX-License-Identifier: Apache-2.0
"""What an API server does with pods and their writes by policies, quotas and admission of its own: each refusal is said where a person looks, and nothing spins."""
import time

from harness import LABEL, NS, condition, until
from kube import ApiError, PM
from test_accidents import metric
from test_flow import destination, lives_on, transferring

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
REFUSES = "test.example/refuses"
PODS = f"/api/v1/namespaces/{NS}/pods"

# As people write them: without `reason`, so that the answer is 422 Invalid; a webhook without a code of its own answers 400.
RULES = [
    ("mark", f"request.operation != 'UPDATE' || object.metadata.?labels['{LABEL}'].orValue('') == oldObject.metadata.?labels['{LABEL}'].orValue('')", "pods of this team are not relabelled"),
    ("delete", "request.operation != 'DELETE'", "pods of this team are not deleted by hand"),
]


def policies(w):
    """One for all rules; a pod asks for its rule by an annotation."""
    validations = [{"expression": f"variables.rule != '{rule}' || ({text})", "message": message} for rule, text, message in RULES]
    w.kube.ensure(f"{ADMISSION}/validatingadmissionpolicies", {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "test-refusals"}, "spec": {
            "failurePolicy": "Fail", "validations": validations,
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["UPDATE", "DELETE"]}]},
            "variables": [{"name": "rule", "expression": f"oldObject.metadata.?annotations['{REFUSES}'].orValue('')"}]}})
    w.kube.ensure(f"{ADMISSION}/validatingadmissionpolicybindings", {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "test-refusals"},
        "spec": {"policyName": "test-refusals", "validationActions": ["Deny"]}})
    probe = w.pod(metadata={"annotations": {REFUSES: "delete"}})["metadata"]["name"]

    def refused():
        try:
            w.kube.call("DELETE", f"{PODS}/{probe}", {"dryRun": ["All"]})
            return False
        except ApiError as e:
            return e.code == 422
    until(refused, 30, "the policy")


def refusing(w, rule, **more):
    return w.pod(metadata={"annotations": {REFUSES: rule}, **more})


def mark_is_refused(w):
    pod = refusing(w, "mark")
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Failed")
    c = condition(m, "Migratable")
    w.c.check("policy: the mark is refused: reason, and the policy's words", c.get("status") == "False" and c.get("reason") == "RequestRefused" and
              "pods of this team are not relabelled" in c["message"] and condition(m, "Succeeded").get("reason") == "RequestRefused", c)
    w.c.check("policy: the mark is refused: nothing was made", not m["status"].get("destinationPod") and
              w.kube.find(f"/api/v1/namespaces/podmigration-agent/secrets/{m['metadata']['uid']}") is None, m["status"])
    until(lambda: not w.get(m)["metadata"].get("finalizers"), 5, "no finalizer")


def secret_is_refused(w):
    """A quota for Secrets: the destination pod is made, its key cannot be."""
    ns = w.unique("quota")
    for kind, plural, name, spec in (("Namespace", None, ns, {}), ("ServiceAccount", "serviceaccounts", "default", {}),
                                     ("ResourceQuota", "resourcequotas", "few", {"spec": {"hard": {"secrets": "0"}}})):
        w.kube.ensure(f"/api/v1/namespaces/{ns}/{plural}" if plural else "/api/v1/namespaces",
                      {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **spec})
    # nobody counts here; the quota counts from when its status says what is used
    w.kube.merge(f"/api/v1/namespaces/{ns}/resourcequotas/few/status", {"status": {"hard": {"secrets": "0"}, "used": {"secrets": "0"}}})
    pods, path = f"/api/v1/namespaces/{ns}/pods", f"{PM}/namespaces/{ns}/podmigrations"
    w.kube.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "nodeName": "n1", "containers": [{"name": "app", "image": "docker.io/lab/app:1"}]}})
    w.kube.merge(f"{pods}/web/status", {"status": {"phase": "Running", "podIP": "10.1.1.1", "containerStatuses": [
        {"name": "app", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": {"running": {}}}]}})
    w.kube.create(path, {"apiVersion": "podmigration.dev/v1alpha1", "kind": "PodMigration", "metadata": {"name": "m"},
                         "spec": {"podName": "web", "destination": {"nodeName": "n2"}}})
    get = lambda: w.kube.get(f"{path}/m")
    until(lambda: get().get("status", {}).get("decision") == "Abort", 20, "Abort")
    for pod in w.kube.get(pods)["items"]:
        if pod["metadata"]["name"] != "web":
            until(lambda: w.kube.delete(f"{pods}/{pod['metadata']['name']}", 0) is None, 10, "the destination pod gone")
    m = until(lambda: (lambda o: o if o["status"].get("phase") == "Failed" else None)(get()), 20, "Failed")
    c = condition(m, "Succeeded")
    w.c.check("policy: a quota refuses the key's Secret: reason, and its words", c.get("reason") == "InsufficientResources" and "exceeded quota: few" in c["message"], c)


def deletion_is_refused(w, controller):
    """The destination runs, and the source may not be deleted: said, not tried in a hurry, and done when it may be."""
    m = reach_with(w, refusing(w, "delete"))
    w.agent(m, "Committed", decision="Commit")
    w.agent(m, "Running")
    said = lambda o: condition(o, "Succeeded").get("message", "")
    m = until(lambda: (lambda o: o if said(o).startswith("cannot go on: ") else None)(w.get(m)), 10, "a message")
    w.c.check("policy: the deletion of the source is refused: the policy's words", "pods of this team are not deleted by hand" in said(m) and
              m["status"]["phase"] == "Committed", m["status"]["conditions"])
    errors = lambda: metric(controller, 'controller_runtime_reconcile_errors_total{controller="podmigration"}')
    before, version = errors(), m["metadata"]["resourceVersion"]
    time.sleep(5)
    w.c.check("policy: the deletion of the source is refused: tried again with patience", 0 <= errors() - before < 20, errors() - before)
    w.c.equal("policy: the deletion of the source is refused: said once", w.get(m)["metadata"]["resourceVersion"], version)
    w.c.check("policy: the deletion of the source is refused: Event", until(lambda: "RequestRefused" in w.events(m["metadata"]["uid"]), 30))
    m = until(lambda: (lambda o: o if condition(o, "AttentionNeeded").get("status") == "True" else None)(w.get(m)), 60, "AttentionNeeded")
    w.c.equal("policy: the deletion of the source is refused: a person is asked for", (condition(m, "AttentionNeeded")["reason"], condition(m, "Stalled")["reason"]),
              ("RequestRefused", "RequestRefused"))
    w.kube.merge(f"{PODS}/{m['status']['sourcePod']['name']}", {"metadata": {"annotations": {REFUSES: None}}})
    m = w.wait_phase(m, "Succeeded")
    w.c.equal("policy: the deletion of the source is allowed: resolved", (condition(m, "AttentionNeeded")["status"], condition(m, "Stalled")["status"]), ("False", "False"))


def reach_with(w, pod):
    m = w.wait_phase(w.migrate(pod["metadata"]["name"]), "Transferring")
    w.agent(m, "Ready")
    return m


def admission(w):
    """What the API server adds to pods of its own: it is not held against the destination, nor carried to where it is not true."""
    for node, zone in (("n-east", "east"), ("n-west", "west")):
        w.node(node, labels={"topology.kubernetes.io/zone": zone})
    selector = {"matchLabels": {"app": "web"}}
    keys = {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector, "matchLabelKeys": ["hash"]}
    pod = w.pod(node="n-east", metadata={"labels": {"app": "web", "hash": "7"}},
                topologySpreadConstraints=[{"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", **keys}],
                affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": keys}]}})
    merged = pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["labelSelector"]
    m = w.wait_phase(w.migrate(pod["metadata"]["name"], destination={"nodeName": "n-west"}), "Transferring")
    there = destination(w, m)
    now = there["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]["labelSelector"]
    w.c.equal("admission: matchLabelKeys: the destination selects what the source does", now, merged)
    zone = lambda p: p["metadata"].get("labels", {}).get("topology.kubernetes.io/zone")
    w.c.check("admission: the zone is the destination's own, where pods are told theirs", (zone(pod), zone(there)) in (("east", "west"), (None, None)),
              (zone(pod), zone(there)))
    w.kube.merge(w.path(m), {"spec": {"cancel": True}})
    w.wait_phase(m, "Cancelled")


def any_text(w):
    """What an agent quotes may be any bytes that JSON can hold; the end is written all the same."""
    pod, m = transferring(w)
    w.agent(m, "Aborted", error={"reason": "RestoreFailed", "message": "file \u0085na\u00efve\ufeff \U0001f433 \x7f\x1b \ufffe end"})
    m = w.wait_phase(m, "Failed")
    w.c.equal("any text: the message", condition(m, "Succeeded").get("message"), "file ??na\u00efve??? \U0001f433    ??? end")
    lives_on(w, "any text", pod, m)


def observed(w):
    """kstatus waits until observedGeneration is generation, whatever the change was."""
    m = w.wait_phase(w.migrate("nobody"), "Failed")
    w.kube.merge(w.path(m), {"spec": {"ttlAfterFinished": "1h", "cancel": True}})
    up = lambda: (lambda o: o if o["status"]["observedGeneration"] == o["metadata"]["generation"] >= 2 else None)(w.get(m))
    now = until(up, 10, "observedGeneration")
    w.c.check("a change of spec after the end: seen, in the conditions too", {c.get("observedGeneration") for c in now["status"]["conditions"]} == {now["metadata"]["generation"]},
              now["status"]["conditions"])
    for o in (m, now):
        for c in o["status"]["conditions"]:
            c.pop("observedGeneration")
        o["status"].pop("observedGeneration")
    w.c.equal("a change of spec after the end: nothing else is new", now["status"], m["status"])
