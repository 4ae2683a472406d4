# SPDX-License-Identifier: GPL-2.0-or-later
"""spfctl against QEMU, against sockets that no process serves any more, and against hostile
servers."""

import json
import random
import re
import signal
import socket
import subprocess
import unittest

from tests.spfctl import server
from tests.spfctl.harness import GARBAGE, OLD_QEMU, PATIENCE, SLOW, TOO_OLD, Test, samples
from spf import paths, series
from spf.source import setup
from spf.build import targets


class Usage(Test):
    def test_bad_words_get_one_line(self):
        for words, hint in ((["-m", "fast", "vm"], "fast: is not a mode; say off, vma-lock or on"),
                            (["-m", "unavailable", "vm"],
                             "unavailable: is not a mode; say off, vma-lock or on"),
                            (["-m", "unknown", "vm"],
                             "unknown: is not a mode; say off, vma-lock or on"),
                            (["-m", "on"], "--set-mode: name the VMs, or only their sockets"),
                            (["-m", "on", "-s", "x", "-D", "y"],
                             "--set-mode: name the VMs, or only their sockets"),
                            (["-S", "mode"], "mode: is not a column; say vm, fast, speculative, "
                                             "vma-lock, mmap-lock, "
                             "aborts, p99 or max"),
                            (["-j", "--total"], "--total: means nothing to --json"),
                            (["-w", "-p", "-"], "--prometheus: say only one of --csv, --json, "
                                                "--prometheus, "
                             "--set-mode and --wait-storm"),
                            (["-n", "1.5"], "1.5: is not a count; say 1 to 1000000000"),
                            (["-n", "-1"], "-1: is not a count; say 1 to 1000000000"),
                            (["-d", "nan"], "nan: is not an interval; say 0.01 to 86400 seconds"),
                            (["-n", "0"], "0: is not a count; say 1 to 1000000000"),
                            (["-t", "1s"], "1s: is not a time; say 0.01 to 3600 seconds")):
            self.assertEqual(self.check(words, 2, [hint]), "")
        self.assertEqual(self.run_it("--frobnicate").returncode, 2)

    def test_help_and_manual_name_the_same_options(self):
        manual = (paths.SCRIPTS / "spfctl" / "spfctl.1").read_text().replace("\\-", "-")
        options = re.findall(r"--[a-z-]+", self.check(["--help"], 0, []))
        self.assertGreater(len(options), 15)
        for option in options:
            self.assertIn(option, manual)

    def test_version(self):
        self.assertRegex(self.check(["--version"], 0, []), r"^spfctl \d+\.\d+\n$")

    def complete(self, *words, before=""):
        script = (f'{before} . "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _spfctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "-", paths.SCRIPTS / "spfctl" / "spfctl.bash",
                               "spfctl", *words],
                              capture_output=True, text=True, check=True)
        return done.stdout.split()

    def test_completion(self):
        options = set(re.findall(r"--[a-z-]+", self.check(["--help"], 0, [])))
        self.assertEqual(set(self.complete("--")), options)
        self.assertEqual(self.complete("--set-mode", ""), ["off", "vma-lock", "on"])
        self.assertEqual(self.complete("--sort", "v"), ["vm", "vma-lock"])
        self.assertEqual(sorted(self.complete("--socket", f"{paths.ROOT}/mes")),
                         [f"{paths.ROOT}/{name}" for name in ("meson.build", "meson_options.txt")])
        self.assertEqual(self.complete("--count", ""), [])

    def test_completion_runs_no_name(self):
        name = f"db$(touch${{IFS}}{self.dir}/ran)"
        virsh = f"virsh() {{ printf '%s\\n' '{name}' db1 web; }};"
        self.assertEqual(self.complete("db", before=virsh), [name, "db1"])
        self.assertFalse((self.dir / "ran").exists())

    def test_output_that_cannot_be_written(self):
        path, _ = self.qemu("a")
        with open("/dev/full", "w") as full:
            done = subprocess.run([self.program, "--json", "-s", path], stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr.splitlines()[-1]),
                         (1, "spfctl: output: No space left on device"))


