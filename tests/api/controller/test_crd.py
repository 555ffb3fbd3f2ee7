# SPDX-License-Identifier: Apache-2.0
"""The API server refuses what is wrong with a PodMigration by itself, in words."""
from harness import NS
from kube import ApiError, PM

GOOD = {"podName": "web", "destination": {"nodeName": "n2"}}

# what, spec, part of the message
BAD_SPECS = [
    ("no podName", {"destination": {"nodeName": "n"}}, "spec.podName: Required value"),
    ("empty podName", {**GOOD, "podName": ""}, "spec.podName"),
    ("podName in capitals", {**GOOD, "podName": "Web"}, "podName must be the name of a pod"),
    ("podName with a slash", {**GOOD, "podName": "a/b"}, "podName must be the name of a pod"),
    ("podName too long", {**GOOD, "podName": "a" * 254}, "spec.podName: Too long"),
    ("no destination", {"podName": "web"}, "spec.destination: Required value"),
    ("empty destination", {**GOOD, "destination": {}}, "name exactly one destination, liqoCluster or nodeName"),
    ("two destinations", {**GOOD, "destination": {"nodeName": "n", "liqoCluster": "b"}}, "name exactly one destination, liqoCluster or nodeName"),
    ("bad cluster", {**GOOD, "destination": {"liqoCluster": "b,c=d"}}, "liqoCluster must be a Liqo cluster ID"),
    ("bad node", {**GOOD, "destination": {"nodeName": "../n"}}, "nodeName must be the name of a node"),
    ("strategy that does not exist", {**GOOD, "strategy": "MidCopy"}, 'supported values: "PreCopy", "StopAndCopy", "PostCopy"'),
    ("bandwidth that is no quantity", {**GOOD, "bandwidth": "fast"}, "bandwidth must be bytes a second as a quantity of at least 64Ki"),
    ("bandwidth in bits", {**GOOD, "bandwidth": "100mbit"}, "bandwidth must be bytes a second"),
    ("bandwidth too small", {**GOOD, "bandwidth": "65535"}, "bandwidth must be bytes a second"),
    ("allowAutoConverge that is neither", {**GOOD, "preCopy": {"allowAutoConverge": "yes"}}, "spec.preCopy.allowAutoConverge"),
    ("connections that cannot be kept", {**GOOD, "network": {"establishedConnections": "Keep"}}, 'supported values: "Close"'),
    ("timeout that is no duration", {**GOOD, "timeout": "soon"}, "timeout must be a duration between 10s and 24h"),
    ("timeout too short", {**GOOD, "timeout": "9s"}, "timeout must be a duration between 10s and 24h"),
    ("timeout too long", {**GOOD, "timeout": "24h1s"}, "timeout must be a duration between 10s and 24h"),
    ("freezeTimeout too short", {**GOOD, "freezeTimeout": "100ms"}, "freezeTimeout must be a duration between 1s and 24h"),
    ("a dry run's scope without a dry run", {**GOOD, "dryRunScope": "Destination"}, "dryRunScope Destination is for a dry run only; set dryRun to true"),
    ("a dry run's scope that does not exist", {**GOOD, "dryRun": True, "dryRunScope": "server"}, 'supported values: "Source", "Destination"'),
    ("ttl that is no duration", {**GOOD, "ttlAfterFinished": "-1s"}, "ttlAfterFinished must be a duration"),
    ("ttl too long", {**GOOD, "ttlAfterFinished": "8761h"}, "ttlAfterFinished must be a duration of at most 8760h"),
]

# what, patch of spec, part of the message (None: allowed)
UPDATES = [
    ("podName", {"podName": "other"}, "podName cannot be changed"),
    ("podUID", {"podUID": "u"}, "podUID cannot be changed"),
    ("destination", {"destination": {"nodeName": "n3"}}, "destination cannot be changed"),
    ("bandwidth", {"bandwidth": "1M"}, "bandwidth cannot be changed"),
    ("preCopy", {"preCopy": {"allowAutoConverge": True}}, "preCopy cannot be changed"),
    ("timeout", {"timeout": "11m"}, "timeout cannot be changed"),
    ("dryRun", {"dryRun": True}, "dryRun cannot be changed"),
    ("dryRunScope", {"dryRunScope": "Destination"}, "dryRunScope cannot be changed"),
    ("freezeTimeout", {"freezeTimeout": "5s"}, "freezeTimeout cannot be changed"),
    ("ttlAfterFinished", {"ttlAfterFinished": "1h"}, None),
    ("cancel to true", {"cancel": True}, None),
    ("cancel back to false", {"cancel": False}, "cancel cannot be taken back"),
]

# what, status patch, part of the message (None: allowed); in order
STATUS_UPDATES = [
    ("an unknown phase is refused", {"phase": "Dancing"}, "status.phase: Unsupported value"),
    ("an unknown decision is refused", {"decision": "Maybe"}, "status.decision: Unsupported value"),
    ("decision Commit", {"decision": "Commit", "sourcePod": {"name": "web", "uid": "u1", "node": "n1"}}, None),
    ("Abort after Commit is refused", {"decision": "Abort"}, "decision of a migration (Commit or Abort) is final"),
    ("taking the decision back is refused", {"decision": None}, "decision of a migration (Commit or Abort) is final"),
    ("the same decision again is accepted", {"decision": "Commit"}, None),
    ("another source pod is refused", {"sourcePod": {"uid": "u2"}}, "source pod of a migration cannot change"),
    ("progress", {"source": {"state": "Restoring"}}, None),
    ("the agent's last word", {"source": {"state": "Running"}}, None),
    ("late progress is refused", {"source": {"state": "Freezing"}}, "(Running, Aborted) is final"),
    ("the last word again is accepted", {"source": {"state": "Running", "error": None}}, None),
]


