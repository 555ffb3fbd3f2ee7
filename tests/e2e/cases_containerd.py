# SPDX-License-Identifier: Apache-2.0
"""What touches containerd most, for a run with another version of it (make check-containerd)."""
from pods import Chain, container, pod


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


CASES = {}
ON_REQUEST = {"strategies": strategies}
