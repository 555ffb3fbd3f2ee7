# SPDX-License-Identifier: Apache-2.0
"""The lab's machines as the driver needs them: their files, their network, their API server.

Everything is reached without starting a program in the machine, because on two cores each such start (some 50 ms, a kubectl 150 ms)
would be part of what is measured.
"""

import ctypes
import http.client
import json
import os
import re
import ssl
import threading
import urllib.parse

from cluster import Failed, lab

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class ApiError(Failed):
    def __init__(self, status, text):
        super().__init__("HTTP %d: %s" % (status, text[:500]))
        self.status = status


class Machine:
    """One node and the control plane on it."""

    def __init__(self, name):
        self.name = name
        self.pid = self._pid(name)
        self.root = "/proc/%d/root" % self.pid
        self.ip = re.search(r"^NODE_IP=(\S+)", self.read("/usr/local/lib/lab/env"), re.M).group(1)
        with open(lab("kubeconfig", name).strip(), encoding="ascii") as f:
            server = re.search(r"server: (\S+)", f.read()).group(1)
        self.api = Api(urllib.parse.urlsplit(server).netloc, self.tls())
        self.kubelet = Api("127.0.0.1:10250", self.tls(), self)

    @staticmethod
    def _pid(name):
        m = re.search(r"^%s: .* pid 1 is (\d+)" % re.escape(name), lab("status"), re.M)
        if not m:
            raise Failed("machine %s does not run" % name)
        return int(m.group(1))

    def path(self, inside):
        return self.root + inside

    def read(self, inside):
        with open(self.path(inside), encoding="utf-8", errors="replace") as f:
            return f.read()

    def run(self, *cmd):
        return lab("exec", self.name, *cmd)

    def tls(self):
        pki = self.path("/etc/kubernetes/pki/")
        ctx = ssl.create_default_context(cafile=pki + "ca.crt")
        ctx.check_hostname = False  # reached at addresses that are not in the certificates
        ctx.load_cert_chain(pki + "admin.crt", pki + "admin.key")
        return ctx

    def enter_network(self):
        """The calling thread's new sockets are from now on in this machine's network. Use only in a thread of its own."""
        fd = os.open("/proc/%d/ns/net" % self.pid, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot enter the network of machine %s" % self.name)
        finally:
            os.close(fd)

    def parallel(self, fn, items):
        """fn(item) for all items at once, each in a thread in this machine's network; the results in order."""
        results, errors = [None] * len(items), []

        def one(i):
            try:
                self.enter_network()
                results[i] = fn(items[i])
            except Exception as e:
                errors.append(e)

        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(items))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise errors[0]
        return results


class Api:
    """A small client of a Kubernetes API (or of a kubelet). A connection per call: simple, and its 2-3 ms are nobody's bottleneck."""

    def __init__(self, netloc, tls, machine=None):
        self.netloc, self.tls, self.machine = netloc, tls, machine

    def _open(self, method, path, body, timeout):
        c = http.client.HTTPSConnection(self.netloc, context=self.tls, timeout=timeout)
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body)
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        c.request(method, path, body=data, headers=headers)
        r = c.getresponse()
        if r.status >= 300:
            text = r.read().decode("utf-8", "replace")
            c.close()
            raise ApiError(r.status, text)
        return c, r

    def call(self, method, path, body=None, timeout=180):
        c, r = self._open(method, path, body, timeout)
        try:
            return json.loads(r.read())
        finally:
            c.close()

    def get(self, path):
        return self.call("GET", path)

    def delete(self, path, options=None):
        """Also when there is nothing (more)."""
        try:
            self.call("DELETE", path, options)
        except ApiError as e:
            if e.status != 404:
                raise

    def watch(self, path, timeout):
        """Objects of a watch as they change; ends when the server ends it."""
        sep = "&" if "?" in path else "?"
        c, r = self._open("GET", "%s%swatch=1&timeoutSeconds=%d" % (path, sep, timeout), None, timeout + 10)
        try:
            for line in r:
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            c.close()

    def wait(self, collection, name, accept, timeout=120):
        """The first state of the object that accept() takes; None as object means: it is gone."""
        path = "%s?fieldSelector=metadata.name%%3D%s" % (collection, name)
        if accept(None):
            items = self.get(path)["items"]
            if not items:
                return None
            path += "&resourceVersion=" + items[0]["metadata"]["resourceVersion"]
        last = None
        for kind, obj in self.watch(path, timeout):
            if kind == "ERROR":
                raise Failed("watch %s: %s" % (path, obj.get("message")))
            last = obj
            state = None if kind == "DELETED" else obj
            if accept(state):
                return state
        raise Failed("%s %s is not as expected after %d s: %s" % (
            collection, name, timeout, json.dumps((last or {}).get("status"))[:1500]))
