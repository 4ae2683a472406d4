# SPDX-License-Identifier: GPL-2.0-or-later
"""The mails that would send a series for review: format-patch's, with the recipients that
get_maintainer.pl names.  Nothing is sent."""

import re
import shutil
import subprocess

from spf import paths, series, ui
from spf.source import patches

COVER = "0000-cover-letter.patch"
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


def letter(what):
    """(subject, text) of the series' cover letter."""
    one = series.of(what)
    if not (one.folder / COVER).exists():
        raise ui.Fail(f"the series {one.name} has no {COVER}",
                      "write one: a Subject line, an empty line, the text")
    head, _, body = (one.folder / COVER).read_text().partition("\n\n")
    subject = re.search(r"^Subject: (?:\[.*?\] )?(.*(?:\n .*)*)", head, re.M)
    return re.sub(r"\s+", " ", subject[1]), re.sub(r"\n-- \n.*\Z", "\n", body, flags=re.S)


def address(mail, to, copies):
    """Put To and Cc below the subject, which may be folded."""
    fields = [f"{name}: " + ",\n ".join(addresses)
              for name, addresses in (("To", to), ("Cc", copies)) if addresses]
    text = mail.read_text()
    at = re.search(r"^Subject: .*\n(?: .*\n)*", text, re.M).end()
    mail.write_text(text[:at] + "".join(f"{field}\n" for field in fields) + text[at:])


def write(what, version):
    """Write the mails.  Return their folder, and a row for each: name, number of To, number of
    Cc."""
    one, tree = series.of(what), patches.sync(what)[0]
    subject, body = letter(what)
    target = paths.OUT / "mail" / one.name
    new = target.with_name(f".{one.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    patches.git(tree, "format-patch", "--quiet", "--rfc", f"--reroll-count={version}",
                "--cover-letter", "--thread=shallow", "--signature=", "-o", new,
                f"{patches.base(what)}..HEAD")
    mails = sorted(new.glob("*.patch"))
    named = [recipients(tree, mail) for mail in mails[1:]]
    everyone = {address: role for roles in named for address, role in roles.items()}
    base = f"The series is for Debian's {one.package}, {patches.version(what)}."
    text = mails[0].read_text().replace("*** SUBJECT HERE ***", subject)
    mails[0].write_text(text.replace("*** BLURB HERE ***", f"{body.strip()}\n\n{base}"))
    rows = []
    for mail, roles in zip(mails, [everyone, *named]):
        to, copies = sorted_out(roles, letter=mail is mails[0])
        address(mail, to, copies)
        rows.append((mail.name, len(to), len(copies)))
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    return target, rows


def main(what, version):
    target, rows = write(what, version)
    width = max(len(name) for name, _, _ in rows)
    print(f"{'mail':{width}}   To   Cc")
    print("\n".join(f"{name:{width}}  {to:3}  {cc:3}" for name, to, cc in rows))
    ui.say(f"{len(rows)} mails are in {ui.shown(target)}; nothing has been sent")
    if sum(rows[0][1:]) > MANY:
        ui.say(f"the letter has {sum(rows[0][1:])} recipients: lists hold such a mail back, "
               "so send each part to its own")
