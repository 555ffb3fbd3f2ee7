# SPDX-License-Identifier: Apache-2.0
"""A dry run that asks the destination, too: what it finds, and that nothing is left of it."""
from cluster import Failed, lab
from cases_refused import expect
from pods import NS, Chain, condition, container, explain, migrate, migration, pod

SCOPE = {"dryRun": True, "dryRunScope": "Destination"}


def metadata(chain, remote=False):
    """In another cluster the pod carries an order for a while: what is left of that is looked at, not that it was written to."""
    meta = chain.home.get("pod", chain.name, NS)["metadata"]
    return {k: meta.get(k) for k in ("uid", "labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp")} if remote else meta


def left(cluster, uid):
    """What still bears the migration's name, in the API server and on the node."""
    found = [kind for kind in ("pods", "secrets") if cluster.ok("get", kind, "-A", "-l", "podmigration.dev/migration-uid=%s" % uid, "-o", "name").strip()]
    found += ["secret " + name for name in cluster.ok("get", "secrets", "-A", "-o", "name").split() if uid in name]
    found += lab("exec", cluster.name, "sh", "-c", "grep -rl %s /run/podmigration /var/lib/podmigration 2>/dev/null; find /run/podmigration /var/lib/podmigration -name '*%s*'; true" % (uid, uid)).split()
    return found


def nothing_left(case, clusters, uid):
    """Kubernetes collects the Secret after the pod, and Liqo the other cluster's."""
    for _ in range(30):
        found = {c.name: f for c in clusters for f in [left(c, uid)] if f}
        if not found:
            return
        clusters[0].run("wait", "--for=delete", "secret/podmigration-%s" % uid, "-n", NS, "--timeout=1s")
    raise Failed("left behind: %s" % found)


def ask(case, home, away, chain, name, remote=False, stopped=False):
    """A dry run of the chain's pod, after which the pod is as it was, and nothing else is there."""
    was = metadata(chain, remote)
    m = migrate(case, home, migration(name, chain.name, **({"node": home.name} if remote else {"cluster": away.name}), **SCOPE))
    if not stopped:
        chain.check_untouched()
    now = metadata(chain, remote)
    if now != was:
        raise Failed("the pod was touched: %s, and it was %s" % (now, was))
    nothing_left(case, (home, away), m["metadata"]["uid"])
    if condition(m, "InvariantViolated"):
        raise Failed(condition(m, "InvariantViolated")["message"])
    return m


def rehearse(case, home, away):
    """dryRunScope Destination: both nodes find nothing in the way, the pod is not touched, nothing is left; then it moves"""
    chain = Chain(case, home, pod("rehearsed", [container("one", 64), container("two", 8)]))
    m = ask(case, home, away, chain, "rehearsed-dry")
    text = condition(m, "Succeeded").get("message", "")
    if m["status"]["phase"] != "Succeeded" or condition(m, "Migratable").get("status") != "True" or "the pod was not touched" not in text:
        raise Failed("the dry run ended %s" % explain(m))
    if m["status"].get("destination", {}).get("node") != away.name:
        raise Failed("the destination's node has not told of itself: %s" % m["status"].get("destination"))
    if [e["phase"] for e in m["status"]["phaseTransitionTimestamps"]] != ["Preparing", "Succeeded"] or m["status"]["source"].get("bytesTransferred", 0) > 65536:
        raise Failed("it went further than it should: %s" % m["status"])
    chain.move(cluster=away.name)
    case.note(said=text, gap_ms=chain.check())


