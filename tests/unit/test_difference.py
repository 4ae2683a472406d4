# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf compare A.json B.json, on made-up results."""

import copy
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.unit import compare_sample
from spf import paths


class Difference(unittest.TestCase):
    def compare(self, *results, words=()):
        with tempfile.TemporaryDirectory() as directory:
            files = [Path(directory) / f"{i}.json" for i in range(len(results))]
            for file, result in zip(files, results):
                file.write_text(result if isinstance(result, str) else json.dumps(result))
            return subprocess.run([paths.SCRIPTS / "kvmspf", "compare", *files, *words],
                                  capture_output=True, text=True,
                                  check=False)

    def test_what_became_faster_is_said_and_nothing_else(self):
        old = compare_sample.results()
        new = copy.deepcopy(old)
        for run in new["runs"]:
            run["load"]["total_s"] *= 0.5 if run["mode"] == "on" else 1
        done = self.compare(old, new)
        self.assertEqual(done.returncode, 0, done.stderr)
        faster = [line.split()[:2] for line in done.stdout.splitlines() if line.endswith("faster")]
        self.assertEqual(faster, [["quiet", "on"], ["busy", "on"]])
        self.assertEqual(done.stdout.count("no difference shown"), 10 + 2 * 4 * 3 + 2 * 6 * 3)
        self.assertNotIn("Not alike", done.stdout)
        cells = json.loads(self.compare(old, new, words=["--json"]).stdout)["cells"]
        ratios = {round(cell["ratio"]["estimate"], 3) for cell in cells}
        self.assertEqual(ratios, {1.0, 0.5})

    def test_what_is_not_alike_is_listed(self):
        old = compare_sample.results()
        new = copy.deepcopy(old)
        new["settings"]["vcpus"] = 16
        new["platform"]["host"]["cpus"] = 4
        self.assertIn("  vcpus: 8, 16\n  host cpus: 2, 4\n", self.compare(old, new).stdout)

    def test_the_loads_version_is_compared_whatever_the_load(self):
        for load in ("redis", "build"):
            old = compare_sample.results(load=load)
            new = copy.deepcopy(old)
            new["platform"][load] = "8.0"
            self.assertIn("  load's version: 7.0, 8.0\n", self.compare(old, new).stdout)

    def test_results_of_before_there_were_loads_are_of_redis(self):
        old = compare_sample.results()
        new = copy.deepcopy(old)
        del old["settings"]["load"]
        self.assertNotIn("Not alike", self.compare(old, new).stdout)

    def test_results_of_before_there_were_simulated_hosts(self):
        new = compare_sample.results()
        old = {**copy.deepcopy(new), "schema_version": 1}
        del old["simulated"]
        done = self.compare(old, new)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("simulated", done.stdout)
        self.assertEqual(self.compare(old, {**new, "schema_version": 3}).returncode, 2)

    def test_bad_input_is_one_line(self):
        good = compare_sample.results()
        other = dict(copy.deepcopy(good), storms=[], simulated=None)
        other["runs"] = [dict(run, mode="stock") for run in other["runs"]]
        for results in ((good,), (good, good, good), (good, "{"), (good, "[]"), (good, "{}"),
                        (good, other)):
            done = self.compare(*results)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1),
                             done.stderr)


class Report(unittest.TestCase):
    """kvmspf report."""

    def report(self, result):
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "old.json"
            file.write_text(result if isinstance(result, str) else json.dumps(result))
            done = subprocess.run([paths.SCRIPTS / "kvmspf", "report", file, "--out",
                                   Path(directory) / "new"], capture_output=True, text=True)
            made = {f.name: f.read_text() for f in (Path(directory) / "new").glob("*")}
            return done, made

    def test_a_result_is_shown_again(self):
        result = compare_sample.results()
        done, made = self.report(result)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(made), ["report.html", "results.json", "runs.csv", "storms.csv"])
        self.assertEqual(json.loads(made["results.json"]), result)
        self.assertIn("on a simulated host", done.stdout)

    def test_a_result_of_before_there_were_simulated_hosts(self):
        result = {**compare_sample.results(), "schema_version": 1}
        del result["simulated"], result["load_text"]
        done, made = self.report(result)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("simulated", done.stdout)
        self.assertIn("Guest boot", made["report.html"])

    def test_bad_input_is_one_line(self):
        for result in ("{", "[]", {"schema": "kvmspf-compare", "schema_version": 2, "settings": {}},
                       {**compare_sample.results(), "schema_version": 3}):
            done, made = self.report(result)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n"), made),
                             (2, "", 1, {}), done.stderr)


if __name__ == "__main__":
    unittest.main()
