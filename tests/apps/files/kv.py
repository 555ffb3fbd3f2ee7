# SPDX-License-Identifier: Apache-2.0
"""A web server that keeps what it is given in its memory: PUT and GET /kv/KEY; /boot is a number of this process."""
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BOOT = os.urandom(4).hex()
STORE = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path == "/boot":
            self.answer(200, BOOT)
        else:
            self.answer(200 if self.path in STORE else 404, STORE.get(self.path, ""))

    def do_PUT(self):
        STORE[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer(200, "")

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
