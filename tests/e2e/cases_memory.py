# SPDX-License-Identifier: Apache-2.0
"""Cases with much memory: every count, as everywhere, and every page of it at the end."""
import threading

import cases_plugin
import continuity
from cluster import Failed, lab
from pods import NS, Chain, container, explain, migrate, migration, pod

# Until the running program lacks pages that are still to come: the process that brings them is stopped.
STOP_FILLER = "until ls /run/podmigration/containers/*/filling >/dev/null 2>&1; do sleep 0.01; done; pkill -STOP pm-filler"


def look_at_every_page(home, chain):
    """The programs compare all their memory with what they ever wrote there."""
    for name, log in chain.logs[-1].items():
        rc, _, err = home.run("exec", "-n", NS, chain.name, "-c", name, "--", "/tool", "usr1", "1")
        if rc and "command terminated" not in err:
            raise Failed("exec: %s" % err.strip())
        log.wait(lambda lines: any(continuity.ALL.match(line) for line in lines), 120, "every page looked at")


def of_source(m, key):
    return [c.get(key) for c in m["status"].get("source", {}).get("containers", [])]


def rounds(m):
    """Pages with data, round by round; the last one frozen."""
    return [[r["pages"] for r in rs or []] for rs in of_source(m, "rounds")]


def steps_ms(m):
    """Where the pause went."""
    c = m["status"]["source"]["containers"][0]
    times = {k[:-6]: c.get(k, 0) // 1000 for k in ("dumpMicros", "stageMicros", "restoreMicros", "openMicros")}
    # a source in another cluster tells of no rounds
    return {**times, **({"memory": c["rounds"][-1]["micros"] // 1000} if c.get("rounds") else {})}


def one(mib):
    def run(case, home, away):
        chain = Chain(case, home, pod("mem%d" % mib, [container("one", mib)]))
        m = chain.move(cluster=away.name)
        case.note(gap_ms=chain.check(), downtime=m["status"].get("downtime"), rounds=rounds(m), tracking=of_source(m, "tracking"), ms=steps_ms(m))
        look_at_every_page(home, chain)
        chain.check()
    run.__doc__ = "1 container of %d MiB: every count, and every page" % mib
    return run


def shared(mib, rate):
    def run(case, home, away):
        c = container("one", mib)
        c["env"] = c["env"] + [{"name": "SHARED", "value": "1"}]
        chain = Chain(case, home, pod("shared", [c]))
        lab("link", "--rate", rate)
        case.clean(lambda: lab("link", "--clear", check=False))
        m = chain.move(cluster=away.name)
        ahead, images = (of_source(m, key)[0] or 0 for key in ("sharedAhead", "imageBytes"))
        case.note(gap_ms=chain.check(), downtime=m["status"].get("downtime"), ahead_mib=round(ahead / 2 ** 20, 1), images_mib=round(images / 2 ** 20, 1), ms=steps_ms(m))
        look_at_every_page(home, chain)
        chain.check()
        if ahead < mib * 2 ** 20 or images > mib * 2 ** 20 / 4:
            raise Failed("%d bytes of shared memory went ahead, and %d of images while it was frozen" % (ahead, images))
    run.__doc__ = "%d MiB of shared memory, anonymous and a memfd, over a link of %s: little goes while it is frozen; every count, and every page" % (mib, rate)
    return run


def family(case, home, away):
    """a program and three children that share memory with it, and write to it"""
    c = container("one", 8)
    c["env"] = c["env"] + [{"name": "CHILDREN", "value": "3"}]
    chain = Chain(case, home, pod("family", [c]))
    for where in ({"cluster": away.name}, {"node": home.name}):
        chain.move(**where)
        look_at_every_page(home, chain)
    chain.wait_ticks(9)
    case.note(gap_ms=chain.check())


def progress(case, home, away):
    """how much has been sent stands in status, and kubectl migrate says it, while the pod runs and its memory goes over a slow link, there and back"""
    chain = Chain(case, home, pod("progress", [container("one", 64)]))
    lab("link", "--rate", "100mbit")
    case.clean(lambda: lab("link", "--clear", check=False))
    for number, where in enumerate(({"cluster": away.name}, {"node": home.name})):
        name = "progress-%d" % number
        home.apply(migration(name, chain.name, **where))
        case.clean(lambda name=name: home.delete("podmigration", name, NS))
        case.migrations.append((NS, name))
        _, said = cases_plugin.kubectl_migrate(home, "follow", name)
        seen = [line.split()[1] for line in said.splitlines() if line.endswith(" sent, the pod runs")]
        chain.arrived(home.get("podmigration", name, NS))
        case.note(**{"seen_%d" % number: seen})
        if not seen:
            raise Failed("nothing was told while memory was sent %s: %s" % (("there", "back")[number], said))
    chain.check()


def back_at_once(case, home, away):
    """a container whose memory is still coming is moved on: nothing is lost, there and back and there"""
    chain = Chain(case, home, pod("again", [container("one", 512)]))
    for where in ({"cluster": away.name}, {"node": home.name}, {"cluster": away.name}):
        chain.move(**where)
    case.note(gap_ms=chain.check())
    look_at_every_page(home, chain)
    chain.check()


def filler_dies(case, home, away):
    """who brings the memory is killed while pages are missing: nobody reads zeros, the container is killed and started anew"""
    chain = Chain(case, home, pod("orphan", [container("one", 256)]))
    stopper = threading.Thread(target=lab, args=("exec", away.name, "timeout", "100", "sh", "-c", STOP_FILLER), kwargs={"check": False})
    stopper.start()
    m = migrate(case, home, migration("orphan", chain.name, cluster=away.name))
    stopper.join()
    if m["status"]["phase"] != "Succeeded":
        raise Failed("the migration ended %s" % explain(m))
    name = m["status"]["destinationPod"]["name"]
    case.clean(lambda: home.delete("pod", name, NS, "--grace-period=1"))
    lab("exec", away.name, "pkill", "-KILL", "pm-filler")

    def started_anew(p):
        return any(s["restartCount"] for s in p["status"].get("containerStatuses", []))
    p = home.watch("pods", name, NS, started_anew, 60, "started anew")
    code = p["status"]["containerStatuses"][0]["lastState"].get("terminated", {}).get("exitCode")
    if code != 137:
        raise Failed("the container ended with %s, not by SIGKILL" % code)
    chain.check()


CASES = {**{"memory-%d" % mib: one(mib) for mib in (16, 256, 1024)}, "progress": progress, "memory-again": back_at_once, "memory-family": family, "memory-shared": shared(64, "240mbit"), "memory-filler-dies": filler_dies}
ON_REQUEST = {"memory-shared-256": shared(256, "1000mbit")}
