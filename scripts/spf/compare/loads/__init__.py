# SPDX-License-Identifier: GPL-2.0-or-later
"""The loads of compare's guest, most of which load a database; and their data, an ext4 image for
the guest's virtio disk.

Each load is a module here, and scripts/guest/load-NAME.  The guest runs the latter with the number
of servers as its argument, and it prints how many keys each has in the end.  A module has

HEAD, TITLE                         its name as a heading, and its program's name
SERVERS, DOES                       what --servers counts, and what the guest does, for --help
ARCHES                              the architectures on which it runs
VALUE_BYTES                         the size of each value of its data; None: its data are always
                                    the same, and --data is refused
version()                           the version of the program; called before files() and make(),
                                    it installs the packages that they need
files(root)                         the files of the guest's initramfs, name -> path, "bin/load"
                                    among them; root: see spf.source.debroot
make(directory, data_mib, servers)  writes the data; returns how many keys each server must have
disk_mib(data_mib)                  the most space that the data take
memory_mib(data_mib, servers)       the guest memory that the load takes
seconds(data_mib)                   the time limit of the load, without the boot
what(settings)                      a description in words
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
    """The report's texts about the load of these settings."""
    kind = KINDS[settings["load"]]
    return {"head": kind.HEAD, "title": kind.TITLE, "what": kind.what(settings)}


def memory_needed_mib(kind, data_mib, servers, vcpus):
    """The least memory of the guest: for kernel, initramfs and load; a multiple of 64."""
    need = 160 + vcpus + KINDS[kind].memory_mib(data_mib, servers)
    return int(-(-need // 64) * 64)


def image_mib(mib):
    """The image's size, for files of this size."""
    return int(mib + mib / 256 + 4)


def image(work, target):
    """Make an ext4 image of the files in a directory.  It never grows: the blocks that ext4
    reserves for growing may be more than all the slack."""
    found = list(Path(work).rglob("*"))
    size = image_mib(sum(path.stat().st_size + 4096 for path in found) / 2**20)
    ui.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum,^resize_inode", "-m",
            "0",
            "-N", len(found) + 64, "-d", work, target, f"{size}M"],
           env={"PATH": os.environ["PATH"] + ":/sbin"})


def ensure(cache, kind, data_mib, servers):
    """Make the image of this size unless it is there.  Return its manifest, with its path as
    "image"."""
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
