#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run litmus tests under the Linux kernel's memory model.

A test is tests/model/litmus/NAME.litmus, and its comment has `Result: Never`.  A barrier's line
ends with a comment that has the line's replacement without the rule:

    smp_wmb();                  // without
    r = smp_load_acquire(x);    // without: r = READ_ONCE(*x);

Each such line gives a variant of the test, whose result must be `Sometimes`.  Lines that are
replaced together have a letter in common, as in `// without A` and `// without B: smp_mb();`.  `||`
separates two such comments of a line.

Herd7 is Debian's of a newer suite, with its own libc, under build/.  The memory model is that of
the series' kernel.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1] / "scripts"), str(HERE.parents[1])]

from spf import arguments, series, ui  # noqa: E402
from spf.source import debroot, fetch  # noqa: E402

LITMUS = HERE / "litmus"
SUITE = "forky"
LIMIT = 120
BREAK = re.compile(r"without(?: ([A-Z]))?(?:: (.*))?$")


def names():
    return sorted(file.stem for file in LITMUS.glob("*.litmus"))


def text(name):
    file = LITMUS / f"{name}.litmus"
    if not file.exists():
        raise ui.Fail(f"there is no litmus test '{name}'", f"there are {', '.join(names())}", 2)
    return file.read_text(encoding="utf-8")


def expected(name):
    found = re.search(r"^ \* Result: (\w+)$", text(name), re.M)
    if not found:
        raise ui.Fail(f"{name}.litmus does not say its result", "see tests/model/herd.py")
    return found[1]


def broken(line):
    """[(letter or '', the replacement)] of one line."""
    _, mark, comment = line.partition("// without")
    if not mark:
        return []
    parts = [BREAK.match(part.strip()) for part in ("without" + comment).split("||")]
    if not all(parts):
        raise ui.Fail(f"'{line.strip()}' is not understood", "see tests/model/herd.py")
    return [(part[1] or "", part[2] or "") for part in parts]


def variants(name):
    """{the rule taken away: the text}"""
    lines = text(name).splitlines()
    together, found = {}, {}
    for number, line in enumerate(lines):
        for letter, instead in broken(line):
            key = letter or f"line {number + 1}"
            together.setdefault(key, {})[number] = instead
    for key, changed in together.items():
        was = " ".join(lines[n].partition("//")[0].strip() for n in sorted(changed))
        found[f"without {was} ({key})"] = "\n".join(
            changed.get(n, line) for n, line in enumerate(lines)) + "\n"
    return found


class Herd:
    def __init__(self):
        fetch.sources("linux")
        self.model = series.src("linux") / "tools/memory-model"
        where = debroot.newer(SUITE, ["herdtools7"])
        self.words = [*debroot.words(where, "usr/bin/herd7"),
                      "-set-libdir", where / "usr/share/herdtools7/herd",
                      "-conf", "linux-kernel.cfg"]

    def result(self, litmus):
        """Run herd7; return Never, Sometimes or Always."""
        # herd7 knows no comments of this kind.
        plain = re.sub(r"[ \t]*//.*", "", litmus)
        with tempfile.NamedTemporaryFile("w", suffix=".litmus", encoding="utf-8") as file:
            file.write(plain)
            file.flush()
            done = subprocess.run([*self.words, file.name], cwd=self.model, capture_output=True,
                                  text=True, timeout=LIMIT, check=False)
        said = done.stdout + done.stderr
        found = re.search(r"^Observation \S+ (\w+) ", done.stdout, re.M)
        if done.returncode or not found or "Warning" in said:
            raise ui.Fail(f"herd7 gives no result: {ui.last_line(said)}",
                          "see tests/model/herd.py")
        return found[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=arguments.Help)
    parser.add_argument("name", nargs="*", help="a test of tests/model/litmus (default: all)")
    chosen = parser.parse_args().name or names()
    for name in chosen:
        text(name)
    herd, bad = Herd(), 0
    for name in chosen:
        rows = [("as it is", text(name), expected(name))]
        rows += [(what, variant, "Sometimes") for what, variant in variants(name).items()]
        for what, litmus, wanted in rows:
            result = herd.result(litmus)
            bad += result != wanted
            print(f"{name}: {what}: {result}" + (f", not {wanted}" if result != wanted else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        print(f"herd.py: {failure}", file=sys.stderr)
        sys.exit(failure.status)
