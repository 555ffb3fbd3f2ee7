#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The proof of continuity must fail when something is wrong: logs made by hand, each with one fault."""
import unittest

import continuity
from cluster import Failed

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


if __name__ == "__main__":
    unittest.main()
