# SPDX-License-Identifier: Apache-2.0
"""kubectl migrate, as a person types it."""
import os
import subprocess

from cluster import PATIENCE, ROOT, Failed
from pods import NS, Chain, container, pod


def kubectl_migrate(home, *words, timeout=120):
    """Exit status and what a person reads."""
    path = "%s:%s:%s" % (os.path.join(ROOT, "build/bin"), os.path.dirname(home.kubectl), os.environ["PATH"])
    p = subprocess.run([home.kubectl, "migrate", *words, "--kubeconfig", home.kubeconfig, "-n", NS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=timeout * PATIENCE, env={**os.environ, "PATH": path})
    return p.returncode, p.stdout


def expect(home, words, status, *said):
    rc, text = kubectl_migrate(home, *words)
    missing = [s for s in said if s not in text]
    if rc != status or missing:
        raise Failed("kubectl migrate %s: exit status %d, wanted %d, and %r in: %s" % (" ".join(words), rc, status, missing, text.strip()[-600:]))
    return text


def plugin(case, home, away):
    """kubectl migrate: there by cluster, back by node, its status, and what it says when it cannot"""
    chain = Chain(case, home, pod("typed", [container("one", 8)]))

    def move(name, *where):
        case.clean(lambda: home.delete("podmigration", name, NS))
        expect(home, ["pod", chain.name, "--name", name, *where], 0, "podmigration.podmigration.dev/%s created" % name, "Succeeded", "downtime ")
        chain.arrived(home.get("podmigration", name, NS))

    case.clean(lambda: home.delete("podmigration", "typed-dry", NS))
    expect(home, ["pod", chain.name, "--name", "typed-dry", "--to-cluster", away.name, "--dry-run=Destination"], 0, "Succeeded", "the pod was not touched")
    move("typed-there", "--to-cluster", away.name)
    move("typed-back", "--to-node", home.name)
    expect(home, ["status", "typed-back"], 0, "Committed", "cut-over", "frozen", "container one: dump")
    expect(home, ["cancel", "typed-back", "--no-wait"], 0, "too late")
    case.clean(lambda: home.delete("podmigration", "typed-nobody", NS))
    expect(home, ["pod", "nobody", "--name", "typed-nobody", "--to-cluster", away.name], 1, "PodNotFound", "nobody")
    expect(home, ["pod", "nobody", "--to-cluster", away.name, "--timeout", "soon"], 1, "timeout must be a duration")
    expect(home, ["pod", "nobody", "--to-cluster", away.name, "--freeze-timeout", "1ms"], 1, "freezeTimeout must be a duration")
    expect(home, ["pod", "nobody", "--to-cluster", away.name, "--bandwidth", "fast"], 1, "bandwidth must be bytes a second")
    expect(home, ["pod", "nobody", "--to-cluster", away.name, "--dry-run=server"], 1, 'supported values: "Source", "Destination"')
    expect(home, ["pod", "nobody", "--to-planet", "mars"], 2, "kubectl migrate: unrecognized option", "--help")
    expect(home, ["pod", "nobody"], 2, "--to-cluster or --to-node")
    expect(home, ["status", "no-such-migration"], 1, "not found")
    case.note(gap_ms=chain.check())


CASES = {"plugin": plugin}
