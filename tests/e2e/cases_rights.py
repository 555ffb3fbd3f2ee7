# SPDX-License-Identifier: Apache-2.0
"""docs/security.md, line by line: what the parts may do, and above all what they may not."""
import base64
import http.client
import json
import ssl
import tempfile
import urllib.parse

from cluster import Failed
from pods import NS, condition, container, migration, pod

CONTROLLER = "system:serviceaccount:podmigration-system:podmigration-controller"
AGENT = "system:serviceaccount:podmigration-agent:podmigration-agent"

# who, verb, resource[/name] [--subresource=..], namespace (None: all), allowed
RIGHTS = [
    (CONTROLLER, "create", "secrets", NS, True),
    (CONTROLLER, "get", "secrets", NS, False),
    (CONTROLLER, "list", "secrets", NS, False),
    (CONTROLLER, "patch", "secrets", NS, False),
    (CONTROLLER, "delete", "secrets", NS, False),
    (CONTROLLER, "get", "secrets/podmigration-master-key", "podmigration-system", True),
    (CONTROLLER, "get", "secrets/another", "podmigration-system", False),
    (CONTROLLER, "list", "secrets", "podmigration-system", False),
    (CONTROLLER, "get", "secrets", "podmigration-agent", False),
    (CONTROLLER, "delete", "secrets", "podmigration-agent", True),
    (CONTROLLER, "delete", "pods", NS, True),
    (CONTROLLER, "create", "pods --subresource=exec", NS, False),
    (CONTROLLER, "create", "pods --subresource=eviction", NS, False),
    (CONTROLLER, "get", "pods --subresource=log", NS, False),
    (CONTROLLER, "get", "nodes --subresource=proxy", None, False),
    (CONTROLLER, "patch", "nodes", None, False),
    (CONTROLLER, "watch", "nodes", None, False),
    (CONTROLLER, "get", "namespaces", NS, False),
    (CONTROLLER, "update", "podmigrations.podmigration.dev", NS, False),
    (CONTROLLER, "update", "podmigrations.podmigration.dev --subresource=status", NS, False),
    (CONTROLLER, "create", "daemonsets.apps", "podmigration-agent", False),
    (CONTROLLER, "create", "clusterrolebindings.rbac.authorization.k8s.io", None, False),
    (AGENT, "watch", "podmigrations.podmigration.dev", None, True),
    (AGENT, "patch", "podmigrations.podmigration.dev --subresource=status", None, True),
    (AGENT, "patch", "podmigrations.podmigration.dev", NS, False),
    (AGENT, "create", "podmigrations.podmigration.dev", NS, False),
    (AGENT, "get", "secrets", "podmigration-agent", True),
    (AGENT, "list", "secrets", "podmigration-agent", False),
    (AGENT, "get", "secrets", NS, False),
    (AGENT, "get", "secrets", "podmigration-system", False),
    (AGENT, "patch", "pods --subresource=status", None, True),
    (AGENT, "update", "pods --subresource=status", None, False),
    (AGENT, "get", "pods --subresource=status", None, False),
    (AGENT, "patch", "pods", NS, False),
    (AGENT, "get", "pods", NS, False),
    (AGENT, "get", "nodes", None, False),
]


def rights(case, home, away):
    """each part has its rights and no others"""
    for who, verb, what, ns, allowed in RIGHTS:
        _, out, err = home.run("auth", "can-i", verb, *what.split(), "--as=" + who, *(["-n", ns] if ns else ["-A"]))
        if (out.strip() == "yes") != allowed:
            raise Failed("%s may%s %s %s in %s" % (who.split(":")[-1], " not" if allowed else "", verb, what, ns or "all namespaces"))


class Api:
    """The API server, as anybody: kubectl reads before it patches, for which an agent lacks the right."""

    def __init__(self, cluster):
        config = json.loads(cluster.ok("config", "view", "--raw", "-o", "json"))
        server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urllib.parse.urlsplit(server["server"]).netloc
        self.tls = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile("wb") as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pem.flush()
            self.tls.load_cert_chain(pem.name)

    def patch_as(self, who, node, path, body, kind="merge-patch"):
        """HTTP status and the server's message."""
        c = http.client.HTTPSConnection(self.host, context=self.tls, timeout=20)
        headers = {"Content-Type": "application/%s+json" % kind, "Impersonate-User": who}
        if node:
            headers["Impersonate-Extra-authentication.kubernetes.io%2fnode-name"] = node
        c.request("PATCH", path, json.dumps(body), headers)
        r = c.getresponse()
        return r.status, json.loads(r.read()).get("message", "")


