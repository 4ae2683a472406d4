# SPDX-License-Identifier: GPL-2.0-or-later
"""The database's snapshots: N shards made by Redis itself, on an ext4 image for the guest's virtio disk.

The values are strings of Redis' own `DEBUG POPULATE`, which its snapshot compresses well: the guest reads
little and touches much, so that first touches of memory dominate the load, as they do where storage is fast.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time

from spf import ui
from spf.image import REDIS

MIB = 1 << 20
FORMAT = 3
# With its header a value of 4000 bytes fills the allocator's 4 KiB class; keys, objects and hash-table
# entries come to about 150 bytes more.
VALUE_BYTES = 4000
KEY_BYTES = 4096 + 150


def keys_per_server(data_mib, servers):
    return max(1, data_mib * MIB // servers // KEY_BYTES)


def memory_needed_mib(data_mib, servers, vcpus):
    """What the guest needs at least: kernel and initramfs, each server's own memory, the data and its image."""
    return int(160 + 14 * servers + 1 * vcpus + 1.15 * data_mib)


def _redis_cli(sock, *words):
    out = subprocess.run(["redis-cli", "-s", sock, *words], capture_output=True, text=True, timeout=600)
    if out.returncode or out.stdout.startswith("ERR"):
        raise RuntimeError(f"redis-cli {words[0]}: {(out.stdout + out.stderr).strip()}")
    return out.stdout.strip()


def _make_shards(directory, servers, keys):
    """One Redis server makes all the shards, one after another; returns each one's key count and digest."""
    sock = os.path.join(directory, "sock")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", sock, "--dir", directory, "--save", "",
         "--enable-debug-command", "local", "--enable-protected-configs", "local", "--daemonize", "no"],
        executable=REDIS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=ui.die_with_parent)
    shards = []
    try:
        end = time.monotonic() + 20
        while not os.path.exists(sock) and server.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        for i in range(servers):
            _redis_cli(sock, "FLUSHALL")
            _redis_cli(sock, "CONFIG", "SET", "dbfilename", f"{i}.rdb")
            _redis_cli(sock, "DEBUG", "POPULATE", str(keys), f"shard{i}", str(VALUE_BYTES))
            _redis_cli(sock, "SAVE")
            shards.append({"file": f"{i}.rdb", "keys": int(_redis_cli(sock, "DBSIZE")),
                           "digest": _redis_cli(sock, "DEBUG", "DIGEST"),
                           "bytes": os.path.getsize(os.path.join(directory, f"{i}.rdb"))})
    finally:
        server.kill()
        server.wait()
        if os.path.exists(sock):
            os.unlink(sock)
    return shards


def ensure_database(cache, data_mib, servers):
    """The image for this size, made if need be. Returns its manifest, with "image" as its path."""
    name = f"redis-{servers}x{data_mib}M"
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
    with tempfile.TemporaryDirectory(prefix="redis-", dir=cache) as work:
        shards = _make_shards(work, servers, keys_per_server(data_mib, servers))
        size = sum(-(-s["bytes"] // MIB) for s in shards) + 4
        made = image + ".new"
        if os.path.exists(made):
            os.unlink(made)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0",
                        "-d", work, made, f"{size}M"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin"})
    with open(made, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    manifest = {"format": FORMAT, "servers": servers, "data_mib": data_mib, "value_bytes": VALUE_BYTES,
                "shards": shards, "keys": sum(s["keys"] for s in shards),
                "image_bytes": os.path.getsize(made), "image_sha256": digest}
    os.replace(made, image)
    with open(manifest_path + ".new", "w", encoding="utf-8") as f:
        json.dump(manifest, f, indent=1)
    os.replace(manifest_path + ".new", manifest_path)
    return {**manifest, "image": image}
