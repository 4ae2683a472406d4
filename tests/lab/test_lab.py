# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab boots, passes output and status on, reports its own failures as such, and leaves nothing
behind."""

import hashlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest
from pathlib import Path

from tests.lib import depth, native
from spf import paths, series
from spf.build import targets
from spf.lab import outcome, x86
from spf.source import patches

KVMSPF = paths.ROOT / "scripts" / "kvmspf"
LIMIT = 240


def setUpModule():
    for kernel in {"patched", series.guest()}:
        targets.bring_up_to_date(kernel)


def kvmspf(*words, **kw):
    return subprocess.run([KVMSPF, "lab", "--no-build", "--cpus", "2", "--memory", "2G",
                           "--timeout", str(LIMIT), *words], capture_output=True,
                          timeout=LIMIT + 60, **kw)


class Run(unittest.TestCase):
    def boots_and_has_kvm(self, kernel, ours):
        code = ("import fcntl, os\nfd = os.open('/dev/kvm', os.O_RDWR)\n"
                "print(fcntl.ioctl(fd, 0xAE00, 0), fcntl.ioctl(fd, 0xAE01, 0) > 0, "
                "os.path.exists('/sys/module/kvm/parameters/speculative_faults'))")
        result = x86.Lab(kernel, cpus=2, memory=2 << 30,
                         timeout=LIMIT).run(["/usr/bin/python3", "-c", code])
        self.assertEqual((result.kind, result.status, result.what), ("exit", 0, ""), result.err)
        self.assertEqual(result.out.decode(), f"12 True {ours}\n")
        self.assertEqual(result.trouble, [])

    def test_patched_boots_and_has_kvm(self):
        self.boots_and_has_kvm("patched", bool(patches.files("linux")))

    @depth.long("builds a kernel")
    def test_stock_boots_and_has_kvm(self):
        targets.bring_up_to_date("stock")
        self.boots_and_has_kvm("stock", False)

    def test_streams_come_apart_and_whole(self):
        code = ("import os, sys, hashlib\nd = bytes(range(256)) * 8192\nos.write(2, "
                "hashlib.sha256(d).hexdigest().encode())\n"
                "sys.stdout.buffer.write(d)")
        result = kvmspf("--", "/usr/bin/python3", "-c", code)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(hashlib.sha256(result.stdout).hexdigest(), result.stderr.decode())

    def test_status_words_and_directory_are_passed_on(self):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as here:
            result = kvmspf("--", "sh", "-c",
                            'pwd; printf "%s|" "$@"; echo late >/dev/stderr; exit 7', "x", "a b",
                            "$c'",
                            cwd=here)
        self.assertEqual((result.returncode, result.stdout.decode(), result.stderr.decode()),
                         (7, f"{here}\na b|$c'|", "late\n"))

    def test_root_is_read_only_scratch_is_not_and_results_get_out(self):
        with tempfile.TemporaryDirectory() as out:
            result = kvmspf("--out", out, "--", "sh", "-c",
                            "touch /tmp/x /root/x /etc/x /var/tmp/x && ! touch "
                            f"{paths.ROOT}/x-from-the-lab && "
                            "echo result > $KVMSPF_OUT/file")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual((Path(out) / "file").read_text(), "result\n")
        self.assertFalse(Path("/etc/x").exists() or (paths.ROOT / "x-from-the-lab").exists())

    def test_a_guest_runs(self):
        """A kernel as a guest of KVM in the lab: it looks for a root file system."""
        result = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=LIMIT).run(
            ["sh", "-c", 'timeout 120 "$KVMSPF_QEMU" -accel kvm -cpu host -m 256M -nodefaults '
                         '-display none -no-reboot '
             '-kernel "$KVMSPF_GUEST_KERNEL" -append "console=ttyS0 panic=-1 loglevel=3" -serial '
             'stdio | '
             'grep -a "Unable to mount root"'])
        self.assertEqual((result.kind, result.status), ("exit", 0), (result.what, result.err))

    def test_guests_keep_time_whatever_the_hosts_first_idea_of_its_clock(self):
        """On a busy machine the host's kernel first measures a TSC rate that is a little too low or
        too high.  After the kernel has measured again, a new vCPU's TSC must count from about zero,
        not from the host's value."""
        code = """
            until dmesg | grep -q "tsc: Refined TSC"; do sleep 0.1; done
            "$KVMSPF_QEMU" -accel kvm -cpu host -m 64M -nodefaults -display none -S &
            until cat /sys/kernel/debug/kvm/*/vcpu0/tsc-offset 2>/dev/null; do sleep 0.1; done
            kill $!"""
        said = kvmspf("--", "dmesg").stdout.decode()
        khz = 1000 * float(re.search(r"tsc: Detected ([0-9.]+) MHz", said)[1])
        for factor in (0.997, 1.003):
            with self.subTest(factor):
                done = kvmspf("--append", f"tsc_early_khz={khz * factor:.0f}", "--", "sh", "-c",
                              code)
                self.assertLess(int(done.stdout), 0, done.stderr)

    def test_interrupts_end_while_devices_are_mapped(self):
        """As in each boot, one CPU maps devices.  The other CPUs' stores to their local APICs must
        reach them."""
        result = x86.Lab("patched", cpus=4, memory=1 << 30, timeout=LIMIT, stall=30,
                         qemu_args=["-device", "pci-testdev"]).run(
            [paths.ROOT / "tests/lab/switch_bars"])
        self.assertEqual((result.kind, result.status), ("exit", 0), (result.what, result.err))
        said = sorted(line.split() for line in result.out.decode().splitlines())
        self.assertEqual([what for what, _ in said], ["switched", "timers", "timers", "timers"])
        self.assertGreater(min(int(count) for _, count in said), 100)

    def test_translations_of_two_guests_stay_apart(self):
        """VMRUN does not flush the TLB; KVM flushes by ASID.  Translations must not outlive
        that."""
        code = f"grep -c -w flushbyasid /proc/cpuinfo; {native.program('two_guests')}"
        done = kvmspf("--", "sh", "-c", code)
        said = done.stdout.decode()
        self.assertEqual((done.returncode, said), (0, "2\n200 rounds\n"), done.stderr)

    def test_code_that_was_overwritten_is_not_executed(self):
        """As when the kernel switches a static branch.  The emulator kept translations of the
        old code, and did so more often the busier the machine was."""
        program, preempt = native.program("code_written"), native.program("preempt")
        with subprocess.Popen([preempt], stdin=subprocess.PIPE):
            done = kvmspf("--", program)
        self.assertEqual((done.returncode, done.stdout), (0, b"100000 stores\n"), done.stderr)

    def test_protection_keys_apply_to_what_is_in_the_tlb(self):
        """While CR4 has them turned on.  Error 0x21: the page is there, and a key forbids it."""
        done = subprocess.run([series.qemu(), "-M", "pc", "-accel", "tcg", "-cpu", "max",
                               "-m", "64M", "-nodefaults", "-display", "none", "-debugcon", "stdio",
                               "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
                               "-kernel", native.program("protection_keys")],
                              capture_output=True, text=True, timeout=LIMIT, check=False)
        said = "PKE: off 0x00, on 0x21, off 0x00\nPKS: off 0x00, on 0x21, off 0x00\n"
        self.assertEqual(done.stdout, said, done.stderr)

    def test_plugins_are_told_the_right_vcpu(self):
        """The firmware starts vCPUs 1 and 2, which run the same code on the round-robin thread."""
        done = subprocess.run([series.qemu(), "-M", "pc", "-smp", "3", "-accel",
                               "tcg,thread=single",
                               "-cpu", "max", "-m", "64M", "-nodefaults", "-display", "none",
                               "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
                               "-plugin", native.plugin("vcpu_index"),
                               "-kernel", native.program("protection_keys")],
                              capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(done.stderr.splitlines(), ["vCPU 0", "vCPU 1", "vCPU 2"])

    def test_instruction_clock_repeats(self):
        """The same work takes the same time, also on a busy machine."""
        code = ("import time\nfor _ in range(6):\n a = time.monotonic_ns()\n for _ in "
                "range(100000): pass\n"
                " print(time.monotonic_ns() - a)")
        took = [int(n) for n in kvmspf("--icount", "--", "/usr/bin/python3", "-c",
                                       code).stdout.split()][1:]
        self.assertLess(max(took) / min(took), 1.01)

    def test_nodes_and_cpus(self):
        """Each node is a package of its own: the kernel complains about two nodes in one
        package."""
        code = "nproc; ls -d /sys/devices/system/node/node*; "
        code += "cat /sys/devices/system/cpu/cpu*/topology/physical_package_id"
        result = kvmspf("--numa", "2", "--", "sh", "-c", code)
        cpus, first, second, *packages = result.stdout.decode().split()
        self.assertEqual((cpus, first[-5:], second[-5:]), ("2", "node0", "node1"))
        self.assertEqual((packages, result.stderr), (["0", "1"], b""))

    def test_nodes_have_as_many_cpus_as_each_other(self):
        for words, wanted in ((["--cpus", "3"], "say --cpus 4"), (["--cpus", "1"], "say --cpus 2")):
            result = kvmspf("--numa", "2", *words, "--", "true")
            self.assertEqual(result.returncode, 2)
            self.assertRegex(result.stderr.decode(), "^kvmspf: .* cannot be shared out to 2 NUMA "
                                                     f"nodes; {wanted}\n$")


class Failure(unittest.TestCase):
    def test_panic_is_the_labs_failure(self):
        result = kvmspf("--", "sh", "-c", "echo before; sleep 1; echo c >/proc/sysrq-trigger; "
                                          "sleep 60")
        self.assertEqual(result.returncode, outcome.LAB_FAILED)
        self.assertEqual(result.stdout, b"before\n")
        self.assertRegex(result.stderr.decode(),
                         r"kvmspf: lab: panic: .*; console log: \S+\.console\n$")

    def test_command_that_does_not_end_is_a_timeout(self):
        result = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=20).run(["sleep", "1000"])
        self.assertEqual(result.kind, "timeout")

    def test_host_that_hangs_is_a_stall(self):
        def hang(_data):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                if f"{paths.RUN}/{os.getpid()}-".encode() in Interrupt.read(process):
                    os.kill(int(process.parent.name), signal.SIGSTOP)

        result = x86.Lab("patched", cpus=1, memory=1 << 30, timeout=LIMIT, stall=20).run(
            ["sh", "-c", "echo up; sleep 1000"], hang)
        self.assertEqual(result.kind, "stall", result.what)

    def test_machine_switched_off_is_no_result(self):
        result = kvmspf("--", "sh", "-c", "echo o >/proc/sysrq-trigger; sleep 60")
        self.assertEqual(result.returncode, outcome.LAB_FAILED)

    def test_not_a_kernel(self):
        with tempfile.NamedTemporaryFile() as empty:
            result = subprocess.run([KVMSPF, "lab", "--no-build", "--kernel", empty.name, "--",
                                     "true"],
                                    capture_output=True, timeout=LIMIT)
        self.assertEqual(result.returncode, outcome.LAB_FAILED)
        self.assertNotIn(b"Traceback", result.stderr)


