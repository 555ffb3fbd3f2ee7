# SPDX-License-Identifier: Apache-2.0
"""What a client behind a Service feels of a move."""
import collections
import os
import subprocess
import sys
import threading
import time

import continuity
from cases_owned import AGAIN_MS, AHEAD_MS, OLD_READY_MS, Endpoints, Owned, again_ms, switched
from cluster import PATIENCE, Failed, lab
from pods import ENDED, NS, Chain, condition, container, explain, marks, migration, pod

MOVES = 4
PROXY_MS = 500          # so long after the freeze kube-proxy may still send to the pod
BACK_MS = 2000          # so long after the thaw the Service has the address again; its kubelet would need up to ten seconds
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
    """a client connects through a Service all the time, four moves: it is told at once or served, at no time by nobody, and from the freeze on the Service has the old address no more"""
    manifest = pod("served", [container("one", image="kinds", args=["http=8080"])])
    manifest["metadata"]["labels"] = {"app": "served"}
    service_of(case, home, "served", targetPort=8080)
    chain, gaps, times, lost = Chain(case, home, manifest), [], [], 0
    client = Client(case, home, home.get("service", "served", NS)["spec"]["clusterIP"], 80)
    address = lambda: home.watch("pods", chain.name, NS, lambda p: condition(p, "Ready").get("status") == "True", 60, "Ready")["status"]["podIP"]
    old, endpoints = address(), Endpoints(case, home, "served")
    for number in range(MOVES):
        endpoints.wait({old}, 30)
        client.served(20, 60)
        rows, changes = len(client.rows), len(endpoints.log)
        m = chain.move(**({"node": home.name} if number % 2 else {"cluster": away.name}))
        new = address()
        times.append(switched(endpoints, changes, m, old, new))
        client.served(20, 60)
        gaps.append(client.longest_gap(rows))
        lost += client.counts(rows).get("lost", 0) > 0
        old = new
    counts = client.counts()
    case.note(gap_ms=gaps, old_gone_ms=[t[0] for t in times], new_ready_ms=[t[1] for t in times], **counts)
    chain.check()
    # One: that kube-proxy hears late, by more than the two seconds that a kubelet gives a pod, is nothing that can be helped on a machine that has no time.
    if set(counts) - {"ok", "refused", "reset", "lost"} or lost > 1:
        raise Failed("the client met %s; in %d moves of %d nobody answered it" % (counts, lost, MOVES))


def service_of(case, home, app, **port):
    home.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": app, "namespace": NS}, "spec": {"selector": {"app": app}, "ports": [{"port": 80, **port}]}})
    case.clean(lambda: home.delete("service", app, NS))


def stand_still(home, name):
    """While the pod does, until its kubelet, which does not know, has said twice that it is Ready; how long each word stood, in ms."""
    said, words = [], []

    def look(p):
        ready = condition(p, "Ready")
        said.append((time.time() * 1000, ready.get("reason") == "Migrating"))
        if len(said) > 1 and said[-1][1] and not said[-2][1]:
            words.append(round(said[-1][0] - said[-2][0]))
        return len(words) == 2
    home.watch("pods", name, NS, look, 30, "said to be Ready by its kubelet")
    return words


def without(endpoints, since, address, frozen, thawed):
    """Milliseconds from the freeze until the Service had the address no more, how long it had it in between, each time, and from the thaw until it had it again. since: how long the log was before."""
    log = endpoints.log[since:]
    gone = next((at for at, ready in log if address not in ready), thawed)
    back_at = next((at for at, ready in log if at > thawed and address in ready), thawed)
    return round(gone - frozen), again_ms([*((at, ready) for at, ready in log if gone <= at < thawed), (thawed, set())], address), round(back_at - thawed)


