# SPDX-License-Identifier: Apache-2.0
"""The agents are upgraded while a pod is on its way: `kubectl rollout restart` ends the one of a node, and starts another in its place."""
import time

import install
from cluster import Failed, lab
from pods import ENDED, NS, Chain, condition, container, explain, migration, pod, unix_ms

RATE = "30mbit"         # 3.75 MB/s each way
MIB = 64                # so that memory takes longer to send than an agent to end and the next one to begin
BOUND_S = 60            # of a machine at rest, until the PodMigration has ended


def on_its_way(case, chain, name, **where):
    """Begins to move the pod; returns when memory is being sent."""
    chain.home.apply(migration(name, chain.name, **where))
    case.clean(lambda: chain.home.delete("podmigration", name, NS))
    case.migrations.append((NS, name))
    chain.home.watch("podmigrations", name, NS, lambda m: m.get("status", {}).get("phase") in ("Transferring", *ENDED), 60, "Transferring")


def rolled_out(case, chain, name, cluster, where):
    """While the pod is on its way, the agents of the cluster are replaced. The pod is in one place afterwards, and the PodMigration says which and why. True: it has arrived."""
    home = chain.home
    on_its_way(case, chain, name, **where)
    start = time.monotonic()
    cluster.ok("rollout", "restart", "-n", "podmigration-agent", "daemonset/podmigration-agent")
    m = home.watch("podmigrations", name, NS, lambda m: m.get("status", {}).get("phase") in ENDED, BOUND_S, "at an end")
    case.note(**{name: "%.0fs, %s" % (time.monotonic() - start, explain(m))})
    install.start_agents(cluster)
    # the next one is made when the one before has ended; a source's agent gives up what it may, and says so, before it ends
    if m["status"]["phase"] == "Failed" and condition(m, "Succeeded").get("reason") == "AgentRestarted":
        chain.check_untouched()
        return False
    if any(unix_ms(p["metadata"]["creationTimestamp"]) > unix_ms(m["status"]["completionTime"]) for p in install.agent_pods(cluster)):
        raise Failed("the agents were not replaced before the migration had ended: %s" % explain(m))
    if m["status"]["phase"] == "Cancelled" or not condition(m, "Succeeded").get("message"):
        raise Failed("nobody cancelled it, and it ended without a reason: %s" % explain(m))
    if m["status"]["phase"] != "Succeeded":
        chain.check_untouched()
        return False
    chain.arrive(m)
    return True


def agents(case, home, away):
    """kubectl rollout restart of the source's agents, then of the destination's, while memory goes over a slow link: the pod is in one place, and the next move succeeds"""
    chain = Chain(case, home, pod("rollout", [container("one", MIB)]))
    for name, cluster in (("source", home), ("destination", away)):
        lab("link", "--rate", RATE)
        case.clean(lambda: lab("link", "--clear", check=False))
        arrived = rolled_out(case, chain, "rollout-" + name, cluster, where={"cluster": away.name})
        lab("link", "--clear")
        if arrived:
            chain.move(node=home.name)
    chain.move(cluster=away.name)
    case.note(gap_ms=chain.check())


CASES = {"agent-rollout": agents}
