# SPDX-License-Identifier: Apache-2.0
"""One row's pod and its PodMigration: brought to its step, watched to its end, judged."""
import http.client
import os
import time

import person
import pods
import pool
import processes
import product
import workload
from cluster import Failed
from machines import ApiError
from points import Point

NS = pods.NS
MIGRATIONS = "%s/namespaces/%s/podmigrations" % (product.GROUP, NS)
PATIENCE = int(os.environ.get("FAULTS_PATIENCE", "1"))  # a busy machine gets so many times as long
TIMEOUT = "%ds" % (120 * PATIENCE)      # of the PodMigration: what nobody finishes before the commit is given up then
LOOK_S = 0.4            # a copy that runs sleeps some hundred times meanwhile

# A monitor, or what it has restored, that is killed behind its word that it opens, and before it has seen it run, has lost the container, by design (KNOWN_LIMITS, Safety): nobody can
# tell whether it ran. Then it runs nowhere, the source stays frozen, and the PodMigration says so; and when the kubelet wants to start the destination's container anew from its image, the
# node's runtime refuses, until a person says otherwise. The pod's other containers run at the destination. These rows must end so.
LOSES = {"monitor/kill/monitor.open", "monitor/kill/monitor.released", "restored/kill/monitor.open", "one-monitor/kill/monitor.open"}
# Once it runs it is an ordinary container, and whoever kills the process that containerd waits for has killed it: the kubelet starts it anew. (So too where the source stands at
# its step, and the destination has heard of the commit another way meanwhile: note_running().)
MAY_RESTART = {"monitor/kill/" + step for step in ("monitor.opened", "destination.Telling", "destination.Reporting", "source.NotingRunning", "source.Reporting", "controller.delete")}


def patiently(f, seconds=120):
    """The API server may be the one that is hit."""
    end = time.monotonic() + seconds
    while True:
        try:
            return f()
        except (OSError, http.client.HTTPException, ApiError) as e:
            if (isinstance(e, ApiError) and e.status < 500 and e.status not in (409, 429)) or time.monotonic() > end:
                raise
            time.sleep(0.3)


def look(moved):
    """What is known of the PodMigrations of all of them, by one request."""
    items = {i["metadata"]["name"]: i for i in patiently(lambda: moved[0].home.api.get(MIGRATIONS))["items"]} if moved else {}
    for m in moved:
        m.migration = items.get(m.row.name, m.migration)


def total(copies):
    """(running, frozen) of all containers."""
    return sum(r for r, _ in copies.values()), sum(f for _, f in copies.values())


