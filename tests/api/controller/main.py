#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CRD and podmigration-controller against a real kube-apiserver and etcd.  usage: main.py KUBECONFIG CONTROLLER LOGDIR [RESTART-COMMAND..]
KUBE_CONTROLLER_MANAGER names that program, for the pods of Deployments."""
import os
import socket
import subprocess
import sys

import test_accidents
import test_crd
import test_dry
import test_flow
import test_guard
import test_owned
import test_policies
import test_preflight
import test_second_way
from harness import NS, Checks, Controller, Kubelet, World, until
from kube import Kube

LIQO_KINDS = [("offloading.liqo.io", "NamespaceMap", "namespacemaps", "Namespaced"), ("core.liqo.io", "ForeignCluster", "foreignclusters", "Cluster"),
              ("offloading.liqo.io", "NamespaceOffloading", "namespaceoffloadings", "Namespaced")]


def liqo_types(kube):
    """Liqo's resources as far as the controller reads them."""
    for group, kind, plural, scope in LIQO_KINDS:
        kube.ensure("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural, "singular": kind.lower()}, "versions": [
                {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object",
                                                                                                   "x-kubernetes-preserve-unknown-fields": True}}}]}})
    for group, _, plural, _ in LIQO_KINDS:
        until(lambda: kube.find(f"/apis/{group}/v1beta1/{plural}"), 15, f"{plural} served")


def peer(w, cluster, node_ready=True, mapped=True, role="Provider", api="Established"):
    labels = {"liqo.io/type": "virtual-node", "liqo.io/remote-cluster-id": cluster}
    w.node(f"virtual-{cluster}", node_ready, labels)
    w.kube.ensure(f"/apis/offloading.liqo.io/v1beta1/namespaces/{NS}/namespacemaps", {
        "apiVersion": "offloading.liqo.io/v1beta1", "kind": "NamespaceMap",
        "metadata": {"name": cluster, "labels": {"liqo.io/remote-cluster-id": cluster}},
        "status": {"currentMapping": {NS: {"remoteNamespace": f"{NS}-a", "phase": "Accepted"}} if mapped else {}}})
    w.kube.ensure("/apis/core.liqo.io/v1beta1/foreignclusters", {
        "apiVersion": "core.liqo.io/v1beta1", "kind": "ForeignCluster", "metadata": {"name": cluster},
        "status": {"role": role, "conditions": [{"type": "APIServerStatus", "status": api}]}})


