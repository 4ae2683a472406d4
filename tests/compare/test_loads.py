# SPDX-License-Identifier: GPL-2.0-or-later
"""Each load on this machine: its initramfs and its data become a root, in which bin/load must give
the answers that make() returned."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from spf import paths
from spf.source import apt
from spf.lab import image
from spf.compare import loads

SERVERS, DATA_MIB = 2, 16
# The steps of init before a load that change nothing on this machine.  They are undone when the
# load has ended.
INSIDE = """set -e
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
chroot "$1" /bin/ip link set lo up
exec chroot "$1" /bin/load "$2"
"""


class Loads(unittest.TestCase):
    def setUp(self):
        apt.packages([*image.PACKAGES, "cpio"])
        paths.BUILD.mkdir(exist_ok=True)
        self.root = self.enterContext(tempfile.TemporaryDirectory(prefix="load-", dir=paths.BUILD))
        self.data = Path(self.root, "data")

    def prepare(self, kind):
        load = loads.KINDS[kind]
        load.version()
        subprocess.run(["cpio", "-idu", "--quiet"], input=image.build_initramfs(load.files(None)),
                       cwd=self.root, check=True)
        answers = load.make(self.data, DATA_MIB, SERVERS)
        took = sum(path.stat().st_size for path in self.data.rglob("*") if path.is_file()) / 2**20
        self.assertLess(took, load.disk_mib(DATA_MIB))
        return answers

    def said(self):
        done = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
                               "sh", "-c", INSIDE, "sh",
                               self.root, str(SERVERS)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self.assertNotIn("@spf error", done.stdout)
        found = sorted(map(tuple, re.findall(r"^@spf server (\d+) (\d+)$", done.stdout, re.M)))
        self.assertEqual([int(server) for server, _ in found], list(range(len(found))), done)
        return [int(keys) for _, keys in found]

    def test_redis(self):
        self.assertEqual(self.prepare("redis"), self.said())

    def test_memcached(self):
        self.assertEqual(self.prepare("memcached"), self.said())

    def test_db_load(self):
        self.assertEqual(self.prepare("db-load"), self.said())

    def test_build(self):
        files, = self.prepare("build")
        self.assertGreater(files, 15)
        self.assertEqual(self.said(), [files])
        # Compile one file, and compare it with another object's sum.
        first, second, *_ = (self.data / "names").read_text().split()
        (self.data / "names").write_text(first + "\n")
        self.assertEqual(self.said(), [1])
        sums = dict(reversed(line.split())
                    for line in (self.data / "sums").read_text().splitlines())
        (self.data / "sums").write_text(f"{sums[second + '.o']}  {first}.o\n")
        self.assertEqual(self.said(), [0])


if __name__ == "__main__":
    unittest.main()
