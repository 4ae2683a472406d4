# SPDX-License-Identifier: GPL-2.0-or-later
"""db-load: our bulk loader (bench/db-load.c). N threads read one table past the page cache, by io_uring, into a hash table."""

import os
from pathlib import Path

from spf import meson, ui

HEAD, TITLE = "Database load", "db-load"
PACKAGES = ()
VALUE_BYTES = 56


def memory_mib(data_mib, servers):
    """The hash table, which is of a power of two, and each thread's buffers."""
    return 3 * servers + 1.5 * data_mib


def disk_mib(data_mib):
    return data_mib / 2 + 4


def what(settings):
    return (f"{settings['servers']} threads read {settings['keys']} records past the page cache, by io_uring, into about "
            f"{settings['data_mib']} MiB of a hash table, until each was found there again")


def version():
    return "of this repository"


def program():
    return meson.bench_static() / "db-load"


def files(_root):
    return {"bin/db-load": Path(program())}


def make(directory, data_mib, _servers):
    """db-load's table is about twice as large as its file."""
    path = os.path.join(directory, "table")
    records = (data_mib << 20) // 2 // (8 + VALUE_BYTES)
    ui.run([program(), "make", path, str(records)])
    return [{"file": "table", "keys": records, "bytes": os.path.getsize(path)}]


def answers(shards):
    return [shards[0]["keys"]]
