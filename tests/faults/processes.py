# SPDX-License-Identifier: Apache-2.0
"""Processes of the lab's machines, seen from the host. Only those in the lab's own cgroups are ever looked at, so only those can be hurt."""
import glob
import json
import os
import re

PROC = re.compile(r"/proc/(\d+)/cgroup")


def read(pid, what):
    try:
        with open("/proc/%d/%s" % (pid, what), "rb") as f:
            return f.read().decode("utf-8", "replace")
    except OSError:
        return ""  # ended meanwhile


def all_of(machine):
    """Host pids of everything that runs in the machine."""
    mine = re.compile(r"/pmlab-%s/%s(/|$)" % (re.escape(os.environ["LAB_NAME"]), re.escape(machine.name)), re.M)
    for path in glob.glob("/proc/[0-9]*/cgroup"):
        pid = int(PROC.match(path)[1])
        if mine.search(read(pid, "cgroup")):
            yield pid


def named(machine, name):
    """Those whose program has this name."""
    return [pid for pid in all_of(machine) if read(pid, "comm").strip() == name[:15]]


def arguments(pid):
    return read(pid, "cmdline").split("\0")[:-1]


def environment(pid, key):
    for item in read(pid, "environ").split("\0"):
        if item.startswith(key + "="):
            return item[len(key) + 1:]
    return None


def status(pid, key):
    m = re.search(r"^%s:\s*(.*)$" % key, read(pid, "status"), re.M)
    return m[1] if m else ""


def host_pid(machine, inner):
    """Of a pid of the machine's own pid namespace."""
    for pid in all_of(machine):
        numbers = status(pid, "NSpid").split()
        if len(numbers) > 1 and numbers[-1] == str(inner):
            return pid
    return None


def agents(machine):
    """The daemons, without their workers and without `install`."""
    return [pid for pid in named(machine, "podmigration-agent") if (arguments(pid) + ["", "-"])[1].startswith("-") or len(arguments(pid)) == 1]


def monitors(machine, migration_uid):
    """The processes that wait for, or have brought up, the containers of a migration."""
    found = []
    for path in glob.glob(machine.path("/run/podmigration/containers/*/info.json")):
        with open(path, encoding="utf-8") as f:
            info = json.load(f)
        if info.get("migration") == migration_uid:
            pid = host_pid(machine, info["pid"])
            if pid:
                found.append(pid)
    return found


def counters(machine, name):
    """{host pid: number of times it has slept} of the copies of a counting container."""
    return {pid: int(status(pid, "voluntary_ctxt_switches") or 0) for pid in named(machine, "counter") if environment(pid, "NAME") == name}
