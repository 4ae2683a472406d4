# SPDX-License-Identifier: GPL-2.0-or-later
"""What compare's guest does once it has booted, mostly load a database; and the data for it, an
ext4 image for its virtio disk.

Each load is a module here, and scripts/guest/load-NAME, which the guest runs with the number of
servers as its argument and which says what each has in the end.  A module has

HEAD, TITLE                         its name as a heading, and its program's
ARCHES                              on which it runs
VALUE_BYTES                         of each value of its data; None: its data are always the
                                    same, and no --data goes with it
version()                           of what is loaded; comes before files() and make(), and
                                    installs what they need
files(root)                         of the guest's initramfs, name -> path, "bin/load" among
                                    them; root: see spf.source.debroot
make(directory, data_mib, servers)  writes the data; returns how many keys each server must have in
the end
disk_mib(data_mib)                  what these take at most
memory_mib(data_mib, servers)       what the load takes of the guest's memory
seconds(data_mib)                   what it may take, beside what a boot may
what(settings)                      what it does, in words
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from spf import ui
from spf.compare.loads import dbload, libbpf, memcached, redis

KINDS = {"redis": redis, "memcached": memcached, "db-load": dbload, "build": libbpf}
DEFAULT = next(iter(KINDS))


def text(settings):
    """What the report says of the load of these settings."""
    kind = KINDS[settings["load"]]
    return {"head": kind.HEAD, "title": kind.TITLE, "what": kind.what(settings)}


def memory_needed_mib(kind, data_mib, servers, vcpus):
    """What the guest needs at least: kernel and initramfs, and the load; a multiple of 64."""
    need = 160 + vcpus + KINDS[kind].memory_mib(data_mib, servers)
    return int(-(-need // 64) * 64)


def image_mib(mib):
    """The image's size, for files of this size."""
    return int(mib + mib / 256 + 4)


def image(work, target):
    """An ext4 image of the files in a directory.  It never grows: what ext4 keeps for that may be
    more than all the slack."""
    found = list(Path(work).rglob("*"))
    size = image_mib(sum(path.stat().st_size + 4096 for path in found) / 2**20)
    ui.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum,^resize_inode", "-m",
            "0",
            "-N", len(found) + 64, "-d", work, target, f"{size}M"],
           env={"PATH": os.environ["PATH"] + ":/sbin"})


def ensure(cache, kind, data_mib, servers):
    """The image for this size, made if need be. Returns its manifest, with "image" as its path."""
    load = KINDS[kind]
    name = f"{kind}-{servers}x{data_mib}M" if data_mib else kind
    target, manifest_path = Path(cache, name + ".ext4"), Path(cache, name + ".json")
    version = load.version()
    key = ui.digest(Path(__file__), Path(load.__file__), version)
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["key"] == key and target.stat().st_size == manifest["image_bytes"]:
            return {**manifest, "image": str(target)}
    except (OSError, ValueError, KeyError):
        pass

    os.makedirs(cache, exist_ok=True)
    made = target.with_suffix(".new")
    made.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{kind}-", dir=cache) as work:
        answers = load.make(work, data_mib, servers)
        image(work, made)
    with open(made, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    manifest = {"key": key, "load": kind, "version": version, "answers": answers,
                "keys": sum(answers),
                "image_bytes": made.stat().st_size, "image_sha256": digest}
    made.replace(target)
    temporary = manifest_path.with_suffix(".new.json")
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(manifest_path)
    return {**manifest, "image": str(target)}
