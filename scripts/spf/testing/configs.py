# SPDX-License-Identifier: GPL-2.0-or-later
"""`patches check --configs`: compile what the series changes in the configurations that people
have, and in odd ones.  `patches check --build`: compile it after each patch, in a few of them.

An error that needs another configuration does not show in the lab's.  This module compiles each
object that the series changes with -Werror.  It links a kernel only in the smallest configuration,
where most functions that the series could call are not there.  It does not compile again what has
passed.
"""

import re
import time
from collections import namedtuple
from functools import partial

from spf import series, ui
from spf.source import apt, fetch, patches
from spf.build import kernels, meson, sandbox

SEED = 20261128
RANDOM_X86, RANDOM_POWER = 15, 5

# files: the files that .config begins with: a path in the tree, or the name of Debian's.
# lines: a fragment that is laid over them, as in scripts/kernel.
# seed: the seed of a random configuration.
# ci: whether `kvmspf test` compiles it.  It leaves out what adds nothing to the others: PREEMPT has
# all options of "all", and allnoconfig lacks userfaultfd, too.
# link: whether the kernel is linked, too; `kvmspf test` does not, since that takes longer than the
# objects of all its configurations.
Config = namedtuple("Config", "name machine files lines target seed ci link",
                    defaults=([], [], "olddefconfig", None, False, False))
x86, power = partial(Config, machine=kernels.X86), partial(Config, machine=kernels.POWER)
# Architectures whose KVM shares the generic path, with the names of their compilers.
OTHERS = {"arm64": "aarch64-linux-gnu", "riscv": "riscv64-linux-gnu", "s390": "s390x-linux-gnu"}


def on(text):
    return [f"CONFIG_{name}=y" for name in text.split()]


def off(text):
    return [f"# CONFIG_{name} is not set" for name in text.split()]


KVM_X86 = on("VIRTUALIZATION KVM KVM_INTEL KVM_AMD")
KVM_POWER = on("VIRTUALIZATION KVM_BOOK3S_64 KVM_BOOK3S_64_HV")
# All options that the series depends on or touches, so that each can be turned off.
ALL = on("""EXPERT SMP NUMA NUMA_BALANCING USERFAULTFD MEMCG SWAP TRANSPARENT_HUGEPAGE HUGETLBFS
SHMEM TMPFS KSM COMPACTION MIGRATION LRU_GEN MEMORY_HOTPLUG MEMORY_HOTREMOVE MEMORY_FAILURE
ZONE_DEVICE FS_DAX SECRETMEM PER_VMA_LOCK_STATS SPECULATIVE_FAULT""")
# The option that is off, and the options that would turn it on again.
LESS = {"SPECULATIVE_FAULT": "", "USERFAULTFD": "", "MEMCG": "", "NUMA": "", "SWAP": "",
        "HUGETLBFS": "", "KSM": "", "TRANSPARENT_HUGEPAGE": "", "SHMEM": "DRM TMPFS",
        "MIGRATION": "COMPACTION TRANSPARENT_HUGEPAGE CMA MEMORY_HOTREMOVE MEMORY_FAILURE "
                     "NUMA_MIGRATION", "SMP": ""}
# What is compiled after each patch.
EACH = ("all", "no-SPECULATIVE_FAULT", "powernv")
# GCC's plugins and gcov only take time.  KVM for x86 needs a vendor of processors.
RANDOM = [*on("SPECULATIVE_FAULT SMP"), *off("PREEMPT_RT GCC_PLUGINS GCOV_KERNEL")]


def other(arch):
    """An architecture's own defconfig, with all options of ALL that it has."""
    cross = OTHERS[arch]
    folder = f"arch/{arch}"
    machine = kernels.Arch([f"ARCH={arch}", f"CROSS_COMPILE={cross}-", f"CC=ccache {cross}-gcc"],
                           None, (folder, f"{folder}/kvm"))
    return Config(arch, machine, files=[f"{folder}/configs/defconfig"],
                  lines=[*on("VIRTUALIZATION KVM"), "# optional", *ALL])


def less(option, others):
    """ALL but one. kconfig turns off what depends on it."""
    gone = off(f"{option} {others}")
    kept = [line for line in ALL if f"# {line[:-2]} is not set" not in gone]
    return [*KVM_X86, *gone, "# optional", *kept]


