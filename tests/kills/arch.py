"""Numbers of the Linux kernel that no Python module has: its calls, by machine, and how ptrace and seccomp are asked.

Source: <asm/unistd_64.h>, <asm-generic/unistd.h>, <linux/ptrace.h>, <linux/seccomp.h>, <linux/filter.h>.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TRACEME: Final = 0
POKE_USER_AREA: Final = 6
CONT: Final = 7
SYSCALL: Final = 24
SETOPTIONS: Final = 0x4200
GETREGSET: Final = 0x4204
SETREGSET: Final = 0x4205
GET_SYSCALL_INFO: Final = 0x420E
ARM_SYSTEM_CALL: Final = 0x404  # a register set
GENERAL_REGISTERS: Final = 1

EVENT_SECCOMP: Final = 7
FOLLOW_ALL: Final = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000  # sysgood, forks, threads, exec, seccomp, exit-kill
WAIT_ALL: Final = 0x40000000  # __WALL

PR_SET_PDEATHSIG: Final = 1
PR_SET_SECCOMP: Final = 22
PR_SET_NO_NEW_PRIVS: Final = 38
SECCOMP_FILTER: Final = 2
SECCOMP_TRACE: Final = 0x7FF00000
SECCOMP_ALLOW: Final = 0x7FFF0000
LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A kind of machine."""

    calls: Mapping[str, int]
    number_at: int | None = None  # of the call and of its result in the user area; None: they are register sets
    result_at: int = 0


MACHINES: Final[Mapping[str, Machine]] = {
    "x86_64": Machine(
        number_at=15 * 8,
        result_at=10 * 8,
        calls={
            "write": 1,
            "open": 2,
            "pwrite64": 18,
            "writev": 20,
            "connect": 42,
            "sendto": 44,
            "recvfrom": 45,
            "sendmsg": 46,
            "fsync": 74,
            "fdatasync": 75,
            "truncate": 76,
            "ftruncate": 77,
            "rename": 82,
            "mkdir": 83,
            "rmdir": 84,
            "link": 86,
            "unlink": 87,
            "openat": 257,
            "mkdirat": 258,
            "unlinkat": 263,
            "renameat": 264,
            "linkat": 265,
            "fallocate": 285,
            "pwritev": 296,
            "renameat2": 316,
            "copy_file_range": 326,
        },
    ),
    "aarch64": Machine(
        calls={
            "mkdirat": 34,
            "unlinkat": 35,
            "linkat": 37,
            "renameat": 38,
            "truncate": 45,
            "ftruncate": 46,
            "fallocate": 47,
            "openat": 56,
            "write": 64,
            "writev": 66,
            "pwrite64": 68,
            "pwritev": 70,
            "fsync": 82,
            "fdatasync": 83,
            "connect": 203,
            "sendto": 206,
            "recvfrom": 207,
            "sendmsg": 211,
            "renameat2": 276,
            "copy_file_range": 285,
        },
    ),
}


def this_machine() -> Machine | None:
    """Return what is known of this machine; None where that is nothing."""
    return MACHINES.get(platform.machine()) if platform.system() == "Linux" else None
