# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way on Debian 13: first as in vm_host.py; then, with the package of QEMU, a VM with
the device, a Debian guest with the agent's package."""

import re
import unittest
from pathlib import Path

from tests.lib import depth
from tests.packages import domain, host, vm_host
from tests.packages.domain import IMAGES
from spf.build import deb, qemu_deb

depth.module("builds a kernel's package and boots it")
SERIAL = f"{IMAGES}/db2.serial"
INSIDE = "See, from inside the guest"


def inside():
    return host.steps(INSIDE)


def guest_disk(scratch):
    """Make the disk of a Debian guest that runs the document's lines and prints their output on the
    console."""
    lines = scratch / "lines"
    lines.write_text("exec >/dev/ttyS0 2>&1\n" + "".join(
        f"echo @begin; ( {command}\n) 2>&1; echo @end $?\n" for command, _ in inside())
        + "echo @done\n")
    return host.disk("guest", """
        mv guest.service /etc/systemd/system
        systemctl enable guest.service
        systemctl set-default graphical.target
        systemctl mask serial-getty@ttyS0.service
        mv lines /root""", [Path(deb.build("agent")), host.HERE / "guest.service", lines]) / "disk"


class Operator(vm_host.VmHost):
    NAME = "operator"
    STEPS = "A VM", "See that it works", "Watch", "QEMU with the device", "Upgrade and remove"
    BESIDES = {"guest": ("destroy db2",
                         f"until grep -q @done {SERIAL}; do sleep 1; done; cat {SERIAL}"),
               **vm_host.BESIDES}

    @classmethod
    def disk(cls, scratch):
        domains = [scratch / "db1.xml", scratch / "db2.xml"]
        domains[0].write_bytes(domain.xml("db1", device=False))
        domains[1].write_bytes(domain.xml("db2", True,
                                          "root=/dev/vda rw console=ttyS0 quiet panic=-1", SERIAL,
                                          f"{IMAGES}/disk"))
        return vm_host.disk(cls.NAME, cls.SUITE,
                            [*cls.packages(), *map(Path, qemu_deb.build())], domains,
                            [guest_disk(scratch)], f"mv disk {IMAGES}")

    def test_each_line_in_the_guest_prints_what_the_document_says(self):
        said = self.besides["guest"].replace("\r", "")
        # systemd and the guest's kernel write to the console, too.
        done = re.findall(r"@begin\n(.*?)^@end (\d+)\n", said, re.M | re.S)
        self.assertEqual(len(done), len(inside()), said)
        for (command, wanted), (said, status) in zip(inside(), done):
            with self.subTest(command):
                self.assertEqual(status, "0", said)
                self.assertEqual(host.plain(said), host.plain(wanted), said)


if __name__ == "__main__":
    unittest.main()
