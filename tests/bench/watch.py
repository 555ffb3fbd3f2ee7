#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a watch event costs the controller, without a cluster: make bench-watch [EVENTS=10000].  usage: watch.py PROGRAM [WRAPPER ..]

Serves what an API server sends, event by event (a chunk and a TLS record each, as they come one by one), to PROGRAM (watch.c) and prints its figures. WRAPPER: valgrind or strace with
their options; processor time means nothing then, but instructions do not depend on what else the machine does.
"""
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time

EVENTS = int(os.environ.get("EVENTS") or 10000)
RATES = (1000, 100)             # events a second of the parts that are not as fast as possible
FEW = 2000                      # events at most in these
LABEL = "podmigration.dev/migration-uid"


def uid(i):
    return "00000000-0000-0000-0000-%012d" % i


def managed(fields, manager):
    return {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-11-26T07:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}


def containers(n):
    return [{"name": f"app-{i}", "image": "docker.io/lab/app:1", "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}, "terminationMessagePath": "/dev/termination-log",
             "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent", "env": [{"name": f"NAME_{k}", "value": "value"} for k in range(4)],
             "volumeMounts": [{"name": "kube-api-access-x7k2p", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]} for i in range(n)]


def status(n):
    if n == 0:
        return {"phase": "Pending", "qosClass": "BestEffort"}
    at = "2026-11-26T07:00:00Z"
    return {"phase": "Running", "hostIP": "172.30.0.11", "podIP": "10.10.0.7", "podIPs": [{"ip": "10.10.0.7"}], "startTime": at, "qosClass": "Burstable",
            "conditions": [{"type": t, "observedGeneration": 1, "status": "True", "lastProbeTime": None, "lastTransitionTime": at}
                           for t in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")],
            "containerStatuses": [{"name": f"app-{i}", "state": {"running": {"startedAt": at}}, "lastState": {}, "ready": True, "restartCount": 0, "image": "docker.io/lab/app:1",
                                   "imageID": "docker.io/lab/app@sha256:" + "ab" * 32, "containerID": "containerd://" + "cd" * 32, "started": True,
                                   "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}, "allocatedResources": {"cpu": "10m", "memory": "64Mi"},
                                   "volumeMounts": [{"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}]} for i in range(n)]}


def pod(n):
    """One that runs, with n containers; 0: one that waits for a node."""
    fields = {"f:metadata": {"f:labels": {".": {}, "f:" + LABEL: {}}},
              "f:spec": {"f:containers": {'k:{"name":"app-%d"}' % i: {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {}, "f:env": {".": {}},
                                                                       "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}} for i in range(n)},
                         "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:nodeName": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                         "f:terminationGracePeriodSeconds": {}}}
    kubelet = {"f:status": {"f:conditions": {'k:{"type":"%s"}' % t: {".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
                                             for t in ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")},
                            "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {}, "f:podIPs": {}, "f:startTime": {}}}
    return {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "NAME", "namespace": "default", "uid": "UID", "resourceVersion": "VERSION", "generation": 1, "creationTimestamp": "2026-11-26T07:00:00Z",
                         "labels": {LABEL: "UID", "app": "web"}, "annotations": {"turn": "17"}, "managedFields": [managed(fields, "bench"), managed(kubelet, "kubelet")]},
            "spec": {"volumes": [{"name": "kube-api-access-x7k2p", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}, {"configMap": {
                "name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}], "defaultMode": 420}}], "containers": containers(max(n, 1)), "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default", "nodeName": "nowhere",
                "securityContext": {}, "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority",
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
            "status": status(n)}


class Stream:
    """The events of one watch."""

    def __init__(self, connection, template):
        self.connection, self.template = connection, template

    def send(self, line):
        data = line.encode() + b"\n"
        self.connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, kind, name, i):
        text = self.template.replace("NAME", name).replace("UID", uid(i)).replace("VERSION", str(time.monotonic_ns() // 1000))
        self.send('{"type":"%s","object":%s}' % (kind, text))

    def part(self, name, kind, events, rate):
        self.event("ADDED", "mark-" + name, 0)
        begin = time.monotonic()
        for i in range(events):
            if rate:
                time.sleep(max(0, begin + i / rate - time.monotonic()))
            self.event(kind, f"watched-{i}", i)

    def run(self):
        self.part("set", "ADDED", EVENTS, 0)
        self.send(json.dumps({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}}}))
        self.part("burst", "MODIFIED", EVENTS, 0)
        for rate in RATES:
            self.part(f"{rate}/s", "MODIFIED", min(FEW, EVENTS, rate * 5), rate)
        self.event("ADDED", "mark-end", 0)


def serve(listener, context, template):
    plain, _ = listener.accept()
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with context.wrap_socket(plain, server_side=True) as connection:
        while b"\r\n\r\n" not in connection.recv(65536):
            pass
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        Stream(connection, template).run()
        try:
            connection.recv(1)          # until it has seen the end
        except OSError:
            pass


def measure(command, n, folder):
    template = json.dumps(pod(n), separators=(",", ":"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = {"clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:%d" % listener.getsockname()[1], "insecure-skip-tls-verify": True}}],
                  "users": [{"name": "a", "user": {"token": "t"}}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "current-context": "a"}
        with open(f"{folder}/kubeconfig", "w", encoding="utf-8") as f:
            json.dump(config, f)
        with subprocess.Popen([*command, f"{folder}/kubeconfig"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as program:
            serve(listener, context, template)
            out = program.communicate()[0]
    for line in out.splitlines():
        name, *numbers = line.split()
        events, cpu, way, longest, resident = map(int, numbers)
        print("| %d, %d bytes | %s | %d | %.1f | %d | %.1f | %.1f | %d |" % (n, len(template), name, events, cpu / events, events * 1000000 // max(cpu, 1), way / 1000, longest / 1000,
                                                                      resident // events), flush=True)


def main():
    program, wrapper = sys.argv[1], sys.argv[2:]
    print("| containers | part | events | us of a core for each | events a second of a core | way in ms, mean | longest | bytes more for each |\n" + "| --- " * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bench", "-days", "2", "-keyout", f"{folder}/key",
                        "-out", f"{folder}/cert"], check=True, stderr=subprocess.DEVNULL)
        for n in map(int, os.environ.get("CONTAINERS", "0 1 2").split()):
            measure([*wrapper, program], n, folder)


if __name__ == "__main__":
    main()
