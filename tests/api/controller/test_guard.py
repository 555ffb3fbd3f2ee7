# SPDX-License-Identifier: Apache-2.0
"""agent/guard-pods.yaml: nobody but podmigration and Liqo makes a pod that waits for a migration, or changes what such a pod is told."""
from harness import NS, until
from kube import ApiError

UID = "0b0c1d2e-0000-4000-8000-000000000001"
ALICE = ("alice", ["system:authenticated"])
CONTROLLER = ("system:serviceaccount:podmigration-system:podmigration-controller", ["system:serviceaccounts", "system:authenticated"])
LIQO = ("system:serviceaccount:liqo:liqo-controller-manager", ["system:serviceaccounts", "system:authenticated"])
REPLICASETS = ("system:serviceaccount:kube-system:replicaset-controller", ["system:serviceaccounts", "system:authenticated"])
WORDS = "create a PodMigration instead"

MIGRATION = {"podmigration.dev/migration": UID}
ORDER = {"podmigration.dev/order": "AAAA"}
LIQO_CLASS = {"liqo.io/remote-runtime-class-name": "podmigration"}

# who, annotations, RuntimeClass, allowed
CREATES = [
    (ALICE, {}, None, True),
    (ALICE, {"example.com/podmigration.dev": "x"}, None, True),
    (ALICE, MIGRATION, None, False),
    (ALICE, MIGRATION, "podmigration", False),
    (ALICE, {}, "podmigration", False),
    (ALICE, LIQO_CLASS, None, False),
    (ALICE, {"liqo.io/remote-runtime-class-name": "kata"}, None, True),
    (ALICE, ORDER, None, False),
    (ALICE, {"podmigration.dev/original-name": "x"}, None, False),
    (REPLICASETS, MIGRATION, "podmigration", False),
    (CONTROLLER, MIGRATION, "podmigration", True),
    (LIQO, MIGRATION, "podmigration", True),
]

# who, patch of the annotations of a moved pod, allowed
CHANGES = [
    (ALICE, {"note": "mine"}, True),
    (ALICE, {"podmigration.dev/order": "BBBB"}, False),
    (ALICE, {"podmigration.dev/order": None}, False),
    (ALICE, {"podmigration.dev/migration": "11111111-0000-4000-8000-000000000001"}, False),
    (ALICE, {"podmigration.dev/another": "x"}, False),
    (ALICE, LIQO_CLASS, False),
    (ALICE, {"podmigration.dev/start-cold": "true"}, True),
    (ALICE, {"podmigration.dev/start-cold": "true", "podmigration.dev/order": "BBBB"}, False),
    (CONTROLLER, {"podmigration.dev/order": "BBBB"}, True),
]


def pod(name, annotations, runtime_class):
    spec = {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False}
    if runtime_class:
        spec["runtimeClassName"] = runtime_class
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}, "spec": spec}


def outcome(fn):
    """'' when it was done, else the server's words."""
    try:
        fn()
        return ""
    except ApiError as e:
        return f"{e.code} {e.message}"


def roles(kube):
    """What a namespace's own people have, and the way to move pods; makers of pods have `pods`."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"

    def bind(name, role, who):
        kube.ensure(f"{rbac}/namespaces/{NS}/rolebindings", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [{"kind": "User", "name": who[0]}]})
    kube.ensure(f"{rbac}/clusterroles", {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "people"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]}]})
    bind("alice-moves", "podmigration-editor", ALICE)
    for i, who in enumerate((ALICE, LIQO, REPLICASETS)):
        bind(f"people-{i}", "people", who)


def pods(w):
    kube, c, path = w.kube, w.c, f"/api/v1/namespaces/{NS}/pods"
    roles(kube)

    def create(who, p, dry="?dryRun=All"):
        return outcome(lambda: kube.call("POST", path + dry, p, as_user=who))
    # the policy counts once the API server has compiled it
    until(lambda: WORDS in create(ALICE, pod("guard-probe", MIGRATION, None)), 30, f"the policy ({create(ALICE, pod('guard-probe', MIGRATION, None))})")
    for i, (who, annotations, runtime_class, allowed) in enumerate(CREATES):
        said = create(who, pod(f"guard-{i}", annotations, runtime_class))
        c.check(f"guard: {who[0].split(':')[-1]} {'may' if allowed else 'may not'} create a pod with {annotations or 'nothing'}, class {runtime_class}",
                said == "" if allowed else WORDS in said, said or "it was created")
    kube.ensure(path, pod("guard-moved", {**MIGRATION, **ORDER}, "podmigration"))
    for who, patch, allowed in CHANGES:
        said = outcome(lambda: kube.call("PATCH", f"{path}/guard-moved?fieldManager=guard&dryRun=All", {"metadata": {"annotations": patch}},
                                         "application/merge-patch+json", as_user=who))
        c.check(f"guard: {who[0].split(':')[-1]} {'may' if allowed else 'may not'} set {patch} at a moved pod", said == "" if allowed else WORDS in said,
                said or "it was set")
    # a moved pod is deleted, and its status written, by whoever may
    c.equal("guard: a moved pod can be deleted by its people", outcome(lambda: kube.call("DELETE", f"{path}/guard-moved", {"gracePeriodSeconds": 0},
                                                                                          as_user=ALICE)), "")
    said = outcome(lambda: kube.call("PATCH", f"/apis/podmigration.dev/v1alpha1/namespaces/{NS}/podmigrations/x/status", {"status": {"decision": "Commit"}},
                                     "application/merge-patch+json", as_user=ALICE))
    c.check("guard: a person who may create PodMigrations cannot write their status", said.startswith("403"), said)
