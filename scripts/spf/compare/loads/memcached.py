# SPDX-License-Identifier: GPL-2.0-or-later
"""memcached: one process with a thread for each vCPU, filled over N connections at once.

It has no snapshot to load: each connection's commands are a file on the guest's disk, and nc sends
them.
"""

import os
from pathlib import Path

from spf import paths, ui
from spf.source import debroot

HEAD, TITLE = "Database load", "memcached"
SERVERS, DOES = "memcached's connections", "memcached is filled over N connections"
ARCHES = ("x86",)
PROGRAM = "/usr/bin/memcached"
VALUE_BYTES = 4000
# The slab class that such a value with its header falls into, at the default growth of 1.25.
KEY_BYTES = 4544


def memory_mib(data_mib, servers):
    """The data, the page cache of the files, and the memory of each connection."""
    return 40 + 2 * servers + 2.2 * data_mib


def disk_mib(data_mib):
    return data_mib


def seconds(data_mib):
    return data_mib


def what(settings):
    return (f"one memcached, a thread for each vCPU, takes {settings['keys']} keys, "
            f"{settings['data_mib']} MiB, over "
            f"{settings['servers']} connections at once, until it has all of them")


def version():
    root = debroot.here()
    said = ui.run([root / debroot.LOADERS["amd64"], "--library-path",
                   ":".join(str(root / d) for d in debroot.library_dirs(root)),
                   debroot.resolve(root, PROGRAM), "--version"]).stdout
    return said.split()[-1] if said.split() else "unknown"


def files(_root):
    root = debroot.here()
    # memcached, started by root, needs a name for the user that it becomes.
    return {"bin/load": paths.SCRIPTS / "guest/load-memcached",
            "etc/passwd": Path("/usr/share/base-passwd/passwd.master"),
            "bin/memcached": debroot.resolve(root, PROGRAM)} | {
        path: debroot.resolve(root, path) for path in debroot.libraries(root, PROGRAM)}


def make(directory, data_mib, servers):
    keys = max(1, (data_mib << 20) // servers // KEY_BYTES)
    for i in range(servers):
        with open(os.path.join(directory, f"{i}.set"), "wb") as out:
            for n in range(keys):
                value = f"shard{i}:{n}:".encode().ljust(VALUE_BYTES, b"v")
                out.write(b"set shard%d:%d 0 0 %d noreply\r\n%s\r\n"
                          % (i, n, VALUE_BYTES, value))
            out.write(b"quit\r\n")
    return [keys * servers]