def refused(fn, text):
    """None when it was refused with this text, else what happened."""
    try:
        fn()
    except ApiError as e:
        return None if text and text in e.message else f"answer: {e}"
    return None if text is None else "it was accepted"


def new(kube, name, spec):
    return kube.create(f"{PM}/namespaces/{NS}/podmigrations", {"apiVersion": "podmigration.dev/v1alpha1", "kind": "PodMigration",
                                                             "metadata": {"name": name}, "spec": spec})


def rules(w):
    for what, spec, text in BAD_SPECS:
        wrong = refused(lambda: new(w.kube, "bad", spec), text)
        w.c.check(f"crd: refuses {what}", wrong is None, wrong)
    empty = refused(lambda: w.kube.raw("POST", f"{PM}/namespaces/{NS}/podmigrations?dryRun=All", {
        "apiVersion": "podmigration.dev/v1alpha1", "kind": "PodMigration", "metadata": {"name": "x"}, "spec": {**GOOD, "podUID": ""}}), None)
    w.c.check("crd: an empty podUID is none", empty is None, empty)
    m = new(w.kube, "crd-rules", GOOD)
    w.c.equal("crd: defaults", {k: m["spec"].get(k) for k in ("strategy", "timeout", "cancel", "dryRun", "dryRunScope", "network")},
              {"strategy": "PreCopy", "timeout": "10m", "cancel": False, "dryRun": False, "dryRunScope": "Source", "network": {"establishedConnections": "Close"}})
    for what, patch, text in UPDATES:
        wrong = refused(lambda: w.kube.merge(w.path(m), {"spec": patch}), text)
        w.c.check(f"crd: change of {what} {'refused' if text else 'allowed'}", wrong is None, wrong)
    for what, patch, text in STATUS_UPDATES:
        wrong = refused(lambda: w.kube.merge(w.path(m) + "/status", {"status": patch}), text)
        w.c.check(f"crd: {what}", wrong is None, wrong)
    wrong = refused(lambda: w.kube.merge(w.path(m) + "/status", {"status": None}), "is final")
    w.c.check("crd: removing all of status with a decision in it is refused", wrong is None, wrong)
    # metadata.uid in a merge patch of /status is not looked at by the API server; a test in a JSON patch is
    test = [{"op": "test", "path": "/metadata/uid", "value": "another"}, {"op": "add", "path": "/status/decision", "value": "Commit"}]
    wrong = refused(lambda: w.kube.call("PATCH", w.path(m) + "/status", test, "application/json-patch+json"), "")
    w.c.check("crd: a JSON patch meant for another object of that name is refused", wrong and "422" in wrong, wrong)
    wrong = refused(lambda: w.kube.merge(w.path(m) + "/status", {"metadata": {"resourceVersion": "1"}, "status": {"phase": "Failed"}}), "modified")
    w.c.check("crd: a status computed from an old object is refused", wrong is None, wrong)
    columns_and_selector(w)
    dry_run(w)
    w.kube.delete(w.path(m))


def dry_run(w):
    """Whoever writes it: a question commits nothing."""
    m = new(w.kube, "crd-dry", {**GOOD, "dryRun": True, "dryRunScope": "Destination"})
    wrong = refused(lambda: w.kube.merge(w.path(m) + "/status", {"status": {"decision": "Commit"}}), "a dry run moves nothing, so its decision cannot be Commit")
    w.c.check("crd: a dry run's Commit is refused", wrong is None, wrong)
    wrong = refused(lambda: w.kube.merge(w.path(m) + "/status", {"status": {"decision": "Abort"}}), None)
    w.c.check("crd: a dry run's Abort is accepted", wrong is None, wrong)
    w.kube.delete(w.path(m))


def columns_and_selector(w):
    collection = f"{PM}/namespaces/{NS}/podmigrations"
    names = lambda node: [i["metadata"]["name"] for i in w.kube.get(f"{collection}?fieldSelector=status.sourcePod.node%3D{node}")["items"]]
    w.c.check("crd: selected by the source's node", "crd-rules" in names("n1") and names("n-none") == [], f"{names('n1')}, {names('n-none')}")
    table = w.kube.call("GET", collection, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    w.c.equal("crd: printer columns", [(c["name"], c["priority"]) for c in table["columnDefinitions"]][1:],
              [("Pod", 0), ("Destination", 0), ("Strategy", 0), ("Phase", 0), ("Downtime", 0), ("Transferred", 0), ("Age", 0),
               ("Source", 1), ("DestinationPod", 1), ("Message", 1)])
    row = next(r for r in table["rows"] if r["object"]["metadata"]["name"] == "crd-rules")
    w.c.equal("crd: the destination's column shows either kind", row["cells"][2], "n2")
    crd = w.kube.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/podmigrations.podmigration.dev")
    bad = [c for c in crd["status"]["conditions"] if c["type"] in ("NonStructuralSchema", "Terminating") and c["status"] == "True"]
    w.c.check("crd: structural", not bad, bad)
