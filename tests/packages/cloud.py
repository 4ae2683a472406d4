#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the KVM selftest, the matrix or the torture on the kernel of the package
that `kvmspf deb kernel --config cloud-amd64` has made.

Debian's configuration for clouds has no 9p, so that this machine's root cannot
be the lab's.  The host is an initramfs of the package's modules and of the
programs that the tests call, with two CPUs and AMD's nested paging."""

import argparse
import json
import lzma
import os
import random
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import every_mode, native  # noqa: E402
from tests.matrix import matrix  # noqa: E402
from tests.matrix.rows import ROWS  # noqa: E402
from spf import paths, series, ui  # noqa: E402
from spf.build import targets  # noqa: E402
from spf.lab import accel, serial, simulate, x86  # noqa: E402

# In the order in which they need each other.
MODULES = ("virt/lib/irqbypass arch/x86/kvm/kvm arch/x86/kvm/kvm-amd lib/lz4/lz4_compress "
           "lib/lz4/lz4hc_compress mm/zsmalloc drivers/block/zram/zram drivers/block/loop "
           "mm/hwpoison-inject").split()
# What the scripts of the matrix and of the torture call.
PROGRAMS = ("awk basename blkid blockdev cat chmod cp cut dd dirname env expr find grep head id "
            "insmod kill ln losetup ls mkdir mkfifo mkfs.ext4 mkswap mount mv printf readlink rm "
            "rmdir sed seq sh sleep sort stat swapoff swapon sync tail tee test touch tr truncate "
            "umount uname wc").split()
