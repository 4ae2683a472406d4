# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest of these tests: an initramfs with guest.c alone."""

from tests.lib import native
from spf.lab import image


def make(where):
    cpio = image.Cpio()
    cpio.directory("sys")
    cpio.device("dev/console", 5, 1)
    cpio.file("init", native.program("qemu_guest").read_bytes(), 0o755)
    where.write_bytes(cpio.finish())
