# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of patches in the README.md of a series.  Each patch has an item.  Number and subject
come from the patch; a person writes the rest."""

import re
import textwrap

from spf import series, ui
from spf.source import patches

# Number, subject, and the text below it.
ITEM = re.compile(r"^- \*\*(\d{4}) (.*?(?:\n  .*?)*?)\.\*\*(.*(?:\n  .*)*)", re.M)
# The names of the patches that the list says are for users.  Packages are made of them.
USERS = "series-users"
# A README.md for a folder that has none, without its list.
NEW = """\
<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# The {title} series: {one.name}

Applies to version {one.version} of Debian's {one.package}, in the order of `series`.

"""
TITLES = {"linux": "kernel", "qemu": "QEMU"}
# What the text of an item begins with.
BEGINS = {"linux": r"\S", "qemu": r"For (users|the lab): \S"}


def subject(patch):
    found = re.search(r"^Subject: \[PATCH\] (.*(?:\n .*)*)", patch.read_text(errors="replace"),
                      re.M)
    return re.sub(r"\s+", " ", found[1])


def item(patch, rest=""):
    return textwrap.fill(f"- **{patch.name[:4]} {subject(patch)}.**", 80, subsequent_indent="  ",
                         break_on_hyphens=False) + rest


def new_readme(what, files):
    """The text of a README.md for a folder that has none."""
    text = NEW.format(one=series.of(what), title=TITLES[what])
    return text + "".join(f"{item(patch)}\n" for patch in files)


def renewed(text, files):
    """The text with an item for each patch.  The part written by hand stays with the subject, or
    else with the number.  It is empty for a new patch."""
    old = list(ITEM.finditer(text))
    if not old:
        return text
    by_subject = {" ".join(one[2].split()): one[3] for one in old}
    by_number = {one[1]: one[3] for one in old}
    items = [item(patch, by_subject.get(subject(patch), by_number.get(patch.name[:4], "")))
             for patch in files]
    return text[:old[0].start()] + "\n".join(items) + text[old[-1].end():]


def users(text, files):
    """The text of the file USERS, made from the list; empty if no item is for users."""
    wanted = {one[1] for one in ITEM.finditer(text) if one[3].split()[:2] == ["For", "users:"]}
    return "".join(f"{patch.name}\n" for patch in files if patch.name[:4] in wanted)


def refresh(what):
    file, files = series.of(what).folder / "README.md", patches.files(what)
    old = file.read_text() if file.exists() else ""
    if not old and not files:
        return
    new = renewed(old, files) if old else new_readme(what, files)
    if new != old:
        file.write_text(new)
        ui.say(f"{ui.shown(file)}: the list of patches has changed; read it")
    listed, names = file.parent / USERS, users(new, files)
    if names or listed.exists():
        listed.write_text(names)


def check(what):
    """Check that each patch has an item, with its own subject, and with a text."""
    file = series.of(what).folder / "README.md"
    if not file.exists():
        return
    text = file.read_text()
    if renewed(text, patches.files(what)) != text:
        raise ui.Fail(f"the list of {ui.shown(file)} is not that of the patches",
                      f"run: kvmspf patches refresh {what}{series.words(what)}")
    listed = file.parent / USERS
    if users(text, patches.files(what)) != (listed.read_text() if listed.exists() else ""):
        raise ui.Fail(f"{ui.shown(listed)} is not what the list of {file.name} says",
                      f"run: kvmspf patches refresh {what}{series.words(what)}")
    for one in ITEM.finditer(text):
        if not re.match(BEGINS[what], one[3].lstrip()):
            raise ui.Fail(f"{ui.shown(file)} does not say what {one[1]} is for", "write it there")