class Absent(Test):
    """Each VM that cannot be read costs one line, and the others are shown."""

    def test_old_qemu_no_qemu_no_socket(self):
        old, child = self.qemu("old")
        stale, missing, file = self.stale("stale"), self.dir / "missing", self.dir / "file"
        file.touch()
        out = json.loads(self.check(["--json",
                                     *(w for p in (old, stale, missing, file) for w in ("-s", p))],
                                    1, [
            f"{old}: {TOO_OLD}", f"{stale}: no QEMU listens there any more",
            f"{missing}: No such file or directory", f"{file}: no QEMU listens there any more"]))
        first = out["vms"][0]
        self.assertEqual((first["domain"], first["source"], first["error"]),
                         ("old", str(old), TOO_OLD))
        self.assertEqual((first["pid"], first.get("uuid")), (child.pid, None))
        self.assertEqual(len(out["vms"]), 4)

    def test_directory(self):
        old, _ = self.qemu("old")
        (self.dir / "file").touch()
        self.check(["--json", "-D", self.dir], 1, [f"{old}: {TOO_OLD}"])
        self.check(["--json", "-D", "/nowhere"], 1, ["/nowhere: No such file or directory"])

    def test_file_name_that_is_no_text(self):
        path, _ = self.qemu("caf\udce9\n")
        vm, = json.loads(self.check(["--json", "-D", self.dir], 1,
                                    [f"{self.dir}/caf??: {TOO_OLD}"]))["vms"]
        self.assertEqual((vm["domain"], vm["source"]), ("caf%E9%0A", f"{self.dir}/caf%E9%0A"))

    def test_libvirt(self):
        """libvirt's own test driver has a domain, but no QEMU.  At the other URI there is no
        daemon."""
        none = ("libvirt has no statistics of KVM for it; "
                "--monitor asks its QEMU itself, and taints it")
        monitor = ("libvirt says: this function is not supported by the connection driver: "
                   "virDomainQemuMonitorCommand")
        for words, line in (([], none), (["--monitor"], monitor)):
            vm, = json.loads(self.check(["--json", "--libvirt=test:///default", *words], 1,
                                        [f"libvirt:test: {line}"]))["vms"]
            self.assertEqual((vm["domain"], vm["source"], vm["error"]),
                             ("test", "libvirt:test", line))
        uri = "qemu+unix:///system?socket=/nowhere"
        error = [f"{uri}: libvirt says: Failed to connect socket to '/nowhere': No such file or "
                 "directory"]
        self.check(["--json", f"--libvirt={uri}"], 1, error)
        for where, said, up in (("test:///default", [f"libvirt:test: {none}"], 1),
                                (uri, error, 0)):
            page = self.check(["--prometheus", "-", f"--libvirt={where}"], 1, said)
            self.assertIn(f"kvmspf_libvirt_up {up}\n", page)

    def test_path_too_long(self):
        path = "/" + "x" * 120
        self.check(["--json", "-s", path], 1,
                   [f"{path}: the path of a socket has less than 108 bytes"])

    def test_socket_that_somebody_holds(self):
        path, _ = self.qemu("held")
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(path))
            self.assertIn(b"QMP", other.recv(4096))
            self.check(["-t", "0.5", "--json", "-s", path], 1, [f"{path}: {SLOW}"])

    def test_names(self):
        path, _ = self.qemu("socket", OLD_QEMU, "-name", "db1")
        twin, _ = self.qemu("twin", OLD_QEMU, "-name", "db1")
        out = json.loads(self.check(["--json", "-s", path, "-s", path, "-s", twin], 1,
                                    [f"{path}: {TOO_OLD}", f"{twin}: {TOO_OLD}"]))
        self.assertEqual([vm["domain"] for vm in out["vms"]], ["db1", "db1"])
        self.check(["--json", "-D", self.dir, "db1", "db2"], 1, [
            f"{path}: {TOO_OLD}", f"{twin}: {TOO_OLD}", "db2: no VM of this name was found"])
        rows = self.run_it("-n", "1", "-d", "0.01", "-D", self.dir).stdout.splitlines()
        self.assertEqual([row.split()[0] for row in rows], ["VM", str(path), str(twin)])

    def test_vms_that_go_while_the_table_runs(self):
        (stays, _), (leaves, left) = self.qemu("stays"), self.qemu("leaves")
        dies, died = self.qemu("dies")
        child = self.start("-d", "0.05", "-t", PATIENCE, "-D", self.dir)
        first = [child.stderr.readline() for _ in range(3)]
        self.assertEqual(first, [f"spfctl: {p}: {TOO_OLD}\n" for p in (dies, leaves, stays)])
        # QEMU removes its socket when it ends on request, and cannot when it is killed.
        left.terminate()
        self.comes(child, leaves, "spfctl: leaves: the VM is gone\n")
        died.kill()
        self.comes(child, dies, f"spfctl: {dies}: no QEMU listens there any more\n")
        self.assertRegex(child.stdout.readline(), "^VM +MODE")
        while "no QEMU listens" not in (row := child.stdout.readline()):
            self.assertRegex(row, "^(dies|leaves|stays) ")
        self.assertRegex(child.stdout.readline(), f"^stays +{TOO_OLD}$")
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(60), -signal.SIGTERM)
        self.assertEqual(child.stderr.read(), "")

    def comes(self, child, path, wanted):
        """This line comes next, except for complaints about a QEMU that is ending."""
        while (line := child.stderr.readline()) != wanted:
            self.assertRegex(line, f"^spfctl: {path}: (the VM went away|no QEMU listens)")


