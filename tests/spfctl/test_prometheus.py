# SPDX-License-Identifier: GPL-2.0-or-later
"""What spfctl writes for Prometheus, as the reference parser, promtool and node_exporter's textfile
collector read it."""

import re
import subprocess
import unittest
import urllib.request
from pathlib import Path

from tests.spfctl import server
from tests.spfctl.harness import PATIENCE, TOO_OLD, Test, samples
from spf import paths
from spf.source import apt

COUNTERS = {"kvmspf_faults_total", "kvmspf_aborts_total", "kvmspf_fault_seconds_total"}


class Prometheus(Test):
    def test_a_vm_that_does_not_answer_is_down(self):
        path, _ = self.qemu("old")
        file = self.dir / "out.prom"
        self.check(["--prometheus", file, "-s", path], 1, [f"{path}: {TOO_OLD}"])
        self.assertEqual(samples(file.read_text()),
                         [("kvmspf_up", {"domain": "old", "source": str(path)}, 0)])
        self.assertEqual(file.stat().st_mode & 0o777, 0o644)

    def test_a_vm_keeps_its_labels_when_it_does_not_answer(self):
        """A series keeps its labels when the VM does not answer, so that an alert on it fires."""
        greeting = server.lines(server.GREETING)
        path = self.serve("qmp", server.session(server.answer(), "db1"), greeting)
        up, = (s for s in samples(self.check(["-t", PATIENCE, "-p", "-", "-s", path], 0, []))
               if s[0] == "kvmspf_up")
        down, = samples(self.run_it("-t", "0.5", "-p", "-", "-s", path).stdout)
        self.assertEqual((up[:2], up[2], down[2]), (down[:2], 1, 0))

    def test_two_of_one_name_are_two_series(self):
        first, second = (self.serve(name, server.session(server.answer(), "db1"))
                         for name in ("a", "b"))
        read = samples(self.check(["-t", PATIENCE, "-p", "-", "-D", self.dir], 0, []))
        self.assertEqual([labels["source"] for name, labels, _ in read if name == "kvmspf_up"],
                         [str(first), str(second)])
        self.assertEqual(len({(name, *sorted(labels.items())) for name, labels, _ in read}),
                         len(read))

    def test_histogram_adds_up(self):
        path = self.serve("s", server.session(server.answer(), "x"))
        read = samples(self.check(["-t", PATIENCE, "--prometheus", "-", "-s", path], 0, []))
        buckets = {float(labels["le"]): value for name, labels, value in read
                   if name.endswith("_bucket")}
        self.assertEqual(len(buckets), 32)
        self.assertEqual([buckets[le] for le in (3e-9, 7e-9, 15e-9, float("inf"))], [0, 1, 4, 4])
        values = {name: value for name, _, value in read}
        self.assertEqual((values["kvmspf_fault_latency_seconds_count"],
                          values["kvmspf_fault_latency_seconds_sum"],
                          values["kvmspf_fault_latency_max_seconds"],
                          values["kvmspf_fault_seconds_total"]),
                         (4, 40e-9, 11e-9, 40e-9))
        self.assertEqual({labels["mode"]: value for name, labels, value in read
                          if name == "kvmspf_mode"},
                         {"off": 0, "vma-lock": 0, "on": 1, "unavailable": 0, "unknown": 0})

    def test_readers_never_see_a_part(self):
        path = self.serve("s", server.session(server.answer(), "x"))
        file = self.dir / "out.prom"
        sizes = set()
        for _ in range(20):
            child = subprocess.Popen([self.program, "-t", PATIENCE, "--prometheus", file, "-s",
                                      path])
            while child.poll() is None:
                if file.exists():
                    sizes.add(file.stat().st_size)
            self.assertEqual(child.returncode, 0)
        self.assertEqual(len(sizes), 1)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["out.prom", "s"])

    def test_file_that_cannot_be_written(self):
        path = self.serve("s", server.session(server.answer(), "x"))
        (self.dir / "taken").mkdir()
        for file, why in (("/nowhere/x.prom", "No such file or directory"),
                          (self.dir / "taken", "Is a directory"),
                          ("/dev/full/x", "Not a directory")):
            self.check(["-t", PATIENCE, "--prometheus", file, "-s", path], 1,
                       [f"{file}: cannot be written: {why}"])
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["s", "taken"])


class Collector(Test):
    """Debian's own node_exporter and promtool."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        apt.packages(["prometheus", "prometheus-node-exporter"])

    def written(self):
        path, stale = self.serve("s", server.session(server.answer(), 'a"b')), self.stale("gone")
        file = self.dir / "metrics" / "kvmspf.prom"
        file.parent.mkdir()
        self.check(["-t", PATIENCE, "--prometheus", file, "-s", path, "-s", stale], 1,
                   [f"{stale}: no QEMU listens there any more"])
        return file

    def test_types_as_the_collector_shows_them(self):
        file = self.written()
        exporter = self.kill_later(subprocess.Popen(
            ["prometheus-node-exporter", "--web.listen-address=127.0.0.1:0",
             "--collector.disable-defaults",
             "--collector.textfile", f"--collector.textfile.directory={file.parent}"],
            stderr=subprocess.PIPE, text=True))
        while not (found := re.search(r"address=(127\.0\.0\.1:[1-9]\d*)",
                                      line := exporter.stderr.readline())):
            self.assertTrue(line, "it ended")
        with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=60) as page:
            text = page.read().decode()
        self.assertIn("node_textfile_scrape_error 0\n", text)
        types = dict(re.findall(r"^# TYPE (kvmspf_\S+) (\S+)$", text, re.M))
        self.assertEqual({name for name, kind in types.items() if kind == "counter"}, COUNTERS)
        self.assertEqual(types["kvmspf_fault_latency_seconds"], "histogram")
        self.assertNotIn("untyped", types.values())
        # The folder has the whole file, under its own name, and no other file.
        def in_order(read):
            return sorted((name, sorted(labels.items()), value) for name, labels, value in read
                          if name.startswith("kvmspf_"))

        self.assertEqual(in_order(samples(text)), in_order(samples(file.read_text())))

    def test_promtool_has_nothing_to_say(self):
        done = subprocess.run(["promtool", "check", "metrics"], input=self.written().read_text(),
                              text=True,
                              capture_output=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Alerts(unittest.TestCase):
    def test_they_fire_when_they_must_and_say_what_is_so(self):
        apt.packages(["prometheus"])
        for words in (["check", "rules", paths.SCRIPTS / "spfctl" / "alerts.yml"],
                      ["test", "rules", Path(__file__).with_name("alerts.yml")]):
            done = subprocess.run(["promtool", *words], text=True, capture_output=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
