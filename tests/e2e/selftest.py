#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proofs must fail when something is wrong: logs made by hand, each with one fault."""
import threading
import unittest

import cases_owned
import cases_postcopy
import cases_service
import continuity
from cluster import PATIENCE, Failed

BOOT = "0011aabb"


def start(ms=1000):
    return "one start tick=0 ms=%d mib=8 pid=1 boot=%s" % (ms, BOOT)


def tick(n, ms=None, boot=BOOT, gap=3):
    return "one tick %d ms=%d gap=%d boot=%s" % (n * 1000, ms or n * 1100 + 1000, gap, boot)


def gap(ms, at):
    return "one GAP %d start=%d end=%d tick=5" % (ms, at, at + ms)


class Continuity(unittest.TestCase):
    source = [start(), tick(1), tick(2)]

    def refuse(self, said, *logs):
        with self.assertRaises(Failed) as caught:
            continuity.check(list(logs))
        self.assertIn(said, str(caught.exception))

    def test_good(self):
        self.assertEqual(continuity.check([self.source, [gap(230, 3200), tick(3), tick(4)], [gap(310, 5500), tick(5)]]), 310)

    def test_lost(self):
        self.refuse("lost", self.source, [tick(4)])

    def test_repeated(self):
        self.refuse("repeated", self.source, [tick(2, ms=5000), tick(3)])

    def test_lost_at_the_start(self):
        self.refuse("lost", [start(), tick(2)], [tick(3)])

    def test_two_copies(self):
        self.refuse("two copies", [start(), tick(1), tick(2, ms=9000)], [tick(3, ms=8000)])

    def test_cold_start(self):
        self.refuse("cold start", self.source, [start(5000), tick(3)])

    def test_restart_in_place(self):
        self.refuse("cold start", [start(), tick(1), start(3000), tick(2)], [tick(3)])

    def test_other_memory(self):
        self.refuse("boot", self.source, [tick(3, boot="99999999")])

    def test_corrupt(self):
        self.refuse("CORRUPT", self.source, ["one CORRUPT page=7 tick=2100", tick(3)])

    def test_file(self):
        self.refuse("FILE", self.source, ["one FILE /state/count holds 0, not 2100", tick(3)])

    def test_nothing_arrived(self):
        self.refuse("never counted", self.source, [])


class Switched(unittest.TestCase):
    """When the addresses of a Service change; the freeze is at 10,000 ms."""
    moved = {"status": {"source": {"timeline": [{"step": "frozen", "time": "1970-01-01T00:00:10.000000Z"}]}}}
    late = 10000 + cases_owned.OLD_READY_MS * PATIENCE
    early = 10000 - cases_owned.AHEAD_MS * PATIENCE

    def switched(self, *log):
        e = cases_owned.Endpoints.__new__(cases_owned.Endpoints)
        e.log, e.changed = [(at, set(ready)) for at, ready in log], threading.Condition()
        e.ready = e.log[-1][1]
        return cases_owned.switched(e, 1, self.moved, "old", "new")

    def test_good(self):
        self.assertEqual(self.switched((1000, ["old"]), (9980, []), (10700, ["new"])), (-20, 700))

    def test_at_once(self):
        self.assertEqual(self.switched((1000, ["old"]), (2000, ["old"]), (10050, ["new"])), (50, 50))

    def refuse(self, *log):
        with self.assertRaises(Failed):
            self.switched((1000, ["old"]), *log)

    def test_old_is_ready_for_too_long(self):
        self.refuse((self.late + 1, []), (self.late + 2, ["new"]))

    def test_both(self):
        self.refuse((10010, ["old", "new"]), (10050, ["new"]))

    def test_gone_long_before_the_freeze(self):
        self.refuse((self.early - 1, []), (10700, ["new"]))

    def test_old_is_ready_again(self):
        self.refuse((9980, []), (10500, ["old"]), (10501 + cases_owned.AGAIN_MS * PATIENCE, []), (19000, ["new"]))

    def test_its_kubelet_says_so(self):
        self.assertEqual(self.switched((1000, ["old"]), (9980, []), (10500, ["old"]), (10600, []), (10700, ["new"])), (-20, 700))


class Without(unittest.TestCase):
    """The address that a Service has not while its pod stands still, from 10,000 to 30,000 ms."""

    def without(self, *log):
        e = cases_owned.Endpoints.__new__(cases_owned.Endpoints)
        e.log = [(at, {"old"} if there else set()) for at, there in log]
        return cases_service.without(e, 1, "old", 10000, 30000)

    def test_good(self):
        self.assertEqual(self.without((500, False), (1000, True), (9980, False), (30100, True)), (-20, [], 100))

    def test_its_kubelet_says_so(self):
        self.assertEqual(self.without((500, False), (10010, False), (15000, True), (15200, True), (15250, False), (30100, True)), (10, [250], 100))

    def test_back_too_early(self):
        self.assertEqual(self.without((500, False), (10010, False), (15000, True)), (10, [15000], 0))

    def test_never_gone(self):
        self.assertEqual(self.without((500, True), (1000, True))[0], 20000)


class Lost(unittest.TestCase):
    def test_too_early_and_too_late(self):
        cases_postcopy.expect_within("lost", 61, 59, 60)
        for seconds in (58, 60 + cases_postcopy.SLACK_S * PATIENCE + 1):
            with self.assertRaises(Failed):
                cases_postcopy.expect_within("lost", seconds, 59, 60)


if __name__ == "__main__":
    unittest.main()
