# SPDX-License-Identifier: Apache-2.0
"""What a client behind a Service feels of a move."""
import collections
import os
import subprocess
import sys
import threading

from cases_owned import Endpoints
from cluster import Failed
from pods import NS, Chain, condition, container, pod

MOVES = 4
HERE = os.path.dirname(os.path.abspath(__file__))


class Client:
    """connects.py in the network of a cluster's node: it reaches Services and pods as any program there does."""

    def __init__(self, case, home, host, port):
        self.rows, self.changed = [], threading.Condition()     # (start ms, end ms, result)
        self.process = subprocess.Popen([*home.in_network(), sys.executable, os.path.join(HERE, "connects.py"), host, str(port)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        case.clean(self.process.wait)
        case.clean(self.process.kill)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            start, took, result = line.split()
            with self.changed:
                self.rows.append((float(start), float(start) + float(took), result))
                self.changed.notify_all()

    def served(self, times, timeout):
        """Until it was answered so many times in a row."""
        with self.changed:
            first = len(self.rows)
            if not self.changed.wait_for(lambda: len(self.rows) - first >= times and {r[2] for r in self.rows[-times:]} == {"ok"}, timeout):
                raise Failed("the client is not served: %s" % self.counts(first))

    def counts(self, since=0):
        return dict(collections.Counter(r[2] for r in self.rows[since:]))

    def longest_gap(self, since):
        ends = [end for _, end, result in self.rows[since:] if result == "ok"]
        return round(max(b - a for a, b in zip(ends, ends[1:])))


def service(case, home, away):
    """a client connects through a Service all the time, four moves: it is told at once or served, at no time by nobody, and the Service has the new address before it gives up the old one"""
    manifest = pod("served", [container("one", image="kinds", args=["http=8080"])])
    manifest["metadata"]["labels"] = {"app": "served"}
    home.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "served", "namespace": NS},
                "spec": {"selector": {"app": "served"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    case.clean(lambda: home.delete("service", "served", NS))
    chain, gaps, lost = Chain(case, home, manifest), [], 0
    client = Client(case, home, home.get("service", "served", NS)["spec"]["clusterIP"], 80)
    address = lambda: home.watch("pods", chain.name, NS, lambda p: condition(p, "Ready").get("status") == "True", 60, "Ready")["status"]["podIP"]
    old, endpoints = address(), Endpoints(case, home, "served")
    for number in range(MOVES):
        endpoints.wait({old}, 30)
        client.served(20, 60)
        rows, changes = len(client.rows), len(endpoints.log)
        chain.move(**({"node": home.name} if number % 2 else {"cluster": away.name}))
        new = address()
        endpoints.check_order(changes, old, new)
        client.served(20, 60)
        gaps.append(client.longest_gap(rows))
        lost += client.counts(rows).get("lost", 0) > 0
        old = new
    counts = client.counts()
    case.note(gap_ms=gaps, **counts)
    chain.check()
    # One: that kube-proxy hears late, by more than the two seconds that a kubelet gives a pod, is nothing that can be helped on a machine that has no time.
    if set(counts) - {"ok", "refused", "reset", "lost"} or lost > 1:
        raise Failed("the client met %s; in %d moves of %d nobody answered it" % (counts, lost, MOVES))


CASES = {"service": service}
