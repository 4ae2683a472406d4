# SPDX-License-Identifier: GPL-2.0-or-later
"""A test that passed is skipped only until something changes on which it may depend."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from spf import paths, series, ui
from spf.source import apt, setup
from spf.testing import unchanged, verb

BUILDS_AHEAD = verb.builds_ahead


class Unchanged(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.root = Path(place.name) / "ours"
        self.ran = self.root.parent / "ran"
        for group in "lab", "torture":
            (self.root / "tests" / group).mkdir(parents=True)
            self.program(group, "exit 0")
        subprocess.run(["git", "init", "-q", self.root], check=True)
        # Remove the settings of the run to which these tests belong.
        environment = mock.patch.dict(os.environ)
        environment.start()
        self.addCleanup(environment.stop)
        for name in verb.DEPTH, verb.MINUTES, verb.NO_OTHERS, series.GUEST:
            os.environ.pop(name, None)
        for where, name, value in ((paths, "ROOT", self.root),
                                   (series, "others", lambda _: []),
                                   (paths, "STAMP", self.root.parent / "stamp"),
                                   (verb, "TESTS", self.root / "tests"),
                                   (verb, "builds_ahead",
                                    lambda *_: contextlib.nullcontext(lambda: None)),
                                   (setup, "check_machine", mock.Mock()),
                                   (apt, "packages", mock.Mock())):
            patch = mock.patch.object(where, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def program(self, group, ending):
        it = self.root / "tests" / group / "test_it"
        it.write_text(f"#!/bin/sh\necho {group} >> {self.ran}\n{ending}\n")
        it.chmod(0o755)

    def run_all(self, *words):
        """The programs that ran, and the last line."""
        self.ran.write_text("")
        said = io.StringIO()
        with contextlib.redirect_stdout(said), mock.patch.dict(os.environ):
            verb.main(list(words))
        return self.ran.read_text().split(), said.getvalue().splitlines()[-1]

    def test_what_passed_is_left_out_and_the_torture_never(self):
        self.assertEqual(self.run_all(), (["lab", "torture"], "2 passed, 0 failed, 0 skipped"))
        self.assertEqual(self.run_all(),
                         (["torture"], "1 passed, 0 failed, 0 skipped, 1 unchanged"))

    def test_a_group_that_is_named_runs(self):
        self.run_all()
        self.assertEqual(self.run_all("lab")[0], ["lab"])

    def test_all_of_it_counts_for_the_core_and_not_the_other_way_round(self):
        self.run_all()
        self.assertEqual(self.run_all("--long")[0], ["lab", "torture"])
        self.assertEqual(self.run_all("--long")[0], ["torture"])
        (self.root / "new").write_text("")
        self.run_all("--long")
        self.assertEqual(self.run_all()[0], ["torture"])

    def test_a_group_that_is_named_is_asked_for_all_of_it(self):
        self.program("lab", f"echo $KVMSPF_DEPTH >> {self.ran}")
        self.assertEqual(self.run_all()[0][:2], ["lab", "core"])
        self.assertEqual(self.run_all("lab")[0], ["lab", "long"])

    def test_the_core_alone_builds_ahead_and_has_no_guest_kernel_of_its_own(self):
        self.program("lab", f"echo $KVMSPF_GUEST_FLAVOUR >> {self.ran}")
        with mock.patch.object(verb, "builds_ahead") as ahead:
            self.assertEqual(self.run_all()[0], ["lab", "patched", "torture"])
            self.assertEqual(ahead.call_count, 1)
            self.assertEqual(self.run_all("--long")[0], ["lab", "torture"])
            self.run_all("lab")
            self.run_all("-k", "lab/it")
            self.assertEqual(ahead.call_count, 1)

    def test_what_is_built_ahead_is_told_and_does_not_fail_the_tests(self):
        script = self.root.parent / "kvmspf"
        script.write_text("#!/bin/sh\necho kvmspf: $*\nnice\n"
                          "echo 'kvmspf: building x: done in 0:07'\n"
                          f"echo built >>{self.root.parent}/built; exit 1\n")
        script.chmod(0o755)
        # The program waits for the build that runs ahead of it.
        self.program("lab", f"until [ -s {self.root.parent}/built ]; do sleep 0.1; done")
        said = io.StringIO()
        with mock.patch.object(paths, "SCRIPTS", script.parent), \
                mock.patch.object(verb, "AHEAD", ["qemu", "x"]), \
                mock.patch.object(verb, "builds_ahead", BUILDS_AHEAD), \
                contextlib.redirect_stdout(said), mock.patch.dict(os.environ):
            self.assertEqual(verb.main([]), 0)
        for line in ("# kvmspf: build qemu x", f"# {min(os.nice(0) + 10, 19)}",
                     "#   building x: done in 0:07"):
            self.assertIn(line, said.getvalue().splitlines())

    def test_other_series_are_built_after_the_one_in_use(self):
        script = self.root.parent / "kvmspf"
        script.write_text(f"#!/bin/sh\necho $* >>{self.root.parent}/built\n")
        script.chmod(0o755)
        other = mock.Mock()
        other.name = "other"
        # The program waits for the second build.
        self.program("lab", f"until grep -q other {self.root.parent}/built; do sleep 0.1; done")
        with mock.patch.object(paths, "SCRIPTS", script.parent), \
                mock.patch.object(series, "others", lambda _: [other]), \
                mock.patch.object(verb, "builds_ahead", BUILDS_AHEAD):
            self.run_all()
        self.assertEqual((self.root.parent / "built").read_text().splitlines(),
                         [f"build {' '.join(verb.AHEAD)}",
                          f"build --series other {' '.join(verb.OTHERS)}"])

    def test_other_series_are_left_out_where_builds_take_long(self):
        script = self.root.parent / "kvmspf"
        script.write_text(f"#!/bin/sh\necho $* >>{self.root.parent}/built\n")
        script.chmod(0o755)
        told = self.root.parent / "told"
        (self.root / "tests" / "model").mkdir()
        # It begins when the core is built.
        self.program("model", f'echo "${verb.NO_OTHERS}" >{told}')
        with mock.patch.object(paths, "SCRIPTS", script.parent), \
                mock.patch.object(series, "others", lambda _: [mock.Mock()]), \
                mock.patch.dict(os.environ, {verb.MINUTES: "75"}), \
                self.minutes(40, self.root.parent / "built"), \
                mock.patch.object(verb, "builds_ahead", BUILDS_AHEAD):
            self.run_all()
        self.assertEqual((self.root.parent / "built").read_text().splitlines(),
                         [f"build {' '.join(verb.AHEAD)}"])
        self.assertRegex(told.read_text(), "^the core took 40:00 to build, more than half of 75 ")

    def minutes(self, number, file):
        """The file's first line takes so many minutes."""
        return mock.patch.object(verb, "time", mock.Mock(
            monotonic=lambda: 60 * number * (file.exists() and bool(file.read_text()))))

    def test_no_program_begins_when_the_minutes_are_over(self):
        for given, ran, ending in (("76", ["lab", "torture"], "2 passed, 0 failed, 0 skipped"),
                                   ("75", ["lab"], "1 passed, 0 failed, 1 skipped")):
            with self.subTest(given), mock.patch.dict(os.environ, {verb.MINUTES: given}), \
                    self.minutes(75, self.ran):
                self.assertEqual(self.run_all("-k", "it"), (ran, ending))
        with mock.patch.dict(os.environ, {verb.MINUTES: "an hour"}), \
                self.assertRaisesRegex(ui.Fail, "'an hour', which is no number of minutes"):
            self.run_all()

    def test_what_runs_beside_begins_when_the_core_is_built_but_for_the_unit_tests(self):
        script = self.root.parent / "kvmspf"
        # The build ends after the unit tests.
        script.write_text(f"#!/bin/sh\nuntil grep -q unit {self.ran}; do sleep 0.1; done\n"
                          f"sleep 0.5; echo built >>{self.ran}\n")
        script.chmod(0o755)
        for group in "unit", "model":
            (self.root / "tests" / group).mkdir()
            self.program(group, f"echo $(($(nice) - {os.nice(0)})) >> {self.ran}")
        with mock.patch.object(paths, "SCRIPTS", script.parent), \
                mock.patch.object(verb, "builds_ahead", BUILDS_AHEAD):
            ran = [word for word in self.run_all()[0] if word not in ("lab", "torture")]
        self.assertEqual(ran, ["unit", "0", "built", "model", str(min(10, 19 - os.nice(0)))])

    def test_what_background_work_starts_is_in_the_background(self):
        seen = self.root.parent / "session"
        code = ("from spf import ui; import sys; ui.set_session_nice('7'); "
                "ui.run(['cp', '/proc/self/autogroup', sys.argv[1]], log=sys.argv[1] + '.log'); "
                "print(ui.session_nice())")
        done = subprocess.run([sys.executable, "-c", code, seen], start_new_session=True,
                              env=os.environ | {"PYTHONPATH": str(paths.SCRIPTS)},
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.stdout.strip() != "7":
            self.skipTest("a session has no nice value here")
        self.assertEqual(seen.read_text().split()[-1], "7")

    def test_a_machine_and_what_has_none_run_beside_each_other(self):
        (self.root / "tests" / "unit").mkdir()
        for group, other in (("lab", "unit"), ("unit", "lab")):
            # Each waits for the other to begin.
            self.program(group, f"for i in $(seq 100); do grep -q {other} {self.ran} && exit; "
                         "sleep 0.1; done; exit 1")
        ran, last = self.run_all()
        self.assertEqual((sorted(ran), last),
                         (["lab", "torture", "unit"], "3 passed, 0 failed, 0 skipped"))

    def test_a_word_chooses_tests(self):
        self.assertEqual(self.run_all("-k", "lab/it")[0], ["lab"])
        self.assertEqual(self.run_all()[0], ["lab", "torture"],
                         "a part that passed is not all of it")
        with self.assertRaisesRegex(ui.Fail, "no test has nowhere in its name"):
            self.run_all("-k", "nowhere")

    def test_failed_and_skipped_run_again(self):
        for status in 1, verb.SKIPPED:
            self.program("lab", f"exit {status}")
            self.run_all()
            self.assertEqual(self.run_all()[0], ["lab", "torture"], status)

    def test_what_fails_after_it_has_passed_runs_again(self):
        flag = self.root.parent / "fail"
        self.program("lab", f"! [ -e {flag} ]")
        self.run_all()
        flag.touch()
        self.run_all("lab")
        flag.unlink()
        self.assertEqual(self.run_all()[0], ["lab", "torture"])

    def test_any_change_has_all_run_again(self):
        def new_file():
            (self.root / "new").write_text("")

        def content():
            (self.root / "new").write_text("other")

        def executable():
            (self.root / "new").chmod(0o755)

        def environment():
            os.environ["KVMSPF_FUZZ_SECONDS"] = "1"

        def package():
            packages = unchanged._packages()
            patch = mock.patch.object(unchanged, "_packages", lambda: packages[1:])
            patch.start()
            self.addCleanup(patch.stop)

        with mock.patch.dict(os.environ):
            self.run_all()
            for change in new_file, content, executable, environment, package:
                change()
                self.assertEqual(self.run_all()[0], ["lab", "torture"], change.__name__)
                self.assertEqual(self.run_all()[0], ["torture"], change.__name__)

    def test_changed_while_it_ran(self):
        self.program("lab", f"echo >> {self.root}/edited-meanwhile")
        self.run_all()
        self.assertEqual(self.run_all()[0], ["lab", "torture"])


if __name__ == "__main__":
    unittest.main()
