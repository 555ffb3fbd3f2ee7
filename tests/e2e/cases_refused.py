# SPDX-License-Identifier: Apache-2.0
"""Cases in which the pod must stay where it is, untouched, and the PodMigration must say why."""
import contextlib
import json

from cluster import Failed, Log, lab
from pods import NS, Chain, container, condition, explain, is_running, migrate, migration, pod, reason_of, ENDED

PLAIN_NS = "e2e-plain"


def expect(m, reason):
    said = {reason_of(m), condition(m, "Migratable").get("reason")}
    if m["status"]["phase"] != "Failed" or reason not in said:
        raise Failed("expected Failed with reason %s, but it ended %s" % (reason, explain(m)))
    if not condition(m, "Succeeded").get("message"):
        raise Failed("reason %s comes without a message" % reason)


def stays(name, reason, where=None, surroundings=None, spec=None, containers=None, timeout=120, ns=NS):
    """A counting pod that cannot be moved: spec and containers make it so, or `surroundings` (a context manager) does."""
    def run(case, home, away):
        with (surroundings(case, home, away) if surroundings else contextlib.nullcontext()):
            chain = Chain(case, home, pod(name, containers or [container("one", 8)], ns=ns, **(spec or {})))
            m = migrate(case, home, migration(name, name, ns, **(where or {"cluster": away.name})), timeout)
            expect(m, reason)
            chain.check_untouched()
    run.__doc__ = "%s, and the pod goes on" % reason
    return run


def pod_missing(case, home, away):
    """PodNotFound"""
    expect(migrate(case, home, migration("missing", "no-such-pod", cluster=away.name)), "PodNotFound")


def pod_pending(case, home, away):
    """PodNotRunning"""
    home.apply(pod("pending", [container("one", image="no-such-image", imagePullPolicy="Never")]))
    case.clean(lambda: home.delete("pod", "pending", NS))
    home.watch("pods", "pending", NS, lambda p: p["status"].get("containerStatuses"), 30, "at its node")
    expect(migrate(case, home, migration("pending", "pending", cluster=away.name)), "PodNotRunning")


def pod_deleting(case, home, away):
    """PodTerminating"""
    p = pod("deleting", [container("one", 8)], terminationGracePeriodSeconds=60)
    p["metadata"]["finalizers"] = ["podmigration.dev/e2e"]
    home.apply(p)
    case.clean(lambda: home.run("patch", "pod", "deleting", "-n", NS, "--type=merge", "-p", '{"metadata":{"finalizers":null}}'))
    home.watch("pods", "deleting", NS, is_running, 60, "running")
    home.delete("pod", "deleting", NS)
    expect(migrate(case, home, migration("deleting", "deleting", cluster=away.name)), "PodTerminating")


def second_migration(case, home, away):
    """of two PodMigrations of one pod, one moves it and the other says AlreadyMigrating (or that it came too late)"""
    chain = Chain(case, home, pod("twice", [container("one", 64)]))
    two = [migration("twice-%d" % i, "twice", cluster=away.name) for i in (1, 2)]
    home.apply(*two)
    for m in two:
        case.clean(lambda n=m["metadata"]["name"]: home.delete("podmigration", n, NS))
    ended = [home.watch("podmigrations", m["metadata"]["name"], NS, lambda m: m.get("status", {}).get("phase") in ENDED, 120, "at an end")
             for m in two]
    phases = sorted(m["status"]["phase"] for m in ended)
    if phases != ["Failed", "Succeeded"]:
        raise Failed("the two ended %s" % [explain(m) for m in ended])
    for m in ended:
        if m["status"]["phase"] == "Failed":
            expect(m, "AlreadyMigrating")
        else:
            name = m["status"]["destinationPod"]["name"]
            case.clean(lambda: home.delete("pod", name, NS))
            chain.name = name
    chain.follow()
    chain.wait_ticks(2)
    chain.check()


def unix_peer(case, home, away):
    """ExternalUnixSocket: two containers hold the ends of one stream"""
    mounts = [{"name": "run", "mountPath": "/run"}]
    home.apply(pod("peers", [container("ear", image="peer", args=["listen", "/run/s"], volumeMounts=mounts),
                             container("mouth", image="peer", args=["connect", "/run/s"], volumeMounts=mounts)],
                   volumes=[{"name": "run", "emptyDir": {}}]))
    case.clean(lambda: home.delete("pod", "peers", NS))
    home.watch("pods", "peers", NS, is_running, 60, "running")
    log = Log(home, NS, "peers", "mouth")
    case.clean(log.close)
    log.wait(lambda lines: len(lines) >= 1, 30, "the connection")
    expect(migrate(case, home, migration("peers", "peers", cluster=away.name)), "ExternalUnixSocket")
    n = len(log.lines)
    log.wait(lambda lines: len(lines) >= n + 2, 30, "going on")