def configurations(seed=SEED):
    base, ppc = ["arch/x86/configs/x86_64_defconfig"], "arch/powerpc/configs/"
    ppc64le = [f"{ppc}ppc64_defconfig", f"{ppc}le.config"]
    guest = [f"{ppc}guest.config", "kernel/configs/kvm_guest.config"]
    power64 = on("PPC64 PPC_BOOK3S_64 CPU_LITTLE_ENDIAN PPC_POWERNV")
    return [
        x86("x86_64_defconfig", files=base, lines=KVM_X86),
        x86("all", files=base, lines=[*KVM_X86, *ALL]),
        x86("debian-cloud-amd64", files=["config.amd64_none_cloud-amd64"], ci=True),
        x86("debian-amd64", files=["config.amd64_none_amd64"]),
        x86("allnoconfig", lines=[*on("64BIT SMP SPECULATIVE_FAULT"), *KVM_X86],
            target="allnoconfig", ci=True, link=True),
        # These have SMP, but not PER_VMA_LOCK.
        x86("i386_defconfig", files=["arch/x86/configs/i386_defconfig"],
            lines=[*off("64BIT"), *KVM_X86], ci=True),
        *(x86(f"no-{option}", files=base, lines=less(option, others),
              ci=option == "SMP") for option, others in LESS.items()),
        x86("PREEMPT", files=base, ci=True,
            lines=[*KVM_X86, *on("PREEMPT DEBUG_PREEMPT"), *off("PREEMPT_VOLUNTARY"), *ALL]),
        x86("PREEMPT_RT", files=base,
            lines=[*KVM_X86, *on("EXPERT PREEMPT_RT"), "# optional", *ALL[1:]]),
        power("powernv", files=[f"{ppc}powernv_defconfig"], lines=KVM_POWER, ci=True),
        power("ppc64le", files=ppc64le, lines=KVM_POWER),
        power("pseries", files=[*ppc64le, *guest]),
        *map(other, OTHERS),
        *(x86(f"random-x86-{n}", lines=[*on("64BIT CPU_SUP_INTEL CPU_SUP_AMD"), *KVM_X86, *RANDOM],
              target="randconfig", seed=n, ci=n == seed) for n in range(seed, seed + RANDOM_X86)),
        *(power(f"random-power-{n}", lines=[*power64, *KVM_POWER, *RANDOM], target="randconfig",
                seed=n) for n in range(seed, seed + RANDOM_POWER)),
    ]


# kbuild itself says which of the files are compiled in this configuration.  The objects of virt/kvm
# belong to the folder of the architecture's KVM.
COMPILE = r"""
srcarch=$1 words=$2 more=$3; shift 3
objects= asked=
for file; do
	object=${file%.c}.o
	case $file in
	virt/kvm/*) object=arch/$srcarch/kvm/../../../$object dir=arch/$srcarch/kvm ;;
	*) dir=${file%/*} ;;
	esac
	# A folder without a makefile, such as kvm/mmu, belongs to the one above.
	until [ -e "$SRC/$dir/Makefile" ] || [ -e "$SRC/$dir/Kbuild" ]; do dir=${dir%/*}; done
	[ "$dir" = "$asked" ] ||
		there=$(make -s -f "$SRC/scripts/Makefile.build" obj="$dir" srctree="$SRC" \
			srcroot="$SRC" objtree=. VPATH="$SRC" SRCARCH="$srcarch" \
			--eval 'kvmspf: ; @echo $(real-obj-y) $(real-obj-m)' kvmspf)
	asked=$dir
	# A makefile may print lines of its own.
	case " $(echo $there) " in *" $object "*) objects="$objects $object" ;; esac
done
echo "objects:$objects"
# Without a target, make would build the whole kernel.
[ "$objects" ] || exit 1
eval "exec $words $objects $more"
"""


def srcarch(config):
    return config.machine.kconfig[0].removeprefix("arch/")


def changed(tree):
    """The sources that the series changes, and a key of all its changes to code that is
    compiled."""
    rows = patches.text(tree, "diff", "--raw", "--no-renames", "--abbrev=40",
                        patches.base("linux"), "HEAD").splitlines()
    rows = [row for row in rows if not re.search(r"\t(Documentation/|tools/|MAINTAINERS)", row)]
    names = [row.split("\t")[1] for row in rows]
    return [n for n in names if n.endswith(".c")], ui.digest(patches.base("linux"), *rows)


def begins(config, tree):
    """The text that .config begins with."""
    parts = []
    for name in config.files:
        if name.startswith("config."):
            parts.append(fetch.debian_config(name))
        else:
            parts.append((tree / name).read_text())
    return "".join(parts)


def configure(config, tree, obj, log, start):
    fragment, env = obj / "kvmspf.fragment", {}
    # No test reads debug symbols here, and writing them takes half of a compilation.
    fragment.write_text("\n".join([*config.lines, "# optional", *on("DEBUG_INFO_NONE")]) + "\n")
    (obj / ".config").write_text(start + fragment.read_text())
    if config.target != "olddefconfig":
        env["KCONFIG_ALLCONFIG"] = f"{sandbox.MOUNT}/obj/{fragment.name}"
    if config.seed is not None:
        env["KCONFIG_SEED"] = str(config.seed)
    # kconfig writes it only if there is none; otherwise a second run would be needed.  To kconfig,
    # each option that is on is then new, so make compiles every object again.
    (obj / "include/config/auto.conf").unlink(missing_ok=True)
    sandbox.run(tree, obj, [*kernels.MAKE, *config.machine.words, config.target], log, env)
    lost = kernels.missing(obj / ".config", [fragment])
    if lost:
        raise ui.Fail(f"the configuration did not take {', '.join(lost[:5])}",
                      "correct scripts/spf/testing/configs.py")


