# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU Machine Protocol over a UNIX socket: just enough to ask, wait for the answer, and keep
events."""

import json
import socket
import time


class QMPError(Exception):
    pass


class QMP:
    def __init__(self, path, timeout=30.0, alive=lambda: True):
        """Connect.  Wait for the socket to appear as long as alive() returns true."""
        self.events = []
        self._buffer = b""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end = time.monotonic() + timeout
        while True:
            try:
                self._sock.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end or not alive():
                    self._sock.close()
                    raise QMPError("no QMP socket") from None
                time.sleep(0.02)
        self._sock.settimeout(timeout)
        greeting = self._read()
        self.version = greeting["QMP"]["version"]
        self.execute("qmp_capabilities")

    def _read(self):
        while b"\n" not in self._buffer:
            try:
                data = self._sock.recv(65536)
            except OSError as error:
                raise QMPError(f"QMP: {error}") from None
            if not data:
                raise QMPError("QMP: QEMU closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def execute(self, command, arguments=None, timeout=None):
        if timeout is not None:
            self._sock.settimeout(timeout)
        message = {"execute": command}
        if arguments is not None:
            message["arguments"] = arguments
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QMPError(f"QMP: {error}") from None
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QMPError(f"{command}: {answer['error'].get('desc', answer['error'])}")
            self.events.append(answer)

    def close(self):
        self._sock.close()


def sum_vcpu_stats(answer, names):
    """Sum `names` over the vCPUs of a `query-stats` answer; None if the kernel has none of them."""
    found = {}
    for vcpu in answer:
        for entry in vcpu.get("stats", ()):
            if entry["name"] in names and isinstance(entry.get("value"), int):
                found[entry["name"]] = found.get(entry["name"], 0) + entry["value"]
    return found or None
