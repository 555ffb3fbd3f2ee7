# SPDX-License-Identifier: Apache-2.0
"""A small client of the real API server for the tests, from the standard library alone."""
import base64
import http.client
import json
import re
import ssl
import tempfile
import threading
import time
import urllib.parse

PM = "/apis/podmigration.dev/v1alpha1"
MERGE = "application/merge-patch+json"


class ApiError(Exception):
    def __init__(self, code, body):
        self.code = code
        try:
            self.message = json.loads(body).get("message", "")
        except ValueError:
            self.message = body.decode(errors="replace")
        super().__init__(f"{code}: {self.message}")


class Kube:
    def __init__(self, kubeconfig):
        text = open(kubeconfig).read()
        field = lambda name: re.search(name + r":\s*(\S+)", text).group(1)
        self.server = urllib.parse.urlparse(field("server"))
        self.ca = base64.b64decode(field("certificate-authority-data"))
        self.tls = ssl.create_default_context(cadata=self.ca.decode())
        with tempfile.NamedTemporaryFile() as f:
            f.write(base64.b64decode(field("client-certificate-data")) + b"\n" + base64.b64decode(field("client-key-data")))
            f.flush()
            self.tls.load_cert_chain(f.name)
        self.local = threading.local()

    def kubeconfig_with_token(self, token, path):
        ca = base64.b64encode(self.ca).decode()
        with open(path, "w") as f:
            f.write(f"""apiVersion: v1
kind: Config
clusters: [{{name: api, cluster: {{server: "{self.server.geturl()}", certificate-authority-data: {ca}}}}}]
users: [{{name: controller, user: {{token: {token}}}}}]
contexts: [{{name: api, context: {{cluster: api, user: controller}}}}]
current-context: api
""")

    def raw(self, method, path, body=None, kind="application/json", accept="application/json", as_user=None):
        """as_user: (name, [groups]), whose rights count."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, "Accept": accept}
        if as_user:
            headers["Impersonate-User"] = as_user[0]
        for attempt in range(1, 30):
            conn = getattr(self.local, "conn", None)
            if conn is None:
                conn = http.client.HTTPSConnection(self.server.hostname, self.server.port, context=self.tls, timeout=20)
                self.local.conn = conn
            try:
                conn.putrequest(method, path)
                for k, v in [*headers.items(), *(("Impersonate-Group", g) for g in (as_user[1] if as_user else []))]:
                    conn.putheader(k, v)
                conn.putheader("Content-Length", str(len(data or "")))
                conn.endheaders((data or "").encode())
                r = conn.getresponse()
                answer = r.read()
                # a type's storage is made anew when its CRD was changed
                if r.status != 429:
                    break
                time.sleep(0.2)
            except (OSError, http.client.HTTPException):
                conn.close()
                self.local.conn = None
                if attempt >= 2:
                    raise
                continue
        if r.status >= 300:
            raise ApiError(r.status, answer)
        return answer

    def call(self, *a, **k):
        return json.loads(self.raw(*a, **k))

    def get(self, path):
        return self.call("GET", path)

    def find(self, path):
        try:
            return self.get(path)
        except ApiError as e:
            if e.code == 404:
                return None
            raise

    def create(self, path, obj):
        return self.call("POST", path, obj)

    def ensure(self, path, obj):
        try:
            return self.create(path, obj)
        except ApiError as e:
            if e.code != 409:
                raise
            return None

    def merge(self, path, patch, manager="test"):
        return self.call("PATCH", f"{path}?fieldManager={manager}", patch, MERGE)

    def delete(self, path, grace=None, uid=None):
        options = {**({} if grace is None else {"gracePeriodSeconds": grace}), **({"preconditions": {"uid": uid}} if uid else {})}
        try:
            return self.call("DELETE", path, options)
        except ApiError as e:
            if e.code != 404:
                raise
            return None