class Shell(unittest.TestCase):
    def said(self, lines, columns):
        """What the lab's shell says of its terminal, beside one of ours that has this size."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        child = subprocess.Popen([KVMSPF, "lab", "--no-build", "--cpus", "2", "--memory", "2G",
                                  "--timeout", str(LIMIT)], stdin=theirs, stdout=theirs,
                                 stderr=theirs)
        os.close(theirs)
        said, asked = b"", False
        while True:
            try:
                said += os.read(ours, 4096)
            except OSError:     # the last other end has been closed
                break
            if b"# " in said and not asked:
                os.write(ours, b"stty size; exit 7\n")
                asked = True
        self.assertEqual(child.wait(), 7, said)
        return said.decode(errors="replace")

    def test_its_terminal_is_as_large_as_ours(self):
        self.assertRegex(self.said(50, 132), r"[\r\n]50 132\r")

    def test_its_terminal_has_a_size_where_ours_has_none(self):
        self.assertRegex(self.said(0, 0), r"[\r\n]24 80\r")


class Interrupt(unittest.TestCase):
    def left(self, number):
        """Signal a running lab; return its processes that still live after ten seconds."""
        child = subprocess.Popen([KVMSPF, "lab", "--no-build", "--cpus", "1",
                                  "--memory", "1G", "--",
                                  "sh", "-c", "echo up; sleep 1000"], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), b"up\n")
        directories = [d for d in paths.RUN.iterdir() if d.name.startswith(f"{child.pid}-")]
        self.assertEqual(len(directories), 1)
        child.send_signal(number)
        child.communicate(timeout=30)
        for _ in range(100):
            alive = [p for p in Path("/proc").glob("[0-9]*/cmdline")
                     if str(directories[0]).encode() in self.read(p)]
            if not alive:
                break
            time.sleep(0.1)
        return child.returncode, alive, directories[0]

    @staticmethod
    def read(path):
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def test_interrupted_terminated(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            status, alive, directory = self.left(number)
            self.assertEqual((status, alive, directory.exists()), (128 + number, [], False))

    def test_killed(self):
        status, alive, directory = self.left(signal.SIGKILL)
        self.assertEqual((status, alive), (-signal.SIGKILL, []))
        os.rmdir(outcome.run_directory())
        self.assertFalse(directory.exists())


if __name__ == "__main__":
    unittest.main()