SETUP = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for module in /modules/*; do
	insmod $module || exit
done
mkdir -p /dev/shm /dev/hugepages /tmp /mnt /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t hugetlbfs hugetlbfs /dev/hugepages
for dir in /dev/shm /tmp /run; do
	mount -t tmpfs tmpfs $dir
done
ulimit -n 65536; ulimit -l unlimited
uname -r
"""


class Host(serial.Serial):
    needs = simulate.Simulated.needs

    def __init__(self, *args, nodes=2, **options):
        super().__init__(*args, **options)
        self.nodes = nodes

    def words(self, directory, initramfs):
        nodes = x86.nodes(self.nodes, self.memory, self.cpus) if self.nodes > 1 else []
        return [x86.qemu_path("patched"), "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
                "-accel", "tcg,thread=multi", "-cpu", accel.CPU["tcg"],
                "-m", f"{self.memory >> 20}M", "-smp", f"{self.cpus},sockets={self.nodes}",
                *nodes, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-device", "bochs-display", "-serial", f"file:{directory}/console",
                "-kernel", self.kernel, "-initrd", initramfs,
                "-append", f"{self.command_line('ttyS0')} {simulate.COMMAND_LINE}"]


def package():
    found = sorted((paths.OUT / "deb").glob("linux-image-*+spf1_*.deb"))
    if not found:
        raise ui.Fail("there is no kernel's package in build/out/deb",
                      "make one with kvmspf deb kernel --config cloud-amd64")
    return found[-1]


def unpack(directory):
    """The package's kernel, and its modules as `files`."""
    ui.run(["dpkg-deb", "-x", package(), directory])
    (modules,) = (directory / "lib/modules").iterdir()
    files = {}
    for number, name in enumerate(MODULES):
        packed = modules / "kernel" / f"{name}.ko.xz"
        if not packed.exists():
            raise ui.Fail(f"{package().name} has no module {name}",
                          "make it with kvmspf deb kernel --config cloud-amd64")
        file = directory / f"{number:02}.ko"
        file.write_bytes(lzma.decompress(packed.read_bytes()))
        files[f"modules/{file.name}"] = file
    (kernel,) = (directory / "boot").glob("vmlinuz-*")
    return kernel, files


def with_libraries(path, host):
    path = Path(path)
    return {str(path).lstrip("/"): path.resolve(),
            **{name: file.resolve() for name, file in
               host.needs(path.resolve(), host.machine).items()}}


def python(host):
    """The interpreter of the lab's scripts, and its library."""
    files = with_libraries("/usr/bin/python3", host)
    for file in Path(sysconfig.get_path("stdlib")).rglob("*"):
        if file.suffix in (".py", ".so") and not {"test", "__pycache__"} & set(file.parts):
            files[str(file).lstrip("/")] = file
            if file.suffix == ".so":
                files.update({name: Path(path).resolve()
                              for name, path in simulate.libraries(file).items()})
    return files


def run(script, files, memory, timeout, nodes=2, append="", scripts=()):
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as directory:
        kernel, modules = unpack(Path(directory))
        host = Host(kernel, memory, cpus=2, timeout=timeout, append=append, nodes=nodes)
        command = Path(directory) / "command.sh"
        command.write_text(SETUP + script)
        host.files = {**modules, "command.sh": command, "etc/mke2fs.conf": Path("/etc/mke2fs.conf"),
                      **{str(path).lstrip("/"): path for path in scripts}}
        for name in PROGRAMS:
            path = shutil.which(name)
            if not path:
                raise ui.Fail(f"there is no program {name}", "install its Debian package")
            host.files.update(with_libraries(path, host))
        # Scripts name them by their old places, too.
        host.files.update({name.removeprefix("usr/"): file for name, file in host.files.items()
                           if name.startswith(("usr/bin/", "usr/sbin/"))})
        for path in files:
            host.files.update(with_libraries(path, host))
        if scripts:
            host.files.update(python(host))
        return host.run(["/bin/sh", "/command.sh"])


def selftest():
    targets.build("selftests")
    test = series.out("selftests-patched") / "speculative_faults_test"
    return run(f"exec {test}\n", [test], 2 << 30, 900, nodes=1)


def torture(seconds, seed):
    inside, program = HERE.parent / "torture" / "inside", native.program("torture")
    return run(f"exec {inside} {program} --nodes 2 --seed {seed} --seconds {seconds}\n",
               [inside, program], 3 << 30, 3 * seconds + 600)


def rows():
    """[(row, {mode: the result})], and the run."""
    program, here = native.program("matrix"), HERE.parent / "matrix"
    done = run(f"PYTHONPATH={paths.ROOT} exec python3 {here / 'lab_matrix.py'} {program}\n",
               [program], 4 << 30, 2400, append=matrix.HUGE_PAGES,
               scripts=[*here.glob("*.py"), *HERE.parent.glob("*.py")])
    said = [json.loads(line) for line in done.out.decode(errors="replace").splitlines()
            if line.startswith("{")]
    return every_mode.by_row(ROWS, said), done


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", choices=("selftest", "matrix", "torture"))
    parser.add_argument("--seconds", type=int, default=600, help="of the torture (default 600)")
    parser.add_argument("--seed", type=int, help="of the torture (default: a random one)")
    args = parser.parse_args()
    bad = []
    if args.test == "matrix":
        found, done = rows()
        # A host that ended early has left its last row without a mode.
        whole = [(row, modes) for row, modes in found if len(modes) == 3]
        print(matrix.markdown(whole))
        bad = [f"{row.name}: {text}" for row, modes in whole
               for text in matrix.faults_of(row, modes)]
        if len(whole) < len(ROWS):
            bad.append(f"only {len(whole)} of {len(ROWS)} rows")
    elif args.test == "torture":
        done = torture(args.seconds,
                       random.randrange(1 << 32) if args.seed is None else args.seed)
    else:
        done = selftest()
    if args.test != "matrix" or done.status or done.kind != "exit":
        print(done.out.decode(errors="replace").strip())
    bad += done.trouble + [done.what] * (done.kind != "exit")
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad or done.status else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        sys.exit(f"{os.path.basename(__file__)}: {failure}")
