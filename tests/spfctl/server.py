# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that are no QEMU, or one gone mad: each says its lines, whatever it is asked."""

import contextlib
import json
import socket
import threading
import time

GREETING = {"QMP": {"version": {}, "capabilities": []}}
TIERS = ("fast", "speculative", "vma-lock", "mmap-lock")
ABORTS = ("no-vma", "vma-busy", "vma-changed", "unsupported", "no-table", "ptl-busy", "pte-changed", "no-memory")


def answer(**changes):
    """An answer to query-kvm-spf that is well formed, but for the changes."""
    return {"available": True, "mode": "on", "host-ns": 1, "vcpus": 1, "faults": dict.fromkeys(TIERS, 1),
            "aborts": dict.fromkeys(ABORTS, 1), "latency": {"count": 4, "sum-ns": 40, "max-ns": 11,
                                                                  "buckets": [0, 0, 0, 1, 3]}, **changes}


def session(result, name=None):
    """The lines of a whole conversation, ended by `result`; spfctl asks for the name only at first."""
    lines = [GREETING, {"return": {}}, *([{"return": {"name": name}}] if name else []), {"return": result}]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


class Server:
    """Says `data` to everybody who connects, with `drip` byte by byte, then `forever` again and again.
    Of several data, each client gets the next, and all that are left the last."""

    def __init__(self, path, *data, drip=0.0, forever=b"", hold=True):
        self.data, self.drip, self.forever, self.hold = list(data or [b""]), drip, forever, hold
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.over = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.over:
            with contextlib.suppress(OSError):
                client, _ = self.listener.accept()
                with client:
                    self.talk(client, self.data.pop(0) if len(self.data) > 1 else self.data[0])

    def talk(self, client, data):
        if self.drip:
            for at in range(len(data)):
                client.sendall(data[at:at + 1])
                time.sleep(self.drip)
        else:
            client.sendall(data)
        while self.forever:
            client.sendall(self.forever)
        # Reads on, so that it is not us who end it.
        while self.hold and client.recv(4096):
            pass

    def close(self):
        self.over = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
