# SPDX-License-Identifier: Apache-2.0
"""Proof that a counter (tests/apps/counter.c) went on across moves, from the logs of all its pods put together."""
import re

from cluster import Failed

TICK = re.compile(r"^(\S+) tick (\d+) ms=(\d+) gap=(\d+) boot=([0-9a-f]{8})$")
GAP = re.compile(r"^(\S+) GAP (\d+) start=(\d+) end=(\d+) tick=(\d+)$")
START = re.compile(r"^(\S+) start tick=0 ms=(\d+) mib=\d+ pid=\d+ boot=([0-9a-f]{8})$")
ALL = re.compile(r"^(\S+) ALL pages=(\d+) tick=(\d+)$")
STEP = 1000


def ticks(lines):
    return [(int(m[2]), int(m[3]), m[5]) for m in map(TICK.match, lines) if m]


def gaps(lines):
    """(ms, start, end) of every gap that the program noticed."""
    return [(int(m[2]), int(m[3]), int(m[4])) for m in map(GAP.match, lines) if m]


def has_ticks(n):
    return lambda lines: len(ticks(lines)) >= n


def check(logs):
    """logs: the lines of one container, pod by pod, in the order of the moves. Returns the largest gap in ms."""
    whole, largest = [], 0
    for number, lines in enumerate(logs):
        known = [line for line in lines if TICK.match(line) or GAP.match(line) or START.match(line) or ALL.match(line)]
        odd = [line for line in lines if line not in known and " end tick=" not in line]
        if odd:
            raise Failed("the program complains: " + odd[0])
        starts = [line for line in lines if START.match(line)]
        if len(starts) != (1 if number == 0 else 0):
            raise Failed("pod %d of the chain has %d cold starts" % (number, len(starts)))
        if not ticks(lines):
            raise Failed("pod %d of the chain never counted" % number)
        whole += ticks(lines)
        largest = max([largest, *(g[0] for g in gaps(lines))])
    if len({boot for _, _, boot in whole}) != 1:
        raise Failed("memory is not the same program's: boot changed")
    for n, (tick, _, _) in enumerate(whole):
        if tick != (n + 1) * STEP:
            raise Failed("count %d follows %d: lost, repeated or gone back" % (tick, n * STEP))
    for (_, before, _), (tick, after, _) in zip(whole, whole[1:]):
        if after < before:
            raise Failed("count %d was printed before the one below it: two copies ran" % tick)
    return largest
