# SPDX-License-Identifier: Apache-2.0
"""What a person does about a destination of which a container is lost, by docs/troubleshooting.md: nothing starts until it is said, and then it starts from its image."""
import json
import time

import continuity
import pods
import processes
import workload
from cluster import Failed

NS = pods.NS
START_COLD = "podmigration.dev/start-cold"
TRIES = 2               # of the kubelet's, that must have been refused
TRY_S = 60              # between two of them: ten seconds, twenty, forty
START_S = 330           # "within five minutes"
GONE_S = 120


def refusals(pod):
    """{container: how often the kubelet has tried to start it anew} of those that the node's runtime refuses."""
    return {s["name"]: s["restartCount"] for s in (pod or {}).get("status", {}).get("containerStatuses", []) if START_COLD in json.dumps(s)}


def wait_refused(read, tries, seconds):
    """As refusals() of what read() returns, as soon as one was refused so often; {} when none was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = refusals(read())
        if found and max(found.values()) >= tries:
            return found
        time.sleep(0.5)
    return {}


def wait_until(there, seconds, what):
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise Failed("%s: not after %d s" % (what, seconds))
        time.sleep(0.5)


def started_from_image(machine, pod, container):
    """The program's own word, in the newest log: from its beginning, once."""
    log = workload.Log(machine, pod, container)
    try:
        log.wait_ticks(1)
        starts = sum(bool(continuity.START.match(line)) for line in log.lines())
    finally:
        log.close()
    if starts != 1:
        raise Failed("container %s says %d times that it starts" % (container, starts))


def start_cold(m, container, patience):
    """Saves nothing, and goes on with the destination alone: the source pod is deleted, and the container starts without its memory."""
    there, pod = m.side.destination, m.destination()
    source, path = "%s/%s" % (workload.collection(NS), m.source), "%s/%s" % (workload.collection(NS), pod)
    m.forget(source, {"gracePeriodSeconds": 1})
    wait_until(lambda: not m.find(source), GONE_S * patience, "the frozen source pod is gone")
    if processes.counters(there, container):
        raise Failed("container %s was started before anybody said that it may" % container)
    m.api("PATCH", path, {"metadata": {"annotations": {START_COLD: "true"}}})
    wait_until(lambda: processes.counters(there, container), START_S * patience, "container %s is started from its image" % container)
    started_from_image(there, pod, container)
