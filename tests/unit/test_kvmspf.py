# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of kvmspf that need neither a build nor a boot."""

import argparse
import ast
import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from spf import limits, main, paths, series, ui
from spf.source import apt
from spf.build import kernels, meson, targets
from spf.lab import accel, outcome
from spf.testing import verb

ROOT = paths.ROOT
KVMSPF = ROOT / "scripts" / "kvmspf"


def tracked():
    listed = subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z"],
                            capture_output=True, text=True)
    return [ROOT / n for n in listed.stdout.split("\0") if n and (ROOT / n).is_file()]


def python():
    return [p for p in tracked() if p.suffix == ".py"
            or p.read_bytes()[:64].startswith(b"#!/usr/bin/python3")]


class Stream(unittest.TestCase):
    def test_token_cut_anywhere_ends_the_stream(self):
        for cut in range(1, 11):
            stream = outcome.Stream("TOKEN", None)
            data = b"abcdeTOKEN"
            stream.feed(data[:cut])
            stream.feed(data[cut:])
            self.assertTrue(stream.ended)
            self.assertEqual(bytes(stream.kept), b"abcde")

    def test_bytes_like_the_token_are_kept(self):
        stream = outcome.Stream("TOKEN", None)
        for byte in b"TOKTOKETO":
            stream.feed(bytes([byte]))
        stream.finish()
        self.assertFalse(stream.ended)
        self.assertEqual(bytes(stream.kept), b"TOKTOKETO")


class MesonDirectory(unittest.TestCase):
    def test_one_that_was_copied_with_its_repository_is_set_up_anew(self):
        with tempfile.TemporaryDirectory() as directory:
            where = Path(directory)
            self.assertFalse(meson.is_at_home(where))
            info = where / "meson-info" / "meson-info.json"
            info.parent.mkdir()
            for source, build, home in ((paths.ROOT, where, True), ("/elsewhere", where, False),
                                        (paths.ROOT, "/elsewhere/build", False)):
                info.write_text(json.dumps({"directories": {"source": str(source),
                                                            "build": str(build)}}))
                self.assertEqual(meson.is_at_home(where), home)


