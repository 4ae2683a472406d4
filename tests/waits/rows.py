# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the table of waits: a page in every state, which the guest then reads or writes.

Steps are those of tests/matrix/matrix.c; they end where the guest begins.
"""

from dataclasses import dataclass


@dataclass
class Row:
    name: str
    memory: str
    steps: str
    access: str
    # In mode off, to see that the state is what its name says: whether an asynchronous page fault
    # is asked for, and which tasks read the disk.
    asked: bool = False
    io: tuple = ()
    # The disk decides how many: compare only whether there are any.
    counted: bool = True
    mib: int = 1
    pages: int = 256
    before: str = ""
    after: str = ""
    # A kernel without this file is without the state.
    needs: str = ""
    # KVM may put the fault off.
    async_pf: bool = True


DISK = ("truncate -s 256M /tmp/swap && mkswap -q /tmp/swap && "
        "losetup /dev/loop7 /tmp/swap && swapon /dev/loop7",
        "swapoff /dev/loop7; losetup -d /dev/loop7")
ZRAM = ("echo 256M >/sys/block/zram0/disksize && mkswap -q /dev/zram0 && swapon /dev/zram0",
        "swapoff /dev/zram0; echo 1 >/sys/block/zram0/reset")
ZSWAP_ON = "/sys/module/zswap/parameters/enabled"
ZSWAP = (f"{DISK[0]} && echo Y >{ZSWAP_ON}", f"echo N >{ZSWAP_ON}; {DISK[1]}")
# A disk with so many reads a second.
SLOW_DISK, SLOW_READS = "/dev/vda", 20
EXT4 = (f"mount -t ext4 {SLOW_DISK} /mnt", "rm -f /mnt/guest; umount /mnt")
# One that has a read in its queue at all times.  A fault's own read is then still under way when
# the fault looks; on a fast disk it may be over.
EXT4_BUSY = (f"{EXT4[0]}; dd if={SLOW_DISK} of=/dev/null bs=4k iflag=direct status=none & "
             "echo $! >/tmp/dd", f"kill $(cat /tmp/dd); {EXT4[1]}")
# Three pieces of the lab's memory above 4 GiB, for a kernel with DAX: a disk, device DAX with pages
# of 4 KiB, and with 2 MiB.
PMEM_ARGUMENTS = "memmap=128M!4G memmap=64M!4352M memmap=64M!4608M"
PMEM = "/dev/pmem0"
# Truncation waits for references to the file's pages, and so for ever if one has been lost.
EXT4_DAX = (f"mkfs.ext4 -qF -b 4096 {PMEM} && mount -t ext4 -o dax=always {PMEM} /mnt",
            "timeout 60 truncate -s 0 /mnt/guest; umount /mnt")
HUGETLB = ("echo 16 >/proc/sys/vm/nr_hugepages", "echo 0 >/proc/sys/vm/nr_hugepages")
KSM = "ksm merged"
# A page that KSM shares has 256 users at most, unless told otherwise; the row's are all to be
# merged.
SHARED = ("echo 1024 >/sys/kernel/mm/ksm/max_page_sharing", "")

READ, WRITE, BOTH = ("read",), ("overwrite",), ("read", "overwrite")
MOVING = ("read-moving", "overwrite-moving")


def rows(name, memory, steps, accesses=BOTH, around=("", ""), **more):
    return [Row(name, memory, steps, access, before=around[0], after=around[1], **more)
            for access in accesses]


def device_dax(region, align):
    """As `ndctl create-namespace --mode devdax --map mem` does it, once a boot."""
    return (f"""[ -e /dev/dax{region}.0 ] && exit
