# SPDX-License-Identifier: Apache-2.0
"""docs/security.md, the list of threats: what somebody with the rights of a namespace, or only a network, may try."""
import base64
import json
import secrets
import uuid

import cases_refused
from cluster import Failed, lab
from pods import NS, Chain, container, is_running, migrate, migration, pod

OTHER_NS = "e2e-other"
WORDS = "create a PodMigration instead"


def on_node(cluster, script):
    """What a shell on the node prints."""
    return lab("exec", cluster.name, "sh", "-c", script)


def forged(name, key_secret):
    """A pod as the controller would make it, but made by somebody else, who knows its key."""
    p = pod(name, [container("one", 8, volumeMounts=[{"name": "key", "mountPath": "/.podmigration/key", "readOnly": True}])],
            annotations={"podmigration.dev/migration": str(uuid.uuid4())}, runtimeClassName="podmigration",
            volumes=[{"name": "key", "secret": {"secretName": key_secret}}])
    return p


def forged_pod(case, home, away):
    """whoever may only create pods makes none that waits for a migration, in neither cluster"""
    for cluster in (home, away):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER_NS}},
                      {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "alice", "namespace": OTHER_NS},
                       "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                       "subjects": [{"kind": "User", "name": "alice"}]})
        case.clean(lambda c=cluster: c.delete("namespace", OTHER_NS))
        p = forged("forged", "mine")
        p["metadata"]["namespace"] = OTHER_NS
        rc, out, err = cluster.run("create", "--dry-run=server", "-f", "-", "--as=alice", stdin=json.dumps(p))
        if rc == 0 or WORDS not in err:
            raise Failed("cluster %s: a forged pod was not refused: %s" % (cluster.name, (out + err).strip()[-300:]))
        del p["metadata"]["annotations"], p["spec"]["runtimeClassName"]
        rc, out, err = cluster.run("create", "--dry-run=server", "-f", "-", "--as=alice", stdin=json.dumps(p))
        if rc:
            raise Failed("cluster %s: alice may not even create an ordinary pod: %s" % (cluster.name, err.strip()[-300:]))


def stranger(case, home, away):
    """somebody without the key reaches a waiting pod's listener: nothing comes back, nothing is restored, nothing is left"""
    name = "stranger"
    home.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NS},
                "data": {"key": base64.b64encode(secrets.token_bytes(32)).decode()}})
    case.clean(lambda: home.delete("secret", name, NS))
    home.apply(forged(name, name))      # as an administrator: nobody else may
    case.clean(lambda: home.delete("pod", name, NS, "--grace-period=1"))
    p = home.watch("pods", name, NS, is_running, 60, "running")
    ip, cid = p["status"]["podIP"], p["status"]["containerStatuses"][0]["containerID"].split("//")[1]
    # The agent listens within moments of the pod's start; then each talker must find its connection closed.
    talk = "for i in $(seq 100); do exec 3<>/dev/tcp/%s/7117 && break; done 2>/dev/null; printf '%s' >&3; timeout 15 cat <&3 | wc -c"
    for words in (r"GET / HTTP/1.0\r\n\r\n", r"\026\003\001\000\005\001\000\000\001\000", r"\000\000\000\000"):
        heard = lab("exec", home.name, "bash", "-c", talk % (ip, words)).strip()
        if not heard.isdigit() or int(heard) > 32:  # an alert of TLS, at most
            raise Failed("the listener answered a stranger with %s bytes" % heard)
    state = on_node(home, "cat /run/podmigration/containers/%s/state" % cid).strip()
    if state != "waiting":
        raise Failed("the container is %s, not waiting" % state)
    if home.ok("logs", name, "-n", NS).strip():
        raise Failed("the application has started")
    home.delete("pod", name, NS, "--grace-period=1")
    home.wait_gone("pod", name, NS, 60)
    left = on_node(home, "find /run/podmigration -name '%s*' -o -path '*/destination/*'" % cid).strip()
    if left:
        raise Failed("left on the node: %s" % left[:300])


def other_namespace(case, home, away):
    """a PodMigration reaches no pod of another namespace"""
    chain = Chain(case, home, pod("guarded", [container("one", 8)]))
    home.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER_NS}})
    case.clean(lambda: home.delete("namespace", OTHER_NS))
    cases_refused.expect(migrate(case, home, migration("reach", "guarded", ns=OTHER_NS, cluster=away.name)), "PodNotFound")
    chain.check_untouched()


def logs_of(home, away):
    """Everything that podmigration says, in both clusters."""
    text = ""
    for cluster, ns in ((home, "podmigration-system"), (home, "podmigration-agent"), (away, "podmigration-agent")):
        text += cluster.ok("logs", "-n", ns, "-l", "app.kubernetes.io/name", "--all-containers", "--prefix", "--tail=-1",
                           "--ignore-errors", "--max-log-requests=20")
    return text + home.ok("get", "podmigrations,events", "-A", "-o", "json")


def leftovers(case, home, away):
    """after a move and after a failure: no image, journal, core or key is left, and no log has the key or the pod's memory"""
    marker = "MEMORY-" + secrets.token_hex(16)
    chain = Chain(case, home, pod("tidy", [container("one", 8, env=[{"name": "NAME", "value": "one"}, {"name": "MARKER", "value": marker}])]))
    moved = chain.move(cluster=away.name)
    secret = next(v["secret"]["secretName"] for v in home.get("pod", chain.name, NS)["spec"]["volumes"] if v["name"] == "podmigration-key")
    key = base64.b64decode(home.get("secret", secret, NS)["data"]["key"])
    cases_refused.stays("untidy", "AuthenticationFailed", surroundings=cases_refused.wrong_key)(case, home, away)
    for cluster in (home, away):
        left = on_node(cluster, "find /run/podmigration/source /run/podmigration/destination /var/lib/podmigration/journal -mindepth 1 2>/dev/null; "
                                "find / -xdev -maxdepth 3 -name 'core*' -type f -size +0 -newer /run/podmigration 2>/dev/null").strip()
        if left:
            raise Failed("left on node %s: %s" % (cluster.name, left[:300]))
    held = json.loads(home.ok("get", "secrets", "-n", "podmigration-agent", "-o", "json"))["items"]
    if any(s["metadata"]["name"] == moved["metadata"]["uid"] for s in held):
        raise Failed("the source agent's key is still there")
    said = logs_of(home, away)
    for what, text in (("key", base64.b64encode(key).decode()), ("key", key.hex())):
        if text in said:
            raise Failed("the %s stands in a log" % what)
    # The marker is part of the pod's own manifest, which nobody has to log either.
    if marker in said:
        raise Failed("the pod's environment stands in a log")


CASES = {"forged-pod": forged_pod, "stranger": stranger, "other-namespace": other_namespace, "leftovers": leftovers}
