# SPDX-License-Identifier: Apache-2.0
"""Kinds of pods: what their specs and their processes hold is the same after the move, and no container is restarted by it. The programs look by themselves
(tests/apps/kinds.c); several features share a pod, so that each is seen together with others."""
import os
import re

from cluster import Failed, Log
from pods import NS, Chain, condition, container, explain, is_running, migrate, migration, pod, reason_of


def kinds(name, *checks, **more):
    return container(name, image="kinds", args=list(checks), **more)


def restarts(p):
    return {s["name"]: s["restartCount"] for s in p["status"].get("initContainerStatuses", []) + p["status"]["containerStatuses"] if s["restartCount"]}


def there_and_back(case, home, away, manifest, seconds=3, look=lambda chain: None):
    """Moves it away and home again; after each move it has `seconds` in which a probe would show what it thinks. look(chain): before, and after each move."""
    chain = Chain(case, home, manifest)
    look(chain)
    for where in ({"cluster": away.name}, {"node": home.name}):
        chain.move(**where)
        look(chain)
        chain.wait_ticks(seconds)
        # ready again, where a readiness probe has seen the pause
        restarted = restarts(home.watch("pods", chain.name, NS, lambda p: condition(p, "Ready").get("status") == "True", 10, "Ready"))
        if restarted:
            raise Failed("restarted after the move: %s" % restarted)
    case.note(gap_ms=chain.check())
    return chain


def shown(home, chain, name, path):
    rc, out, err = home.run("exec", "-n", NS, chain.name, "-c", name, "--", "/tool", "show", path)
    if rc:
        raise Failed("%s: %s" % (path, err.strip()))
    return out


HTTP = lambda port: {"httpGet": {"port": port, "path": "/"}}
TCP = lambda port: {"tcpSocket": {"port": port}}
GRPC = lambda port: {"grpc": {"port": port}}