cd /sys/bus/nd/devices
echo namespace{region}.0 >../drivers/nd_pmem/unbind
echo ram >dax{region}.0/mode
echo {align} >dax{region}.0/align
cat /proc/sys/kernel/random/uuid >dax{region}.0/uuid
echo namespace{region}.0 >dax{region}.0/namespace
echo dax{region}.0 >../drivers/dax_pmem/bind""", "")


DISK_IO = {"asked": True, "io": ("vcpu",), "counted": False}
HUGE = {"mib": 16, "pages": 32}
ON_DAX = {"around": EXT4_DAX, "needs": PMEM}
DEVICE_4K = {"around": device_dax(1, 4 << 10), "needs": PMEM}
DEVICE_2M = {"around": device_dax(2, 2 << 20), "needs": PMEM, **HUGE}

ROWS = [
    *rows("ram, absent", "anon", ""),
    *rows("ram, the zero page", "anon", "read", WRITE),
    *rows("ram, shared with a child", "anon", "write fork"),
    *rows("ram, KSM", "anon", KSM, around=SHARED),
    *rows("ram, migrating", "anon", "write", MOVING, counted=False),
    *rows("ram, KSM, migrating", "anon", KSM, MOVING, around=SHARED, counted=False),
    *rows("ram, poisoned", "anon", "write hwpoison"),
    *rows("ram, PROT_READ", "anon", "write protect-read"),
    *rows("ram, PROT_READ, absent", "anon", "protect-read"),

    *rows("memfd, absent", "memfd", ""),
    *rows("memfd, fallocated", "memfd", "fallocate", READ),
    # As many as a guest of 256 MiB has.
    *rows("memfd, fallocated", "memfd", "fallocate", WRITE, mib=256, pages=65536),
    *rows("memfd, cached", "memfd", "fill"),
    *rows("memfd, migrating", "memfd", "write", MOVING, counted=False),
    *rows("memfd, poisoned", "memfd", "write hwpoison"),
    *rows("memfd, share=off, absent", "memfd-private", ""),
    *rows("memfd, share=off, cached", "memfd-private", "fill"),
    *rows("memfd, share=off, migrating", "memfd-private", "fill", MOVING,
          counted=False),

    *rows("file, cached", "file:/mnt/guest", "fill", around=EXT4),
    *rows("file, evicted", "file:/mnt/guest", "fill drop", around=EXT4_BUSY, **DISK_IO),
    *rows("file, evicted, MADV_RANDOM", "file:/mnt/guest", "fill drop random", around=EXT4,
          io=("vcpu",), counted=False, pages=32),
    *rows("file, share=off, cached", "file-private:/mnt/guest", "fill", around=EXT4),
    *rows("file, share=off, evicted", "file-private:/mnt/guest", "fill drop", around=EXT4_BUSY,
          **DISK_IO),
    *rows("file, share=off, migrating", "file-private:/mnt/guest", "fill", MOVING,
          around=EXT4, counted=False),
    *rows("a mapping without ->map_pages", "ring", "", READ),

    *rows("file on ext4 -o dax, a hole", "file:/mnt/guest", "", **ON_DAX),
    *rows("file on ext4 -o dax", "file:/mnt/guest", "fill", **ON_DAX),
    *rows("file on ext4 -o dax, mapped", "file:/mnt/guest", "fill host", **ON_DAX),
    *rows("file on ext4 -o dax, share=off", "file-private:/mnt/guest", "fill", **ON_DAX),
    *rows("file on ext4 -o dax, share=off, mapped", "file-private:/mnt/guest", "fill host",
          **ON_DAX),
    *rows("device DAX, 4 KiB", "device:/dev/dax1.0", "zeros unmapped", **DEVICE_4K),
    *rows("device DAX, 4 KiB, mapped", "device:/dev/dax1.0", "zeros", **DEVICE_4K),
    *rows("device DAX, 2 MiB", "device:/dev/dax2.0", "zeros unmapped", **DEVICE_2M),
    *rows("device DAX, 2 MiB, mapped", "device:/dev/dax2.0", "zeros", **DEVICE_2M),

    *rows("swap, disk", "anon", "write swap", around=DISK, **DISK_IO),
    *rows("swap, disk, PROT_READ", "anon", "write swap protect-read", READ, around=DISK, **DISK_IO),
    *rows("swap, disk, PROT_READ", "anon", "write swap protect-read", WRITE, around=DISK),
    *rows("swap, disk, shared with a child", "anon", "write fork swap", around=DISK, **DISK_IO),
    *rows("swap, in the swap cache", "anon", "write swap swapcache", around=DISK),
    *rows("swap, zeros", "anon", "zeros swap", around=DISK),
    *rows("swap, zram", "anon", "write swap", around=ZRAM),
    *rows("swap, zswap", "anon", "write swap", around=ZSWAP, needs=ZSWAP_ON),
    # memfd waits for its swap where it is, whichever thread asks.
    *rows("memfd, swap, disk", "memfd", "write swap", around=DISK, io=("vcpu",), counted=False),
    *rows("memfd, swap, in the swap cache", "memfd", "write swap swapcache", around=DISK),
    *rows("memfd, swap, zram", "memfd", "write swap", around=ZRAM),

    *rows("hugetlb, absent", "hugetlb", "", around=HUGETLB, **HUGE),
    *rows("hugetlb, share=on, absent", "hugetlb-shared", "", around=HUGETLB, **HUGE),

    *rows("userfaultfd, missing", "anon", "write postcopy", asked=True),
    *rows("userfaultfd, missing, but swapped", "anon", "write swap missing", around=ZRAM),
    *rows("userfaultfd, missing, memfd", "memfd", "write punch postcopy", asked=True),
    *rows("userfaultfd, missing, but in the cache", "memfd", "write postcopy"),
    *rows("userfaultfd, minor", "memfd", "write unmapped minor", asked=True),
    *rows("userfaultfd, write-protected", "anon", "write snapshot", READ),
    *rows("userfaultfd, write-protected", "anon", "write snapshot", WRITE, asked=True),
    *rows("userfaultfd, write-protected, memfd", "memfd", "write snapshot", READ),
    *rows("userfaultfd, write-protected, memfd", "memfd", "write snapshot", WRITE, asked=True),
    *rows("userfaultfd, write-protected, unmapped", "memfd", "write snapshot-unmapped", READ),
    *rows("userfaultfd, write-protected, unmapped", "memfd", "write snapshot-unmapped", WRITE,
          asked=True),
    *rows("userfaultfd, missing, and a signal", "anon", "write postcopy", ("interrupted",),
          async_pf=False),
]
