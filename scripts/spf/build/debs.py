# SPDX-License-Identifier: GPL-2.0-or-later
"""The place of finished packages, build/out/deb."""

from spf import paths
from spf.build import sandbox

OUT = paths.OUT / "deb"


def put(packages, *older, folder=""):
    """Copy the packages to a folder there, each whole or not at all.  Packages whose names match
    `older` are of an earlier build, and go."""
    out = OUT / folder
    made = [out / package.name for package in packages]
    for package, target in zip(packages, made):
        sandbox.put(package, target)
    for pattern in older:
        for old in set(out.glob(pattern)) - set(made):
            old.unlink()
    return made
