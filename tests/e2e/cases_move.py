# SPDX-License-Identifier: Apache-2.0
"""Cases in which the pod arrives."""
import time

import continuity
from cluster import PATIENCE, Failed, Log, lab
from pods import ENDED, NS, Chain, container, is_running, migrate, migration, pod


def move_n(n):
    def run(case, home, away):
        chain = Chain(case, home, pod("n%d" % n, [container("c%d" % i, 8) for i in range(1, n + 1)]))
        m = chain.move(cluster=away.name)
        case.note(gap_ms=chain.check(), downtime=m["status"].get("downtime"))
    run.__doc__ = "%d container%s of 8 MiB: every count, there and here" % (n, "" if n == 1 else "s")
    return run


def there_and_back(case, home, away):
    """two containers a->b, b->a, and both once more"""
    chain = Chain(case, home, pod("back", [container("one", 16), container("two", 8)]))
    for where in ({"cluster": away.name}, {"node": home.name}) * 2:
        chain.move(**where)
    case.note(gap_ms=chain.check())


def emptydir(case, home, away):
    """files in an emptyDir and in /dev/shm go along with memory"""
    mounts = [{"name": "data", "mountPath": "/data"}]
    chain = Chain(case, home, pod("vol", [container("one", args=["8", "/data/count", "/dev/shm/count", "/state/count"], volumeMounts=mounts)],
                                  volumes=[{"name": "data", "emptyDir": {}}]))
    chain.move(cluster=away.name)
    case.note(gap_ms=chain.check())


def rootfs(case, home, away):
    """every kind of change to the root file system arrives"""
    name = "rootfs"
    home.apply(pod(name, [container("files", image="files", args=[])]))
    case.clean(lambda: home.delete("pod", name, NS))
    home.watch("pods", name, NS, is_running, 60, "running")
    before = Log(home, NS, name, "files")
    case.clean(before.close)
    before.wait(lambda lines: any("tick 1 " in line for line in lines), 30, "two checks")
    m = migrate(case, home, migration("rootfs", name, cluster=away.name))
    if m["status"]["phase"] != "Succeeded":
        raise Failed("the migration ended %s" % m["status"]["conditions"])
    arrived = m["status"]["destinationPod"]["name"]
    case.clean(lambda: home.delete("pod", arrived, NS))
    after = Log(home, NS, arrived, "files")
    case.clean(after.close)
    after.wait(lambda lines: len(lines) >= 3, 30, "three checks")
    bad = [line for line in before.lines + after.lines if " BAD " in line]
    if bad:
        raise Failed(bad[0])
    if any(" tick 0 " in line for line in after.lines):
        raise Failed("the program started anew at the destination")


def logs_exec_exit(case, home, away):
    """kubectl logs and exec reach the moved pod through home, and so does its exit code"""
    chain = Chain(case, home, pod("ops", [container("one", 8)], restartPolicy="Never", hostname="ops-host"))
    chain.move(cluster=away.name)
    _, out, err = home.run("exec", "-n", NS, chain.name, "-c", "one", "--", "/tool", "show", "/state/count")
    if not out.strip().isdigit() or int(out) < continuity.STEP:
        raise Failed("exec does not show the counter's file: %s %s" % (out.strip(), err.strip()))
    _, out, _ = home.run("exec", "-n", NS, chain.name, "-c", "one", "--", "/tool", "hostname")
    if out.strip() != "ops-host":
        raise Failed("hostname is %r, was ops-host" % out.strip())
    home.run("exec", "-n", NS, chain.name, "-c", "one", "--", "/tool", "term", "1")

    def ended(p):
        return any("terminated" in s.get("state", {}) for s in p["status"].get("containerStatuses", []))
    p = home.watch("pods", chain.name, NS, ended, 60, "ended after SIGTERM")
    code = p["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
    if code != 7:
        raise Failed("exit code is %d, not 7" % code)
    chain.logs[-1]["one"].wait(lambda lines: any(" end tick=" in line for line in lines), 20, "the last words")
    case.note(gap_ms=chain.check())


def cancel_early(case, home, away):
    """spec.cancel before the commit: Cancelled, and the source goes on"""
    chain = Chain(case, home, pod("cancel", [container("one", 8)]))
    m = migrate(case, home, migration("cancel", chain.name, cluster=away.name, cancel=True))
    if m["status"]["phase"] != "Cancelled":
        raise Failed("phase is %s" % m["status"]["phase"])
    chain.check_untouched()


def cancel_frozen(case, home, away):
    """spec.cancel while the pod stands still and its memory goes over a slow link: the pod goes on as soon as that is decided"""
    chain, seen = Chain(case, home, pod("cancel-frozen", [container("one", 64)])), []
    lab("link", "--rate", "60mbit")
    case.clean(lambda: lab("link", "--clear", check=False))
    home.apply(migration("cancel-frozen", chain.name, cluster=away.name, strategy="StopAndCopy"))
    case.clean(lambda: home.delete("podmigration", "cancel-frozen", NS))
    case.migrations.append((NS, "cancel-frozen"))
    home.watch("podmigrations", "cancel-frozen", NS, lambda m: m.get("status", {}).get("phase") == "Freezing", 60, "frozen")
    time.sleep(1)

    def look(m):
        if m.get("status", {}).get("decision") == "Abort" and not seen:
            seen.append(time.time() * 1000)
        return m.get("status", {}).get("phase") in ENDED
    home.ok("patch", "podmigration", "cancel-frozen", "-n", NS, "--type=merge", "-p", '{"spec":{"cancel":true}}')
    m = home.watch("podmigrations", "cancel-frozen", NS, look, 60, "at an end")
    log = chain.logs[-1]["one"]
    log.wait(lambda lines: any(gap > 500 for gap, _, _ in continuity.gaps(lines)), 30, "the pause noticed")
    gap, _, end = max(continuity.gaps(log.lines))
    case.note(phase=m["status"]["phase"], gap_ms=gap, on_again_ms=round(end - seen[0]) if seen else None)
    chain.check_untouched()
    if m["status"]["phase"] != "Cancelled" or not seen or end - seen[0] > 1000 * PATIENCE:
        raise Failed("it ended %s, and went on %s ms after that was decided" % (m["status"]["phase"], round(end - seen[0]) if seen else "?"))


CASES = {**{"containers-%d" % n: move_n(n) for n in (1, 2, 3, 5, 10)}, "emptydir": emptydir, "rootfs": rootfs, "logs-exec-exit": logs_exec_exit,
         "there-and-back": there_and_back, "cancel": cancel_early, "cancel-frozen": cancel_frozen}
