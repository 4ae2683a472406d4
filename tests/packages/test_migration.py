# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration, by the lines of docs/operating.md: between two emulated Debian 13 hosts, of which one
has our kernel and the other the same unpatched, guests go there and back, by ssh: one with Debian's
QEMU, and one with the device and ours.  QEMU is upgraded while a guest runs.  A domain has a mode
of its own, which survives a restart."""

import re
import shutil
import socket
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lib import depth
from tests.packages import host, libvirt_host, walk
from tests.packages.domain import IMAGES
from spf import paths, series
from spf.lab import outcome

depth.module("boots two hosts for many minutes")
# For the whole of the hosts' lives, under emulation.
LIMIT = 3600
UPGRADE = libvirt_host.our_qemu()[1]
MORE, STATS = "sh /mnt/count-more", "virsh domstats --vcpu"
NETWORK = """for net in /sys/class/net/e*; do
	ip addr add 10.0.0.{number}/24 dev ${{net##*/}}
	ip link set ${{net##*/}} up
done
"""
READY = "until ssh -o ConnectTimeout=5 host2 virsh list; do sleep 2; done"
# On host1, before the line with the word.
BESIDES = {
    "prepare": ("start db1", f"{NETWORK.format(number=1)}{libvirt_host.DEFINE}\n"
                             f"{libvirt_host.rule('QEMU with the device')}\n{READY}"),
    "db1 before": ("migrate --live db1 qemu+ssh://host2", f"{MORE} db1 && {STATS} db1"),
    "db1 away": ("host2 virsh migrate --live db1", f"ssh host2 '{MORE} db1 && {STATS} db1'"),
    "upgrade": ("domstate db1", f"{MORE} db1 && {UPGRADE} && "
                                f"ssh host2 '{UPGRADE}' && {MORE} db1"),
    "end of db1": ("start db2", f"virsh destroy db1; ssh host2 cat {IMAGES}/db1.serial"),
    "db1 at home": ("start db2", f"cat {IMAGES}/db1.serial"),
    "db2 before": ("--set-mode", f"{MORE} db2 && {STATS} db2"),
    "db2 away": ("host2 virsh migrate --live db2", f"ssh host2 '{MORE} db2 && {STATS} db2'"),
    "db2 left": ("host2 virsh migrate --live db2", f"cat {IMAGES}/db2.serial"),
    "db3 again": ("destroy db3", "virsh destroy db3 && systemctl restart libvirtd && "
                                 "virsh start db3 && virsh qemu-monitor-command --hmp db3 "
                                 "'info kvm-spf'"),
    "db2 after": (None, f"{MORE} db2 && {STATS} db2"),
    "db2 at home": (None, f"cat {IMAGES}/db2.serial"),
    "db2 was away": (None, f"ssh host2 cat {IMAGES}/db2.serial"),
    "failed on host2": (None, f"ssh host2 {walk.END['failed'][1]}"),
    **walk.END,
    "end": (None, "virsh destroy db2; ssh host2 systemctl --no-block poweroff")}


def words(number, ours):
    """The emulator's options for one of the hosts.  libvirt tells hosts apart by their UUIDs."""
    return ["-uuid", libvirt_host.UUIDS[f"db{number}"], "-netdev", f"socket,id=net,fd={ours}",
            "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:00:00:0{number}"]


def live(folder, share, number, end, kernel):
    return host.life(f"migration-host{number}", folder, share, LIMIT, fds=[end.fileno()],
                     words=words(number, end.fileno()), kernel=series.kernel(kernel), cpus=1,
                     append=f"systemd.hostname=host{number}")


class Migration(walk.Walk):
    NAME, STEPS, BESIDES = "migration", ["Migration", libvirt_host.MODE], BESIDES

    @classmethod
    def setUpClass(cls):
        ends = socket.socketpair()
        directory = tempfile.TemporaryDirectory(dir=paths.BUILD)
        with directory as scratch, ends[0], ends[1], ThreadPoolExecutor() as pool:
            shares = [Path(scratch) / name for name in ("host1", "host2")]
            folder = libvirt_host.disk(Path(scratch))
            shares[1].mkdir()
            (shares[1] / "run").write_text(f"{NETWORK.format(number=2)}sleep infinity\n")
            shutil.copy(host.HERE / "count-more", shares[1])
            other = pool.submit(live, folder, shares[1], 2, ends[1], "stock")

            def life():
                shutil.copy(host.HERE / "count-more", shares[0])
                return live(folder, shares[0], 1, ends[0], "patched")
            cls.walk(shares[0], life)
            cls.trouble2, cls.console2 = other.result()

    def counters(self, name):
        """What KVM counted for the first vCPU, in what `virsh domstats` printed."""
        self.assertIn("vcpu.0.state=1", self.besides[name])
        return {tier: int(n) for tier, n in re.findall(r"vcpu\.0\.hva_fault_(\w+)\.sum=(\d+)",
                                                       self.besides[name])}

    def test_the_other_host_had_no_trouble_either(self):
        self.assertEqual((self.trouble2, outcome.trouble(self.console2)), ("", []))
        self.assertEqual(self.besides["failed on host2"], "")

    def test_what_is_done_besides_succeeds(self):
        self.assertEqual([(name, said) for name, said, status in self.all
                          if name in BESIDES and status != "0"], [])

    def test_the_guest_counts_on_and_its_memory_stays_whole(self):
        left, home = self.besides["db2 left"], self.besides["db2 at home"]
        self.assertTrue(home.startswith(left))
        away, back = self.besides["db2 was away"], home[len(left):]
        numbers, lost = libvirt_host.counted(left + away + back)
        self.assertEqual(lost, [])
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        for part in (left, away, back):
            self.assertGreater(len(libvirt_host.counted(part)[0]), 1)

    def test_a_guest_of_debians_qemu_goes_there_and_back_and_outlives_an_upgrade(self):
        numbers, lost = libvirt_host.counted(self.besides["end of db1"])
        more, lost_here = libvirt_host.counted(self.besides["db1 at home"])
        self.assertEqual(lost + lost_here, [])
        self.assertEqual(sorted(numbers + more), list(range(1, len(numbers + more) + 1)))

    def test_a_mode_of_its_own_survives_a_restart(self):
        """Of the domain and of libvirt.  The first start is one of the document's lines."""
        self.assertEqual(self.said("--hmp db3").strip(), "mode: vma-lock")
        self.assertIn("\nmode: vma-lock", self.besides["db3 again"])

    def test_the_kernel_counts_where_it_is_patched(self):
        for name in ("db1 before", "db2 before", "db2 after"):
            with self.subTest(name):
                self.assertGreater(sum(self.counters(name).values()), 0)
        for name in ("db1 away", "db2 away"):
            with self.subTest(name):
                self.assertEqual(self.counters(name), {})


if __name__ == "__main__":
    unittest.main()
