# SPDX-License-Identifier: GPL-2.0-or-later
"""The modes, the kernel's switch for them, and the names of its counters (docs/design.md fixes
them)."""

PARAM = "/sys/module/kvm/parameters/speculative_faults"
MODES = {"off": 0, "vma-lock": 1, "on": 2}
TIERS = ("hva_fault_fast", "hva_fault_speculative", "hva_fault_vma_lock", "hva_fault_mmap_lock")
ABORTS = ("spf_abort_no_vma", "spf_abort_vma_busy", "spf_abort_vma_changed",
          "spf_abort_unsupported",
          "spf_abort_no_table", "spf_abort_ptl_busy", "spf_abort_pte_changed",
          "spf_abort_no_memory")
# Every x86 kernel has these; they count all second-stage faults.
PLAIN = ("pf_taken", "pf_fixed", "exits")
COUNTERS = TIERS + ABORTS + PLAIN


def present(param=PARAM):
    """Whether the running kernel has the series."""
    return read(param) is not None


def read(param=PARAM):
    try:
        with open(param, encoding="ascii") as f:
            return int(f.read())
    except (OSError, ValueError):
        return None


def faults(directory):
    """The faults of a virtual machine, from its directory in debugfs.  If KVM does not count all of
    them: those that any tier has resolved."""
    counts = [read(f"{directory}/{name}") for name in ("pf_taken", *TIERS)]
    return sum(n for n in counts[1:] if n is not None) if counts[0] is None else counts[0]


def write(value, param=PARAM):
    """Set the mode of virtual machines made from now on."""
    with open(param, "w", encoding="ascii") as f:
        f.write(str(value))
    if read(param) != value:
        raise OSError(f"{param} did not take {value}")
