# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the guest agent's port: ask for marks and read them
(guest-agent/spf-agent.1)."""

import json
import socket
import time

PORT = "org.kvmspf.agent.0"


def arguments(path, device="kvm-spf"):
    """QEMU's arguments for the kvm-spf device, and for the port of the agent in the guest."""
    return ["-device", device, "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={path},server=on,wait=off",
            "-device", f"virtserialport,chardev=agent,name={PORT},id=agent-port"]


class Agent:
    """Follow the guest's marks.  QEMU keeps our question until an agent opens its end."""

    def __init__(self, path):
        self._path, self._socket, self._partial = path, None, b""

    def fileno(self):
        return self._socket.fileno()

    def connected(self):
        """Connect; return False as long as QEMU has not made its socket."""
        if self._socket is None:
            new = socket.socket(socket.AF_UNIX)
            try:
                new.connect(self._path)
            except (FileNotFoundError, ConnectionRefusedError):
                new.close()
                return False
            new.sendall(b'{"execute":"spf-marks","arguments":{"follow":true}}\n')
            self._socket = new
        return True

    def marks(self):
        """The new marks: the name of each, and its time in seconds of the host's
        CLOCK_MONOTONIC."""
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:        # QEMU is gone.  The console's end shows that as well.
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            for mark in said.get("return", []) + ([said["data"]] if said.get("event") == "SPF_MARK"
                                                  else []):
                # The host was too slow to publish its time: use the present time.
                yield mark["name"], mark.get("host-ns", time.monotonic_ns()) / 1e9

    def close(self):
        if self._socket is not None:
            self._socket.close()
