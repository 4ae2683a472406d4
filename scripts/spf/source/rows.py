# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of patches in the README.md of a series.  Each patch has a row.  Number and subject
come from the patch; a person writes the rest."""

import re

from spf import series, ui
from spf.source import patches

ROW = re.compile(r"^\| (\d{4}) \| (.*?) \| (.*) \|$")
# The names of the patches that the table says are for users.  Packages are made of them.
USERS = "series-users"
# A README.md for a folder that has none, and the columns of its table.
NEW = """\
<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# The {title} series: {one.name}

Applies to version {one.version} of Debian's {one.package}, in the order of `series`.

| {columns} |
|{lines}
"""
TITLES = {"linux": "kernel", "qemu": "QEMU"}
COLUMNS = {"linux": ["patch", "subject", "what for"],
           "qemu": ["patch", "subject", "for", "what it does"]}


def subject(patch):
    found = re.search(r"^Subject: \[PATCH\] (.*(?:\n .*)*)", patch.read_text(errors="replace"),
                      re.M)
    return re.sub(r"\s+", " ", found[1]).replace("|", r"\|")


def row(patch, rest):
    return f"| {patch.name[:4]} | {subject(patch)} | {rest} |"


def new_readme(what, files):
    """The text of a README.md for a folder that has none."""
    columns = COLUMNS[what]
    text = NEW.format(one=series.of(what), title=TITLES[what], columns=" | ".join(columns),
                      lines="---|" * len(columns))
    blank = " | ".join("" for _ in columns[2:])
    return text + "".join(f"{row(patch, blank)}\n" for patch in files)


def renewed(text, files):
    """The text with a row for each patch.  The part written by hand stays with the subject, or else
    with the number.  It is empty for a new patch."""
    lines = text.splitlines()
    old = [(at, *ROW.match(line).groups()) for at, line in enumerate(lines) if ROW.match(line)]
    if not old:
        return text
    by_subject = {named: rest for _, _, named, rest in old}
    by_number = {number: rest for _, number, named, rest in old}
    blank = " | ".join("" for _ in old[0][3].split(" | "))
    rows = []
    for patch in files:
        number, named = patch.name[:4], subject(patch)
        rows.append(row(patch, by_subject.get(named, by_number.get(number, blank))))
    first, last = old[0][0], old[-1][0]
    return "\n".join([*lines[:first], *rows, *lines[last + 1:]]) + "\n"


def users(text, files):
    """The text of the file USERS, made from the table; empty if no row is for users."""
    wanted = {found[1] for line in text.splitlines()
              if (found := ROW.match(line)) and found[3].startswith("users | ")}
    return "".join(f"{patch.name}\n" for patch in files if patch.name[:4] in wanted)


def refresh(what):
    file, files = series.of(what).folder / "README.md", patches.files(what)
    old = file.read_text() if file.exists() else ""
    if not old and not files:
        return
    new = renewed(old, files) if old else new_readme(what, files)
    if new != old:
        file.write_text(new)
        ui.say(f"{ui.shown(file)}: the table of patches has changed; read it")
    listed, names = file.parent / USERS, users(new, files)
    if names or listed.exists():
        listed.write_text(names)


def check(what):
    """Check that each patch has a row, with its own subject, and with a text that is not empty."""
    file = series.of(what).folder / "README.md"
    if not file.exists():
        return
    text = file.read_text()
    if renewed(text, patches.files(what)) != text:
        raise ui.Fail(f"the table of {ui.shown(file)} is not that of the patches",
                      f"run: kvmspf patches refresh {what}{series.words(what)}")
    listed = file.parent / USERS
    if users(text, patches.files(what)) != (listed.read_text() if listed.exists() else ""):
        raise ui.Fail(f"{ui.shown(listed)} is not what the table of {file.name} says",
                      f"run: kvmspf patches refresh {what}{series.words(what)}")
    for line in text.splitlines():
        found = ROW.match(line)
        if found and not all(cell.strip() for cell in found[3].split(" | ")):
            raise ui.Fail(f"{ui.shown(file)} does not say what {found[1]} is for", "write it there")