# node in the agent's token, patch of status, the words of the refusal (None: allowed)
PATCHES = [
    (None, {"source": {"state": "Ready"}}, "own node"),
    ("elsewhere", {"source": {"state": "Ready"}}, "own node"),
    ("elsewhere", {"decision": "Commit"}, "own node"),
    ("here", {"phase": "Succeeded"}, "source, destination and decision only"),
    ("here", {"sourcePod": {"name": "x", "uid": "u", "node": "elsewhere"}}, "source, destination and decision only"),
    ("here", {"conditions": [{"type": "Succeeded", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
     "source, destination and decision only"),
    ("here", {"phaseTransitionTimestamps": [{"phase": "Preparing", "time": "2036-01-01T00:00:00Z"}]}, "source, destination and decision only"),
    ("here", {"completionTime": "2026-01-01T00:00:00Z"}, "source, destination and decision only"),
    ("here", {"source": {"state": "Ready"}}, None),
    ("there", {"source": {"state": "Connecting"}}, None),
    ("here", {"decision": "Commit"}, None),
    ("here", {"decision": "Abort"}, "final"),
    ("here", {"decision": None}, "final"),
    ("here", {"source": {"state": "Committed"}}, None),
]


def agents_status(case, home, away):
    """an agent writes its own part of status, of migrations of its own node; the decision is final"""
    name = "guarded"
    away.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "e2e-rights"}})
    case.clean(lambda: away.delete("namespace", "e2e-rights"))
    away.apply(migration(name, "x", ns="e2e-rights", node="there"))
    away.ok("patch", "podmigration", name, "-n", "e2e-rights", "--subresource=status", "--type=merge", "-p",
            json.dumps({"status": {"phase": "Preparing", "sourcePod": {"name": "x", "uid": "u", "node": "here"},
                                   "destinationPod": {"name": "y", "node": "there"}}}))
    api = Api(away)
    path = "/apis/podmigration.dev/v1alpha1/namespaces/e2e-rights/podmigrations/%s/status" % name
    for node, status, refusal in PATCHES:
        code, said = api.patch_as(AGENT, node, path, {"status": status})
        if (code == 200) != (refusal is None) or (refusal and refusal not in said):
            raise Failed("agent of node %s, %s: %d %s" % (node, json.dumps(status), code, said))


def conditions(*of):
    return {"status": {"conditions": [dict(zip(("type", "status", "reason"), c), lastTransitionTime="2026-01-01T00:00:00Z") for c in of]}}


FOREIGN, ONLY_READY, ONLY_MIGRATING = "pods of its own node", "the condition Ready of a pod only", "not Ready since it is migrated"
OUT, BACK, NOTHING = conditions(("Ready", "False", "Migrating")), conditions(("Ready", "True", None)), {}
# node in the agent's token, patch of the pod, the words of the refusal (None: allowed); one after the other
POD_PATCHES = [
    ("here", conditions(("Ready", "True", "Whatever")), ONLY_MIGRATING),
    ("here", {"status": {"conditions": [{"type": "Ready", "$patch": "delete"}]}}, ONLY_MIGRATING),
    (None, OUT, FOREIGN),
    ("elsewhere", OUT, FOREIGN),
    ("elsewhere", NOTHING, FOREIGN),    # it would read the pod by that
    ("here", NOTHING, None),
    ("here", {"metadata": {"labels": {"app": "other"}}}, ONLY_READY),
    ("here", {"metadata": {"annotations": {"x": "y"}}}, ONLY_READY),
    ("here", {"metadata": {"finalizers": ["example.com/x"]}}, ONLY_READY),
    ("here", {"metadata": {"generateName": "other-"}}, ONLY_READY),
    ("here", {"status": {"phase": "Succeeded"}}, ONLY_READY),
    ("here", {"status": {"observedGeneration": 7}}, ONLY_READY),
    ("here", {"status": {"resize": "Infeasible"}}, ONLY_READY),
    ("here", {"status": {"allocatedResources": {"cpu": "1"}}}, ONLY_READY),
    ("here", {"status": {"podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}}, ONLY_READY),
    ("here", conditions(("ContainersReady", "False", None)), ONLY_READY),
    ("here", conditions(("Ready", "False", "Migrating"), ("ContainersReady", "False", "Migrating")), ONLY_READY),
    ("here", conditions(("Ready", "False", "ContainersNotReady")), ONLY_MIGRATING),
    ("here", OUT, None),
    ("here", OUT, None),
    ("elsewhere", BACK, FOREIGN),
    ("here", BACK, None),
    ("here", conditions(("Ready", "False", "ContainersNotReady")), ONLY_MIGRATING),
    ("here", NOTHING, None),
]


# of a pod whose containers are not ready
UNREADY_PATCHES = [
    ("here", OUT, None),
    ("here", BACK, ONLY_MIGRATING),
]


def agents_pods(case, home, away):
    """an agent takes a pod of its own node out of its Services, and back, and writes nothing else of it"""
    away.apply(pod("guarded", [container("one")], ns="default", nodeName="here"))       # no such node: nobody else writes
    case.clean(lambda: away.delete("pod", "guarded", "default", "--grace-period=0", "--force"))
    api = Api(away)
    for containers, patches, left in (("True", POD_PATCHES, ("True", None)), ("False", UNREADY_PATCHES, ("False", "Migrating"))):
        away.ok("patch", "pod", "guarded", "-n", "default", "--subresource=status", "--type=strategic", "-p",
                json.dumps(conditions(("Ready", containers, None), ("ContainersReady", containers, None))))
        for node, patch, refusal in patches:
            code, said = api.patch_as(AGENT, node, "/api/v1/namespaces/default/pods/guarded/status", patch, "strategic-merge-patch")
            if (code == 200) != (refusal is None) or (refusal and refusal not in said):
                raise Failed("agent of node %s, %s: %d %s" % (node, json.dumps(patch), code, said))
        found = condition(away.get("pod", "guarded", "default"), "Ready")
        if (found.get("status"), found.get("reason")) != left:
            raise Failed("the pod is left %s" % found)


CASES = {"rights": rights, "agents-status": agents_status, "agents-pods": agents_pods}