def compile_objects(config, tree, files, start):
    """Compile; return the number of objects.  All configurations of an architecture share one
    folder, so that the kernel's tools are built once."""
    target = f"configs-{srcarch(config)}"
    obj, log = series.obj(target), sandbox.fresh(f"configs-{config.name}")
    obj.mkdir(parents=True, exist_ok=True)
    configure(config, tree, obj, log, start)
    # mm/memory.c itself has a #warning for some configurations, with or without the series.
    make = [*kernels.MAKE, *config.machine.words, "KCFLAGS=-Werror -Wno-error=cpp", "-k",
            f"-j{sandbox.jobs()}"]
    folder = f"arch/{srcarch(config)}/"
    ours = [f for f in files if not f.startswith("arch/") or f.startswith(folder)]
    words = " ".join(f"'{word}'" for word in make)
    sandbox.run(tree, obj, ["sh", "-ec", COMPILE, "sh", srcarch(config), words,
                            "vmlinux" if config.link else "", *ours], log,
                {"SRC": f"{sandbox.MOUNT}/src"})
    objects = re.findall(r"^objects:(.*)$", log.read_text(errors="replace"), re.M)[-1].split()
    if not objects:
        raise ui.Fail("nothing was compiled", f"see {ui.shown(log)}")
    return len(objects)


def compilers(machines):
    """The compilers of these values of srcarch(), as they name themselves."""
    crosses = [OTHERS[arch] for arch in OTHERS if arch in machines]
    apt.packages([*apt.PACKAGES, *meson.POWER_PACKAGES, *(f"gcc-{cross}" for cross in crosses)])
    return [sandbox.compiler(f"{cross}gcc") for cross in
            ("", "powerpc64le-linux-gnu-", *(f"{cross}-" for cross in crosses))]


def offered(tree):
    """Whether the option can be on: before the patch in which x86 selects it, both kernels are the
    same."""
    kconfig = tree / "arch/x86/Kconfig"
    return kconfig.exists() and "select ARCH_SUPPORTS_SPECULATIVE_FAULT" in kconfig.read_text()


def check_each(patches_and_commits):
    """After each patch, compile what the series changes, in the configurations of EACH."""
    everything, _ = changed(patches.sync("linux")[0])
    tree, total = series.tree("linux", "check"), len(patches_and_commits)
    known_by = compilers(())
    for config in [c for c in configurations() if c.name in EACH]:
        stamp = f"each-{config.name}"
        passed = set(ui.recall(stamp).get("passed", []))
        for number, (patch, commit) in enumerate(patches_and_commits, 1):
            print(f"{number:3}/{total} {config.name:21}", end="", flush=True)
            began = time.monotonic()
            with ui.locked(".configslock"):
                patches.worktree("linux", tree, commit)
                start, here = begins(config, tree), config
                if not offered(tree):
                    here = config._replace(lines=[line for line in config.lines
                                                  if "SPECULATIVE_FAULT" not in line])
                key = ui.digest(changed(tree)[1], *here, start, *known_by)
                if key not in passed:
                    files = [f for f in everything if (tree / f).exists()]
                    try:
                        compile_objects(here, tree, files, start)
                    except ui.Fail:
                        print("     FAILED", flush=True)
                        raise
                    passed.add(key)
                    ui.remember(stamp, passed=sorted(passed))
                    took = ui.duration(time.monotonic() - began)
                else:
                    took = "unchanged"
            print(f"{took:>9}  {patch.name}", flush=True)


def check(tree, seed=SEED, ci=False):
    """Compile in each configuration, and print a line for each.  Return the number of objects by
    name.  ci: only the configurations of `kvmspf test`."""
    files, changes = changed(tree)
    chosen = [config._replace(link=config.link and not ci) for config in configurations(seed)
              if config.ci or not ci]
    known_by = compilers(set(map(srcarch, chosen)))
    failed, counts = 0, {}
    for number, config in enumerate(chosen, 1):
        start = begins(config, tree)
        key, stamp = ui.digest(changes, *config, start, *known_by), f"configs-{config.name}"
        print(f"{number:3}/{len(chosen)} {config.name:24}", end="", flush=True)
        known, began = ui.recall(stamp), time.monotonic()
        try:
            if known.get("key") != key:
                with ui.locked(".configslock"):
                    known = {"key": key, "objects": compile_objects(config, tree, files, start)}
                ui.remember(stamp, **known)
                took = ui.duration(time.monotonic() - began)
            else:
                took = "unchanged"
        except ui.Fail as failure:
            failed += 1
            print(f"     FAILED   {failure}", flush=True)
            continue
        counts[config.name] = known["objects"]
        print(f"{known['objects']:3} objects  {took}", flush=True)
    if failed:
        raise ui.Fail(f"linux: the series does not compile in {failed} of {len(chosen)} "
                      "configurations", "see above")
    return counts
