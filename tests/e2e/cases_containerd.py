# SPDX-License-Identifier: Apache-2.0
"""What touches containerd most, for a run with another version of it (make check-containerd)."""
from cases_refused import expect
from cluster import Failed, lab
from pods import ENDED, NS, Chain, container, explain, migrate, migration, pod

CONFIG = "/etc/containerd/config.toml"


def strategies(case, home, away):
    """two containers and their files, there and back by each strategy"""
    mounts = [{"name": "data", "mountPath": "/data"}]
    chain = Chain(case, home, pod("each", [container("one", args=["16", "/data/count", "/dev/shm/count", "/state/count"], volumeMounts=mounts), container("two", 8)],
                                  volumes=[{"name": "data", "emptyDir": {}}]))
    downtimes = []
    for strategy in ("PreCopy", "StopAndCopy", "PostCopy"):
        for where in ({"cluster": away.name}, {"node": home.name}):
            downtimes.append(chain.move(strategy=strategy, **where)["status"].get("downtime"))
    case.note(gap_ms=chain.check(), downtime=downtimes)


def restart(case, home, away):
    """containerd of the destination starts anew while the container waits there for its memory: the pod arrives with it, or stays"""
    lab("link", "--rate", "100mbit")
    case.clean(lambda: lab("link", "--clear", check=False))
    chain = Chain(case, home, pod("anew", [container("one", 128)]))
    home.apply(migration("anew", chain.name, cluster=away.name))
    case.clean(lambda: home.delete("podmigration", "anew", NS))
    home.watch("podmigrations", "anew", NS, lambda m: m.get("status", {}).get("phase") in ("Transferring", *ENDED), 60, "on its way")
    lab("restart", away.name, "containerd")
    m = home.watch("podmigrations", "anew", NS, lambda m: m.get("status", {}).get("phase") in ENDED, 120, "at an end")
    case.note(ended=explain(m))
    if m["status"]["phase"] == "Succeeded":
        chain.arrived(m)
        case.note(gap_ms=chain.check())
    else:
        chain.check_untouched()


DEFAULT_RUNTIME = """
[plugins.'%(plugin)s'.containerd]
  default_runtime_name = 'crun'
[plugins.'%(plugin)s'.containerd.runtimes.crun]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'%(plugin)s'.containerd.runtimes.crun.options]
    BinaryName = '%(crun)s'
"""


def default_runtime(case, home, away):
    """UnsupportedRuntime: the default runtime of the node is crun (runc under that name where the node has no crun: it is refused by name)"""
    def on_node(script, *args):
        return lab("exec", home.name, "sh", "-euc", script, "-", *args)
    main = on_node('cat "$1"', CONFIG)
    crun = on_node('command -v crun || { mkdir -p /run/e2e; ln -s "$(command -v runc)" /run/e2e/crun; echo /run/e2e/crun; }').strip()
    plugin = "io.containerd.cri.v1.runtime" if "io.containerd.cri.v1.runtime" in main else "io.containerd.grpc.v1.cri"
    on_node('cp -p "$1" "$1.e2e"; printf %s "$2" >>"$1"', CONFIG, DEFAULT_RUNTIME % {"plugin": plugin, "crun": crun})

    def put_back():
        on_node('mv "$1.e2e" "$1"; rm -rf /run/e2e', CONFIG)
        lab("restart", home.name, "containerd")
    case.clean(put_back)
    lab("restart", home.name, "containerd")
    chain = Chain(case, home, pod("crun", [container("one", 8)]))
    m = migrate(case, home, migration("crun", "crun", cluster=away.name))
    expect(m, "UnsupportedRuntime")
    if crun not in explain(m):
        raise Failed("the message does not name the runtime: %s" % explain(m))
    case.note(said=explain(m))
    chain.check_untouched()


CASES = {}
ON_REQUEST = {"strategies": strategies, "containerd-restart": restart, "default-runtime": default_runtime}
