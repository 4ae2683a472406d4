# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest of these tests: an initramfs with guest.c alone."""

import subprocess
import tempfile
from pathlib import Path

from spf.lab import image


def make(where):
    with tempfile.TemporaryDirectory() as scratch:
        guest = Path(scratch) / "guest"
        subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-static",
                        "-pthread", "-o", guest,
                        Path(__file__).with_name("guest.c")], check=True)
        cpio = image.Cpio()
        cpio.directory("sys")
        cpio.device("dev/console", 5, 1)
        cpio.file("init", guest.read_bytes(), 0o755)
        where.write_bytes(cpio.finish())
