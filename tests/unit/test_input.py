# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf reports input that it cannot use in one line.  Its status distinguishes a usage error from
a failure."""

import contextlib
import copy
import fcntl
import io
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from spf import kvmparam, limits, main, paths, ui
from spf.build import targets
from spf.compare import hosts, show, verb
from spf.lab import x86
from spf.report import difference
from spf.source import apt, patches
from tests.unit import compare_sample

KVMSPF = paths.SCRIPTS / "kvmspf"


# Run the words after the first with the folder of that name read-only.
READ_ONLY = ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
             'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"', "sh"]


def kvmspf(*words, within=(), stdout=subprocess.PIPE, **env):
    return subprocess.run([*within, KVMSPF, *words], stdout=stdout, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, "KVMSPF_LAB": "", **env}, check=False)


class Refused(unittest.TestCase):
    def refused(self, words, said, status=2, **how):
        done = kvmspf(*words, **how)
        self.assertEqual(done.returncode, status, (words, done.stderr))
        self.assertNotIn("Traceback", done.stderr)
        self.assertRegex(done.stderr.splitlines()[-1], said)

    def test_numbers_out_of_bounds(self):
        for words in (["--timeout", "-1"], ["--stall", "0"], ["--stall", "nan"], ["--memory", "0"],
                      ["--memory", "10M"],
                      ["--memory", "900T"], ["--cpus", "100000"], ["--numa", "99"]):
            self.refused(["lab", *words, "--", "true"], "argument|expected")
        self.refused(["test", "--limit", "0"], "'0' is not a number of seconds from 1")
        self.refused(["compare", "--cpus", "9999"], "'9999' is not a number of CPUs from 1 to 512")
        self.refused(["compare", "--seed", "-5"], "argument|expected")

    def test_a_mode_named_twice(self):
        self.refused(["compare", "--modes", "on,on"], "'on' is named twice")

    def test_arguments_that_would_be_ignored(self):
        self.refused(["compare", "--runs", "3", "a", "b"], "--runs says how to run")

    def test_a_mutation_of_the_torture_that_there_is_not(self):
        """Refused before a kernel is built: it says nothing of a build."""
        done = subprocess.run([paths.ROOT / "tests/torture/torture.py", "slot", "frobnicate"],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, "^torture: there is no mutation 'frobnicate'; the mutations "
                                      "are replace unmap .* oom\n$")

    def test_results_that_cannot_be_read(self):
        self.refused(["report", "/nonexistent"],
                     "cannot read /nonexistent: No such file or directory; name a")
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("no JSON")
            file.flush()
            self.refused(["report", file.name], f"{file.name} is no JSON; name a")

    def test_out_that_is_a_file(self):
        with tempfile.NamedTemporaryFile() as file:
            self.refused(["lab", "--no-build", "--out", file.name, "--", "true"],
                         "is no directory; name one")

    def test_a_program_that_is_no_qemu(self):
        with self.assertRaisesRegex(ui.Fail, "'/bin/true' is not a QEMU"):
            x86.qemu_path("/bin/true")

    def test_a_full_disk_below_the_output(self):
        for words in (["--help"], ["lab", "--help"], ["--version"]):
            with open("/dev/full", "w") as full:
                self.refused(words, "no space is left; make room", 1, stdout=full)

    def test_a_build_folder_that_is_a_file(self):
        self.refused(["patches", "check", "linux"], "Not a directory|File exists", 1,
                     KVMSPF_BUILD="/dev/null")

    @unittest.skipIf(os.geteuid(), "mounts need root")
    def test_a_build_folder_that_is_read_only(self):
        """An empty one, and ours, which may have sources and all that a lab needs."""
        paths.BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as empty:
            for folder in empty, paths.BUILD:
                for words in (["lab", "--", "true"], ["deb", "agent"],
                              ["patches", "check", "linux"]):
                    with self.subTest(folder=folder, words=words):
                        done = kvmspf(*words, within=[*READ_ONLY, folder], KVMSPF_BUILD=str(folder))
                        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
                        self.assertRegex(done.stderr, "^kvmspf: [^\n]*: Read-only file system; "
                                                      "make it writable, .*\n$")

    def test_an_empty_path(self):
        done = kvmspf("--version", PATH="")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^kvmspf \d+\.\d+\n$")

    def test_no_network(self):
        """apt itself only warns about lists that it cannot fetch, and goes on."""
        with tempfile.TemporaryDirectory() as here:
            conf, listed = Path(here) / "apt.conf", Path(here) / "sources.list"
            (Path(here) / "lists" / "partial").mkdir(parents=True)
            # Nobody listens there.
            listed.write_text("deb http://127.0.0.1:9/debian nowhere main\n")
            conf.write_text(f'''Dir::Etc::sourcelist "{listed}"; Dir::Etc::sourceparts "-";
                            Dir::State::Lists "{here}/lists"; Acquire::http::Proxy "DIRECT";
                            APT::Sandbox::User "root";''')
            with mock.patch.dict(os.environ, APT_CONFIG=str(conf)), \
                    self.assertRaisesRegex(ui.Fail, "^cannot fetch package lists: .*; check the "
                                                    "network and apt's sources; see .*apt.log$"):
                apt.packages(["a-package-that-nobody-has"])

    def test_in_the_lab(self):
        self.refused(["lab", "--", "true"], "this is the lab already", 1, KVMSPF_LAB="patched")

    def test_what_the_system_refuses(self):
        for error, said in ((OSError(28, "No space left", "/a"), "a: no space is left; make room"),
                            (OSError(30, "Read-only file system", "/a"),
                             "a: Read-only file system; make it writable"),
                            (FileNotFoundError(2, "No such file", "unshare"),
                             "no program 'unshare' in PATH")):
            self.assertIn(said, str(main.trouble(error)))

    def test_a_disk_that_git_cannot_write_is_not_a_patch_that_does_not_apply(self):
        said = b"error: unable to create temporary file: Read-only file system\n"
        done = subprocess.CompletedProcess([], 1, b"", said)
        with mock.patch.object(subprocess, "run", return_value=done), \
                self.assertRaises(OSError) as caught:
            patches.commit(Path("tree"), Path("a.patch"), "base", {})
        self.assertEqual((caught.exception.errno, caught.exception.filename), (30, "tree"))


class Files(unittest.TestCase):
    def test_results_that_are_not_what_they_have_to_be(self):
        good = compare_sample.results()

        def without(*path, **put):
            bad = copy.deepcopy(good)
            inner = bad
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
            inner.update(put)
            return bad

        with tempfile.TemporaryDirectory() as directory:
            names = [Path(directory) / "good", Path(directory) / "bad"]
            names[0].write_text(json.dumps(good))
            for bad, said in ((without("platform"), "platform is no"),
                              (without("runs", runs=[]), "runs is no"),
                              (without("runs", runs="x"), "runs is no"),
                              (without("settings", settings=[]), "settings is no"),
                              (without("summary", summary=None), "summary is no"),
                              (without("settings", "load", load="moon"), "platform has no 'moon'"),
                              (without("runs", 0, "boot", boot={"total_s": -1}),
                               r"runs\[0\].boot.total_s "),
                              (without("storms", 0, "runs", runs=[{}]),
                               r"storms\[0\].runs\[0\].mode "),
                              (without("settings", "load", load=None), "settings.load "),
                              (without("platform", "host", host="x"), "platform.host is no"),
                              (without("discards", 0, "mode"), r"discards\[0\].mode "),
                              (without("storms", storms=None), "storms is no"),
                              (without("simulated", simulated="x"), "simulated is no"),
                              (without("simulated", "line_ns", line_ns=None),
                               "simulated.line_ns ")):
                names[1].write_text(json.dumps(bad))
                done = kvmspf("compare", *names)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertRegex(done.stderr,
                                 rf"^kvmspf: .*bad: {said}.*; name a results.json .*\n$")

    def test_no_wrong_value_of_a_result_is_a_traceback(self):
        """Each value in turn is null, or a text."""
        def few(value):
            """A copy.  Two elements of a list stand for all."""
            if isinstance(value, dict):
                return {key: few(inner) for key, inner in value.items()}
            return [few(inner) for inner in value[:2]] if isinstance(value, list) else value

        def places(value, where=""):
            for key in range(len(value[:1])) if isinstance(value, list) else value:
                yield value, key, f"{where}.{key}"
                if isinstance(value[key], (dict, list)):
                    yield from places(value[key], f"{where}.{key}")

        result, bad = few(compare_sample.results(modes=("off", "on"), runs=1)), []
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "results.json"
            for inner, key, where in [*places(result)]:
                right = inner[key]
                for inner[key] in None, "x":
                    file.write_text(json.dumps(result))
                    try:
                        with contextlib.redirect_stdout(io.StringIO()):
                            difference.main([file, file])
                            show.main([str(file), "--out", f"{directory}/shown"])
                    except ui.Fail as failure:
                        self.assertEqual(failure.status, 2)
                    except Exception as error:
                        bad.append(f"{where}, {inner[key]}: {error!r}")
                inner[key] = right
        self.assertEqual(bad, [])

    def test_a_result_that_lacks_something_is_not_shown(self):
        good = compare_sample.results()
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "results.json"
            for of, missing in (("settings", "memory_mib"), ("platform", "guest_kernel")):
                bad = copy.deepcopy(good)
                del bad[of][missing]
                file.write_text(json.dumps(bad))
                done = kvmspf("report", file)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertRegex(done.stderr, rf"^kvmspf: {file} lacks '{missing}'; name a .*\n$")

    def test_shape(self):
        self.assertEqual(limits.shape({"a": [1]}, {"a": [int]}), "")
        self.assertEqual(limits.shape({"a": [True]}, {"a": [int]}),
                         "a[0] has the wrong type or an invalid value")
        for good, bad, wanted in (({}, {"a": None}, {"a?": int}), (None, "x", (None, int)),
                                  ([], None, [int, ...]), ([1], [], [int])):
            self.assertEqual(limits.shape(good, wanted), "")
            self.assertNotEqual(limits.shape(bad, wanted), "")


class Host(unittest.TestCase):
    def test_two_compares_do_not_share_the_mode_of_a_host(self):
        with tempfile.NamedTemporaryFile("w") as switch, \
                mock.patch.object(kvmparam, "PARAM", switch.name):
            fcntl.flock(switch, fcntl.LOCK_EX)
            args = verb.parser().parse_args(["--no-build"])
            with self.assertRaisesRegex(ui.Fail, "another compare sets the mode"):
                hosts.Here(args).prepare("/disk")


class Told(unittest.TestCase):
    def test_a_build_of_minutes_says_so(self):
        with tempfile.TemporaryDirectory() as scratch, \
                mock.patch.object(paths, "STAMP", Path(scratch)), \
                mock.patch.object(ui, "say") as say, mock.patch.object(targets.sandbox, "run"), \
                mock.patch.object(targets.kernels, "configure"), \
                mock.patch.object(paths, "OBJ", Path(scratch)), \
                mock.patch.object(paths, "LOG", Path(scratch)):
            obj = targets.series.obj("linux-rt")
            obj.mkdir(parents=True)
            (obj / ".config").write_text("")
            targets.kernels.compile_tree(Path(scratch), "linux-rt", [])
            self.assertRegex(say.call_args_list[0].args[0], r"^building .*-rt \(about \d+:\d\d\)$")


if __name__ == "__main__":
    unittest.main()
