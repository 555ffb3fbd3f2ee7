# SPDX-License-Identifier: Apache-2.0
"""podmigration in the lab's clusters, from deploy/ and the images, as an operator would do it."""
import json
import os
import subprocess
import tempfile

from cluster import LAB, PATIENCE, ROOT, Failed, lab, parallel

# Images of another build, such as build/faults/image, are installed the same way.
IMAGES = os.environ.get("PM_IMAGES", "build/image")

WORKLOADS = {
    "counter": ["/counter"],
    "files": ["/files"],
    "uring": ["/uring"],
    "peer": ["/peer"],
    "kinds": ["/kinds"],
    "pairs": ["/pairs"],
}


def import_image(cluster, tar):
    for _ in range(2):   # again when it fails, as in tests/lab/lib/image.sh
        with open(os.path.join(ROOT, IMAGES, tar), "rb") as f:
            p = subprocess.run([LAB, "exec", cluster, "ctr", "-n", "k8s.io", "images", "import", "--local", "-"], stdin=f, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, timeout=120 * PATIENCE)
        if not p.returncode:
            return
    raise Failed("%s cannot be imported in %s: %s" % (tar, cluster, p.stdout[-300:]))


def workload(name, entry, clusters, image=None):
    """One static program, the tool for kubectl exec, and the folder /image that `files` changes. Each name is an image of its own, with a digest of its own."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        for program in (name, "tool"):
            data = open(os.path.join(ROOT, "build/apps", program), "rb").read()
            path = os.path.join(root, program)
            open(path, "wb").write(data)
            os.chmod(path, 0o755)
        os.makedirs(os.path.join(root, "image/folder"))
        os.mkdir(os.path.join(root, "state"))
        open(os.path.join(root, "image/name"), "w").write((image or name) + "\n")
        for f in ("gone", "changed", "kept", "folder/old"):
            open(os.path.join(root, "image", f), "w").write("image\n")
        # of its own content: the same content under another name would be found by its digest
        open(os.path.join(root, "name"), "w").write((image or name) + "\n")
        lab("image", ",".join(clusters), "localhost/e2e/%s:1" % (image or name), root, '["%s"]' % '", "'.join(entry))


def images(clusters):
    jobs = [lambda c=c, t=t: import_image(c.name, t) for c in clusters for t in ("agent.tar", "controller.tar")]
    names = [c.name for c in clusters]
    jobs += [lambda n=n, e=e: workload(n, e, names) for n, e in WORKLOADS.items()]
    jobs.append(lambda: workload("counter", ["/counter"], names[:1], image="only-here"))
    parallel(jobs)
    for c in clusters:
        # containerd 1.7 hears of an image's second name, that with its digest, when it starts
        if " v1." in lab("exec", c.name, "containerd", "--version"):
            lab("restart", c.name, "containerd")


def apply(cluster, overlay):
    was_there = cluster.get("daemonset", "podmigration-agent", "podmigration-agent") is not None
    cluster.ok("apply", "--server-side", "-k", os.path.join(ROOT, "deploy/kustomize", overlay), timeout=120)
    if was_there:  # same tags, other contents
        cluster.ok("rollout", "restart", "-n", "podmigration-agent", "daemonset/podmigration-agent")
        if overlay == "home":
            cluster.ok("rollout", "restart", "-n", "podmigration-system", "deployment/podmigration-controller")


ADD_BY_HAND = "add the lines that are printed above to "


def installed(pod):
    """What an installation that has ended said, good or bad: (exit code, text). None as long as there is none."""
    for s in pod.get("status", {}).get("initContainerStatuses", []):
        for state in (s.get("state", {}), s.get("lastState", {})):
            if state.get("terminated"):
                return state["terminated"]["exitCode"], state["terminated"].get("message", "").strip()
    return None


def add_by_hand(cluster, pod, said):
    """What containerd 1.7 needs, as an operator does it: the lines go below the main file; the next try of the installation finds the runtime there."""
    out = cluster.ok("logs", "-n", "podmigration-agent", pod, "-c", "install")
    lines = [line for line in out.splitlines() if line and not line.startswith("{")]
    path = said.split(ADD_BY_HAND)[1].split()[0]
    if not lines or not lines[0].startswith("[plugins."):
        raise Failed("podmigration-agent install printed no lines to add: %s" % out[-600:])
    lab("exec", cluster.name, "sh", "-c", 'printf "\\n%s\\n" "$1" >>"$2"', "-", "\n".join(lines), path.rstrip(","))
    lab("restart", cluster.name, "containerd")
    cluster.watch("pods", pod, "podmigration-agent", lambda p: (installed(p) or (1,))[0] == 0, 120, "through with its installation, with the lines that were added")


def start_agents(cluster):
    """The new containerd entry counts from containerd's next start, which in the lab (no systemd) is ours to make."""
    cluster.watch("daemonset", "podmigration-agent", "podmigration-agent", scheduled, 60, "scheduled")
    pods = [p for p in agent_pods(cluster) if not p["metadata"].get("deletionTimestamp")]
    for p in pods:
        name = p["metadata"]["name"]
        rc, said = installed(cluster.watch("pods", name, "podmigration-agent", installed, 90, "through with its installation"))
        if rc and ADD_BY_HAND in said:
            add_by_hand(cluster, name, said)
        elif rc:
            raise Failed("podmigration-agent install: %s" % said)
        if "was not restarted" in cluster.ok("logs", "-n", "podmigration-agent", name, "-c", "install"):
            lab("restart", cluster.name, "containerd")
    cluster.watch("daemonset", "podmigration-agent", "podmigration-agent", ready, 120, "ready")


def agent_pods(cluster):
    out = cluster.ok("get", "pods", "-n", "podmigration-agent", "-l", "app.kubernetes.io/name=podmigration-agent", "-o", "json")
    return json.loads(out)["items"]


def scheduled(ds):
    s = ds.get("status", {})
    return s.get("observedGeneration") == ds["metadata"]["generation"] and s.get("updatedNumberScheduled", 0) == s.get("desiredNumberScheduled") != 0


def ready(ds):
    return scheduled(ds) and ds["status"].get("numberReady") == ds["status"]["desiredNumberScheduled"] and not ds["status"].get("numberUnavailable")


def controller_ready(d):
    s = d.get("status", {})
    return s.get("observedGeneration") == d["metadata"]["generation"] and s.get("readyReplicas") == s.get("replicas") == d["spec"]["replicas"] == \
        s.get("updatedReplicas")


def install(home, others):
    apply_jobs = [lambda: apply(home, "home")] + [lambda c=c: apply(c, "provider") for c in others]
    parallel(apply_jobs)
    parallel([lambda c=c: start_agents(c) for c in [home, *others]])
    home.watch("deployment", "podmigration-controller", "podmigration-system", controller_ready, 120, "ready")
