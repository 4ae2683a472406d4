# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of patches in the README.md of a series.  Each patch has a row.  Number and subject
come from the patch; a person writes the rest."""

import re

from spf import series, ui
from spf.source import patches

ROW = re.compile(r"^\| (\d{4}) \| (.*?) \| (.*) \|$")
# The names of the patches that the table says are for users.  Packages are made of them.
USERS = "series-users"


def subject(patch):
    found = re.search(r"^Subject: \[PATCH\] (.*(?:\n .*)*)", patch.read_text(errors="replace"),
                      re.M)
    return re.sub(r"\s+", " ", found[1]).replace("|", r"\|")


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
        rest = by_subject.get(named, by_number.get(number, blank))
        rows.append(f"| {number} | {named} | {rest} |")
    first, last = old[0][0], old[-1][0]
    return "\n".join([*lines[:first], *rows, *lines[last + 1:]]) + "\n"


def readme(what):
    file = series.of(what).folder / "README.md"
    return file if file.exists() else None


def users(text, files):
    """What the file USERS has to say, of the table's text; empty where no row is for users."""
    wanted = {found[1] for line in text.splitlines()
              if (found := ROW.match(line)) and found[3].startswith("users | ")}
    return "".join(f"{patch.name}\n" for patch in files if patch.name[:4] in wanted)


def refresh(what):
    if file := readme(what):
        old = file.read_text()
        new = renewed(old, patches.files(what))
        if new != old:
            file.write_text(new)
            ui.say(f"{ui.shown(file)}: the table of patches has changed; read it")
        listed, names = file.parent / USERS, users(new, patches.files(what))
        if names or listed.exists():
            listed.write_text(names)


def check(what):
    """Check that each patch has a row, with its own subject, and with a text that is not empty."""
    file = readme(what)
    if not file:
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