class Arguments(unittest.TestCase):
    def test_sizes(self):
        self.assertEqual(limits.size("512M"), 512 << 20)
        self.assertEqual(limits.size("4GiB"), 4 << 30)
        self.assertEqual(limits.size("1024"), 1 << 30)
        for bad in ("", "4X", "-1G", "G"):
            with self.assertRaises(argparse.ArgumentTypeError):
                limits.size(bad)

    def refused(self, *words, status=2):
        done = subprocess.run([KVMSPF, *words], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_unknown_verb_target_group_kernel(self):
        self.assertRegex(self.refused("fly"), r"^kvmspf: unknown verb 'fly'; .*\n$")
        self.assertRegex(self.refused("build", "moon"), r"^kvmspf: unknown target 'moon'; .*\n$")
        self.assertRegex(self.refused("test", "moon"),
                         r"^kvmspf: there is no test group 'moon'; .*\n$")
        self.assertEqual(self.refused("test", "--list", "moon"), self.refused("test", "moon"))
        self.assertRegex(self.refused("lab", "--no-build", "--kernel", "/nowhere", "--", "true"),
                         r"neither .*; say ")
        self.refused("lab", "--cpus", "0", "--", "true")
        self.refused("lab", "--memory", "many", "--", "true")

    def test_what_a_lab_boots_can_be_built(self):
        for flavour in targets.FLAVOURS:
            self.assertIn(f"linux-{flavour}", targets.TARGETS)

    def test_help_everywhere(self):
        for words in ([], *([verb] for verb in main.VERBS)):
            done = subprocess.run([KVMSPF, *words, "--help"], capture_output=True, text=True,
                                  env={**os.environ, "COLUMNS": "80"})
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("usage: kvmspf", done.stdout)
            self.assertEqual([line for line in done.stdout.splitlines() if len(line) > 80], [])


class List(unittest.TestCase):
    def test_of_one_group(self):
        done = subprocess.run([KVMSPF, "test", "--list", "unit"], capture_output=True, text=True)
        self.assertEqual({line.partition("/")[0] for line in done.stdout.splitlines()[1:]},
                         {"unit"})

    def test_times_are_those_of_programs(self):
        known = {line.split()[0] for line in verb.TIMES.read_text().splitlines()[1:]}
        here = {verb.label_of(program)
                for group in verb.groups() for program in verb.programs(group)}
        self.assertEqual(known - here, set())


class Stamps(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        where = Path(self.directory.name)
        for name in ("BUILD", "STAMP"):
            patch = mock.patch.object(paths, name, where)
            patch.start()
            self.addCleanup(patch.stop)

    def test_told_and_forgotten(self):
        self.assertEqual(ui.recall("x"), {})
        ui.remember("x", key="1")
        self.assertEqual(ui.recall("x"), {"key": "1"})
        ui.forget("x")
        self.assertEqual(ui.recall("x"), {})

    def test_half_written_stamp_is_none(self):
        (paths.STAMP / "x.json").write_text('{"key": ')
        self.assertEqual(ui.recall("x"), {})

    def test_failed_recipe_is_not_taken_for_done(self):
        tried = []

        def recipe(*_):
            tried.append(1)
            raise ui.Fail("no")

        with mock.patch.dict(targets.RECIPES, {"linux": ("linux", recipe, lambda f: [])}), \
                mock.patch.object(targets, "tree", return_value=(Path("/"), "key")), \
                mock.patch.object(ui, "need_space"):
            ui.remember(series.label("linux-stock"), key="of something older")
            for _ in range(2):
                with self.assertRaises(ui.Fail):
                    targets.build("linux-stock")
        self.assertEqual(len(tried), 2)
        self.assertEqual(ui.recall(series.label("linux-stock")), {})

    def test_lock_handed_down_by_flock_is_not_waited_for(self):
        lock = paths.BUILD / ".buildlock"
        lock.touch()
        code = ("import sys; sys.path.insert(0, sys.argv[1])\nfrom spf import ui\n"
                "with ui.locked():\n print('in')")
        done = subprocess.run(["flock", lock, sys.executable, "-c", code, ROOT / "scripts"],
                              capture_output=True,
                              text=True, timeout=20,
                              env={**os.environ, "KVMSPF_BUILD": self.directory.name})
        self.assertEqual(done.stdout, "in\n", done.stderr)

    def test_lock_keeps_other_threads_out(self):
        inside = threading.Event()

        def other():
            with ui.locked():
                inside.set()

        thread = threading.Thread(target=other)
        with ui.locked(), ui.locked():
            thread.start()
            self.assertFalse(inside.wait(0.2))
        thread.join()
        self.assertTrue(inside.is_set())

    def test_lock_keeps_others_out(self):
        with ui.locked(), open(paths.BUILD / ".buildlock") as other:
            with self.assertRaises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Config(unittest.TestCase):
    def test_lost_options_are_named_and_optional_ones_are_not(self):
        with tempfile.TemporaryDirectory() as scratch:
            fragment, config = Path(scratch) / "f", Path(scratch) / "c"
            fragment.write_text("CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not "
                                "set\n"
                                "# optional\nCONFIG_E=y\n")
            config.write_text("CONFIG_A=y\nCONFIG_C=y\n")
            self.assertEqual(kernels.missing(config, [fragment]),
                             ["CONFIG_B=y", "# CONFIG_C is not set"])

    def test_later_fragment_wins(self):
        lines, _ = kernels.wanted(kernels.fragments("debug"))
        self.assertEqual(lines["CONFIG_NR_CPUS"], "CONFIG_NR_CPUS=64")
        self.assertEqual(lines["CONFIG_KVM_AMD"], "CONFIG_KVM_AMD=y")


class Machine(unittest.TestCase):
    def test_mirror_is_the_machines_own_and_not_the_security_archive(self):
        listed = "\n".join(("Packages|bookworm-security|main|proto://a/debian-security/",
                            "Packages|bookworm|contrib|proto://a/other/",
                            "Sources|bookworm|main|proto://a/no/",
                            "Packages|bookworm|main|proto://a/debian/"))
        with mock.patch.object(ui, "run", return_value=mock.Mock(stdout=listed)), \
                mock.patch.object(apt, "codename", return_value="bookworm"):
            self.assertEqual(apt.mirror(), "proto://a/debian/")

    def test_no_archive_is_one_clear_line(self):
        with mock.patch.object(ui, "run", return_value=mock.Mock(stdout="")):
            with self.assertRaisesRegex(ui.Fail, "names no Debian archive; add"):
                apt.mirror()

    def test_device_node_alone_is_not_hardware(self):
        with mock.patch.object(Path, "read_text", return_value="flags\t\t: fpu sse\n"):
            self.assertFalse(accel.nested())

    def test_full_disk_is_told(self):
        with self.assertRaisesRegex(ui.Fail, "GB free and needs"):
            ui.need_space(10 ** 9)

    def test_build_log_shows_its_error(self):
        with tempfile.NamedTemporaryFile("w+") as log:
            log.write("+ make\n  CC x.o\n/mnt/src/mm/x.c:3:1: error: nope\nmake: *** [x] Error 2\n")
            log.flush()
            self.assertEqual(ui.first_error(log.name), "mm/x.c:3:1: error: nope")


class Repository(unittest.TestCase):
    def test_every_file_says_its_licence(self):
        without = [p.relative_to(ROOT) for p in tracked()
                   if p.suffix in (".py", ".sh", ".c", ".h", ".build", ".config")
                   or p.parent.name in ("scripts", "lab", "guest")
                   if "SPDX-License-Identifier" not in p.read_text(errors="replace")[:400]]
        self.assertEqual(without, [])

    def test_shell_is_shellcheck_clean(self):
        shell = [p for p in tracked()
                 if p.read_bytes()[:64].split(b"\n")[0] in (b"#!/bin/sh", b"#!/bin/bash")]
        self.assertTrue(shell)
        done = subprocess.run(["shellcheck", *shell], capture_output=True, text=True)
        self.assertEqual(done.stdout + done.stderr, "")

    def test_python_is_clean_to_the_linter(self):
        apt.packages(["flake8"])
        done = subprocess.run(["/usr/bin/flake8", "--config", ROOT / ".flake8", *python()],
                              capture_output=True, text=True)
        self.assertEqual(done.stdout + done.stderr, "")

    def test_python_calls_functions_with_the_arguments_that_they_have(self):
        """Also where no test comes: `deb qemu` once failed so, before it built anything."""
        apt.packages(["pylint"])
        done = subprocess.run(["/usr/bin/pylint", "--errors-only", "--score=n",
                               "--disable=import-error,no-member", *python()],
                              cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{paths.SCRIPTS}:{ROOT}"},
                              capture_output=True, text=True)
        self.assertEqual((done.stdout, done.returncode), ("", 0), done.stderr)

    def test_programs_help_fits_80_columns(self):
        """arguments.Help fills paragraphs, and leaves those alone that have indented lines.
        argparse's own class for descriptions fills none."""
        wide, raw = [], "Raw" + "DescriptionHelpFormatter"
        for p in tracked():
            text = p.read_text(errors="replace")
            if not text.startswith("#!/usr/bin/python3") or raw not in text \
                    and "arguments.Help" not in text:
                continue
            paragraphs = ast.get_docstring(ast.parse(text), clean=False).split("\n\n")
            wide += [f"{p.name}: {line}" for part in paragraphs
                     if raw in text or "\n " in f"\n{part}"
                     for line in part.splitlines() if len(line) > 80]
        self.assertEqual(wide, [])

    def test_no_path_of_one_machine(self):
        mine = re.compile(re.escape(str(ROOT)) + r"/")
        found = [p.relative_to(ROOT) for p in tracked()
                 if mine.search(p.read_text(errors="replace"))]
        self.assertEqual(found if str(ROOT) != "/" else [], [])


if __name__ == "__main__":
    unittest.main()
