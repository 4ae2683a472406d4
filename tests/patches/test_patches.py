# SPDX-License-Identifier: GPL-2.0-or-later
"""Our series are in order.  The tools that check this are tested on a small tree of their own."""

import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from spf import paths, series, ui
from spf.source import apt, fetch, mail, patches, rows, setup
from spf.lab import outcome
from spf.testing import check, configs
from tests.lib import depth

WHO = {f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER")
       for k, v in (("NAME", "A B"), ("EMAIL", "a@b.c"))}


class Ours(unittest.TestCase):
    def whole(self, what):
        fetch.sources(what)
        if not patches.files(what):
            self.skipTest(f"the {what} series is empty")
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            try:
                check.check(what)
            except ui.Fail as failure:
                self.fail(f"{failure}\n{said.getvalue()}")

    def test_linux(self):
        for one in series.known("linux"):
            with self.subTest(one.name), mock.patch.dict(os.environ):
                series.use(one.name)
                self.whole("linux")

    def test_qemu(self):
        self.whole("qemu")

    def test_configurations(self):
        """The files that the kernel series changes compile without a warning, even if an option is
        off that the lab's kernels have on.  The core compiles seven of the configurations."""
        setup.ready()
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            try:
                counts = configs.check(patches.sync("linux")[0], ci=not depth.LONG)
            except ui.Fail as failure:
                self.fail(f"{failure}\n{said.getvalue()}")
        print(*[f"# {line}" for line in said.getvalue().splitlines()], sep="\n", flush=True)
        self.assertGreaterEqual(min(counts.values()), 6)

    def test_each_patch_of_the_x86_kernel_has_its_cost_measured(self):
        fetch.sources("linux")
        points = list(runpy.run_path(str(paths.ROOT / "bench/patch-cost"))["points"]())
        measured = {file.name for _, _, files in points for file in files}
        code = re.compile(r"^\+\+\+ b/(arch/x86|fs|include|mm|virt)/", re.M)
        self.assertEqual({file.name for file in patches.files("linux")
                          if code.search(file.read_text())} - measured, set())


@depth.long("packages of other suites")
class Suites(unittest.TestCase):
    def test_what_this_machine_has_installed_does_not_count(self):
        for one in filter(lambda one: one.suite, series.known("linux")):
            said = ui.run(["apt-cache", *apt.private("deb", one.suite), "policy", "dpkg",
                           one.package]).stdout
            self.assertEqual(re.findall(r"Installed: (.*)", said), ["(none)"] * 2)

    def test_a_suite_that_does_not_exist_is_forgotten(self):
        with self.assertRaisesRegex(ui.Fail, "^cannot fetch the package lists of no-such-suite"):
            apt.private("deb", "no-such-suite")
        for one in filter(lambda one: one.suite, series.known("linux")):
            apt.private("deb", one.suite)

    def test_a_configuration_of_debian_s_is_of_the_series_own_version(self):
        for one in series.known("linux"):
            with self.subTest(one.name), mock.patch.dict(os.environ, {series.CHOICE: one.name}):
                text = fetch.debian_config("config.amd64_none_cloud-amd64")
                self.assertIn(f"\n# Linux/x86 {one.version}.", text)


