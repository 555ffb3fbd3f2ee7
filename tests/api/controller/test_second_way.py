# SPDX-License-Identifier: Apache-2.0
"""The second way of the commit (docs/architecture.md, "Commit in doubt"): the agents do not hear each other, so the destination is told by an order in its pod and
answers with a receipt in an Event. Only a receipt that was sealed with this migration's key ends the source."""
import json
import time

from harness import NS, until
from sealed import key_of, seal, unseal
from test_flow import destination, transferring

RUNNING = '{"receipt":"running"}'


def say(w, pod, text):
    """An Event of the destination pod that says it is a receipt, as the destination's agent would write it; whoever may create Events can."""
    w.kube.create(f"/api/v1/namespaces/{NS}/events", {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": w.unique("receipt"), "annotations": {"podmigration.dev/receipt": text}},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": NS, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
        "reason": "Resumed", "message": "test", "type": "Normal"})


def forged(w, key, uid):
    """Texts that are no receipt of this migration."""
    other = "44444444-4444-4444-4444-444444444444"
    good = seal(key, "receipt", uid, RUNNING)
    return {"nonsense": "bm9uc2Vuc2U=", "no base64": "{}", "an order's seal": seal(key, "order", uid, RUNNING), "of another migration": seal(key_of(w.kube, other), "receipt", other, RUNNING),
            "for another migration": seal(key, "receipt", other, RUNNING), "other words": seal(key, "receipt", uid, '{"receipt":"stopped"}'),
            "cut off": good[:-4], "a bit turned": ("B" if good[0] == "A" else "A") + good[1:]}


def unheard(w):
    pod, m = transferring(w)
    uid = m["metadata"]["uid"]
    key = key_of(w.kube, uid)
    w.agent(m, "Committed", decision="Commit")
    w.wait_phase(m, "Committed")
    there = until(lambda: (lambda d: d if d["metadata"]["annotations"].get("podmigration.dev/ordered", "").startswith(uid + " commit ") else None)(destination(w, m)), 20, "the order")
    order = json.loads(unseal(key, "order", uid, there["metadata"]["annotations"]["podmigration.dev/order"]))
    w.c.equal("second way: the order in the destination pod, opened by what protocol.md says", (order.get("action"), order.get("migration")), ("commit", uid))
    w.c.check("second way: it has no deadline: a commit is true for ever", "deadline" not in order, order)
    for what, text in forged(w, key, uid).items():
        say(w, there, text)
    time.sleep(4)       # the controller looks at the Events every second
    now = w.get(m)["status"]
    w.c.check("second way: forged receipts end nothing", now["phase"] == "Committed" and not now["destinationPod"].get("receiptTime"), now)
    source = w.find_pod(pod["metadata"]["name"])
    w.c.check("second way: and the source stays", source is not None and "deletionTimestamp" not in source["metadata"])
    say(w, there, seal(key, "receipt", uid, RUNNING))
    m = w.wait_phase(m, "Succeeded")
    w.c.check("second way: a true receipt is recorded, and the source deleted", m["status"]["destinationPod"].get("receiptTime") and
              w.find_pod(pod["metadata"]["name"]) is None, m["status"]["destinationPod"])
    w.c.check("second way: nothing is violated", destination(w, m) is not None)
