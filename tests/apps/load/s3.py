# SPDX-License-Identifier: Apache-2.0
"""Objects of an S3 store, each request signed (AWS Signature Version 4, as Amazon's S3 API reference describes it)."""
import hashlib
import hmac
import time

from common import Closed, KeyValue, value_of
from web import Web

REGION, SERVICE = "us-east-1", "s3"


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


def signed(user, secret, method, path, host, body, now):
    """The headers of a request at this time (seconds); path with its query, if it has one."""
    path, _, query = path.partition("?")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = "%s/%s/%s/aws4_request" % (stamp[:8], REGION, SERVICE)
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(headers)
    request = "\n".join([method, path, query, *("%s:%s" % h for h in headers.items()), "", names, digest])
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = mac(key, part).digest()
    signature = mac(key, "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])).hexdigest()
    return {**headers, "Authorization": "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (user, scope, names, signature)}


class Client(KeyValue, Web):
    made = False

    def ask(self, method, path, body=None):
        body = (body or "").encode()
        self.headers = signed(self.options["user"], self.options["secret"], method, path, "%s:%d" % self.address, body, time.time())
        return super().ask(method, path, body)

    @property
    def bucket(self):
        return "/bucket-%d" % self.number

    def begin(self):
        if self.ask("PUT", self.bucket)[0] not in (200, 409):   # 409: it is there, the answer was lost
            raise Closed("no bucket")
        self.made = True

    def put(self, key, value):
        self.good("PUT", "%s/%s" % (self.bucket, key), value * self.options["times"])

    def get(self, key):
        """The value, where the object is the value so many times; else what is there."""
        data = self.found("%s/%s" % (self.bucket, key))
        whole = (value_of(key) * self.options["times"]).encode()
        return value_of(key) if data == whole else None if data is None else "%d bytes, not the %d of it" % (len(data), len(whole))

    def step(self):
        if not self.made:
            self.begin()
        super().step()
