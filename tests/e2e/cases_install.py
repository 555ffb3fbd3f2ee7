# SPDX-License-Identifier: Apache-2.0
"""What `podmigration-agent install` does to a node, on the node of the other cluster."""
import contextlib
import time

import install
from cluster import Failed, lab
from pods import container, is_running, pod

CONFIG = "/etc/containerd/config.toml"
DROP_IN = "/etc/containerd/conf.d/podmigration.toml"
RUNTIME = "/opt/podmigration/bin/podmigration-runtime"
TAR = "/opt/podmigration/libexec/tar"


def on_node(cluster, *command, check=True):
    return lab("exec", cluster.name, *command, check=check)


def exists(cluster, path):
    return on_node(cluster, "sh", "-c", 'test -e "$1" && echo yes', "sh", path, check=False).strip() == "yes"


def agent(cluster, command):
    """Exit status and what it said. After a restart of containerd the kubelet still refuses for some seconds: it waits before it dials again."""
    for _ in range(60):
        rc, out, err = cluster.run("exec", "-n", "podmigration-agent", "ds/podmigration-agent", "-c", "agent", "--", "/usr/bin/podmigration-agent", command,
                                   timeout=120)
        if "unable to upgrade connection" not in err:
            break
        time.sleep(1)
    return rc, out + err


def expect(cluster, command, good, said):
    rc, text = agent(cluster, command)
    if (rc == 0) != good or said not in text:
        raise Failed("%s: expected %s and %r, but: %s" % (command, "success" if good else "failure", said, text.strip()[-600:]))
    return text


def restart(cluster):
    """Returns when containerd answers again."""
    lab("restart", cluster.name, "containerd")


@contextlib.contextmanager
def own_config(cluster):
    """The node's main file may be changed inside; at the end all is as it was before."""
    on_node(cluster, "cp", CONFIG, CONFIG + ".e2e")
    try:
        yield
    finally:
        on_node(cluster, "mv", CONFIG + ".e2e", CONFIG)
        restart(cluster)
        expect(cluster, "install", True, "")
        restart(cluster)
        install.start_agents(cluster)


def files(cluster):
    """What the installation has put there. The drop-in is not among them where a person had to add its lines (containerd 1.7)."""
    by_hand = "runtimes.podmigration]" in on_node(cluster, "cat", CONFIG)
    return [RUNTIME, TAR] if by_hand else [DROP_IN, RUNTIME, TAR]


def again(case, home, away):
    """installing once more changes nothing"""
    before = on_node(away, "stat", "-c", "%i %Y %n", *files(away))
    expect(away, "install", True, "containerd knows the runtime already")
    if on_node(away, "stat", "-c", "%i %Y %n", *files(away)) != before:
        raise Failed("files were written anew")


def in_use(case, home, away):
    """uninstall is refused while a container needs the runtime"""
    away.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "e2e-plain"}},
               pod("user", [container("one", 8)], ns="e2e-plain", node=away.name, runtimeClassName="podmigration"))
    case.clean(lambda: away.delete("namespace", "e2e-plain"))
    away.watch("pods", "user", "e2e-plain", is_running, 60, "running")
    expect(away, "uninstall", False, "run with podmigration-runtime")
    if not all(exists(away, path) for path in files(away)):
        raise Failed("something was removed all the same")
    away.delete("pod", "user", "e2e-plain")
    away.wait_gone("pod", "user", "e2e-plain", 60)


def removed(case, home, away):
    """uninstall leaves nothing, and says who has to restart containerd"""
    with own_config(away):
        expect(away, "uninstall", True, "was not restarted")
        for path in (DROP_IN, RUNTIME, TAR):
            if exists(away, path):
                raise Failed("%s is still there" % path)


def no_imports(case, home, away):
    """a main file that imports nothing: one sentence names the line, nothing is left behind"""
    with own_config(away):
        agent(away, "uninstall")
        on_node(away, "sed", "-i", "/^imports/d", CONFIG)
        restart(away)
        expect(away, "install", False, "imports = [")
        if exists(away, DROP_IN):
            raise Failed("the drop-in was left there")


def old_syntax(case, home, away):
    """a main file of version 2: the entry is written in its syntax, and no other setting is lost"""
    main = """version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/lab/pause:1"
  enable_unprivileged_ports = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""
    with own_config(away):
        agent(away, "uninstall")
        on_node(away, "sh", "-c", 'printf %s "$1" >"$2"', "sh", main, CONFIG)
        restart(away)
        expect(away, "install", True, "was not restarted")
        if "version = 2" not in on_node(away, "cat", DROP_IN):
            raise Failed("the drop-in is not of the main file's version")
        restart(away)
        expect(away, "install", True, "containerd knows the runtime already")
        if "localhost/lab/pause:1" not in on_node(away, "containerd", "config", "dump"):
            raise Failed("the main file's sandbox image got lost")


CASES = {"install-again": again, "install-in-use": in_use, "install-removed": removed, "install-no-imports": no_imports, "install-old-syntax": old_syntax}
