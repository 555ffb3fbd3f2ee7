# SPDX-License-Identifier: Apache-2.0
"""Our own programs: each line that is sent is answered by "ok COUNT BOOT", or by what is wrong."""
from common import Closed, Lines, Session, Wrong


class Client(Session):
    conn = None
    pause = 0.02

    def __init__(self, *args):
        super().__init__(*args)
        self.count, self.boot, self.answers = -1, None, 0

    def open(self):
        self.conn = Lines(self.address, self.timeout)

    def close(self):
        if self.conn:
            self.conn.close()

    def step(self):
        self.conn.send(b"check\n")
        words = self.conn.until(b"\n").decode().split(" ")
        if words[0] == "wait":
            raise Closed("not ready")
        if words[0] != "ok":
            raise Wrong(" ".join(words))
        count, boot = int(words[1]), words[2]
        if self.boot not in (None, boot):
            raise Wrong("the program was started anew")
        if count < self.count:
            raise Wrong("the count is %d, it was %d" % (count, self.count))
        self.count, self.boot = count, boot
        self.answers += 1

    def verify(self):
        self.step()
        return self.answers
