# SPDX-License-Identifier: Apache-2.0
"""Pods that have come well through a row, kept for the next ones: they have been moved before, perhaps often, and what is done to others must not touch them."""
import concurrent.futures
import http.client
import itertools
import os
import time

import continuity
import pods
import product
import workload
from cluster import Failed

NS = pods.NS
MIB = 8
BRING_S = 180
WRONG = (Failed, OSError, http.client.HTTPException)
NUMBERS = itertools.count(1)


class Chain:
    """One application for each container: the pod in which they run now, on which machine, and the logs of all its pods."""

    def __init__(self, home, containers=1):
        self.home, self.at = home, home
        self.pod = "p%d-%x" % (next(NUMBERS), os.getpid())
        self.containers = ["%s-c%d" % (self.pod, i) for i in range(containers)]         # all its life
        self.logs = {c: [] for c in self.containers}
        self.made = 0           # so often the kubelet made its container in vain, before it was restored

    def start(self):
        self.home.api.call("POST", workload.collection(NS), pods.pod(self.pod, [pods.container(c, MIB) for c in self.containers], NS, self.home.name))
        self.home.api.wait(workload.collection(NS), self.pod, workload.is_running)
        self.follow()
        self.counts()

    def follow(self):
        for c, logs in self.logs.items():
            logs.append(workload.Log(self.at, self.pod, c))

    def counts(self):
        for logs in self.logs.values():
            logs[-1].wait_ticks(1)

    def lose(self, container):
        """It is not looked at any more."""
        for log in self.logs.pop(container):
            log.close()

    def bring(self, there):
        """To the other cluster, so that it can be moved back."""
        name = self.pod + "-there"
        path = "%s/namespaces/%s/podmigrations" % (product.GROUP, NS)
        self.home.api.call("POST", path, pods.migration(name, self.pod, NS, cluster=there.name))
        try:
            m, _ = product.finish(self.home, NS, name, BRING_S)
            self.moved(m["status"]["destinationPod"]["name"], there)
        finally:
            self.home.api.delete("%s/%s" % (path, name))
        self.counts()

    def moved(self, pod, machine, made=0):
        self.pod, self.at, self.made = pod, machine, made
        self.follow()

    def more(self, timeout=20):
        """It goes on counting."""
        for logs in self.logs.values():
            logs[-1].wait_ticks(len(continuity.ticks(logs[-1].lines())) + 1, timeout)

    def again(self, at_ms):
        """Unix ms when the last container went on of those that stood still then; None when none did. A busy machine makes pauses of its own, so the longest one may be another."""
        ends = [g[2] for logs in self.logs.values() for log in logs for g in continuity.gaps(log.lines()) if g[1] <= at_ms < g[2] + 1]
        return max(ends, default=None)

    def check(self, since_ms=0):
        """Every count of every log is there, once. The longest pause that ended after the given time, in ms; short ones are not noticed."""
        longest = 0
        for logs in self.logs.values():
            lines = [log.lines() for log in logs]
            continuity.check(lines)
            longest = max([longest] + [g[0] for one in lines for g in continuity.gaps(one) if g[2] >= since_ms])
        return longest

    def restarts(self):
        p = self.home.api.get("%s/%s" % (workload.collection(NS), self.pod))
        return sum(s["restartCount"] for s in p["status"].get("containerStatuses", []))

    def wrong(self):
        """What is wrong with it, though nobody has touched it; "" when nothing is."""
        try:
            self.more()
            self.check()
            return "it was started anew" if self.restarts() > self.made else ""
        except WRONG as e:
            return str(e)

    def close(self):
        for container in list(self.logs):
            self.lose(container)

    def remove(self):
        self.close()
        self.home.api.delete("%s/%s" % (workload.collection(NS), self.pod), {"gracePeriodSeconds": 1})


class Pool:
    def __init__(self, home, limit):
        self.home, self.limit, self.idle = home, limit, []

    def take(self, machine, containers):
        """One of so many containers that is there, or one at home, or None. Called for one row after the other."""
        fit = [c for c in self.idle if len(c.containers) == containers]
        found = next((c for c in fit if c.at is machine), None) or next((c for c in fit if c.at is self.home), None)
        if found:
            self.idle.remove(found)
        return found

    def give(self, chain):
        self.idle.append(chain)
        if len(self.idle) > self.limit:
            self.idle.pop(0).remove()

    def check(self):
        """Those that nobody has touched: what is wrong with them, a line each. They are removed then."""
        with concurrent.futures.ThreadPoolExecutor(self.limit) as threads:
            wrong = [(c, e) for c, e in zip(self.idle, threads.map(Chain.wrong, self.idle)) if e]
        for c, _ in wrong:
            self.idle.remove(c)
            c.remove()
        return ["a pod beside them, %s: %s" % (c.pod, e) for c, e in wrong]

    def empty(self):
        for c in self.idle:
            c.remove()
        self.idle = []


def brought(chain, home, machine, containers, tries=2):
    """chain, or a new one, running on the machine. This is not what a row is about: it is tried again."""
    for left in reversed(range(tries)):
        mine = chain or Chain(home, containers)
        fresh, chain = not chain, None
        try:
            mine.start() if fresh else mine.more()
            if mine.at is not machine:
                mine.bring(machine)
            return mine
        except WRONG as e:
            mine.remove()
            if not left:
                raise Failed("it could not be brought to its place: %s" % e)
            time.sleep(1)
    return None
