# SPDX-License-Identifier: Apache-2.0
"""The baseline: a pod moved the way of SEATED (Poggiani et al., 2024), with what Kubernetes and containerd 2.1 have on board.

  1. POST to the kubelet's checkpoint endpoint, for all containers at once; the source runs on
  2. the archives go to the other node by HTTP
  3. the source pod is deleted; at the same time an image is made from each archive and imported at the destination
  4. a pod is created from these images; containerd's CRI sees that they are checkpoints and restores them

Where the original leaves a choice, the quicker one is taken here: images are imported straight into containerd instead of built by buildah
and pushed, deletion and import overlap, and nothing waits on a timer.

The base image has to be found by NAME@DIGEST in a registry: containerd 2.1.9 always resolves it there, even when it has it. `Node` is that
registry too; the layers are present, so that one HEAD on loopback is all it costs.
"""

import hashlib
import http.client
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import time

import continuity
import workload
from cluster import LAB, Failed

UPLOAD_PORT = 8071
CHUNK = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONTENT = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/"
KEPT = "/var/lib/bench-archives/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_PUT(self):
        name = os.path.basename(self.path)
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        with open(self.server.machine.path(KEPT) + name, "wb", buffering=0) as f:
            while left:
                part = self.rfile.read(min(left, CHUNK))
                if not part:
                    raise ConnectionError("upload of %s ended early" % name)
                f.write(part)
                digest.update(part)
                left -= len(part)
        self.answer(201, digest.hexdigest().encode(), "text/plain")

    def do_GET(self):
        self.registry(True)

    def do_HEAD(self):
        self.registry(False)

    def registry(self, with_body):
        m = re.fullmatch(r"/v2/.+/(manifests|blobs)/sha256:([0-9a-f]{64})", self.path)
        try:
            with open(self.server.machine.path(CONTENT) + m.group(2), "rb") as f:
                data = f.read()
        except (AttributeError, FileNotFoundError):
            self.answer(404, b"", "text/plain")
            return
        kind = MANIFEST if m.group(1) == "manifests" else "application/octet-stream"
        self.answer(200, data, kind, with_body, {"Docker-Content-Digest": "sha256:" + m.group(2)})

    def answer(self, status, data, kind, with_body=True, more=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for k, v in (more or {}).items():
            self.send_header(k, v)
        self.end_headers()
        if with_body:
            self.wfile.write(data)


class Node:
    """What the destination's node needs: a receiver of archives, and the registry (see above)."""

    def __init__(self, machine):
        self.machine, self.servers = machine, []
        os.makedirs(machine.path(KEPT), exist_ok=True)
        machine.parallel(self._serve, [(machine.ip, UPLOAD_PORT), ("127.0.0.1", 80)])

    def _serve(self, address):
        server = http.server.ThreadingHTTPServer(address, Handler)
        server.daemon_threads = True
        server.machine = self.machine
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)

    def close(self):
        for s in self.servers:
            s.shutdown()
            s.server_close()


def checkpoint(machine, namespace, name, containers):
    """The archives' paths on the node, one per container."""
    def one(container):
        return machine.kubelet.call("POST", "/checkpoint/%s/%s/%s" % (namespace, name, container))["items"][0]
    return machine.parallel(one, containers)


def upload(source, destination, archives):
    """[(name at the destination, sha256, bytes)]"""
    def one(archive):
        name = os.path.basename(archive).replace(":", "-")
        c = http.client.HTTPConnection(destination.ip, UPLOAD_PORT, timeout=600, blocksize=CHUNK)
        with open(source.path(archive), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            c.request("PUT", "/" + name, body=f, headers={"Content-Length": str(size)})
            digest = c.getresponse().read().decode("ascii")
        c.close()
        return name, digest, size
    return source.parallel(one, archives)


def _blob(obj):
    data = json.dumps(obj).encode()
    return hashlib.sha256(data).hexdigest(), data


def write_image(out, archive, digest, size, name, container):
    """An OCI layout as a tar stream: one layer, which is the checkpoint archive, and the annotation by which containerd knows it."""
    config, config_data = _blob({"architecture": "amd64", "os": "linux", "config": {},
                                 "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}})
    manifest, manifest_data = _blob({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + config, "size": len(config_data)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + digest, "size": size}],
        "annotations": {"org.criu.checkpoint.container.name": container}})
    index = json.dumps({"schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST, "digest": "sha256:" + manifest, "size": len(manifest_data),
        "annotations": {"io.containerd.image.name": name}}]}).encode()
    with tarfile.open(fileobj=out, mode="w|", bufsize=CHUNK) as tar:
        for path, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index),
                           ("blobs/sha256/" + config, config_data), ("blobs/sha256/" + manifest, manifest_data)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo("blobs/sha256/" + digest)
        entry.size = size
        with open(archive, "rb") as f:
            tar.addfile(entry, f)