def back(case, home, away):
    """a pod stands still for long, while its kubelet says that it is Ready, and its migration is cancelled: its Service has it until the freeze, and from the thaw on"""
    manifest = pod("back", [container("one", 64)])
    manifest["metadata"]["labels"] = {"app": "back"}
    service_of(case, home, "back")
    chain, endpoints = Chain(case, home, manifest), Endpoints(case, home, "back")
    address = home.get("pod", "back", NS)["status"]["podIP"]
    endpoints.wait({address}, 30)
    changes = len(endpoints.log)
    lab("link", "--rate", "15mbit")     # so it stands still for 30 s
    case.clean(lambda: lab("link", "--clear", check=False))
    home.apply(migration("back", "back", cluster=away.name, strategy="StopAndCopy"))
    case.clean(lambda: home.delete("podmigration", "back", NS))
    case.migrations.append((NS, "back"))
    home.watch("podmigrations", "back", NS, lambda m: m.get("status", {}).get("phase") == "Freezing", 60, "frozen")
    endpoints.wait(set(), 2)
    words = stand_still(home, "back")
    home.ok("patch", "podmigration", "back", "-n", NS, "--type=merge", "-p", '{"spec":{"cancel":true}}')
    endpoints.wait({address}, 30)
    lab("link", "--clear")
    m = home.watch("podmigrations", "back", NS, lambda m: m.get("status", {}).get("phase") in ENDED, 60, "at an end")
    log = chain.logs[-1]["one"]
    log.wait(lambda lines: any(gap > 5000 for gap, _, _ in continuity.gaps(lines)), 30, "the pause noticed")
    gap, frozen, thawed = max(continuity.gaps(log.lines))
    gone_ms, again, back_ms = without(endpoints, changes, address, frozen, thawed)
    ready = condition(home.get("pod", "back", NS), "Ready")
    case.note(frozen_ms=gap, old_gone_ms=gone_ms, kubelet_ms=words, again_ms=again, back_ms=back_ms)
    chain.check_untouched()
    if m["status"]["phase"] != "Cancelled" or (ready.get("status"), ready.get("reason")) != ("True", None):
        raise Failed("it ended %s, with the pod Ready %s %s" % (explain(m), ready.get("status"), ready.get("reason")))
    if not -AHEAD_MS * PATIENCE <= gone_ms <= OLD_READY_MS * PATIENCE or max(again, default=0) > AGAIN_MS * PATIENCE or back_ms > BACK_MS * PATIENCE:
        raise Failed("the Service had the address until %d ms after the freeze, then for %s ms, and again %d ms after the thaw" % (gone_ms, again, back_ms))


def replicas(case, home, away):
    """two clients connect all the time through the Service of a Deployment of two, of which one pod is moved there and back: from the freeze on the other one serves them"""
    chain = Owned(case, home, "two", [container("one", image="kinds", args=["http=8080"])], 2)
    service_of(case, home, "two", targetPort=8080)
    endpoints, address = Endpoints(case, home, "two"), lambda name: home.watch("pods", name, NS, lambda p: condition(p, "Ready").get("status") == "True", 60, "Ready")["status"]["podIP"]
    old, other, times = address(chain.name), address(chain.others[0]), []
    endpoints.wait({old, other}, 30)
    clients = [Client(case, home, home.get("service", "two", NS)["spec"]["clusterIP"], 80) for _ in range(2)]
    for c in clients:
        c.served(20, 60)
    first = [len(c.rows) for c in clients]      # before it kube-proxy has not heard of the Service
    for where in ({"cluster": away.name}, {"node": home.name}):
        for c in clients:
            c.served(20, 60)
        changes = len(endpoints.log)
        m = chain.move(**where)
        new = address(chain.name)
        times.append((marks(m)["frozen"], *switched(endpoints, changes, m, old, new, {other})))
        if any(other not in ready for _, ready in endpoints.log[changes:]):
            raise Failed("the Service lost the pod that nobody moves: %s" % endpoints.log[changes:])
        old = new
    for c in clients:
        c.served(20, 60)
    chain.check_place()
    rows = [row for c, n in zip(clients, first) for row in c.rows[n:]]
    # of all that was not served: when that began, in ms from the freeze it belongs to, and what it was
    missed = [(round(start - max(f for f, _, _ in [(0, 0, 0), *times] if start > f - AHEAD_MS * PATIENCE)), result) for start, _, result in rows if result != "ok"]
    chain.check()
    case.note(old_gone_ms=[t[1] for t in times], new_ready_ms=[t[2] for t in times], client_gap_ms=[c.longest_gap(n) for c, n in zip(clients, first)],
              missed=missed[:5], **collections.Counter(r[2] for r in rows))
    if any(at > PROXY_MS * PATIENCE for at, _ in missed):
        raise Failed("the other pod did not serve the clients: %s (ms after the freeze)" % missed[-20:])


CASES = {"service": service, "service-back": back, "service-replicas": replicas}