class Moved:
    """What the judge needs of a row."""

    def __init__(self, row, side, chain=None):
        self.row, self.side, self.home, self.chain = row, side, side.home, chain
        self.migration, self.point, self.problem = None, None, None
        self.source = None      # the name of its pod
        self.begin_ms = self.seconds = None
        self.good = self.ran_there = False
        self.again_ms = self.asked_ms = None    # from the moment when nothing stood in its way, and from the person's word, until it went on
        self.made = 0           # restarts that its container had before it was restored
        row.destination = self.destination

    def api(self, method, path, body=None):
        return patiently(lambda: self.home.api.call(method, path, body))

    # --- to the step ---

    def start(self):
        """Its application runs where it is to be moved from. If not, this row alone has not been run."""
        try:
            self.chain = pool.brought(self.chain, self.home, self.side.source, self.row.containers)
            self.source, self.row.programs = self.chain.pod, self.chain.containers
        except Failed as e:
            self.chain, self.problem = None, str(e)

    def go(self):
        where = {"cluster": self.side.destination.name} if self.side.destination is not self.home else {"node": self.home.name}
        host = {"source": self.side.source, "controller": self.home}.get(self.row.step.split(".")[0], self.side.destination)
        early = self.row.step.startswith("controller.")     # where the UID is not known early enough, the name is the key
        if early:
            self.point = Point(host, self.row.step, self.row.name)
        self.begin_ms = time.time() * 1000
        m = self.api("POST", MIGRATIONS, pods.migration(self.row.name, self.chain.pod, NS, timeout=TIMEOUT, **where, **self.row.spec))
        self.row.uid = m["metadata"]["uid"]
        if not early:
            self.point = Point(host, self.row.step, self.row.uid)
        self.row.stands = self.point.who

    # --- to the end ---

    def destination(self):
        return self.api("GET", MIGRATIONS + "/" + self.row.name)["status"]["destinationPod"]["name"]

    def ended(self):
        """As it was last seen. Also: committed and lost, and said so."""
        if product.ended(self.migration):
            return True
        return self.row.plain in LOSES and self.phase() == "Committed" and \
            pods.condition(self.migration, "Stalled").get("status") == "True"

    def note_running(self):
        """Whether it runs at the destination before the fault."""
        before = processes.counters(self.side.destination, self.chain.containers[0])
        time.sleep(LOOK_S)
        after = processes.counters(self.side.destination, self.chain.containers[0])
        self.ran_there = any(n > before.get(pid, n) for pid, n in after.items())

    def given_up(self):
        """As it was last seen."""
        return self.migration["status"].get("decision") == "Abort" if "status" in (self.migration or {}) else False

    # --- the judgement ---

    def copies(self):
        """{container: (running, frozen)} in both clusters."""
        both = (self.side.source, self.side.destination)
        before = {c: [processes.counters(m, c) for m in both] for c in self.chain.containers}
        time.sleep(LOOK_S)
        after = {c: [processes.counters(m, c) for m in both] for c in self.chain.containers}
        found = {}
        for c in self.chain.containers:
            running = sum(n > b.get(pid, n) for b, a in zip(before[c], after[c]) for pid, n in a.items())
            found[c] = running, sum(map(len, after[c])) - running
        return found

    def phase(self):
        return (self.migration or {}).get("status", {}).get("phase", "none")

    def said(self):
        """What the PodMigration tells a person."""
        c = pods.condition(self.migration or {}, "Succeeded")
        return c.get("reason", ""), c.get("message", "")

    def find(self, path):
        """What is there, or None."""
        try:
            return self.api("GET", path)
        except ApiError as e:
            if e.status != 404:
                raise
            return None

    def refused(self):
        """Names of the containers that the kubelet has tried to start anew, more than once, and that the node's runtime has refused: the pod's status says what to do."""
        path = "%s/%s" % (workload.collection(NS), self.destination())
        return sorted(person.wait_refused(lambda: self.find(path), person.TRIES, person.TRY_S * PATIENCE))

    def is_violated(self):
        """The PodMigration says that something was seen that must never be."""
        return pods.condition(self.migration or {}, "InvariantViolated").get("status") == "True"

    def count(self):
        """Every count of every log, and further ones to come. Returns the longest pause since the PodMigration was made, in ms."""
        if self.phase() == "Succeeded":
            self.chain.moved(self.migration["status"]["destinationPod"]["name"], self.side.destination, self.made)
        self.chain.more()
        self.note_again()
        return self.chain.check(self.begin_ms)

    def note_again(self):
        """Of a source that stood still, and goes on after all."""
        again = self.chain.again(self.row.told_ms) if self.row.told_ms and self.given_up() else None
        if again:
            self.again_ms, self.asked_ms = max(0, round(again - self.row.told_ms)), round(again - self.row.asked_ms)

    def started_anew(self):
        """What the kubelet says of a container that ended and was started from its image; "" when it was not."""
        there = self.phase() == "Succeeded"
        p = self.api("GET", "%s/%s" % (workload.collection(NS), self.destination() if there else self.chain.pod))
        # One that the kubelet has made again before it was restored is that which the commit names.
        restored = {c["name"]: "containerd://" + c["id"] for c in self.migration["status"].get("destination", {}).get("containers", [])} if there else {}
        for s in p["status"].get("containerStatuses", []):
            self.made = s["restartCount"]
            if self.made > (0 if there else self.chain.made) and s.get("containerID") != restored.get(s["name"], ""):
                return "cold start: %d restarts, the last after exit code %s" % (s["restartCount"], s.get("lastState", {}).get("terminated", {}).get("exitCode"))
        return ""

    def judge_lost(self, reason, message):
        """One container runs nowhere; the others, at the destination, go on counting. Then a person lets it start from its image."""
        refused = self.refused()
        each = self.copies()
        running, frozen = total(each)
        wrong = [c for c, n in each.items() if n != ((0, 1) if c in refused else (1, 1))]
        if len(refused) != 1 or wrong or not (reason and message) or self.is_violated() or self.row.plain not in LOSES:
            return running, frozen, None, "lost, %d run, %s, and it says %s: %s" % (
                running, "the next starts of %s are refused" % refused if refused else "no start was refused", reason, message)
        try:
            gap = self.count_others(refused[0])
            person.start_cold(self, refused[0], PATIENCE)
            each = self.copies()
            gone = all(n == (1, 0) for n in each.values())
            return running, frozen, gap, None if gone else "started from its image by a person, and there are copies %s" % each
        except Failed as e:
            return running, frozen, None, str(e)

    def count_others(self, lost):
        """The longest pause of the containers that came up, or None when there are no others."""
        self.chain.lose(lost)
        if not self.chain.logs:
            return None
        self.chain.moved(self.destination(), self.side.destination)
        self.chain.more()
        return self.chain.check(self.begin_ms)

    def judge(self):
        """(running, frozen, gap, problem)"""
        if not self.chain:
            return 0, 0, None, self.problem
        each = self.copies()
        running, frozen = total(each)
        if self.problem:
            return running, frozen, None, self.problem
        reason, message = self.said()
        if self.phase() == "Committed":
            return self.judge_lost(reason, message)
        if any(n != (1, 0) for n in each.values()):
            return running, frozen, None, "%d copies run, %d are frozen" % (running, frozen)
        if self.row.plain in LOSES:
            return running, frozen, None, "it ended %s, and should have been lost" % self.phase()
        if self.row.what == "cancel" and self.phase() not in ("Cancelled", "Succeeded"):
            return running, frozen, None, "it ended %s, and a person had cancelled it: %s" % (self.phase(), message)
        if self.phase() != "Succeeded" and not (reason and message):
            return running, frozen, None, "it ended %s and does not say why" % self.phase()
        again = self.started_anew()
        if again:
            return running, frozen, None, None if self.row.plain in MAY_RESTART or self.ran_there else again
        try:
            gap = self.count()
            self.good = True
            return running, frozen, gap, None
        except Failed as e:
            return running, frozen, None, str(e)

    def clean(self, kept):
        """A pod that has come through well is kept; what else there is of the row is removed."""
        if self.point:
            self.point.close()
        self.forget(MIGRATIONS + "/" + self.row.name, None)
        if not self.chain:
            return
        if self.good:
            kept.give(self.chain)
            return
        self.chain.close()
        for name in {self.source, self.chain.pod, (self.migration or {}).get("status", {}).get("destinationPod", {}).get("name")} - {None}:
            self.forget("%s/%s" % (workload.collection(NS), name), {"gracePeriodSeconds": 1})

    def forget(self, path, options):
        patiently(lambda: self.home.api.delete(path, options))