def import_images(machine, received, names, containers):
    def one(i):
        archive, digest, size = received[i]
        with subprocess.Popen([LAB, "exec", machine.name, "ctr", "-n", "k8s.io", "images", "import", "--local", "-"],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as p:
            try:
                write_image(p.stdin, machine.path(KEPT) + archive, digest, size, names[i], containers[i])
                p.stdin.close()
            except BrokenPipeError:
                pass  # what ctr says about it is better
            said = p.stderr.read().decode("utf-8", "replace")
        if p.returncode:
            raise Failed("import of %s: %s" % (names[i], said))
    machine.parallel(one, range(len(received)))


def remove(machine, names):
    machine.run("ctr", "-n", "k8s.io", "images", "rm", "--sync", *names)
    for f in os.listdir(machine.path(KEPT)):
        os.unlink(machine.path(KEPT) + f)


class Clock:
    """Wall-clock milliseconds of named steps."""

    def __init__(self):
        self.begin = self.last = time.monotonic()
        self.ms = {}

    def step(self, name):
        now = time.monotonic()
        self.ms[name] = (now - self.last) * 1000
        self.last = now

    def total(self):
        return (self.last - self.begin) * 1000


def _replace_source(source, pods, name, destination, received, images, containers):
    """Step 3: the import and the deletion, at the same time."""
    error = []

    def work():
        try:
            import_images(destination, received, images, containers)
        except Exception as e:
            error.append(e)

    importing = threading.Thread(target=work)
    importing.start()
    source.api.call("DELETE", "%s/%s" % (pods, name))
    source.api.wait(pods, name, lambda p: p is None)
    importing.join()
    if error:
        raise error[0]


def _gaps(before, after, created_ms):
    """Of one container: the application's stop, and what it had to do again."""
    workload.one_life(before, after)
    end, gap = workload.last_words(before), workload.longest_gap(after, created_ms)
    if not end or not gap:
        raise Failed("no end in the source's log or no first count in the destination's")
    pauses = [g[0] for g in continuity.gaps(before)]
    return {"gap_ms": gap[2] - end[1], "since_checkpoint_ms": gap[0], "lost_counts": end[0] - gap[3], "pause_at_source_ms": max(pauses, default=0)}


def move(source, destination, ns, name, logs, serial):
    """Move the pod; {gap_ms, total_s, steps_ms, bytes, ..}. The destination's pod is left running, under the same name."""
    containers = ["c%d" % i for i in range(len(logs))]
    where = workload.collection(ns)
    sizes = [int(c["args"][0]) for c in source.api.get("%s/%s" % (where, name))["spec"]["containers"]]
    images = ["localhost/checkpoint/%s-%s:%d" % (name, c, serial) for c in containers]
    clock = Clock()
    archives = checkpoint(source, ns, name, containers)
    clock.step("checkpoint")
    received = upload(source, destination, archives)
    clock.step("upload")
    _replace_source(source, where, name, destination, received, images, containers)
    clock.step("delete_and_import")
    created = time.time() * 1000
    destination.api.call("POST", where, workload.manifest(name, ns, sizes, destination.name, images))
    destination.api.wait(where, name, workload.is_running)
    clock.step("restore")
    for a in archives:
        os.unlink(source.path(a))
    restored = [workload.Log(destination, name, c) for c in containers]
    known = len(continuity.ticks(restored[0].lines()))
    for log in restored:
        log.wait_ticks(known + 1)
    found = [_gaps(old.lines(), new.lines(), created) for old, new in zip(logs, restored)]
    for log in restored:
        log.close()
    remove(destination, images)
    return {"gap_ms": max(f["gap_ms"] for f in found), "containers": found, "bytes": sum(r[2] for r in received), "steps_ms": clock.ms,
            "total_s": clock.total() / 1000}
