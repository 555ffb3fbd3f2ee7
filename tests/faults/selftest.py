#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The judge must fail a row when something is wrong: outcomes made by hand, each with one fault."""
import os
import unittest
from unittest import mock

os.environ.setdefault("LAB_NAME", "none")
import paths  # noqa: E402,F401

import continuity  # noqa: E402
import person  # noqa: E402
import pod  # noqa: E402
import rows  # noqa: E402

BOOT = "0011aabb"


def tick(n, ms=None):
    return "c tick %d ms=%d gap=3 boot=%s" % (n * 1000, ms or n * 1100, BOOT)


class Log:
    def __init__(self, *lines):
        self.text = list(lines)

    def lines(self):
        return self.text

    def wait_ticks(self, n, timeout=0):
        pass


class Judged(pod.Moved):
    """As it is after the end; the clusters are not asked. A person lets the container c start, and later copies are there then."""

    def __init__(self, phase, reason="R", message="m", copies=(1, 0), logs=None, again="", row="source-worker/kill/source.Sent"):
        super().__init__(rows.select([row])[0], type("Side", (), {"home": None}), chain=True)
        self.migration = {"status": {"phase": phase, "conditions": [{"type": "Succeeded", "reason": reason, "message": message}]}}
        self.seen, self.later, self.again, self.no, self.violated = copies if isinstance(copies, dict) else {"c": copies}, {"c": (1, 0)}, again, ["c"], False
        self.all = logs or [Log("c start tick=0 ms=1 mib=8 pid=1 boot=" + BOOT, tick(1), tick(2))]

    def copies(self):
        return self.seen

    def refused(self):
        return self.no

    def count_others(self, lost):
        return None

    def is_violated(self):
        return self.violated

    def started_anew(self):
        return self.again

    def count(self):
        return continuity.check([log.lines() for log in self.all])


class Judge(unittest.TestCase):
    def problem(self, *a, **more):
        return self.judge(Judged(*a, **more))

    def judge(self, m):
        def start_cold(m, container, patience):
            m.seen = m.later
        with mock.patch("person.start_cold", start_cold):
            return m.judge()[3]

    def test_good(self):
        self.assertIsNone(self.problem("Failed"))
        self.assertIsNone(self.problem("Succeeded", reason="", message=""))

    def test_two_run(self):
        self.assertIn("2 copies run", self.problem("Succeeded", copies=(2, 0)))

    def test_none_runs(self):
        self.assertIn("0 copies run", self.problem("Failed", copies=(0, 1)))

    def test_one_is_left_frozen(self):
        self.assertIn("1 are frozen", self.problem("Succeeded", copies=(1, 1)))

    def test_no_word(self):
        self.assertIn("does not say why", self.problem("Failed", reason=""))
        self.assertIn("does not say why", self.problem("Failed", message=""))

    def test_lost_counts(self):
        self.assertIn("lost", self.problem("Failed", logs=[Log("c start tick=0 ms=1 mib=8 pid=1 boot=" + BOOT, tick(1), tick(3))]))

    def test_cold_start(self):
        self.assertIn("cold start", self.problem("Failed", again="cold start: 1 restarts"))
        self.assertIsNone(self.problem("Succeeded", again="cold start: 1 restarts", row="monitor/kill/controller.delete"))
        twice = [Log("c start tick=0 ms=1 mib=8 pid=1 boot=" + BOOT, tick(1), "c start tick=0 ms=2000 mib=8 pid=1 boot=" + BOOT, tick(1))]
        self.assertIn("cold start", self.problem("Failed", logs=twice))

    def test_not_ended(self):
        self.assertIn("lost, 0 run", self.problem("Committed", reason="", copies=(0, 1)))
        self.assertIn("lost, 1 run", self.problem("Committed", copies=(1, 0)))
        self.assertIn("lost, 0 run", self.problem("Committed", copies=(0, 1)))
        self.assertIsNone(self.problem("Committed", copies=(0, 1), row="monitor/kill/monitor.open"))

    def test_lost_and_nothing_starts_in_its_place(self):
        for copies, refused, violated, good in (((0, 1), ["c"], False, True), ((0, 1), [], False, False), ((0, 1), ["c"], True, False), ((1, 1), ["c"], False, False),
                                                ((2, 0), ["c"], False, False), ((0, 0), ["c"], False, False)):
            m = Judged("Committed", copies=copies, row="monitor/kill/monitor.released")
            m.no, m.violated = refused, violated
            self.assertEqual(self.judge(m) is None, good, (copies, refused, violated))

    def test_one_of_two_is_lost(self):
        for lost, other, refused, good in (((0, 1), (1, 1), ["c"], True), ((0, 1), (0, 1), ["c"], False), ((1, 1), (1, 1), ["c"], False), ((0, 1), (1, 1), ["c", "d"], False),
                                           ((0, 1), (1, 1), ["d"], False), ((0, 1), (2, 0), ["c"], False)):
            m = Judged("Committed", copies={"c": lost, "d": other}, row="one-monitor/kill/monitor.open")
            m.no, m.later = refused, {"c": (1, 0), "d": (1, 0)}
            self.assertEqual(self.judge(m) is None, good, (lost, other, refused))

    def test_a_person_lets_it_start(self):
        for later in ((0, 0), (0, 1), (1, 1), (2, 0)):
            m = Judged("Committed", copies=(0, 1), row="monitor/kill/monitor.open")
            m.later = {"c": later}
            self.assertIn("started from its image", self.judge(m))

    def test_what_should_be_lost_is(self):
        self.assertIn("should have been lost", self.problem("Succeeded", row="restored/kill/monitor.open"))

    def test_killed_when_it_ran_already(self):
        m = Judged("Succeeded", again="cold start: 1 restarts", row="monitor/kill/source.Delivering")
        self.assertIn("cold start", m.judge()[3])
        m.ran_there = True
        self.assertIsNone(m.judge()[3])


class Refusals(unittest.TestCase):
    def status(self, restarts, said):
        return {"status": {"containerStatuses": [{"name": "c", "restartCount": restarts, "lastState": {"terminated": {"message": said}}}, {"name": "d", "restartCount": 9}]}}

    def test_more_than_once(self):
        said = "annotate it with podmigration.dev/start-cold=true"
        seen = iter([None, self.status(1, "OOM"), self.status(1, said), self.status(2, said)])
        self.assertEqual(person.wait_refused(lambda: next(seen), 2, 60), {"c": 2})

    def test_not_often_enough(self):
        self.assertEqual(person.wait_refused(lambda: self.status(1, "start-cold"), 1, 0.1), {})
        self.assertEqual(person.wait_refused(lambda: self.status(1, "podmigration.dev/start-cold"), 2, 0.1), {})


class Table(unittest.TestCase):
    def test_every_program_at_every_step(self):
        found = {r.id for r in rows.everything()}
        self.assertEqual(len(found), len(rows.everything()))
        for who in rows.PROGRAMS:
            for what in ("kill", "stop"):
                for step in rows.THERE:
                    self.assertEqual("%s/%s/%s" % (who, what, step) in found, rows.exists(who, step, "there"))
        self.assertNotIn("monitor/kill/controller.create", found)

    def test_fast_rows_exist(self):
        for pattern in rows.FAST:
            self.assertTrue(rows.select([pattern]), pattern)


if __name__ == "__main__":
    unittest.main()
