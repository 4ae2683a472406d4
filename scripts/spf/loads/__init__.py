# SPDX-License-Identifier: GPL-2.0-or-later
"""What compare's guest does once it has booted, mostly load a database; and the data for it, an ext4 image for its virtio disk.

Each is a module: HEAD, TITLE, VALUE_BYTES, PACKAGES; version(); files() of the guest's initramfs;
make() the data, answers() that the guest must give in the end: numbers of keys; memory_mib() of the guest and disk_mib() that it
takes; what() it does, in words.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

from spf.loads import dbload, libbpf, memcached, redis

KINDS = {"redis": redis, "memcached": memcached, "db-load": dbload, "build": libbpf}
FORMAT = 5


def memory_needed_mib(kind, data_mib, servers, vcpus):
    """What the guest needs at least: kernel and initramfs, and the load."""
    return int(160 + 1 * vcpus + KINDS[kind].memory_mib(data_mib, servers))


def ensure(cache, kind, data_mib, servers):
    """The image for this size, made if need be. Returns its manifest, with "image" as its path."""
    name = f"{kind}-{servers}x{data_mib}M"
    image = os.path.join(cache, name + ".ext4")
    manifest_path = os.path.join(cache, name + ".json")
    try:
        with open(manifest_path, encoding="utf-8") as f:
            manifest = json.load(f)
        if manifest["format"] == FORMAT and os.path.getsize(image) == manifest["image_bytes"]:
            return {**manifest, "image": image}
    except (OSError, ValueError, KeyError):
        pass

    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{kind}-", dir=cache) as work:
        shards = KINDS[kind].make(work, data_mib, servers)
        found = list(Path(work).rglob("*"))
        size = (sum(path.stat().st_size + 4096 for path in found) >> 20) + 4
        made = image + ".new"
        if os.path.exists(made):
            os.unlink(made)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0",
                        "-N", str(len(found) + 64), "-d", work, made, f"{size}M"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin"})
    with open(made, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    manifest = {"format": FORMAT, "load": kind, "servers": servers, "data_mib": data_mib, "shards": shards,
                "answers": KINDS[kind].answers(shards), "keys": sum(s["keys"] for s in shards),
                "image_bytes": os.path.getsize(made), "image_sha256": digest}
    os.replace(made, image)
    with open(manifest_path + ".new", "w", encoding="utf-8") as f:
        json.dump(manifest, f, indent=1)
    os.replace(manifest_path + ".new", manifest_path)
    return {**manifest, "image": image}
