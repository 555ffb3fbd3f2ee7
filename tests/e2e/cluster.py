# SPDX-License-Identifier: Apache-2.0
"""The lab and its clusters, by tests/lab/lab and kubectl. Nothing here sleeps to wait: it waits for a watch, or for a command that waits."""
import glob
import json
import os
import queue
import select
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAB = os.environ.get("LAB") or os.path.join(ROOT, "tests/lab/lab")
VERSION = next(line.split(":=")[1].strip() for line in open(os.path.join(ROOT, "Makefile")) if line.startswith("VERSION :="))

# All limits are for a machine at rest; a busy one gets this many times as long. It costs nothing where nothing hangs.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "4"))


class Failed(Exception):
    """A case failed; the text is for the person who reads the one line."""


def lab(*args, timeout=600, stdin=None, check=True):
    p = subprocess.run([LAB, *args], stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout * PATIENCE)
    if check and p.returncode:
        raise Failed("lab %s: %s" % (" ".join(args[:4]), (p.stderr or p.stdout).strip()[-600:]))
    return p.stdout


def find_kubectl():
    cache = os.environ.get("PODMIGRATION_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "podmigration")
    found = sorted(glob.glob(os.path.join(cache, "k8s-*/usr/local/bin/kubectl")), key=os.path.getmtime)
    return found[-1] if found else "kubectl"


class Cluster:
    def __init__(self, name):
        self.name = name
        self.kubeconfig = lab("kubeconfig", name).strip()
        self.kubectl = find_kubectl()

    def command(self, *args):
        return [self.kubectl, "--kubeconfig", self.kubeconfig, *args]

    def in_network(self):
        """What a command on this machine begins with that is to run in the network of the cluster's node."""
        with open(os.path.join(os.path.dirname(self.kubeconfig), "pid")) as f:
            return ["nsenter", "-t", f.read().split()[0], "-n"]

    def run(self, *args, stdin=None, timeout=60):
        """Exit status, stdout, stderr."""
        p = subprocess.run(self.command(*args), input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout * PATIENCE)
        return p.returncode, p.stdout, p.stderr

    def ok(self, *args, stdin=None, timeout=60):
        rc, out, err = self.run(*args, stdin=stdin, timeout=timeout)
        if rc:
            raise Failed("kubectl %s: %s" % (" ".join(args[:6]), err.strip()[-500:]))
        return out

    def apply(self, *objects):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.ok("apply", "-f", "-", stdin=text)

    def get(self, kind, name, ns=None):
        """The object, or None when there is none."""
        rc, out, err = self.run("get", kind, name, "-o", "json", *(["-n", ns] if ns else []))
        if rc and "NotFound" in err:
            return None
        if rc:
            raise Failed("kubectl get %s %s: %s" % (kind, name, err.strip()))
        return json.loads(out)

    def delete(self, kind, name, ns=None, *more):
        self.run("delete", kind, name, "--ignore-not-found", "--wait=false", *(["-n", ns] if ns else []), *more)

    def wait_gone(self, kind, name, ns, timeout):
        self.ok("wait", "--for=delete", "%s/%s" % (kind, name), "-n", ns, "--timeout=%ds" % (timeout * PATIENCE), timeout=timeout + 10)

    def watch(self, kind, name, ns, until, timeout, what):
        """Follows one object until `until(object)` is true, and returns it. until may raise Failed."""
        timeout *= PATIENCE
        end = time.monotonic() + timeout
        last = None
        while True:
            args = self.command("get", kind, "-o", "json", "-w", "--field-selector=metadata.name=" + name, *(["-n", ns] if ns else []))
            p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            try:
                for last in objects(p.stdout, end):
                    if until(last):
                        return last
            finally:
                p.kill()
                p.wait()
            if time.monotonic() >= end:
                raise Failed("%s %s/%s: not %s within %d s%s" % (kind, ns, name, what, timeout, brief(last)))


def objects(stream, end):
    """The JSON objects of a stream, until it ends or time is up."""
    decoder = json.JSONDecoder()
    text = ""
    while time.monotonic() < end:
        if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
            return
        chunk = os.read(stream.fileno(), 1 << 16)
        if not chunk:
            return
        text += chunk.decode("utf-8", "replace")
        while text.lstrip():
            try:
                item, at = decoder.raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[at:]
            yield item


def brief(o):
    if not o:
        return ""
    status = o.get("status", {})
    said = ["%s=%s %s: %s" % (c["type"], c["status"], c.get("reason", ""), c.get("message", "")) for c in status.get("conditions", [])]
    return " (phase %s; %s)" % (status.get("phase"), "; ".join(said)[-700:])


class Log:
    """Follows one container's log from its beginning, in a thread; kept when the pod is gone."""

    def __init__(self, cluster, ns, pod, container):
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.who = "%s/%s" % (pod, container)
        self.process = subprocess.Popen(cluster.command("logs", "-f", "-n", ns, pod, "-c", container), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, good, timeout, what):
        """Until good(lines)."""
        timeout *= PATIENCE
        with self.changed:
            self.changed.wait_for(lambda: good(self.lines) or self.ended, timeout)
            if not good(self.lines):
                raise Failed("log of %s: %s did not come within %d s%s; last line: %s" %
                             (self.who, what, timeout, " (the log has ended)" if self.ended else "", self.lines[-1] if self.lines else "none"))

    def wait_end(self, timeout):
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, timeout * PATIENCE):
                raise Failed("log of %s does not end" % self.who)

    def close(self):
        self.process.kill()
        self.process.wait()


def parallel(functions):
    """Runs all at once; the first failure is raised when all have ended."""
    results = queue.Queue()

    def one(f):
        try:
            f()
            results.put(None)
        except Exception as e:  # handed over to the caller
            results.put(e)

    threads = [threading.Thread(target=one, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    failures = [e for e in (results.get() for _ in threads) if e]
    if failures:
        raise failures[0]
