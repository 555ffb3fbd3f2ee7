#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client that connects anew every 10 ms, asks, and says what came of it: `start_ms took_ms result` a line.

  connects.py HOST PORT

result: ok; refused or reset: told at once; lost: nobody answered its SYN for 3 s; silent: connected, and no answer for 30 s; else the errno."""
import errno
import socket
import sys
import time

CONNECT_S, ANSWER_S, PAUSE_S = 3, 30, 0.01
WORDS = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset"}


def once(address):
    connected = False
    try:
        with socket.create_connection(address, CONNECT_S) as s:
            connected = True
            s.settimeout(ANSWER_S)
            s.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return "ok" if s.recv(1024) else "reset"
    except TimeoutError:
        return "silent" if connected else "lost"
    except OSError as e:
        return WORDS.get(e.errno, errno.errorcode.get(e.errno, "?"))


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    while True:
        start = time.time()
        result = once(address)
        print("%.0f %.0f %s" % (start * 1000, (time.time() - start) * 1000, result), flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
