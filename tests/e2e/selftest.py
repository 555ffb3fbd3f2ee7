#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proofs must fail when something is wrong: logs made by hand, each with one fault."""
import threading
import unittest

import cases_owned
import cases_postcopy
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
    late = 10000 + cases_owned.OLD_READY_S * 1000 * PATIENCE

    def switched(self, *log):
        e = cases_owned.Endpoints.__new__(cases_owned.Endpoints)
        e.log, e.changed = [(at, set(ready)) for at, ready in log], threading.Condition()
        e.ready = e.log[-1][1]
        return cases_owned.switched(e, self.moved, "old", "new")

    def test_good(self):
        self.assertEqual(self.switched((1000, []), (2000, ["old"]), (10300, []), (10700, ["new"])), (300, 700))

    def test_both_for_a_moment(self):
        self.assertEqual(self.switched((2000, ["old"]), (10300, ["old", "new"]), (10700, ["new"])), (700, 300))

    def test_old_is_ready_for_too_long(self):
        with self.assertRaises(Failed):
            self.switched((2000, ["old"]), (10300, ["old", "new"]), (self.late + 1, ["new"]))

    def test_gone_before_the_freeze(self):
        with self.assertRaises(Failed):
            self.switched((2000, ["old"]), (9000, []), (10700, ["new"]))


class Lost(unittest.TestCase):
    def test_too_early_and_too_late(self):
        cases_postcopy.expect_within("lost", 61, 59, 60)
        for seconds in (58, 60 + cases_postcopy.SLACK_S * PATIENCE + 1):
            with self.assertRaises(Failed):
                cases_postcopy.expect_within("lost", seconds, 59, 60)


if __name__ == "__main__":
    unittest.main()
