# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the matrix: kinds of guest memory, and states in which a fault may find it.

Each row runs in every mode, and must have the same results except for the tier.  `matrix` without
arguments lists the program's words.
"""

from dataclasses import dataclass



@dataclass
class Row:
    name: str
    memory: str
    steps: str
    # The tier that resolves nearly all faults of pages that the VMM has not mapped, with mode `on`:
    # None for errors. "fast": there are no such pages.
    tier: str
    # mmap_lock acquisitions of the vCPU's thread: "" for none at all, or why there are some; ONCE:
    # exactly one.
    why: str = ""
    outcome: str = "ok"
    mib: int = 4
    pages: int = 1024
    # Shell commands in the lab before and after, which change the state of the system.
    before: str = ""
    after: str = ""
    # A memory cgroup's limits, by file.
    cgroup: tuple = ()
    # No fault waits, so that KVM puts none off, and each comes only once.
    once: bool = False
    # A program that the kernel kills reports no counters.
    killed: bool = False


ONCE = "A VMA needs the mmap_lock once, for its anon_vma."
# A read that may find no page for writing: some series do not ask GUP-fast.
READ_ONLY = "read-only slot, read"
MTHP = "ram, mTHP 64 KiB"
ERROR = "Only the mmap_lock's code reports an error."
SWAPPED = "The anon_vma needs it, and so does the VMM's own memory that comes back."
PFNMAP = "Only the mmap_lock's code looks through mappings without a struct page."
THP = "/sys/kernel/mm/transparent_hugepage"
SWAP = ("echo 256M >/sys/block/zram0/disksize && mkswap -q /dev/zram0 && swapon /dev/zram0",
        "swapoff /dev/zram0; echo 1 >/sys/block/zram0/reset")
SWAP_FILE = ("mount -t ext4 -o loop /tmp/disk /mnt && dd if=/dev/zero of=/mnt/swap bs=1M count=64 "
             "status=none && "
             "chmod 600 /mnt/swap && mkswap -q /mnt/swap && swapon /mnt/swap",
             "swapoff /mnt/swap; umount /mnt")
EXT4 = ("mount -t ext4 -o loop /tmp/disk /mnt", "rm -f /mnt/guest; umount /mnt")
HUGETLB = ("echo 16 >/proc/sys/vm/nr_hugepages", "echo 0 >/proc/sys/vm/nr_hugepages")
# At its limit, such a cgroup is out of memory with all of its swap free, in mode off, too, unless a
# process reads its statistics: docs/found-bugs.md, "Left as they are".
FLUSHER = "while read -r _ </sys/fs/cgroup/matrix/memory.stat; do :; done 2>/dev/null"
BAR = """for device in /sys/bus/pci/devices/*; do
[ "$(cat $device/vendor $device/device)" = "$(printf '0x1234\n0x1111')" ] || continue
echo 1 >$device/enable; ln -sf $device/resource0 /tmp/bar
done"""
TMPFS = ("mount -t tmpfs -o size=64M tmpfs /mnt", "umount /mnt")

FIRST = "measure overwrite write host"

ROWS = [
    # -- kinds of memory: first touch --
    Row("ram, 4 KiB", "anon", FIRST, "speculative", ONCE),
    Row("ram, 4 KiB, read first", "anon", "measure read write host", "vma_lock", ONCE),
    Row("ram, THP always", "plain", FIRST, "vma_lock", ONCE,
        before=f"echo always >{THP}/enabled", after=f"echo madvise >{THP}/enabled"),
    Row("ram, THP madvise", "thp", FIRST, "vma_lock", ONCE),
    Row(MTHP, "plain", FIRST, "vma_lock", ONCE,
        before=f"echo always >{THP}/hugepages-64kB/enabled",
        after=f"echo never >{THP}/hugepages-64kB/enabled"),
    Row("memfd, share=on", "memfd", FIRST, "vma_lock"),
    Row("memfd, huge shmem", "memfd-huge", FIRST, "vma_lock",
        before=f"echo advise >{THP}/shmem_enabled", after=f"echo never >{THP}/shmem_enabled"),
    Row("memfd, mTHP 64 KiB", "memfd-huge", FIRST, "vma_lock",
        before=f"echo advise >{THP}/hugepages-64kB/shmem_enabled",
        after=f"echo never >{THP}/hugepages-64kB/shmem_enabled"),
    Row("memfd, share=off", "memfd-private", FIRST, "vma_lock", ONCE),
    Row("file on tmpfs, share=on", "file:/mnt/guest", FIRST, "vma_lock", before=TMPFS[0],
        after=TMPFS[1]),
    Row("file on tmpfs, share=off", "file-private:/mnt/guest", FIRST, "vma_lock", ONCE,
        before=TMPFS[0], after=TMPFS[1]),
    Row("file on ext4, share=on", "file:/mnt/guest", FIRST, "vma_lock", before=EXT4[0],
        after=EXT4[1]),
    Row("file on ext4, share=off", "file-private:/mnt/guest", FIRST, "vma_lock", ONCE,
        before=EXT4[0], after=EXT4[1]),
    Row("hugetlb 2 MiB, share=off", "hugetlb", FIRST, "vma_lock", ONCE, mib=16, pages=32,
        before=HUGETLB[0], after=HUGETLB[1]),
    Row("hugetlb 2 MiB, share=on", "hugetlb-shared", FIRST, "vma_lock", mib=16, pages=32,
        before=HUGETLB[0], after=HUGETLB[1]),
    Row("hugetlb 1 GiB", "hugetlb-1G", FIRST, "vma_lock", mib=1024, pages=16),
    Row("a device's BAR", "device:/tmp/bar", FIRST, "mmap_lock", PFNMAP, before=BAR),
    Row("policy bind", "anon,bind:1", FIRST, "speculative", ONCE),
    Row("policy interleave", "anon,interleave:0,1", FIRST, "speculative", ONCE),
    Row("policy preferred", "anon,preferred:1", FIRST, "speculative", ONCE),

    # -- states --
    Row("mlocked", "anon", f"mlock {FIRST}", "fast"),
    Row("mlocked on fault", "anon", f"mlock-onfault {FIRST}", "speculative", ONCE),
    Row("swapped out to zram, in", "anon", "write pageout measure write host", "vma_lock",
        before=SWAP[0], after=SWAP[1]),
    Row("swapped out to a file, in", "anon", "write pageout measure write host", "vma_lock",
        before=SWAP_FILE[0], after=SWAP_FILE[1]),
    Row("memfd, swapped out, in", "memfd", "write pageout measure write host", "vma_lock",
        before=SWAP[0], after=SWAP[1]),
    Row("file on ext4, read in again", "file:/mnt/guest", "write evict measure write host",
        "vma_lock",
        before=EXT4[0], after=EXT4[1]),
    Row("KSM-merged, then written", "anon", "ksm measure overwrite host", "vma_lock"),
    Row("copied after fork", "anon", "write fork measure write host", "vma_lock"),
    Row("copied after fork, huge pages", "thp", "overwrite fork measure write host", "vma_lock"),
    Row("copied after fork, hugetlb", "hugetlb", "write fork measure write host", "vma_lock",
        mib=16, pages=32,
        before=HUGETLB[0], after=HUGETLB[1]),
    Row("copied for a snapshot", "anon", "write snapshot measure write host", "vma_lock"),
    Row("copied for a snapshot, huge pages", "thp", "overwrite snapshot measure write host",
        "vma_lock"),
    Row("copied for a snapshot, memfd", "memfd", "write snapshot measure write host", "vma_lock"),
    Row("read during a snapshot, memfd", "memfd", "write snapshot-unmapped measure read host",
        "vma_lock", once=True),
    Row("soft-dirty bits cleared", "anon", "write soft-dirty measure write host", "vma_lock"),
    Row("post-copy, userfaultfd", "anon", "write postcopy measure write host", "vma_lock"),
    Row("post-copy, memfd", "memfd", "write punch postcopy measure write host", "vma_lock"),
    Row("balloon, ram", "anon", f"write dontneed {FIRST}", "speculative"),
    Row("balloon, huge pages", "thp", f"overwrite dontneed {FIRST}", "vma_lock"),
    Row("MADV_FREE", "anon", "write free measure write host", "fast"),
    Row("virtio-mem, memfd", "memfd", f"write punch {FIRST}", "vma_lock"),
    Row("collapsed to huge pages", "plain", "write collapse measure write host", "fast"),
    Row("moved to another node", "anon", "write migrate measure write host", "fast"),
    Row("mapped anew", "anon", f"write remap {FIRST}", "speculative", ONCE),
    Row("dirty log, untouched", "anon", f"dirty-log {FIRST}", "speculative", ONCE),
    Row("dirty log, migrating", "anon", "write dirty-log measure write host", "fast"),
    Row("dirty log, huge pages", "thp", "overwrite dirty-log measure write host", "fast"),
    Row("DIMM pulled and another put in", "anon", f"write unplug plug {FIRST}", "speculative",
        ONCE),
    Row("vhost-user: another process writes", "memfd", "write peer measure write host", "vma_lock"),

    # -- errors stay what they are --
    Row("past the end of a file", "memfd", "write truncate measure read", None, ERROR, "EFAULT"),
    Row("not mapped", "anon", "write unmap measure read", None, ERROR, "EFAULT"),
    Row("PROT_NONE", "anon", "protect-none measure read", None, ERROR, "EFAULT"),
    Row("written, PROT_READ", "anon", "write protect-read measure write", None, ERROR, "EFAULT"),
    Row("poisoned", "anon", "write hwpoison measure read", None, ERROR, "SIGBUS"),
    Row("poisoned, memfd", "memfd", "write hwpoison measure read", None, ERROR, "SIGBUS"),
    Row("poisoned, hugetlb", "hugetlb-shared", "write hwpoison measure read", None, ERROR, "SIGBUS",
        mib=16, pages=32,
        before=HUGETLB[0], after=HUGETLB[1]),
    Row("secretmem", "secret", "measure write", None, ERROR, "EFAULT"),
    Row("DIMM pulled", "anon", "write unplug measure read", None, outcome="MMIO"),
    Row(READ_ONLY, "anon", "write read-only-slot measure read", "fast"),
    Row("read-only slot, written", "anon", "write read-only-slot measure write", None,
        outcome="MMIO"),
    Row("cgroup's limit, swap", "anon", "measure overwrite host", "speculative", SWAPPED, mib=32,
        pages=8192,
        before=f"{SWAP[0]} && {{ {FLUSHER} & }}", after=SWAP[1], cgroup=(("memory.max", "6M"),)),
    Row("cgroup's limit, no swap", "anon", "measure overwrite", None, mib=32, pages=8192,
        cgroup=(("memory.max", "6M"), ("memory.swap.max", "0")), killed=True),
]
