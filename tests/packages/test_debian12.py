# SPDX-License-Identifier: GPL-2.0-or-later
"""An operator's way on Debian 12, with its libvirt and its QEMU, which has no device."""

import unittest

from tests.lib import depth
from tests.packages import vm_host

depth.module("builds a kernel's package and boots it")


class Debian12(vm_host.VmHost):
    NAME, SUITE = "debian12", "bookworm"
    STEPS = "A VM", "See that it works", "Watch", "Upgrade and remove"
    BESIDES = {**vm_host.BESIDES, "page": ("dpkg -i", vm_host.BESIDES["page"][1])}


if __name__ == "__main__":
    unittest.main()
