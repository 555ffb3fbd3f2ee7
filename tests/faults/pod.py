# SPDX-License-Identifier: Apache-2.0
"""One row's pod and its PodMigration: brought to its step, watched to its end, judged."""
import http.client
import time

import continuity
import pods
import processes
import product
import workload
from cluster import Failed
from machines import ApiError
from points import Point

NS = pods.NS
MIB = 8
TIMEOUT = "120s"        # of the PodMigration: what nobody finishes before the commit is given up then
LOOK_S = 0.4            # a copy that runs sleeps some hundred times meanwhile

# A monitor that is killed behind its word that it opens, and before it does, has lost the pod, by design (KNOWN_LIMITS, Safety): nobody can tell whether it ran.
# Then nothing runs, the source stays frozen, and the PodMigration says so. This row must end so, or well.
MAY_LOSE = {"monitor/kill/monitor.open"}
# Once it runs it is an ordinary container, and whoever kills the process that containerd waits for has killed it: the kubelet starts it anew.
MAY_RESTART = {"monitor/kill/" + step for step in ("destination.Telling", "destination.Reporting", "source.NotingRunning", "source.Reporting", "controller.delete")}


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


class Moved:
    """What the judge needs of a row."""

    def __init__(self, row, side):
        self.row, self.side, self.home = row, side, side.home
        self.pod = row.name
        self.logs, self.migration, self.point, self.problem = [], None, None, None
        self.begin = self.seconds = None
        row.destination = self.destination

    def api(self, method, path, body=None):
        return patiently(lambda: self.home.api.call(method, path, body))

    # --- to the step ---

    def start(self):
        manifest = pods.pod(self.row.name, [pods.container(self.row.container, MIB)], NS, "a")
        self.api("POST", workload.collection(NS), manifest)
        self.home.api.wait(workload.collection(NS), self.row.name, workload.is_running)
        self.follow(self.home)
        self.logs[0].wait_ticks(1)

    def follow(self, machine):
        self.logs.append(workload.Log(machine, self.pod, self.row.container))

    def bring(self):
        """To the other cluster, so that it can be moved back."""
        name = self.row.name + "-there"
        self.api("POST", "%s/namespaces/%s/podmigrations" % (product.GROUP, NS), pods.migration(name, self.pod, NS, cluster=self.side.source.name))
        m, _ = product.finish(self.home, NS, name, 180)
        self.pod = m["status"]["destinationPod"]["name"]
        self.follow(self.side.source)
        self.logs[-1].wait_ticks(1)

    def go(self):
        where = {"cluster": self.side.destination.name} if self.side.destination is not self.home else {"node": self.home.name}
        host = {"source": self.side.source, "controller": self.home}.get(self.row.step.split(".")[0], self.side.destination)
        early = self.row.step.startswith("controller.")     # where the UID is not known early enough, the name is the key
        if early:
            self.point = Point(host, self.row.step, self.row.name)
        self.begin = time.monotonic()
        m = self.api("POST", "%s/namespaces/%s/podmigrations" % (product.GROUP, NS), pods.migration(self.row.name, self.pod, NS, timeout=TIMEOUT, **where))
        self.row.uid = m["metadata"]["uid"]
        if not early:
            self.point = Point(host, self.row.step, self.row.uid)

    # --- to the end ---

    def get(self):
        return self.home.api.get("%s/namespaces/%s/podmigrations/%s" % (product.GROUP, NS, self.row.name))

    def destination(self):
        return patiently(self.get)["status"]["destinationPod"]["name"]

    def ended(self):
        """Also: committed and lost, and said so."""
        self.migration = patiently(self.get)
        if product.ended(self.migration):
            return True
        return self.row.plain in MAY_LOSE and self.migration.get("status", {}).get("phase") == "Committed" and \
            pods.condition(self.migration, "Stalled").get("status") == "True"

    # --- the judgement ---

    def copies(self):
        """(running, frozen) in both clusters."""
        both = (self.side.source, self.side.destination)
        before = [processes.counters(m, self.row.container) for m in both]
        time.sleep(LOOK_S)
        after = [processes.counters(m, self.row.container) for m in both]
        running = sum(n > b.get(pid, n) for b, a in zip(before, after) for pid, n in a.items())
        return running, sum(map(len, after)) - running

    def phase(self):
        return (self.migration or {}).get("status", {}).get("phase", "none")

    def said(self):
        """What the PodMigration tells a person."""
        c = pods.condition(self.migration or {}, "Succeeded")
        return c.get("reason", ""), c.get("message", "")

    def count(self):
        """Every count of every log, and further ones to come. Returns the largest gap in ms."""
        if self.phase() == "Succeeded":
            self.pod = self.migration["status"]["destinationPod"]["name"]
            self.follow(self.side.destination)
        self.logs[-1].wait_ticks(len(continuity.ticks(self.logs[-1].lines())) + 1, 20)
        return continuity.check([log.lines() for log in self.logs])

    def started_anew(self):
        """What the kubelet says of a container that ended and was started from its image; "" when it was not."""
        name = self.migration["status"]["destinationPod"]["name"] if self.phase() == "Succeeded" else self.pod
        p = self.api("GET", "%s/%s" % (workload.collection(NS), name))
        for s in p["status"].get("containerStatuses", []):
            if s["restartCount"]:
                return "cold start: %d restarts, the last after exit code %s" % (s["restartCount"], s.get("lastState", {}).get("terminated", {}).get("exitCode"))
        return ""

    def judge(self):
        """(running, frozen, gap, problem)"""
        running, frozen = self.copies()
        if self.problem:
            return running, frozen, None, self.problem
        reason, message = self.said()
        if self.phase() == "Committed":
            good = running == 0 and reason and message
            return running, frozen, None, None if good else "lost, %d run, and it says %s: %s" % (running, reason, message)
        if running != 1 or frozen:
            return running, frozen, None, "%d copies run, %d are frozen" % (running, frozen)
        if self.phase() != "Succeeded" and not (reason and message):
            return running, frozen, None, "it ended %s and does not say why" % self.phase()
        again = self.started_anew()
        if again:
            return running, frozen, None, None if self.row.plain in MAY_RESTART else again
        try:
            return running, frozen, self.count(), None
        except Failed as e:
            return running, frozen, None, str(e)

    def clean(self):
        for log in self.logs:
            log.close()
        if self.point:
            self.point.close()
        names = {self.row.name, self.pod, (self.migration or {}).get("status", {}).get("destinationPod", {}).get("name")} - {None}
        for name in (self.row.name, self.row.name + "-there"):
            self.forget("%s/namespaces/%s/podmigrations/%s" % (product.GROUP, NS, name), None)
        for name in names:
            self.forget("%s/%s" % (workload.collection(NS), name), {"gracePeriodSeconds": 1})

    def forget(self, path, options):
        patiently(lambda: self.home.api.delete(path, options))
