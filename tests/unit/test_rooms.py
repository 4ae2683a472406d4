# SPDX-License-Identifier: GPL-2.0-or-later
"""The rooms of scripts/spf import only from lower floors, and no files of one room import each
other in a circle."""

import ast
import os
import re
import unittest

from spf import main, paths

SPF = paths.SCRIPTS / "spf"
# A room imports rooms of lower floors, and its own modules.  "" stands for the files beside the
# rooms.
FLOORS = {"": 0, "source": 1, "report": 1, "build": 2, "lab": 3, "compare": 4, "testing": 4,
          "main": 5}


def modules():
    """{name without "spf.": file}"""
    files = {".".join(p.relative_to(SPF).with_suffix("").parts): p for p in SPF.rglob("*.py")}
    return {name.removesuffix(".__init__"): p for name, p in files.items() if name != "__init__"}


def room(name):
    return name if name == "main" else name.rpartition(".")[0].partition(".")[0]


def imports(file, known):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module == "spf"
                                                 or (node.module or "").startswith("spf.")):
            where = node.module.removeprefix("spf").lstrip(".")
            for alias in node.names:
                name = f"{where}.{alias.name}".lstrip(".")
                yield name if name in known else where


class Rooms(unittest.TestCase):
    def setUp(self):
        self.files = {name: file for name, file in modules().items() if name not in FLOORS
                      or name == "main"}
        self.uses = {name: set(imports(file, self.files)) for name, file in self.files.items()}

    def test_each_looks_down_only(self):
        bad = [f"{name} uses {used}" for name, all_used in self.uses.items() for used in all_used
               if room(used) != room(name) and FLOORS[room(used)] >= FLOORS[room(name)]]
        self.assertEqual(bad, [])
        self.assertLessEqual(len(set(FLOORS.values())), 6)
        self.assertEqual({room(name) for name in self.uses}, set(FLOORS))

    def test_no_circle(self):
        left = {name: used & self.uses.keys() - {name} for name, used in self.uses.items()}
        # A package's __init__ imports the modules of the package, and they do not import it.
        while free := [name for name, used in left.items() if not used & left.keys()]:
            for name in free:
                del left[name]
        self.assertEqual(sorted(left), [])

    def test_tests_find_what_they_import_without_help(self):
        """Only programs that are started by hand set sys.path; no other file of tests/ does."""
        bad = [str(p.relative_to(paths.ROOT)) for p in (paths.ROOT / "tests").rglob("*.py")
               if re.search(r"^sys\.path", p.read_text(), re.M) and not os.access(p, os.X_OK)]
        self.assertEqual(bad, [])

    def test_main_knows_verbs_that_are_there(self):
        self.assertEqual([name for name, _ in main.VERBS.values() if name not in self.uses], [])


if __name__ == "__main__":
    unittest.main()
