# SPDX-License-Identifier: GPL-2.0-or-later
"""The mails that would send a series for review: format-patch's, with the recipients that
get_maintainer.pl names.  Nothing is sent.

A series may have parts, each of which would be sent by itself: then it has a cover letter for each
of them, cover-letter-N-NAME, instead of 0000-cover-letter.patch."""

import re
import shutil
import subprocess
from collections import namedtuple

from spf import paths, series, ui
from spf.source import patches

# name: the part's, or "".  patches: how many it has.
Letter = namedtuple("Letter", "name patches subject text")
# Mailing lists hold back a mail with this many recipients.
MANY = 40


def recipients(tree, patch):
    """Address -> role of everyone that MAINTAINERS names for a patch's files, without its
    author."""
    done = subprocess.run(["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback",
                           patch], cwd=tree, capture_output=True, text=True,
                          preexec_fn=ui.die_with_parent)
    if done.returncode:
        raise ui.Fail(f"get_maintainer.pl: {ui.last_line(done.stderr)}", f"see {ui.shown(patch)}")
    author = re.search(r"^From: .*(?:\n .*)*?<(.*)>$", patch.read_text(), re.M)[1]
    named = [line.partition(" (") for line in done.stdout.splitlines()]
    return {address: role for address, _, role in named
            if "@" in address and author not in address}


def sorted_out(roles, letter=False):
    """(To, Cc): maintainers and the rest.  The cover letter, and a patch without maintainers, go to
    the lists."""
    to = [a for a, role in roles.items() if role.startswith(("maintainer", "supporter"))]
    if letter or not to:
        to = [a for a, role in roles.items() if "open list" in role]
    return to, [a for a in roles if a not in to]


def letters(what):
    """The cover letter of each part of a series, in order."""
    one, found = series.of(what), []
    for file in patches.letters(what):
        head, _, body = file.read_text().partition("\n\n")
        subject = re.search(r"^Subject: \[.*?\b0+/(\d+)\] (.*(?:\n .*)*)", head, re.M)
        if not subject:
            raise ui.Fail(f"{ui.shown(file)} has no subject that begins with [PATCH 0/N]",
                          "N is the number of the part's patches")
        found.append(Letter(file.name.partition("cover-letter-")[2].removesuffix(".patch"),
                            int(subject[1]), re.sub(r"\s+", " ", subject[2]),
                            re.sub(r"\n-- \n.*\Z", "\n", body, flags=re.S)))
    if not found:
        raise ui.Fail(f"the series {one.name} has no {patches.LETTER}",
                      "write one: a Subject line, an empty line, the text")
    number, said = len(patches.files(what)), sum(letter.patches for letter in found)
    if said != number:
        raise ui.Fail(f"the series {one.name} has {number} patches, and its cover letters say "
                      f"{said}", "correct the number in a subject, [PATCH 0/N]")
    return found


def address(mail, to, copies):
    """Put To and Cc below the subject, which may be folded."""
    fields = [f"{name}: " + ",\n ".join(addresses)
              for name, addresses in (("To", to), ("Cc", copies)) if addresses]
    text = mail.read_text()
    at = re.search(r"^Subject: .*\n(?: .*\n)*", text, re.M).end()
    mail.write_text(text[:at] + "".join(f"{field}\n" for field in fields) + text[at:])


def write(tree, letter, span, folder, version, base):
    """Write the mails of a part, whose commits are `span`.  Return a row for each: name, number of
    To, number of Cc."""
    folder.mkdir(parents=True)
    patches.git(tree, "format-patch", "--quiet", "--rfc", f"--reroll-count={version}",
                "--cover-letter", "--thread=shallow", "--signature=", "-o", folder, span)
    mails = sorted(folder.glob("*.patch"))
    named = [recipients(tree, mail) for mail in mails[1:]]
    everyone = {address: role for roles in named for address, role in roles.items()}
    text = mails[0].read_text().replace("*** SUBJECT HERE ***", letter.subject)
    mails[0].write_text(text.replace("*** BLURB HERE ***", f"{letter.text.strip()}\n\n{base}"))
    rows = []
    for mail, roles in zip(mails, [everyone, *named]):
        to, copies = sorted_out(roles, letter=mail is mails[0])
        address(mail, to, copies)
        rows.append((mail.name, len(to), len(copies)))
    return rows


def write_all(what, version):
    """Write the mails of each part.  Return (letter, folder, rows) of each."""
    one, (tree, head) = series.of(what), patches.sync(what)
    commits = patches.text(tree, "rev-list", "--reverse", f"{patches.base(what)}..{head}").split()
    base = f"The series is for Debian's {one.package}, {patches.version(what)}."
    target = paths.OUT / "mail" / one.name
    new = target.with_name(f".{one.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    written, last = [], patches.base(what)
    for letter in letters(what):
        part, commits = commits[:letter.patches], commits[letter.patches:]
        rows = write(tree, letter, f"{last}..{part[-1]}", new / letter.name, version, base)
        written.append((letter, target / letter.name, rows))
        last = part[-1]
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    return written


def main(what, version):
    for letter, folder, rows in write_all(what, version):
        width = max(len(name) for name, _, _ in rows)
        print(f"{'mail':{width}}   To   Cc")
        print("\n".join(f"{name:{width}}  {to:3}  {cc:3}" for name, to, cc in rows))
        ui.say(f"{len(rows)} mails are in {ui.shown(folder)}; nothing has been sent")
        if sum(rows[0][1:]) > MANY:
            ui.say(f"the letter has {sum(rows[0][1:])} recipients: lists hold such a mail back, "
                   "so send it to fewer")
