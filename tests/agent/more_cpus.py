# SPDX-License-Identifier: GPL-2.0-or-later
"""Make sched_getaffinity() answer this process as a kernel for more CPUs would."""

import ctypes
import errno
import platform
import struct

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO = 0x7fff0000, 0x00050000
LOAD, EQUAL, LESS_NOT, RETURN = 0x20, 0x15, 0x35, 0x06      # BPF: ld [k], jeq k, jge k, ret k
NUMBER_AT, LENGTH_AT = 0, 16 + 8                    # of struct seccomp_data: nr, and args[1]
GETAFFINITY = {"x86_64": 204, "ppc64le": 223}


def kernel_of(cpus):
    """From now on a set of fewer CPUs gets EINVAL, in this process and in its children."""
    code = [(LOAD, 0, 0, NUMBER_AT), (EQUAL, 0, 3, GETAFFINITY[platform.machine()]),
            (LOAD, 0, 0, LENGTH_AT), (LESS_NOT, 1, 0, (cpus + 7) // 8),
            (RETURN, 0, 0, ERRNO | errno.EINVAL), (RETURN, 0, 0, ALLOW)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in code))
    program = struct.pack("<H6xQ", len(code), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        raise OSError(ctypes.get_errno(), "seccomp")
