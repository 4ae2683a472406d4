# SPDX-License-Identifier: GPL-2.0-or-later
"""A table of rows that the lab runs in every mode: tests/matrix and tests/waits."""

import json

from spf.build import targets
from spf.lab import x86
from spf.source import apt
from tests.lib import native


def results(rows, script, numbers, kernel, **lab):
    """[(row, {mode: the result})].  The script runs in the lab, with the program and the rows'
    numbers as its arguments, and prints a line of JSON for each row and mode.  No numbers: all
    rows."""
    apt.packages(["e2fsprogs", "util-linux"])
    return by_row(rows, lines(script, numbers, kernel, numa=2, **lab))


def by_row(rows, said):
    """[(row, {mode: the result})]"""
    found = {}
    for result in said:
        found.setdefault(result["row"], {})[result["mode"]] = result
    return [(rows[number], modes) for number, modes in found.items()]


def lines(script, words=(), kernel="patched", **lab):
    """What a script prints in the lab, a line of JSON each.  Its arguments are the program of
    tests/matrix, and the words."""
    targets.bring_up_to_date(kernel)
    done = x86.Lab(kernel, cpus=2, **lab).run(["/usr/bin/python3", script,
                                               native.program("matrix"), *words])
    if (done.kind, done.status) != ("exit", 0) or done.trouble:
        said = [done.kind, done.what, done.out.decode(), done.err.decode()]
        raise AssertionError("\n".join([*said, *done.trouble]))
    return [json.loads(line) for line in done.out.decode().splitlines()]


def first_of_each(rows, kind):
    """The number of the first row of each kind, as arguments for the script."""
    first = {}
    for number, row in enumerate(rows):
        first.setdefault(kind(row), number)
    return [str(number) for number in first.values()]


def arguments(parser, rows):
    """Parse the command line; return the arguments, and the numbers of the rows that it names, or
    of all rows."""
    parser.add_argument("row", nargs="*", help="only rows whose name has this")
    parser.add_argument("--kernel", default="patched")
    args = parser.parse_args()
    numbers = [n for n, row in enumerate(rows)
               if not args.row or any(word in row.name for word in args.row)]
    if not numbers:
        parser.error(f"no row has {' or '.join(args.row)} in its name")
    return args, numbers


def markdown(heading, rows):
    """The lines of a table."""
    title, *lines = ["| " + " | ".join(map(str, row)) + " |" for row in (heading, *rows)]
    return "\n".join([title, "|" + "---|" * len(heading), *lines])


def report(found, faults_of, name):
    """Print what is wrong; return the exit status."""
    bad = [f"{name(row)}: {text}" for row, modes in found for text in faults_of(row, modes)]
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0