class Patched(Test):
    """QEMU with our patches on a host that does not count; tests/libvirt has the patched host."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        setup.ready()
        targets.build("qemu")

    def test_host_without_kvm(self):
        path, _ = self.qemu("socket", series.qemu(), "-name", "db1")
        vm, = json.loads(self.check(["--json", "-D", self.dir], 0, []))["vms"]
        self.assertEqual((vm["domain"], vm["available"], vm["mode"], vm["latency"]["count"]),
                         ("db1", False, "unavailable", 0))
        table = self.check(["-d", "0.01", "-n", "2", "-s", path], 0, []).splitlines()
        self.assertEqual(table[1:],
                         [f"{'db1':20} unavailable     0  the host's kernel does not count"] * 2)
        read = samples(self.check(["--prometheus", "-", "-s", path], 0, []))
        self.assertIn(("kvmspf_available", {"domain": "socket", "source": str(path)}, 0), read)
        self.check(["--set-mode", "on", "-D", self.dir, "db1"], 1,
                   ["db1: QEMU says: This host's KVM has no speculative faults"])


class Hostile(Test):
    def check_all(self, cases, patience):
        """Each hostile server gets a line, and none delays the others."""
        for name, (data, kw, _) in cases.items():
            self.serve(name, *data, **kw)
        out = self.check(["-t", patience, "--json", "-D", self.dir], 1,
                         [f"{self.dir}/{name}: {line}" for name, (_, _, line) in cases.items()])
        self.assertEqual([vm["error"] for vm in json.loads(out)["vms"]],
                         [line for _, _, line in cases.values()])

    def test_no_qmp(self):
        greeting = json.dumps(server.GREETING).encode() + b"\n"
        error = rb'{"error":{"class":"GenericError","desc":"\u001b[2Jno\n\u009b"}}' + b"\n"
        none = "its answer is not QMP"
        self.check_all({
            "a-text": ([b"SSH-2.0-OpenSSH\r\n"], {}, GARBAGE),
            "b-array": ([b"[]\n"], {}, GARBAGE),
            "c-no-greeting": ([b"{}\n"], {}, GARBAGE),
            "d-deep": ([b'{"QMP":' + b"[" * 100 + b"]" * 100 + b"}\n"], {}, GARBAGE),
            "e-not-utf8": ([b'{"QMP":"\xff"}\n'], {}, GARBAGE),
            "f-nul": ([b'{"QMP":{}}\0\n'], {}, GARBAGE),
            "g-two-on-a-line": ([b'{"QMP":{}}{}\n'], {}, GARBAGE),
            "h-closes": ([], {"hold": False}, "the VM went away"),
            "i-endless-line": ([], {"forever": b"x" * 4096},
                               "a line longer than 65536 bytes is not QMP"),
            "j-neither": ([greeting + b'{"id":1}\n'], {}, none),
            "k-odd-error": ([greeting + b'{"error":null}\n'], {}, none),
            "l-escapes": ([greeting + error], {}, "QEMU says: ?[2Jno???"),
        }, PATIENCE)

    def test_late_and_later(self):
        greeting = json.dumps(server.GREETING).encode() + b"\n"
        self.check_all({
            "a-silent": ([], {}, SLOW),
            "b-drips": ([greeting], {"drip": 0.1}, SLOW),
            "c-floods": ([greeting], {"forever": b'{"event":"X"}\n'}, SLOW),
        }, "0.5")

    def test_answers_that_are_none(self):
        cases = {}
        for number, (changes, line) in enumerate([
                ({"available": 1}, "no valid available"), ({"mode": None}, "no valid mode"),
                ({"host-ns": -1}, "a negative host-ns"), ({"vcpus": "1"}, "no valid vcpus"),
                ({"vcpus": 1.5}, "no valid vcpus"), ({"faults": []}, "no valid faults"),
                ({"faults": {"fast": 1}}, "no valid speculative"),
                ({"aborts": None}, "no valid aborts"),
                ({"latency": {}}, "no valid sum-ns"),
                ({"latency": {"sum-ns": 1, "max-ns": 1, "buckets": {}}}, "no valid buckets"),
                ({"latency": {"sum-ns": 1, "max-ns": 1, "buckets": [1, None]}},
                 "buckets that are no counts")]):
            cases[f"{number:02}"] = ([server.session(server.answer(**changes), f"{number:02}")], {},
                                     f"its answer to query-kvm-spf has {line}")
        cases["mode"] = ([server.session(server.answer(mode="\x1bx"), "mode")], {},
                         "its mode '?x' is unknown")
        self.check_all(cases, PATIENCE)

    def test_extremes_and_names(self):
        """The largest numbers, more buckets than we know, and a name that is difficult for three
        formats."""
        name = 'q"\\\n\x1b[1m\u00e9'
        most = server.answer(**{"host-ns": 2 ** 64 - 1,
                                "faults": dict.fromkeys(server.TIERS, 2 ** 64 - 1)})
        most["latency"]["buckets"] = [1] * 200
        path = self.serve("s", *[server.session(most, name)] * 3, server.session(most))
        vm, = json.loads(self.check(["-t", PATIENCE, "--json", "-s", path], 0, []))["vms"]
        self.assertEqual((vm["domain"], vm["faults"]["fast"], vm["latency"]["count"]),
                         (name, 2 ** 64 - 1, 200))
        self.assertEqual((vm["latency"]["buckets"], len(vm["latency"]["buckets"])),
                         ([1] * 31 + [169], 32))
        read = samples(self.check(["-t", PATIENCE, "--prometheus", "-", "-s", path], 0, []))
        self.assertEqual([labels["name"] for sample, labels, _ in read if sample == "kvmspf_info"],
                         [name])
        table = self.check(["-t", PATIENCE, "-d", "0.01", "-n", "1", "-s", path], 0, [])
        self.assertRegex(table.splitlines()[1], r'^q"\\\?\?\[1m\?\? +on +1  counting anew$')

    def test_answers_with_random_faults(self):
        """A mangled answer is either valid or refused in a line."""
        dice = random.Random(3)
        good = server.session(server.answer(), "mad")
        for number in range(200):
            data = bytearray(good)
            for _ in range(dice.randint(1, 4)):
                at = dice.randrange(len(data))
                data[at:at + dice.choice((0, 1, 1, 9))] = dice.choice(
                    (b"", b"-", b"9" * 30, b'"', b"{", b"]", b"null", b"1e999",
                     bytes([dice.randrange(256)])))
            # The server ends when it has sent its text, so that an answer without a line end is
            # over, too.
            self.serve(f"{number:03}", bytes(data), hold=False)
        done = self.run_it("-t", PATIENCE, "--json", "-D", self.dir)
        vms = json.loads(done.stdout)["vms"]
        refused = [vm for vm in vms if "error" in vm]
        self.assertEqual(len(vms), 200)
        self.assertEqual(done.stderr.splitlines(),
                         [f"spfctl: {vm['source']}: {vm['error']}" for vm in refused])
        self.assertEqual(done.returncode, bool(refused))
        self.assertGreater(len(refused), 50)


if __name__ == "__main__":
    unittest.main()
