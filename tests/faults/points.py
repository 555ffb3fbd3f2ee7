# SPDX-License-Identifier: Apache-2.0
"""Stops the product's programs at named points (include/base/fault.h), and tells which of them has passed where."""
import glob
import os
import select
import time

import processes
from cluster import Failed

NODE = "/run/podmigration/faults"
CONTROLLER = "/dev/shm/podmigration-faults"     # as the controller sees it: it cannot see the node


def folders(machine):
    """The folder of the node and, at home, one in each controller pod."""
    found = [machine.path(NODE)]
    found += ["/proc/%d/root%s" % (pid, CONTROLLER) for pid in processes.named(machine, "podmigration-controller")]
    return found


def prepare(machine):
    """The folders are there, empty but for the list of what was passed. Names that a program of an earlier batch still waits for are gone."""
    for folder in folders(machine):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)
        for path in glob.glob(folder + "/*"):
            os.unlink(path)
        with open(folder + "/passed", "w", encoding="ascii"):
            pass
        os.chmod(folder + "/passed", 0o666)


def forget(machine):
    """Nothing is noted or stopped from here on."""
    for folder in folders(machine):
        for path in glob.glob(folder + "/*"):
            os.unlink(path)


class Point:
    """One program, whichever comes first, will wait at the point."""

    def __init__(self, machine, point, key):
        self.name = "%s@%s" % (point, key)
        self.folders = folders(machine)[1:] if point.startswith("controller.") else folders(machine)[:1]
        self.here, self.go = [], []
        for folder in self.folders:
            base = os.path.join(folder, self.name)
            for pipe, fds in ((".here", self.here), (".go", self.go)):
                os.mkfifo(base + pipe)
                os.chmod(base + pipe, 0o666)
                # both ways: never a wait for the other end, and never an end of file
                fds.append(os.open(base + pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            with open(base, "w", encoding="ascii"):
                pass
            os.chmod(base, 0o666)

    def reached(self, timeout):
        """Does a program stand there?"""
        return bool(select.select(self.here, [], [], timeout)[0])

    def who(self):
        """pid of the program that stands there, in its machine's pid namespace; None when none does. Told once."""
        for fd in self.here:
            try:
                return int(os.read(fd, 600).split()[0])
            except BlockingIOError:
                pass
        return None

    def release(self):
        """Whoever waits goes on; whoever comes later does not wait. A program that is dead, or stopped, does not matter."""
        for folder in self.folders:
            try:
                os.unlink(os.path.join(folder, self.name))
            except OSError:
                pass  # taken, or the folder is gone with its pod
        for fd in self.go:
            os.write(fd, b"g")

    def close(self):
        for fd in self.here + self.go:
            os.close(fd)
        self.here = self.go = []


def passed(machine, prefix, key, timeout):
    """Host pid of the last program that passed a point of this prefix with this key; it may be about to."""
    end = time.monotonic() + timeout
    while True:
        with open(machine.path(NODE + "/passed"), encoding="ascii") as f:
            pids = [line.split()[0] for line in f if line.endswith(" %s\n" % key) and line.split()[1].startswith(prefix + ".")]
        pid = processes.host_pid(machine, int(pids[-1])) if pids else None
        if pid:
            return pid
        if time.monotonic() > end:
            raise Failed("no %s of %s runs" % (prefix, key))
        time.sleep(0.05)