def uring(case, home, away):
    """IOUringInUse"""
    home.apply(pod("uring", [container("one", image="uring", args=[])]))
    case.clean(lambda: home.delete("pod", "uring", NS))
    home.watch("pods", "uring", NS, is_running, 60, "running")
    log = Log(home, NS, "uring", "one")
    case.clean(log.close)
    log.wait(lambda lines: len(lines) >= 1 and "ring=-1" not in lines[0], 30, "a ring")
    expect(migrate(case, home, migration("uring", "uring", cluster=away.name)), "IOUringInUse")
    n = len(log.lines)
    log.wait(lambda lines: len(lines) >= n + 2, 30, "going on")


def seccomp_of_node(case, home, away):
    """DestinationPodFailed: a seccomp profile that lies on the source's node only; once the other node has it, too, the pod moves"""
    path = "/var/lib/kubelet/seccomp/e2e.json"

    def give(cluster):
        lab("exec", cluster.name, "sh", "-c", "mkdir -p ${1%/*} && printf %s \"$2\" > $1", "-", path, json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
        case.clean(lambda: lab("exec", cluster.name, "rm", "-f", path))

    give(home)
    chain = Chain(case, home, pod("profiled", [container("one", image="kinds", args=["identity=Seccomp:\t2"])],
                                  securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "e2e.json"}}))
    m = migrate(case, home, migration("profiled", "profiled", cluster=away.name))
    expect(m, "DestinationPodFailed")
    if "seccomp" not in explain(m):
        raise Failed("the message does not name the profile: %s" % explain(m))
    case.note(said=condition(m, "Succeeded")["message"])
    chain.check_untouched()
    give(away)
    chain.move(cluster=away.name)
    chain.check()


def other_config(case, home, away):
    """UnsupportedVolume: a ConfigMap of the same name that holds something else in the other cluster, where Liqo leaves what it has not made itself as it is"""
    def config(ns, key):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "differs", "namespace": ns}, "data": {"key": key}}

    remote = "%s-%s" % (NS, home.name)
    for cluster, ns, key in ((away, remote, "there"), (home, NS, "here")):
        cluster.apply(config(ns, key))
        case.clean(lambda cluster=cluster, ns=ns: cluster.delete("configmap", "differs", ns))
    chain = Chain(case, home, pod("differs", [container("one", image="kinds", args=["file=/config/key:here"], volumeMounts=[{"name": "config", "mountPath": "/config"}])],
                                  volumes=[{"name": "config", "configMap": {"name": "differs"}}]))
    m = migrate(case, home, migration("differs", "differs", cluster=away.name))
    held = away.get("configmap", "differs", remote)
    if not held or held["data"] != {"key": "there"}:
        raise Failed("the other cluster's ConfigMap did not stay what it was: %s" % held)
    expect(m, "UnsupportedVolume")
    if "configmap:config holds something else" not in explain(m):
        raise Failed("the message does not name the volume: %s" % explain(m))
    case.note(said=condition(m, "Succeeded")["message"])
    chain.check_untouched()


# --- surroundings ---

@contextlib.contextmanager
def plain_namespace(case, home, away):
    home.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLAIN_NS}})
    case.clean(lambda: home.delete("namespace", PLAIN_NS))
    yield


@contextlib.contextmanager
def cordoned(case, home, away):
    home.ok("cordon", away.name)
    try:
        yield
    finally:
        home.ok("uncordon", away.name)


@contextlib.contextmanager
def gpu(case, home, away):
    key = "example.com~1gpu"
    home.ok("patch", "node", home.name, "--subresource=status", "--type=json", "-p",
            json.dumps([{"op": "add", "path": "/status/%s/%s" % (f, key), "value": "1"} for f in ("capacity", "allocatable")]))
    yield


@contextlib.contextmanager
def claim(case, home, away):
    home.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "e2e"},
                "spec": {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "", "persistentVolumeReclaimPolicy": "Retain",
                         "hostPath": {"path": "/tmp/e2e-volume", "type": "DirectoryOrCreate"}, "claimRef": {"name": "e2e", "namespace": NS}}},
               {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "e2e", "namespace": NS},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Mi"}}, "volumeName": "e2e"}})
    case.clean(lambda: home.delete("persistentvolumeclaim", "e2e", NS))
    case.clean(lambda: home.delete("persistentvolume", "e2e"))
    yield


