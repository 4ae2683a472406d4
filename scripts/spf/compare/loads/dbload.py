# SPDX-License-Identifier: GPL-2.0-or-later
"""db-load: our bulk loader (bench/db-load.c). N threads read one table past the page cache, by
io_uring, into a hash table."""

import os

from spf import paths, ui
from spf.build import meson

HEAD, TITLE = "Database load", "db-load"
SERVERS, DOES = "db-load's threads", "N threads of db-load read a table"
ARCHES = ("x86",)
VALUE_BYTES = 56


def memory_mib(data_mib, servers):
    """The hash table, whose size is a power of two, and each thread's buffers."""
    return 3 * servers + 1.5 * data_mib


def disk_mib(data_mib):
    return data_mib / 2 + 1


def seconds(data_mib):
    return data_mib


def what(settings):
    return (f"{settings['servers']} threads read {settings['keys']} records past the page cache, "
            "by io_uring, into about "
            f"{settings['data_mib']} MiB of a hash table, until each was found there again")


def version():
    """A digest of db-load's source: programs of two compilers make the same table."""
    return f"from source {ui.digest(paths.ROOT / 'bench/db-load.c')[:12]}"


def program():
    return meson.bench_static() / "db-load"


def files(_root):
    return {"bin/load": paths.SCRIPTS / "guest/load-db-load", "bin/db-load": program()}


def make(directory, data_mib, _servers):
    """db-load's table is about twice as large as its file."""
    records = (data_mib << 20) // 2 // (8 + VALUE_BYTES)
    ui.run([program(), "make", os.path.join(directory, "table"), records])
    return [records]
