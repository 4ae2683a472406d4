# SPDX-License-Identifier: GPL-2.0-or-later
"""Redis: N servers, each with a snapshot of its own, made by Redis itself.

The values are strings of Redis' own `DEBUG POPULATE`, which its snapshot compresses well: the guest
reads little and touches much, so that first touches of memory dominate the load, as they do where
storage is fast.
"""

import os
import re
import subprocess
import time

from spf import paths, ui
from spf.source import apt, debroot

HEAD, TITLE = "Database load", "Redis"
SERVERS = "Redis servers"
DOES = "N Redis servers load their snapshots at once, until each answers with all its keys"
ARCHES = ("x86", "power")
# Debian's redis-tools has the server's program, too, under another name.  The name redis-server is
# a symlink in a package that would also start a server on this machine.
PACKAGES = ("redis-tools",)
PROGRAM = "/usr/bin/redis-check-rdb"
VALUE_BYTES = 4000
# With its header a value of 4000 bytes fills the allocator's 4 KiB class; keys, objects and
# hash-table entries come to about 150 bytes more.
KEY_BYTES = 4096 + 150


def keys_per_server(data_mib, servers):
    return max(1, (data_mib << 20) // servers // KEY_BYTES)


def memory_mib(data_mib, servers):
    """The memory of each server, the data and their image."""
    return 14 * servers + 1.15 * data_mib


def disk_mib(data_mib):
    return data_mib / 8


def seconds(data_mib):
    return data_mib


def what(settings):
    return (f"{settings['servers']} Redis servers load {settings['keys']} keys, "
            f"{settings['data_mib']} MiB, at once, "
            "until each answers with all of its own")


def version():
    apt.packages(PACKAGES)
    found = re.search(r"v=(\S+)", ui.run(["redis-server", "--version"], executable=PROGRAM).stdout)
    return found[1] if found else "unknown"


def files(root):
    libraries = debroot.libraries(root, PROGRAM) if root else debroot.loaded(PROGRAM)
    return {"bin/load": paths.SCRIPTS / "guest/load-redis",
            "bin/redis-server": debroot.resolve(root, PROGRAM)} | {
        path.lstrip("/"): debroot.resolve(root, path) for path in libraries}


def _cli(sock, *words):
    return ui.run(["redis-cli", "-e", "-s", sock, *words], timeout=600).stdout.strip()


def make(directory, data_mib, servers):
    """One Redis server makes all the snapshots, one after another."""
    keys = keys_per_server(data_mib, servers)
    sock = os.path.join(directory, "sock")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", sock, "--dir", directory, "--save", "",
         "--enable-debug-command", "local", "--enable-protected-configs", "local", "--daemonize",
         "no"],
        executable=PROGRAM, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=ui.die_with_parent)
    answers = []
    try:
        end = time.monotonic() + 20
        while not os.path.exists(sock) and server.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        for i in range(servers):
            _cli(sock, "FLUSHALL")
            _cli(sock, "CONFIG", "SET", "dbfilename", f"{i}.rdb")
            _cli(sock, "DEBUG", "POPULATE", str(keys), f"shard{i}", str(VALUE_BYTES))
            _cli(sock, "SAVE")
            answers.append(int(_cli(sock, "DBSIZE")))
    finally:
        server.kill()
        server.wait()
        if os.path.exists(sock):
            os.unlink(sock)
    return answers
