# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that misbehave as no QEMU does.  Each sends its lines and ignores the requests."""

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time

from tests.lib.fault_names import ABORTS, TIERS

GREETING = {"QMP": {"version": {}, "capabilities": []}}


def answer(**changes):
    """A well-formed answer to query-kvm-spf, with changes."""
    return {"available": True, "mode": "on", "host-ns": 1, "vcpus": 1,
            "faults": dict.fromkeys(TIERS, 1),
            "aborts": dict.fromkeys(ABORTS, 1),
            "latency": {"count": 4, "sum-ns": 40, "max-ns": 11, "buckets": [0, 0, 0, 1, 3]},
            **changes}


UUID = "5c8e1f1a-7a0d-4f0e-9f5e-0123456789ab"


def lines(*objects):
    return b"".join(json.dumps(o).encode() + b"\n" for o in objects)


def session(result, name=None, uuid=UUID):
    """The lines of a whole conversation, ended by `result`. spfctl asks for the name only at
    first."""
    who = [{"return": {"name": name}}, {"return": {"UUID": uuid}}] if name else []
    return lines(GREETING, {"return": {}}, *who, {"return": result})


class Server:
    """Sends `data` to each client, with `drip` byte by byte, then `forever` again and again. With
    several data, each client gets the next one, and the remaining clients get the last."""

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
        # Read on, so that the client ends the connection.
        while self.hold and client.recv(4096):
            pass

    def close(self):
        self.over = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


class Vm:
    """Answers like a QEMU called `name`: each query-kvm-spf gets the next of `answers`, which are
    repeated.  `events` follow the answer to query-kvm-spf.  `heard` has the commands."""

    def __init__(self, path, name, *answers, uuid=UUID, events=()):
        self.replies = {"query-name": {"name": name}, "query-uuid": {"UUID": uuid}}
        self.answers, self.events = itertools.cycle(answers or [answer()]), events
        self.heard, self.connections = [], 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.connections += 1
                with (client, client.makefile("rb") as commands,
                      contextlib.suppress(ConnectionError)):
                    client.sendall(lines(GREETING))
                    for command in commands:
                        client.sendall(self.reply(json.loads(command)["execute"]))

    def reply(self, command):
        self.heard.append(command)
        if command == "query-kvm-spf":
            return lines({"return": next(self.answers)}, *self.events)
        return lines({"return": self.replies.get(command, {})})

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


if __name__ == "__main__":
    where, who, *said = sys.argv[1:]
    # The path appears once the server listens there.
    vm = Vm(where + ".new", who, *map(json.loads, said))
    os.rename(where + ".new", where)
    vm.thread.join()