def furnish(w):
    kube = w.kube
    for ns in ("podmigration-system", "podmigration-agent", NS):
        kube.ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}})
        kube.ensure(f"/api/v1/namespaces/{ns}/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
    for name, handler in (("podmigration", "podmigration"), ("kata", "kata")):
        kube.ensure("/apis/node.k8s.io/v1/runtimeclasses", {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": handler,
                                                            "metadata": {"name": name}})
    liqo_types(kube)
    for name in ["n1", "n2", "n-mute"] + [n for n, _, _ in test_flow.BAD_NODES]:
        w.node(name)
    w.node("n-down", ready=False)
    w.node("n-cordoned", unschedulable=True)
    w.node("n-pressed", pressure="DiskPressure")
    w.node("n-tainted", taints=[{"key": "example.com/drain", "value": "a", "effect": "NoExecute"}, {"key": "example.com/other", "effect": "NoSchedule"}])
    w.node("n-small", allocatable={"cpu": "4", "memory": "1Gi"})
    peer(w, "b")
    peer(w, "down", node_ready=False)
    peer(w, "lonely", mapped=False)
    peer(w, "consumer", role="Consumer")
    peer(w, "silent", api="Error")


def controller_kubeconfig(kube, path):
    """The controller runs with the rights that deploy/ gives it, no more."""
    ns = "podmigration-system"
    kube.ensure(f"/api/v1/namespaces/{ns}/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "podmigration-controller"}})
    t = kube.create(f"/api/v1/namespaces/{ns}/serviceaccounts/podmigration-controller/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}})
    kube.kubeconfig_with_token(t["status"]["token"], path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main():
    kubeconfig, binary, logs, restart = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    kube, c = Kube(kubeconfig), Checks()
    manager = os.environ.get("KUBE_CONTROLLER_MANAGER")
    w = World(kube, c)
    furnish(w)
    controller_kubeconfig(kube, f"{logs}/controller.kubeconfig")
    kubelet = Kubelet(kube)
    kubelet.how = {"n-mute": "none", **{n: how for n, how, _ in test_flow.BAD_NODES}}
    kubelet.start()
    started = []

    def start(*options):
        started.append(Controller(binary, f"{logs}/controller.kubeconfig", free_port(), f"{logs}/controller-{len(started)}.log", *options))
        return started[-1]
    try:
        c.run("crd", test_crd.rules, w)
        c.run("guard", test_guard.pods, w)
        # A busy machine's API server may be silent for longer than a short lease lasts: losing it is another test's subject.
        patience = ("--lease-seconds", "150", "--renew-seconds", "120") if restart else ()
        first = start(*patience)
        until(first.leads, 20, "the controller leads")
        f, p = test_flow, test_preflight
        c.run("flow", f.forward, w)
        c.run("speed", f.speed, w)
        a, o = test_accidents, test_policies
        c.run("policies", o.policies, w)
        c.run("at each phase", a.at_each_phase, w)
        c.together([("preflight pods", p.pods, w), ("thaw not reported", f.thaw_is_not_reported, w), ("timeout", f.times_out, w),
                    ("no agent", f.agent_is_missing, w), ("second way", test_second_way.unheard, w),
                    ("race", f.race, w), ("nobody reports", a.nobody_reports_running, w),
                    ("dry run without an agent", test_dry.silent_agent, w), ("dry run, an older agent", test_dry.destination_old_agent, w),
                    ("destination stays", a.destination_does_not_go, w, first), ("frozen too long", a.frozen_too_long, w),
                    ("deletion refused", o.deletion_is_refused, w, first)])
        for test in (test_dry.well, test_dry.beside, test_dry.agent_finds, test_dry.refused, test_dry.remote, test_dry.cancelled, test_dry.destination_well,
                     test_dry.destination_refuses, test_dry.destination_does_not_run, test_dry.destination_not_asked, test_dry.destination_beside, test_dry.destination_cancelled,
                     test_dry.remote_destination, test_dry.remote_finds):
            c.run(f"dry run {test.__name__}", test, w)
        c.run("pending", a.pending, w, first.stopped)
        c.together([(f"namespace deleted in {phase}", a.namespace_deleted, w, phase) for phase in ("Preparing", "Transferring", "Freezing", "Restoring", "Committed")])
        c.run("node or peering gone", a.away, w)
        c.run("not thawed", a.source_is_not_thawed, w, first)
        c.run("late destination", a.late_destination, w)
        c.run("invariants", a.invariants, w, first)
        for test in (o.mark_is_refused, o.secret_is_refused, o.admission, o.any_text, o.observed):
            c.run(f"policies {test.__name__}", test, w)
        c.run("preflight destinations", p.destinations, w)
        for name, test in (("competing", p.competing), ("flood", p.flood), ("cancel", f.cancelled), ("delete", f.deleted), ("agent fails", f.agent_fails),
                           ("thaw", f.thaw_is_waited_for), ("source goes", f.source_goes), ("label goes", f.label_goes),
                           ("destination goes", f.destination_goes), ("bad destinations", f.bad_destinations), ("event", f.told_by_event),
                           ("commit wins", f.commit_wins), ("lost after commit", f.lost_after_commit), ("remote source", f.remote_source),
                           ("to Liqo", f.to_liqo), ("ttl", f.ttl), ("fence", f.fence)):
            c.run(name, test, w)
        if manager:
            c.run("owned", test_owned.owned, w, manager, kubeconfig, f"{logs}/kube-controller-manager.log")
        if restart:
            first.stop()
            patient = start(*patience)
            until(patient.leads, 30, "the patient controller leads")
            c.run("recovery", f.recovery, w, lambda: subprocess.run(restart, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL), patient)
            patient.stop()
            first = start()
            until(first.leads, 30, "the controller leads again")
        third = f.handover(w, first, start)
        fourth = f.adopts(w, start, third)
        until(fourth.leads, 30, "the fourth controller leads")
        a.forged_destination(w, start, fourth)
    except Exception as e:
        c.check("the tests themselves", False, f"{type(e).__name__}: {e}")
    finally:
        kubelet.stopped.set()
        for s in started:
            s.stop()
    crashed = [s.log for s in started if s.process.returncode not in (0, -9)]
    c.check("no controller has crashed", not crashed, crashed)
    print(f"{c.passed} passed, {c.failed} failed")
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