@contextlib.contextmanager
def no_runtime_class(case, home, away):
    there = json.loads(away.ok("get", "runtimeclass", "podmigration", "-o", "json"))
    away.ok("delete", "runtimeclass", "podmigration")
    try:
        yield
    finally:
        away.apply({"apiVersion": there["apiVersion"], "kind": there["kind"], "metadata": {"name": "podmigration"}, "handler": there["handler"]})


@contextlib.contextmanager
def no_agent(case, home, away):
    import install
    away.ok("patch", "daemonset", "podmigration-agent", "-n", "podmigration-agent", "--type=merge", "-p",
            '{"spec":{"template":{"spec":{"nodeSelector":{"e2e/nowhere":"true"}}}}}')
    away.ok("wait", "--for=delete", "pods", "-l", "app.kubernetes.io/name=podmigration-agent", "-n", "podmigration-agent", "--timeout=360s", timeout=100)
    try:
        yield
    finally:
        away.ok("patch", "daemonset", "podmigration-agent", "-n", "podmigration-agent", "--type=json", "-p",
                '[{"op":"remove","path":"/spec/template/spec/nodeSelector"}]')
        install.start_agents(away)


@contextlib.contextmanager
def wrong_key(case, home, away):
    """The API server itself spoils the key that the source's agent will read."""
    name = "podmigration-e2e-wrong-key"
    home.apply({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
                "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
                         "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "podmigration-agent"}},
                                              "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]},
                         "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {
                             "expression": 'Object{data: {"key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}}'}}]}},
               {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
                "spec": {"policyName": name}})

    def remove():
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            home.delete(kind, name)
    case.clean(remove)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "e2e-probe", "namespace": "podmigration-agent"}, "data": {"key": "eA=="}}
    try:
        for _ in range(60):  # the policy counts once the API server has compiled it; each try is a request, not a pause
            out = home.ok("create", "--dry-run=server", "-o", "jsonpath={.data.key}", "-f", "-", stdin=json.dumps(secret))
            if out != "eA==":
                break
        else:
            raise Failed("the API server does not apply the policy that spoils the key")
        yield
    finally:
        remove()


VOLUME = {"volumes": [{"name": "v", "hostPath": {"path": "/tmp", "type": "Directory"}}]}
CLAIM = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "e2e"}}]}
GPU = {"resources": {"limits": {"example.com/gpu": "1"}}}

CASES = {
    "pod-missing": pod_missing,
    "pod-pending": pod_pending,
    "pod-deleting": pod_deleting,
    "host-network": stays("hostnet", "HostNamespace", spec={"hostNetwork": True}),
    "host-pid": stays("hostpid", "HostNamespace", spec={"hostPID": True}),
    "host-ipc": stays("hostipc", "HostNamespace", spec={"hostIPC": True}),
    "host-path": stays("hostpath", "UnsupportedVolume", spec=VOLUME),
    "claim": stays("claim", "UnsupportedVolume", spec=CLAIM, surroundings=claim),
    "gpu": stays("gpu", "DeviceInUse", containers=[container("one", 8, **GPU)], surroundings=gpu),
    "stdin": stays("stdin", "TerminalAttached", containers=[container("one", 8, stdin=True)]),
    "tty": stays("tty", "TerminalAttached", containers=[container("one", 8, tty=True)]),
    "second-migration": second_migration,
    "unknown-cluster": stays("nocluster", "NoSuchDestination", where={"cluster": "atlantis"}),
    "unknown-node": stays("nonode", "NoSuchDestination", where={"node": "atlantis"}),
    "node-not-ready": stays("cordoned", "DestinationNotReady", surroundings=cordoned),
    "not-offloaded": stays("plain", "NamespaceNotOffloaded", ns=PLAIN_NS, surroundings=plain_namespace),
    "no-runtime-class": stays("noclass", "RuntimeClassMissing", surroundings=no_runtime_class),
    "no-agent": stays("noagent", "AgentUnavailable", surroundings=no_agent, timeout=240),
    "wrong-key": stays("wrongkey", "AuthenticationFailed", surroundings=wrong_key),
    "image-missing": stays("noimage", "ImageMissing", containers=[container("one", 8, image="only-here", imagePullPolicy="Never")]),
    "io-uring": uring,
    "sysv-two": stays("sysv", "UnsupportedContainer", containers=[container(n, image="kinds", args=["sysv"]) for n in ("one", "two")]),
    "unix-peer": unix_peer,
    "config-differs": other_config,
}

ON_REQUEST = {"seccomp-localhost": seccomp_of_node}