def probed(liveness, readiness):
    """As impatient as Kubernetes allows: one answer that does not come within a second is enough."""
    each = {"initialDelaySeconds": 2, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
    return {"livenessProbe": {**liveness, **each}, "readinessProbe": {**readiness, **each}}


ENDED = re.compile(r" end tick=\d+ ms=\d+ had=(\d+) hooks=(\d+)$")
SLOW_TO_END = 3000      # ms: more than the two seconds that a source has when it is left


def ends_as_it_wishes(case, home, chain, name):
    """Deleted, the moved pod gets its preStop hook, once, and after it SIGTERM and the time that its own spec gives it. The program tells."""
    home.delete("pod", chain.name, NS)
    p, log = home.get("pod", chain.name, NS), chain.logs[-1][name]
    if not p or p["metadata"].get("deletionGracePeriodSeconds") != p["spec"]["terminationGracePeriodSeconds"]:
        raise Failed("it is deleted with %s s of grace" % (p and p["metadata"].get("deletionGracePeriodSeconds")))
    log.wait(lambda lines: any(map(ENDED.search, lines)), 30, "its last words")
    had, hooks = next(map(int, m.groups()) for m in map(ENDED.search, log.lines) if m)
    case.note(had_ms=had, hooks=hooks)
    if had < SLOW_TO_END or hooks != 1:
        raise Failed("it had %d ms to end, and its preStop hook has run %d times" % (had, hooks))


# What a container sees of its own cgroup, with version 2 and version 1.
OWN_LIMIT = "/sys/fs/cgroup/memory.max" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "/sys/fs/cgroup/memory/memory.limit_in_bytes"


def locked_down(case, home, away):
    """not root, read-only root, seccomp, sysctls, no capabilities, memory limit, which it sees; emptyDir in memory, ConfigMap, Secret, downward API, token, subPath"""
    home.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kinds", "namespace": NS}, "data": {"key": "from the config map"}},
               {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kinds", "namespace": NS}, "stringData": {"key": "from the secret"}})
    for kind in ("configmap", "secret"):
        case.clean(lambda kind=kind: home.delete(kind, "kinds", NS))
    p = pod("locked", [kinds(
        "one", "identity=Seccomp:\t2", "readonly", "memory=/mem", "file=/config/key:config map", "file=/secret/key:the secret", "file=/sub/file:below",
        "file=/podinfo/labels:kind=\"locked\"", "file=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt:BEGIN CERTIFICATE",
        "file=/proc/sys/net/ipv4/ip_local_port_range:20000\t20999", "file=/proc/sys/net/ipv4/ping_group_range:7\t7777", "file=/proc/sys/kernel/shm_rmid_forced:1", "file=%s:%d" % (OWN_LIMIT, 16 << 20),
        env=[{"name": "NAME", "value": "one"}, {"name": "OWN", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        securityContext={"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        resources={"limits": {"memory": "16Mi", "cpu": "500m"}},
        volumeMounts=[{"name": "mem", "mountPath": "/mem"}, {"name": "config", "mountPath": "/config"}, {"name": "secret", "mountPath": "/secret"},
                      {"name": "podinfo", "mountPath": "/podinfo"}, {"name": "work", "mountPath": "/sub", "subPath": "below"}])],
        initContainers=[container("first", image="kinds", command=["/tool", "add", "/kept/file", "below"], args=[],
                                  volumeMounts=[{"name": "work", "mountPath": "/kept", "subPath": "below"}])],
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000, "supplementalGroups": [3000], "runAsNonRoot": True,
                         "seccompProfile": {"type": "RuntimeDefault"},
                         "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "20000 20999"}, {"name": "net.ipv4.ping_group_range", "value": "7 7777"},
                                     {"name": "kernel.shm_rmid_forced", "value": "1"}]},
        volumes=[{"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}, {"name": "work", "emptyDir": {}},
                 {"name": "config", "configMap": {"name": "kinds"}}, {"name": "secret", "secret": {"secretName": "kinds", "defaultMode": 0o440}},
                 {"name": "podinfo", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}])
    p["metadata"]["labels"] = {"kind": "locked"}
    there_and_back(case, home, away, p)


def asker(case, home):
    """Another pod, and how it sends a datagram to a pod and waits for the answer."""
    home.apply(pod("asker", [container("one", 1)]))
    case.clean(lambda: home.delete("pod", "asker", NS, "--grace-period=1"))

    def ask(chain, port):
        home.watch("pods", "asker", NS, is_running, 60, "running")
        address = home.get("pod", chain.name, NS)["status"]["podIP"]
        _, out, err = home.run("exec", "-n", NS, "asker", "--", "/tool", "udp", address, str(port), "hello")
        if out.strip() != "hello":
            raise Failed("a datagram from another pod to %s, port %d, is answered by %r %s" % (address, port, out, err.strip()[-200:]))
    return ask


def together(case, home, away):
    """sockets bound to the pod's first address; UDP on all, asked by another pod; unix datagrams; a unix socket, POSIX and System V shared memory of two containers; probes by gRPC, TCP"""
    ask = asker(case, home)
    mounts = [{"name": "run", "mountPath": "/run"}]
    own = [{"name": "NAME", "value": "one"}, {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    one = kinds("one", "grpc=8081", "bound", "udp=5002", "dgram=/run/datagrams", "listen=/run/socket", "shm-write", env=own, volumeMounts=mounts, **probed(GRPC(8081), TCP(8081)))
    two = kinds("two", "call=/run/socket", "shm-read", "sysv", volumeMounts=mounts)
    there_and_back(case, home, away, pod("together", [one, two], volumes=[{"name": "run", "emptyDir": {}}]), look=lambda chain: [ask(chain, port) for port in (5002, 5003)])


def one_process_namespace(case, home, away):
    """shareProcessNamespace: the processes of both containers see each other and keep their numbers; impatient probes by HTTP, gRPC and TCP restart neither"""
    there_and_back(case, home, away, pod("shared", [kinds("one", "http=8080", "grpc=8081", "pid", "processes=2", **probed(HTTP(8080), GRPC(8081))),
                                                    kinds("two", "http=8090", "pid", "processes=2", **probed(TCP(8090), HTTP(8090)))], shareProcessNamespace=True))


def life(case, home, away):
    """init container and postStart do not run again, a native sidecar, probes of 1 s, memory near its limit, a watched folder, waits; deleted, it has preStop and its time to end"""
    work = [{"name": "work", "mountPath": "/kept"}]
    probe = {"exec": {"command": ["/tool", "show", "/kept/init"]}, "periodSeconds": 1, "failureThreshold": 3, "timeoutSeconds": 2}
    chain = there_and_back(case, home, away, pod("life", [
        kinds("main", "lines=/kept/init:1", "lines=/kept/hook:1", "watch=/image", "waits", "end=/kept/stopped:%d" % SLOW_TO_END, volumeMounts=work,
              livenessProbe=probe, readinessProbe=probe, startupProbe=probe,
              lifecycle={"postStart": {"exec": {"command": ["/tool", "add", "/kept/hook", "started"]}},
                         "preStop": {"exec": {"command": ["/tool", "add", "/kept/stopped", "stopped"]}}}),
        container("heavy", 40, resources={"requests": {"memory": "48Mi"}, "limits": {"memory": "48Mi", "cpu": "1"}})],
        initContainers=[container("init", image="kinds", command=["/tool", "add", "/kept/init", "ran"], args=[], volumeMounts=work),
                        container("sidecar", 8, restartPolicy="Always", livenessProbe={"exec": {"command": ["/tool", "hostname"]}, "periodSeconds": 1})],
        restartPolicy="OnFailure", terminationGracePeriodSeconds=20, volumes=[{"name": "work", "emptyDir": {}}]), 5)
    for path in ("/kept/init", "/kept/hook"):
        if len(shown(home, chain, "main", path).splitlines()) != 1:
            raise Failed("%s: it has run again: %r" % (path, shown(home, chain, "main", path)))
    ends_as_it_wishes(case, home, chain, "main")


def inside(case, home, away):
    """TCP connections inside the pod stay: between containers and in one, over 127.0.0.1, 127.0.0.9, ::1 and the pod's IP, with full queues and half shut down; one from outside is closed"""
    def pairs(name, *args):
        return container(name, image="pairs", args=list(args), env=[{"name": "NAME", "value": name}, {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}])

    chain = Chain(case, home, pod("inside", [pairs("one", "serve=6000", "call=127.0.0.1:6000"), pairs("two", "call=127.0.0.9:6000", "call=[::1]:6000", "call=POD:6000")]))
    home.apply(pod("outside", [pairs("out", "outside=%s:6000" % home.get("pod", chain.name, NS)["status"]["podIP"])]))
    case.clean(lambda: home.delete("pod", "outside", NS, "--grace-period=1"))
    home.watch("pods", "outside", NS, is_running, 60, "running")
    outside = Log(home, NS, "outside", "out")
    case.clean(outside.close)
    outside.wait(lambda lines: any(" tick " in line for line in lines), 20, "a count")
    for where in ({"cluster": away.name}, {"node": home.name}):
        chain.move(**where)
    # one that has stopped, at whichever move, says so after 5 s
    chain.wait_ticks(4)
    outside.wait(lambda lines: any("outside closed" in line for line in lines), 10, "its connection closed")
    chain.check()
    case.note(connections=16, paused_ms=[m["status"]["downtime"] for m in chain.moves])


def own_range(home, chain, name):
    """Where the ids of this container's user namespace begin on the node."""
    inside, first, count = shown(home, chain, name, "/proc/self/uid_map").split()
    if (inside, count) != ("0", "65536"):
        raise Failed("uid_map of %s: %s %s %s" % (name, inside, first, count))
    return first


def user_namespace(case, home, away):
    """hostUsers: false, one container as root, one as another user: twice to another range of ids on a node of this cluster, owners in the root, emptyDirs (disk, memory) and /dev/shm kept; to another cluster refused"""
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "mem", "mountPath": "/mem"}]
    chain = Chain(case, home, pod("users", [
        kinds("one", "odd=/state", "odd=/data", "odd=/mem", "memory=/dev/shm", volumeMounts=mounts),
        container("two", 16, args=["16", "/data/count", "/dev/shm/count"], volumeMounts=mounts, securityContext={"runAsUser": 1000, "runAsGroup": 3000})],
        hostUsers=False, volumes=[{"name": "data", "emptyDir": {}}, {"name": "mem", "emptyDir": {"medium": "Memory"}}]))
    m = migrate(case, home, migration("users-away", chain.name, cluster=away.name))
    if reason_of(m) != "UnsupportedContainer" or "hostUsers" not in condition(m, "Succeeded")["message"]:
        raise Failed("to another cluster it ended %s" % explain(m))
    ranges = [own_range(home, chain, "one")]
    for way in ({}, {"strategy": "PostCopy"}):
        chain.move(node=home.name, **way)
        chain.wait_ticks(3)
        ranges.append(own_range(home, chain, "one"))
        if own_range(home, chain, "two") != ranges[-1] or ranges[-1] in ranges[:-1]:
            raise Failed("the containers' ranges of ids: %s" % ranges)
        if restarts(home.get("pod", chain.name, NS)):
            raise Failed("restarted after the move")
    case.note(gap_ms=chain.check(), ranges=ranges, downtime=[m["status"]["downtime"] for m in chain.moves])


def user_namespace_shared(case, home, away):
    """hostUsers: false with shareProcessNamespace, two processes and listening sockets in a container: twice within this cluster"""
    chain = Chain(case, home, pod("sharedusers", [kinds("one", "http=8080", "pid", "processes=2"), kinds("two", "http=8090", "pid", "processes=2")], shareProcessNamespace=True, hostUsers=False))
    for _ in range(2):
        chain.move(node=home.name)
        chain.wait_ticks(3)
    case.note(gap_ms=chain.check())


CASES = {"user-namespace": user_namespace, "user-namespace-pids": user_namespace_shared, "inside": inside, "locked-down": locked_down, "together": together, "one-pid-namespace": one_process_namespace, "life": life}
