# SPDX-License-Identifier: GPL-2.0-or-later
"""A full disk: spf-agent says in a line and by its status that it could not write."""

import subprocess
import unittest

from tests.agent import programs
from tests.agent.bar import Bar
from tests.agent.case import Case

OUTPUT = "cannot write standard output: No space left on device"
# A file system of one page.  The last mark that fits is followed by one that does not.
FILL = """mount -t tmpfs -o size=4k none "$1" && for i in $(seq 200); do
    "$0" --device "$2" mark --marks "$1/marks" "$(printf %064d "$i")" || { echo "$?"; break; }
done; cat "$1/marks" """


class FullDisk(Case):
    def lost(self, *words, status=1, says=OUTPUT):
        with open("/dev/full", "w", encoding="ascii") as full, self.bar:
            done = subprocess.run(self.words(*words), stdout=full, stderr=subprocess.PIPE,
                                  text=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (status, f"spf-agent: {says}\n"), words)

    def test_standard_output(self):
        stat = ["stat", "-i", "0.001", "-c", "3"]
        load = ["load", "-s", "4K"]
        for words in (["--help"], ["--version"], ["stat", "--help"], ["snapshot"], load, stat):
            with self.subTest(words=words):
                self.lost(*words)
                if "--" not in words[-1]:
                    self.lost(*words, "--json")

    def test_stat_ends_at_its_first_line(self):
        self.lost("stat", "-i", "0.001")

    def test_output_longer_than_a_buffer(self):
        """The write that fails is not the last one."""
        self.bar = Bar(self.directory / "bar", vcpus=200)
        self.lost("snapshot", "--json")

    def test_closed_standard_output(self):
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *self.words("load", "-s", "4K")],
                              stderr=subprocess.PIPE, text=True)
        says = "spf-agent: cannot write standard output: Bad file descriptor\n"
        self.assertEqual((done.returncode, done.stderr), (1, says))

    def test_figures_of_run(self):
        says = "cannot write /dev/full: No space left on device"
        for how in ([], ["--json"]):
            run = ["run", *how, "-o", "/dev/full", "--"]
            self.lost(*run, "true", status=125, says=says)
            # The command's own failure matters more.
            self.lost(*run, "sh", "-c", "exit 3", status=3, says=says)

    def test_figures_of_run_to_standard_error(self):
        with open("/dev/full", "w", encoding="ascii") as full, self.bar:
            done = subprocess.run(self.words("run", "--", "true"), stderr=full)
        self.assertEqual(done.returncode, 125)

    def test_a_mark_that_does_not_fit_leaves_nothing_of_itself(self):
        mounted = self.directory / "small"
        mounted.mkdir()
        with self.bar:
            words = ["unshare", "--mount", "sh", "-c", FILL, programs.static(), mounted,
                     self.bar.path]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        says = "spf-agent: cannot write the mark: No space left on device\n"
        self.assertEqual((done.returncode, done.stderr), (0, says))
        status, *lines = done.stdout.splitlines()
        self.assertEqual(status, "1")
        self.assertTrue(done.stdout.endswith("\n"))
        self.assertEqual([len(line.split()) for line in lines], [3] * len(lines))
        self.assertGreater(len(lines), 20)


if __name__ == "__main__":
    unittest.main()
