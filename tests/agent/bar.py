# SPDX-License-Identifier: GPL-2.0-or-later
"""A file laid out like the BAR of a kvm-spf device.  It can do what the real device never does:
errors, races, other versions."""

import mmap
import re
import struct
import threading
import time
from pathlib import Path

HEADER = Path(__file__).resolve().parents[2] / "guest-agent" / "kvm_spf_regs.h"


def constants():
    found = {}
    for name, value in re.findall(r"^#define (KVM_SPF_\w+)\s+(\S+)", HEADER.read_text(), re.M):
        if re.fullmatch(r"(0x[0-9a-f]+|\d+)u?", value):
            found[name.removeprefix("KVM_SPF_")] = int(value.rstrip("u"), 0)
    return found


C = constants()
FEATURES = 0xf
BIG = 1 << 20


class Bar:
    """Layout and figures; as a context manager it also answers the doorbell, as a host does."""

    def __init__(self, path, vcpus=2, size=BIG):
        self.path, self.vcpus = path, vcpus
        with open(path, "wb") as f:
            f.truncate(size)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)
        self.on_bell = lambda: None
        self.rings = 0
        self.set32("MAGIC_OFF", C["MAGIC"])
        self.set32("VERSION_OFF", C["VERSION"])
        self.set32("SIZE", C["RECORDS_OFF"] + vcpus * C["RECORD_BYTES"])
        self.set64("FEATURES", FEATURES)
        self.set64("EPOCH", 7)
        self.set32("MODE", 2)
        self.set32("NR_VCPUS", vcpus)
        self.set32("NR_RECORDS", vcpus)
        self.set32("RECORDS", C["RECORDS_OFF"])
        self.set32("RECORD_SIZE", C["RECORD_BYTES"])
        for vcpu in range(vcpus):
            self.map[self.record(vcpu):self.record(vcpu) + 4] = struct.pack("<I", vcpu)

    @staticmethod
    def record(vcpu):
        return C["RECORDS_OFF"] + vcpu * C["RECORD_BYTES"]

    def get32(self, name):
        return struct.unpack_from("<I", self.map, C[name])[0]

    def get64(self, name):
        return struct.unpack_from("<Q", self.map, C[name])[0]

    def set32(self, name, value):
        struct.pack_into("<I", self.map, C[name], value)

    def set64(self, name, value):
        struct.pack_into("<Q", self.map, C[name], value)

    def counters(self, tiers=(0, 0, 0, 0), aborts=(0,) * 8, ns=(0, 0, 0), buckets=(0,) * 32,
                 at=None):
        """Set a block of counters; at: where it begins, by default the totals."""
        at = C["TOTALS"] if at is None else at
        struct.pack_into("<4Q", self.map, at, *tiers)
        struct.pack_into("<8Q", self.map, at + 0x40, *aborts)
        struct.pack_into("<3Q", self.map, at + C["NS_SUM"], *ns)
        struct.pack_into("<32Q", self.map, at + 0x100, *buckets)

    @property
    def asked(self):
        """How often the agent has asked, including now: it rings twice each time."""
        return (self.rings + 1) // 2

    def collect(self):
        """Collect, as the host does at a ring of the doorbell."""
        self.set32("SEQ", self.get32("SEQ") + 1)
        self.on_bell()
        self.set64("GENERATION", self.get64("GENERATION") + 1)
        self.set64("HOST_NS", time.monotonic_ns())
        self.set32("SEQ", self.get32("SEQ") + 1)

    def _host(self):
        while not self._stop.is_set():
            if self.get32("DOORBELL"):
                self.set32("DOORBELL", 0)
                self.rings += 1
                self.collect()
            time.sleep(0.0005)

    def __enter__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._host, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