class Tools(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.top = Path(self.directory.name).resolve()
        for name in ("SRC", "TREE", "EDIT", "STAMP", "BUILD"):
            self.replace(paths, name, self.top / name.lower())
        self.replace(series, "FOLDERS",
                     {kind: self.top / f"{kind}-patches" for kind in ("linux", "qemu")})
        self.folder = self.top / "linux-patches" / "linux-1"
        self.folder.mkdir(parents=True)
        (self.folder / "base").write_text("package linux-source-1\nversion 1\ndefault yes\n")
        self.replace(fetch, "sources", lambda what: None)
        self.replace(ui, "say", lambda text: None)
        environment = mock.patch.dict(os.environ, {series.CHOICE: ""})
        environment.start()
        self.addCleanup(environment.stop)
        self.source = series.src("linux")
        self.source.mkdir(parents=True)
        (self.source / "a.c").write_text("".join(f"line {n}\n" for n in range(40)))
        (self.source / "b.c").write_text("b\n")
        self.git(self.source, "init", "-q", "-b", "master")
        self.git(self.source, "add", "-A")
        self.git(self.source, "commit", "-qm", "base")
        self.git(self.source, "tag", "base")
        (self.top / "stamp").mkdir()

    def replace(self, where, name, value):
        patch = mock.patch.object(where, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def git(self, where, *words):
        subprocess.run(["git", "-C", where, *words], check=True, capture_output=True,
                       env={**os.environ, **WHO})

    def change(self, file, old, new, subject):
        where = patches.edit("linux")
        path = where / file
        path.write_text(path.read_text().replace(old, new))
        self.git(where, "commit", "-qam", f"{subject}\n\nA reason.\n\nSigned-off-by: A B <a@b.c>")

    def two(self):
        self.change("a.c", "line 3\n", "line three\n", "mm: first")
        self.change("a.c", "line 30\n", "line thirty\n", "KVM: second")
        patches.refresh("linux")

    def test_refresh_and_sync_give_the_edited_tree(self):
        self.two()
        self.assertEqual((self.folder / "series").read_text(),
                         "0001-mm-first.patch\n0002-KVM-second.patch\n")
        tree, _ = patches.sync("linux")
        self.assertEqual((tree / "a.c").read_text(), (series.edit("linux") / "a.c").read_text())
        self.assertEqual(patches.text(tree, "log", "-2", "--format=%s %an"),
                         "KVM: second A B\nmm: first A B")

    def test_refresh_is_stable(self):
        self.two()
        files = {p: p.read_bytes() for p in self.folder.iterdir()}
        edit = series.edit("linux")
        self.git(self.source, "worktree", "remove", "--force", str(edit))
        patches.edit("linux")
        patches.refresh("linux")
        self.assertEqual({p: p.read_bytes() for p in self.folder.iterdir()}, files)
        self.assertFalse(any(check.form(p) for p in files if p.suffix == ".patch"))

    def test_refresh_removes_what_is_no_more(self):
        self.two()
        self.git(series.edit("linux"), "reset", "-q", "--hard", "HEAD~1")
        patches.refresh("linux")
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()),
                         ["0001-mm-first.patch", "base", "series"])

    def test_a_cover_letter_is_kept_and_counts_the_patches(self):
        self.two()
        letter = self.folder / "0000-cover-letter.patch"
        letter.write_text("Subject: [PATCH 00/02] mm: two changes\n\nWhy.\n")
        before = letter.read_bytes()
        self.change("a.c", "line 20\n", "line twenty\n", "mm: third")
        patches.refresh("linux")
        self.assertEqual(letter.read_bytes(), before)
        self.assertEqual([p.name for p in patches.files("linux")],
                         ["0001-mm-first.patch", "0002-KVM-second.patch", "0003-mm-third.patch"])
        check.listed("linux")
        with self.assertRaisesRegex(ui.Fail, "has 3 patches, and its cover letters say 2"):
            mail.letters("linux")
        letter.write_text(before.decode().replace("00/02", "00/03"))
        self.assertEqual([one.patches for one in mail.letters("linux")], [3])

    def test_a_series_of_parts_has_a_letter_for_each(self):
        self.two()
        for number, name in enumerate(("first", "second"), 1):
            (self.folder / f"cover-letter-{number}-{name}").write_text(
                f"Subject: [RFC PATCH 0/1] mm: the {name}\n\nWhy.\n")
        parts = [(one.name, one.patches, one.subject) for one in mail.letters("linux")]
        self.assertEqual(parts, [("1-first", 1, "mm: the first"),
                                 ("2-second", 1, "mm: the second")])

    def test_the_list_of_a_readme_is_renewed_and_checked(self):
        self.two()
        readme = self.folder / "README.md"
        before = "# A series\n\n"
        readme.write_text(before + "- **0001 KVM: second.**\n  because\n"
                                   "- **0002 mm: old.**\n  why\n\nMore.\n")
        with self.assertRaisesRegex(ui.Fail, "README.md is not that of the patches; run"):
            rows.check("linux")
        rows.refresh("linux")
        # A text that was written for a subject stays with it.
        self.assertEqual(readme.read_text(), before + "- **0001 mm: first.**\n  because\n"
                                                      "- **0002 KVM: second.**\n  because\n"
                                                      "\nMore.\n")
        rows.check("linux")
        long = "mm: third, with a subject that alone would fill more than a line of text"
        self.change("a.c", "line 20\n", "line twenty\n", long)
        patches.refresh("linux")
        rows.refresh("linux")
        self.assertIn("\n- **0003 mm: third, with a subject that alone would fill more than a line "
                      "of\n  text.**\n\nMore.\n", readme.read_text())
        with self.assertRaisesRegex(ui.Fail, "does not say what 0003 is for; write it there"):
            rows.check("linux")
        readme.write_text(readme.read_text().replace("text.**\n", "text.**\n  for\n  two\n"))
        rows.check("linux")

    def test_a_folder_without_a_readme_gets_one_with_the_list(self):
        self.two()
        rows.check("linux")
        rows.refresh("linux")
        text = (self.folder / "README.md").read_text()
        self.assertIn("# The kernel series: linux-1\n", text)
        self.assertTrue(text.endswith("\n\n- **0001 mm: first.**\n- **0002 KVM: second.**\n"))
        with self.assertRaisesRegex(ui.Fail, "does not say what 0001 is for; write it there"):
            rows.check("linux")

    def test_a_folder_without_patches_gets_no_readme(self):
        rows.refresh("linux")
        self.assertFalse((self.folder / "README.md").exists())

    def test_what_is_for_users_has_a_list_of_its_own(self):
        self.two()
        readme = self.folder / "README.md"
        readme.write_text("- **0001 mm: first.**\n  For the lab: a\n"
                          "- **0002 KVM: second.**\n  For users: b\n")
        users = self.folder / "series-users"
        with self.assertRaisesRegex(ui.Fail, "series-users is not what the list of README.md "
                                             "says; run: kvmspf patches refresh linux"):
            rows.check("linux")
        rows.refresh("linux")
        self.assertEqual(users.read_text(), "0002-KVM-second.patch\n")
        rows.check("linux")
        self.assertEqual([p.name for p in patches.files("linux", rows.USERS)],
                         ["0002-KVM-second.patch"])
        # An item of QEMU's says for whom it is.
        with mock.patch.dict(rows.BEGINS, linux=rows.BEGINS["qemu"]):
            rows.check("linux")
            readme.write_text(readme.read_text().replace("For the lab: a", "a"))
            with self.assertRaisesRegex(ui.Fail, "does not say what 0001 is for"):
                rows.check("linux")
        # It applies without the other, unless it needs that.
        self.assertEqual(len(patches.apply("linux", rows.USERS)), 1)
        self.change("a.c", "line three\n", "line 3.0\n", "mm: third")
        patches.refresh("linux")
        users.write_text("0003-mm-third.patch\n")
        with self.assertRaisesRegex(ui.Fail, "0003-mm-third.patch does not apply"):
            patches.apply("linux", rows.USERS)

    def test_refresh_in_the_middle_of_a_rebase_loses_nothing(self):
        self.two()
        files = {p: p.read_bytes() for p in self.folder.iterdir()}
        edit = series.edit("linux")
        subprocess.run(["git", "-C", edit, "-c", "sequence.editor=sed -i 1s/pick/edit/", "rebase",
                        "-qi", "base"],
                       check=True, capture_output=True, env={**os.environ, **WHO})
        with self.assertRaisesRegex(ui.Fail, "a rebase is under way"):
            patches.refresh("linux")
        self.assertEqual({p: p.read_bytes() for p in self.folder.iterdir()}, files)
        self.git(edit, "rebase", "--abort")
        patches.refresh("linux")

    def test_refresh_of_a_part_of_the_series_loses_nothing(self):
        self.two()
        files = {p: p.read_bytes() for p in self.folder.iterdir()}
        edit = series.edit("linux")
        self.git(edit, "checkout", "-q", "--detach", "HEAD~1")
        with self.assertRaisesRegex(ui.Fail, "HEAD lacks 1 of the commits of spf"):
            patches.refresh("linux")
        self.assertEqual({p: p.read_bytes() for p in self.folder.iterdir()}, files)
        self.git(edit, "checkout", "-q", "spf")
        patches.refresh("linux")

    def test_sync_touches_only_what_changes(self):
        self.two()
        tree, head = patches.sync("linux")
        before = (tree / "b.c").stat().st_mtime_ns
        time.sleep(0.02)
        self.change("a.c", "line 20\n", "line twenty\n", "mm: third")
        patches.refresh("linux")
        tree, after = patches.sync("linux")
        self.assertNotEqual(head, after)
        self.assertIn("line twenty", (tree / "a.c").read_text())
        self.assertEqual((tree / "b.c").stat().st_mtime_ns, before)

    def test_sync_that_was_killed_is_done_again(self):
        self.two()
        tree, head = patches.sync("linux")
        ui.forget("tree-linux-1")
        (tree / "b.c").unlink()
        Path(tree, patches.text(tree, "rev-parse", "--git-path", "index.lock")).touch()
        self.assertEqual(patches.sync("linux"), (tree, head))
        self.assertTrue((tree / "b.c").exists())

    @staticmethod
    def offers(tree):
        return "line thirty\n" in (tree / "a.c").read_text()

    def test_what_the_series_changes_is_compiled_after_each_patch(self):
        self.two()
        option, compiled = "CONFIG_SPECULATIVE_FAULT=y", []
        self.replace(apt, "packages", lambda names: None)
        self.replace(configs, "EACH", ["all"])
        self.replace(configs, "configurations", lambda: [configs.x86("all", lines=[option]),
                                                         configs.x86("other")])
        self.replace(configs, "offered", self.offers)
        self.replace(configs, "compile_objects", lambda config, tree, files, _start:
                     compiled.append((config.name, self.offers(tree), files, config.lines)))
        commits = list(zip(patches.files("linux"), patches.apply("linux")))
        for expected in ([("all", False, ["a.c"], []), ("all", True, ["a.c"], [option])], []):
            compiled.clear()
            with contextlib.redirect_stdout(io.StringIO()):
                configs.check_each(commits)
            self.assertEqual(compiled, expected)

    def test_each_patch_is_built_with_the_option_on_and_off_and_booted(self):
        self.two()
        made, booted = [], []
        self.replace(paths, "OBJ", self.top / "obj")

        def compile_kernel(tree, target, files):
            lines, _ = check.kernels.wanted(files)
            made.append((target, "line thirty\n" in (tree / "a.c").read_text(),
                         lines["CONFIG_SPECULATIVE_FAULT"]))

        class Lab:
            def __init__(self, kernel, **_):
                booted.append(kernel)

            def run(self, _argv):
                return outcome.Result("exit", 0)

        self.replace(check.kernels, "compile_tree", compile_kernel)
        self.replace(check.x86, "Lab", Lab)
        self.replace(check, "checkpatch", lambda what, patch: [])
        self.replace(configs, "offered", self.offers)
        self.replace(patches, "version", lambda what: "1")
        check.check("linux", True, True)
        on, off = "CONFIG_SPECULATIVE_FAULT=y", "# CONFIG_SPECULATIVE_FAULT is not set"
        self.assertEqual(made, [("linux-check-off", False, off), ("linux-check-off", True, off),
                                ("linux-check-on", True, on)])
        self.assertEqual(len(booted), 3)

    def test_configurations_that_passed_are_not_compiled_again(self):
        self.two()
        self.replace(apt, "packages", lambda names: None)
        self.replace(configs, "configurations",
                     lambda seed: [configs.x86(f"some-{seed}"), configs.x86("other")])
        compiled, bad = [], []

        def compile_objects(config, _tree, files, _start):
            compiled.append(config.name)
            if config.name in bad:
                raise ui.Fail("a.c:1: error: x")
            return len(files)

        def check(seed=1):
            compiled.clear()
            with contextlib.redirect_stdout(io.StringIO()):
                counts = configs.check(patches.sync("linux")[0], seed)
            return compiled, counts

        self.replace(configs, "compile_objects", compile_objects)
        self.assertEqual(check(), (["some-1", "other"], {"some-1": 1, "other": 1}))
        self.assertEqual(check(), ([], {"some-1": 1, "other": 1}))
        self.assertEqual(check(2)[0], ["some-2"])
        self.change("a.c", "line 20\n", "line twenty\n", "mm: third")
        patches.refresh("linux")
        bad.append("other")
        with self.assertRaisesRegex(ui.Fail, "1 of 2 configurations"):
            check()
        self.assertEqual(compiled, ["some-1", "other"])
        bad.clear()
        self.assertEqual(check()[0], ["other"])

    def test_patch_that_does_not_apply_is_named_in_one_line(self):
        self.two()
        patch = self.folder / "0002-KVM-second.patch"
        patch.write_text(patch.read_text().replace(" line 29\n", " line twenty-nine\n"))
        with self.assertRaises(ui.Fail) as caught:
            patches.sync("linux")
        self.assertRegex(str(caught.exception),
                         r"^0002-KVM-second\.patch does not apply: .*a\.c.*; "
                         "kvmspf patches edit ")
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(ui.recall("tree-linux-1"), {})

    def test_a_series_for_another_version_is_mended_in_the_edit_tree(self):
        self.two()
        old, other = self.folder, self.folder.parent / "linux-2"
        shutil.copytree(old, other)
        (other / "base").write_text("package linux-source-2\nversion 2\n")
        later = series.src("linux").with_name("linux-2")
        shutil.copytree(self.source, later, ignore=shutil.ignore_patterns("worktrees"))
        text = (later / "a.c").read_text().replace("line 33\n", "line thirty-three\n")
        (later / "a.c").write_text(text)
        self.git(later, "checkout", "-q", "master")
        self.git(later, "commit", "-qam", "later")
        self.git(later, "tag", "-f", "base")
        series.use("linux-2")
        said = []
        self.replace(ui, "say", said.append)
        where = patches.edit("linux")
        self.assertRegex(said[0],
                         r"^0002-KVM-second\.patch does not apply: .*; the worktree ends ")
        self.assertEqual(patches.text(where, "log", "-1", "--format=%s"), "mm: first")
        self.git(where, "am", "-C1", other / "0002-KVM-second.patch")
        patches.refresh("linux")
        tree, _ = patches.sync("linux")
        self.assertIn("line thirty\nline 31\nline 32\nline thirty-three\n",
                      (tree / "a.c").read_text())

    def test_series_and_files_agree(self):
        self.two()
        (self.folder / "0003-stray.patch").write_text("")
        with self.assertRaisesRegex(ui.Fail, "does not name 0003-stray.patch"):
            check.listed("linux")
        (self.folder / "0003-stray.patch").unlink()
        (self.folder / "0001-mm-first.patch").unlink()
        with self.assertRaisesRegex(ui.Fail, "names 0001-mm-first.patch, which does not exist"):
            check.listed("linux")

    def test_state_sees_work_that_is_not_committed(self):
        where = patches.edit("linux")
        states = [patches.state(where)]
        (where / "b.c").write_text("c\n")
        states.append(patches.state(where))
        (where / "new.c").write_text("new\n")
        states.append(patches.state(where))
        # As Debian's source of the kernel has it.
        (where / ".gitignore").write_text("/*\n!/debian/\n")
        self.git(where, "add", "-f", ".gitignore")
        states.append(patches.state(where))
        (where / "new.c").write_text("newer\n")
        states.append(patches.state(where))
        self.assertEqual(len(set(states)), 5)

    def test_no_series_is_the_plain_source(self):
        tree, head = patches.sync("linux")
        self.assertEqual(head, patches.base("linux"))
        self.assertEqual((tree / "b.c").read_text(), "b\n")


if __name__ == "__main__":
    unittest.main()
