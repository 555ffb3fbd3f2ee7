#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An API server that does what a real one cannot be made to do: cuts streams at every byte, says 410 in a stream, is silent, forgets WatchList, ...

fake.py PKI-DIR PORT-FILE [CA-NAME]

The last part of a path names the scenario: a function S_name below, called with the request and the number of requests that scenario has had before.
GET /log/NAME answers what a scenario was asked; no scenario is asked by two tests.
"""
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse

API = "fake.test/v1"
log = {}
lock = threading.Lock()


def obj(name, rv, uid=None, **more):
    meta = {"name": name, "namespace": "default", "uid": uid or "uid-" + name, "resourceVersion": str(rv)}
    return dict({"apiVersion": API, "kind": "Thing", "metadata": meta}, **more)


def event(kind, o):
    return json.dumps({"type": kind, "object": o}).encode() + b"\n"


def added(name, rv, uid=None, **more):
    return event("ADDED", obj(name, rv, uid, **more))


def bookmark(rv, end=False):
    meta = {"resourceVersion": str(rv), "creationTimestamp": None}
    if end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", {"apiVersion": API, "kind": "Thing", "metadata": meta})


def status(code, reason, message, details=None):
    o = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}
    if details:
        o["details"] = details
    return o


GONE = status(410, "Expired", "too old resource version: 5 (9)")
NO_WATCH_LIST = status(422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        # In the connection's own thread: a client that says nothing must not stop the others.
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def log_message(self, *args):
        pass

    # --- what scenarios use ---

    def json(self, code, o, **headers):
        self.raw(code, json.dumps(o).encode(), "application/json", **headers)

    def raw(self, code, body, kind, **headers):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), str(v))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, *chunks):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for c in chunks:
            self.chunk(c)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def end(self):
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        """The connection ends without another word."""
        self.close_connection = True
        try:
            self.request.unwrap()
        except (OSError, ValueError):
            pass
        self.connection.close()

    def hold(self, seconds=20):
        """Silent until the client goes."""
        self.close_connection = True
        self.connection.settimeout(seconds)
        try:
            self.connection.recv(1)
        except (OSError, ValueError):
            pass

    # --- one request ---

    def handle_any(self):
        u = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(u.query, keep_blank_values=True))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        if u.path.startswith("/log/"):
            with lock:
                self.json(200, {"items": log.get(u.path[5:], [])})
            return
        name = u.path.rsplit("/", 1)[1]
        cert = self.connection.getpeercert()
        entry = {"method": self.command, "query": self.query, "path": u.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                 "body": self.body.decode(errors="replace"), "time": time.monotonic(),
                 "client": dict(x[0] for x in cert["subject"])["commonName"] if cert else ""}
        with lock:
            n = len(log.setdefault(name, []))
            log[name].append(entry)
        scenario = globals().get("S_" + name.replace("-", "_"))
        if not scenario:
            self.json(404, status(404, "NotFound", "things.fake.test \"%s\" not found" % name))
            return
        try:
            scenario(self, n)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any


# --- watches ---

THREE = added("a", 3, note="naïve \\ \"quoted\" \u2603") + added("b", 4) + added("c", 2) + bookmark(9, True)


def S_bytes(h, n):
    h.stream(*[THREE[i:i + 1] for i in range(len(THREE))])
    h.hold()


def S_merged(h, n):
    more = event("MODIFIED", obj("a", 10)) + event("DELETED", obj("b", 11)) + added("d", 12)
    h.stream(THREE + more)
    h.hold()


def S_gone_in_stream(h, n):
    if n == 0:
        h.stream(added("a", 3) + added("b", 4) + bookmark(5, True), event("ERROR", GONE))
        h.end()
    else:
        h.stream(added("b", 4) + added("c", 12) + bookmark(13, True))
        h.hold()


def S_gone_http(h, n):
    if n == 1:
        h.json(410, GONE)
        return
    h.stream((added("a", 3) if n == 0 else added("c", 12)) + bookmark(5 + n, True))
    h.end() if n == 0 else h.hold()


def S_gone_always(h, n):
    """A complete set and then nothing but 410, for ever: the client must not turn in circles."""
    if "sendInitialEvents" in h.query:
        h.stream(added("a", 3) + bookmark(5, True))
        h.end()
    else:
        h.json(410, GONE)


def S_too_many(h, n):
    if n == 0:
        h.json(429, status(429, "TooManyRequests", "too many requests, please try again later"), Retry_After=1)
        return
    h.stream(added("a", 3) + bookmark(5, True))
    h.hold()


def S_busy_later(h, n):
    if n == 0:
        h.stream(added("a", 3) + bookmark(5, True) + bookmark(77))
        h.end()
    elif n == 1:
        h.raw(429, b"apiserver is shutting down\n", "text/plain", Retry_After=1, Connection="close")
    else:
        h.stream(added("b", 80))
        h.hold()


def old_server(h, n, code):
    """Three pages, then the stream."""
    if "sendInitialEvents" in h.query:
        h.json(code, dict(NO_WATCH_LIST, code=code))
    elif "watch" not in h.query:
        page = int(h.query.get("continue", "0 0").split()[1])
        meta = {"resourceVersion": "42"}
        if page < 2:
            meta["continue"] = "p& %d" % (page + 1)
        items = [obj("o%d" % page, page + 1)]
        # Built-in objects bear no kind within a list.
        for i in items:
            del i["kind"], i["apiVersion"]
        h.json(200, {"kind": "ThingList", "apiVersion": API, "metadata": meta, "items": items})
    else:
        h.stream(event("MODIFIED", obj("o1", 43)))
        h.hold()


def S_old_422(h, n):
    old_server(h, n, 422)


def S_old_400(h, n):
    old_server(h, n, 400)


def S_empty(h, n):
    if "sendInitialEvents" in h.query:
        h.json(400, NO_WATCH_LIST)
    elif "watch" not in h.query:
        h.json(200, {"kind": "ThingList", "apiVersion": API, "metadata": {"resourceVersion": "1"}, "items": None})
    else:
        h.stream(event("SHINY", {"metadata": {"resourceVersion": "900"}}), b"\n", added("late", 2))
        h.hold()


def S_page_gone(h, n):
    """410 on the second page: the place in the list has expired."""
    if "sendInitialEvents" in h.query:
        h.json(422, NO_WATCH_LIST)
    elif "watch" in h.query:
        h.hold()
    elif h.query.get("continue") == "old":
        h.json(410, status(410, "Expired", "The provided continue parameter is too old"))
    elif n == 1:
        h.json(200, {"kind": "ThingList", "apiVersion": API, "metadata": {"resourceVersion": "5", "continue": "old"}, "items": [obj("a", 1)]})
    else:
        h.json(200, {"kind": "ThingList", "apiVersion": API, "metadata": {"resourceVersion": "6"}, "items": [obj("b", 2)]})


def S_half_open(h, n):
    if n == 0:
        h.stream(added("a", 3) + bookmark(5, True), bookmark(55))
        h.hold()
    else:
        h.stream(added("b", 60))
        h.hold()


def S_silent_initial(h, n):
    if "sendInitialEvents" in h.query:
        h.stream(added("a", 3))
        h.hold()
    elif "watch" not in h.query:
        h.json(200, {"kind": "ThingList", "apiVersion": API, "metadata": {"resourceVersion": "6"}, "items": [obj("b", 2)]})
    else:
        h.hold()


def S_error_event(h, n):
    if n == 0:
        h.stream(added("a", 3) + bookmark(5, True), event("ERROR", status(500, "InternalError", "etcd has had enough")))
        h.end()
    else:
        h.stream(added("b", 9))
        h.hold()


def S_eof(h, n):
    if n == 0:
        h.stream(added("a", 3) + bookmark(5, True), added("b", 8))
        h.end()
    elif n == 1:
        # The last line without its newline.
        h.stream(added("c", 9)[:-1])
        h.end()
    else:
        h.stream(added("d", 12))
        h.hold()


def S_cut(h, n):
    if n == 0:
        h.stream(added("a", 3) + bookmark(5, True), added("b", 8), added("never", 9)[:40])
        h.cut()
    else:
        h.stream(added("c", 12))
        h.hold()


def S_slow(h, n):
    h.stream(added("a", 3) + bookmark(5, True))
    for i in range(8):
        line = added("s%d" % i, 10 + i)
        h.chunk(line[:20])
        time.sleep(0.3)
        h.chunk(line[20:])
    h.hold()


def S_large(h, n):
    """An event of 5 MiB is fine, one of 17 MiB is not and is not asked for again from the same place."""
    if n == 0:
        h.stream(added("a", 3, fill="x" * (5 << 20)) + bookmark(5, True))
        try:
            h.stream_done = True
            h.chunk(added("b", 9, fill="y" * (17 << 20)))
        except OSError:
            pass
        h.hold(2)
    else:
        h.stream(added("c", 12) + bookmark(13, True))
        h.hold()


def S_recreated(h, n):
    if n == 0:
        h.stream(added("a", 3, "first") + bookmark(5, True), event("ERROR", GONE))
        h.end()
    else:
        h.stream(added("a", 30, "second") + bookmark(31, True))
        h.hold()


def S_forbidden(h, n):
    h.json(403, status(403, "Forbidden", "things.fake.test is forbidden: User \"x\" cannot list resource \"things\""))


def S_stuck(h, n):
    h.hold()


def S_too_large_version(h, n):
    if n == 1:
        h.json(504, status(504, "Timeout", "Too large resource version: 5, current: 2",
                           {"retryAfterSeconds": 1, "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}), Retry_After=1)
        return
    h.stream(added("a" if n == 0 else "b", 3) + bookmark(5 if n == 0 else 2, True))
    h.end() if n == 0 else h.hold()


def S_overdue(h, n):
    """Never ends its streams, but is alive."""
    h.stream(added("a", 3) + bookmark(5, True) if n == 0 else added("b%d" % n, 20 + n))
    for i in range(100):
        time.sleep(0.1)
        h.chunk(bookmark(100 + i))


def S_not_json(h, n):
    if n == 0:
        h.stream(added("a", 3) + bookmark(5, True), b"{\"type\": nonsense\n")
        h.end()
    else:
        h.stream(added("b", 3) + bookmark(6, True))
        h.hold()


def S_early_end(h, n):
    """The stream of initial events ends before it is complete."""
    if "sendInitialEvents" in h.query:
        h.stream(added("a", 3))
        h.end()
    elif "watch" not in h.query:
        h.json(200, {"kind": "ThingList", "apiVersion": API, "metadata": {"resourceVersion": "6"}, "items": [obj("b", 2)]})
    else:
        h.hold()


def S_ends_at_once(h, n):
    h.stream(*([added("a", 3) + bookmark(5, True)] if n == 0 else []))
    h.end()


def S_flood(h, n):
    """As many events as the client takes, for the rate."""
    fill = "z" * 1500
    lines = b"".join(added("p%d" % i, 100 + i, spec={"fill": fill, "containers": [{"name": "c%d" % k, "image": "x"} for k in range(8)]}) for i in range(1000))
    h.stream(bookmark(5, True))
    for i in range(int(h.query.get("labelSelector", "n=20").split("=")[1])):
        h.chunk(lines)
    h.chunk(added("end", 99999))
    h.hold()


# --- single requests ---

def S_post_cut(h, n):
    h.json(200, obj("x", 1)) if h.command == "GET" else h.cut()


def S_get_cut_once(h, n):
    h.cut() if n == 0 else h.json(200, obj("x", 1))


def S_get_cut(h, n):
    h.cut()


def S_retry_429(h, n):
    h.json(429, status(429, "TooManyRequests", "slow down"), Retry_After=1) if n == 0 else h.json(201, obj("x", 1))


def S_retry_503(h, n):
    h.raw(503, b"starting", "text/plain", Retry_After=1) if n == 0 else h.json(201, obj("x", 1))


def S_plain_503(h, n):
    h.raw(503, b"<html><body>no backend</body></html>" + b"x" * 5000, "text/html")


def S_busy(h, n):
    h.json(429, status(429, "TooManyRequests", "slow down"), Retry_After=5)


def S_invalid(h, n):
    h.json(422, status(422, "Invalid", "Thing \"x\" is invalid",
                       {"causes": [{"field": "spec.pod", "message": "Invalid value: \"\": must not be empty"}, {"field": "spec.timeout", "message": "must be positive"}]}))


def S_exists(h, n):
    h.json(409, status(409, "AlreadyExists", "things.fake.test \"x\" already exists"))


def S_conflict(h, n):
    h.json(409, status(409, "Conflict", "the object has been modified"))


def S_gone(h, n):
    h.json(410, GONE)


def S_huge(h, n):
    h.raw(200, b"[\"" + b"x" * (17 << 20) + b"\"]", "application/json")


def S_late(h, n):
    time.sleep(3)
    h.json(200, obj("x", 1))


def S_redirect(h, n):
    h.raw(302, b"", "text/plain", Location="https://127.0.0.1:1/elsewhere")


def S_echo(h, n):
    h.json(200, obj("x", 1))


def S_token(h, n):
    ok = h.headers.get("Authorization") == "Bearer new-token"
    h.json(200, obj("x", 1)) if ok else h.json(401, status(401, "Unauthorized", "Unauthorized"))


def main():
    pki, port_file = sys.argv[1], sys.argv[2]
    name = sys.argv[3] if len(sys.argv) > 3 else "server"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain("%s/%s.crt" % (pki, name), "%s/%s.key" % (pki, name))
    tls.load_verify_locations("%s/ca.crt" % pki)
    tls.verify_mode = ssl.CERT_OPTIONAL
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.tls = tls
    server.handle_error = lambda *a: None
    with open(port_file + ".tmp", "w") as f:
        f.write(str(server.server_address[1]))
    import os
    os.rename(port_file + ".tmp", port_file)
    server.serve_forever()


main()