def rehearse_refused(case, home, away):
    """dryRunScope Destination: what only the destination's agent can see (a ConfigMap that holds something else there)"""
    def config(ns, key):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rehearsed", "namespace": ns}, "data": {"key": key}}

    for cluster, ns, key in ((away, "%s-%s" % (NS, home.name), "there"), (home, NS, "here")):
        cluster.apply(config(ns, key))
        case.clean(lambda cluster=cluster, ns=ns: cluster.delete("configmap", "rehearsed", ns))
    chain = Chain(case, home, pod("rehearsed-config", [container("one", image="kinds", args=["file=/config/key:here"], volumeMounts=[{"name": "config", "mountPath": "/config"}])],
                                  volumes=[{"name": "config", "configMap": {"name": "rehearsed"}}]))
    m = ask(case, home, away, chain, "rehearsed-config")
    expect(m, "UnsupportedVolume")
    text = condition(m, "Migratable").get("message", "")
    if "configmap:config holds something else" not in text or "not asked" in text:
        raise Failed("the message does not tell what the destination found: %s" % text)
    case.note(said=text)


def rehearse_image(case, home, away):
    """dryRunScope Destination: an image that is missing there; the pod there never runs"""
    chain = Chain(case, home, pod("rehearsed-image", [container("one", 8, image="only-here", imagePullPolicy="Never")]))
    m = ask(case, home, away, chain, "rehearsed-image")
    expect(m, "ImageMissing")
    text = condition(m, "Migratable").get("message", "")
    if condition(m, "Migratable").get("status") != "False" or not text.endswith("was not asked"):
        raise Failed("the message does not say who was not asked: %s" % text)
    case.note(said=text)


def rehearse_remote(case, home, away):
    """dryRunScope Destination, the way back: the agent in the other cluster and the one at home find nothing in the way, the pod carries nothing of it afterwards; then it moves back"""
    chain = Chain(case, home, pod("rehearsed-far", [container("one", 64), container("two", 8)]))
    chain.move(cluster=away.name)
    for again in range(2):
        m = ask(case, home, away, chain, "dry-far-%d" % again, remote=True)
        text = condition(m, "Succeeded").get("message", "")
        if m["status"]["phase"] != "Succeeded" or condition(m, "Migratable").get("status") != "True" or "cluster %s" % away.name not in text:
            raise Failed("the dry run ended %s" % explain(m))
        if m["status"].get("destination", {}).get("node") != home.name or [e["phase"] for e in m["status"]["phaseTransitionTimestamps"]] != ["Preparing", "Succeeded"]:
            raise Failed("it was not asked, or it went further than it should: %s" % m["status"])
    chain.move(node=home.name)
    case.note(said=text, gap_ms=chain.check())


def signal_all(cluster, uid, signal):
    """To all processes of a pod's containers."""
    lab("exec", cluster.name, "sh", "-c", "for p in $(find /sys/fs/cgroup -path '*pod%s/*' -name cgroup.procs -exec cat {} + | sort -u); do "
        "[ \"$(cat /proc/$p/comm)\" = pause ] || kill -%s $p; done" % (uid, signal))


def rehearse_remote_refused(case, home, away):
    """dryRunScope Destination, the way back: all that the agent in the other cluster finds comes home, of each container; a migration hears it as soon"""
    chain = Chain(case, home, pod("rehearsed-ill", [container("one", 8), container("two", 8)]))
    chain.move(cluster=away.name)
    uid = away.get("pod", chain.name, "%s-%s" % (NS, home.name))["metadata"]["uid"]
    signal_all(away, uid, "STOP")
    try:
        m = ask(case, home, away, chain, "dry-ill", remote=True, stopped=True)
        expect(m, "CheckpointFailed")
        text = condition(m, "Migratable").get("message", "")
        if text.count("is stopped by a signal") != 2 or "container one: " not in text or "container two: " not in text:
            raise Failed("the message does not tell all that was found: %s" % text)
        n = migrate(case, home, migration("ill", chain.name, node=home.name), 60)
        expect(n, "CheckpointFailed")
    finally:
        signal_all(away, uid, "CONT")
    chain.move(node=home.name)
    case.note(said=text, migration_said=condition(n, "Succeeded")["message"])


CASES = {"rehearse-remote": rehearse_remote, "rehearse-remote-refused": rehearse_remote_refused, "rehearse": rehearse, "rehearse-refused": rehearse_refused, "rehearse-image": rehearse_image}
