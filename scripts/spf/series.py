# SPDX-License-Identifier: GPL-2.0-or-later
"""The series.  Each is a folder of kvm-patches/ or qemu-patches/, named for the version that it
applies to.

The folder has `series`, the names of the patches in order, and `base`, whose lines are a word and
its value.  Optional are `planted.patch` for the torture, `expected` for tests/faults and
tests/matrix, `shared-lines` for tests/bench, and fragments that override those of the same name in
scripts/kernel.  The words of base are

package   Debian's package with the source
suite     the suite of Debian that has the package, if this machine's own apt does not know it
version   the beginning of the version
default   yes: the series that is used if none is named

One series of each kind is in use at a time.  use() chooses it, or $KVMSPF_SERIES, which the
programs that we start inherit.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from spf import paths, ui

FOLDERS = {"linux": paths.ROOT / "kvm-patches", "qemu": paths.ROOT / "qemu-patches"}
WORDS = {"package", "suite", "version", "default"}
CHOICE = "KVMSPF_SERIES"
GUEST = "KVMSPF_GUEST_FLAVOUR"


@dataclass(frozen=True)
class Series:
    kind: str
    folder: Path
    package: str
    version: str
    suite: str = ""
    default: str = "no"

    @property
    def name(self):
        return self.folder.name


def read(kind, folder):
    file = folder / "base"
    words = {}
    for line in file.read_text().splitlines():
        word, _, value = line.split("#")[0].strip().partition(" ")
        if word and (word not in WORDS or not value.strip()):
            raise ui.Fail(f"{ui.shown(file)} has '{line.strip()}'",
                          f"a line is one of {', '.join(sorted(WORDS))} and a value")
        if word:
            words[word] = value.strip()
    if not {"package", "version"} <= words.keys():
        raise ui.Fail(f"{ui.shown(file)} lacks package or version", "see scripts/spf/series.py")
    return Series(kind, folder, **words)


def known(kind):
    return [read(kind, file.parent) for file in sorted(FOLDERS[kind].glob("*/base"))]


def names():
    return [one.name for kind in FOLDERS for one in known(kind)]


def of(kind):
    """The series of this kind that is in use."""
    found, asked = known(kind), chosen()
    for one in found:
        if one.name in asked:
            return one
    for one in found:
        if one.default == "yes":
            return one
    raise ui.Fail(f"no series in {ui.shown(FOLDERS[kind])} is the default",
                  "write 'default yes' into the base of one")


def others(kind):
    """The series of this kind that are not in use."""
    return [one for one in known(kind) if one != of(kind)]


def chosen():
    asked = [word for word in os.environ.get(CHOICE, "").split(",") if word]
    unknown = set(asked) - set(names())
    if unknown:
        raise ui.Fail(f"there is no series '{min(unknown)}'",
                      f"the series are {', '.join(names())}", 2)
    return asked


def use(text):
    """Choose the series; text: a name, or one of each kind, separated by a comma; None: change
    nothing."""
    if text is None:
        return
    os.environ[CHOICE] = text
    kinds = [one.kind for kind in FOLDERS for one in known(kind) if one.name in chosen()]
    if len(kinds) != len(set(kinds)):
        raise ui.Fail(f"'{text}' names two series of one kind", "name one", 2)


def option(parser):
    """Add --series to a verb's arguments."""
    parser.add_argument("--series", metavar="NAME", help="one of " + ", ".join(
        one.name + (" (default)" if one.default == "yes" else "") for kind in FOLDERS
        for one in known(kind)) + "; one of each kind, separated by a comma")


def words(kind):
    """The option that chooses the series in use, for a line that says what to run."""
    one = of(kind)
    return "" if one.default == "yes" else f" --series {one.name}"


def guest():
    """The flavour of the guests' kernel.  A guest needs no patch, but the core of `kvmspf test`
    boots the host's kernel in its guests so as to build no other."""
    return os.environ.get(GUEST, "stock")


# -- where things of a series are --

def src(kind):
    """The source as Debian has it: one commit, tagged `base`."""
    return paths.SRC / of(kind).name


def tree(kind, flavour):
    """The source with the patches, to build from."""
    return paths.TREE / of(kind).name / flavour


def edit(kind):
    """The source with the patches, to work on."""
    return paths.EDIT / of(kind).name


def _place(target):
    """The folder of a target of `kvmspf build`.  Its name has the flavour.  A target that is
    neither a kernel nor QEMU keeps its own name."""
    kind, _, flavour = target.partition("-")
    one = of("qemu" if kind == "qemu" else "linux")
    return one.name, flavour if kind == one.kind else target


def label(target):
    """The target's name in logs, stamps and messages."""
    return "-".join(_place(target))


def obj(target):
    return paths.OBJ.joinpath(*_place(target))


def out(target):
    return paths.OUT.joinpath(*_place(target))


def kernel(flavour, name="bzImage"):
    return out(f"linux-{flavour}") / name


def qemu(flavour="patched", name="qemu-system-x86_64"):
    return out(f"qemu-{flavour}") / "bin" / name
