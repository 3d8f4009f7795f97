"""Stops a process of ours before each of its system calls that changes a disk, in all its threads: no tool is needed.

Rule 1: the child asks for it (`be_traced`); a seccomp filter stops it before the calls that are watched, no others.
Rule 2: what is done at a stop is a `Watcher`'s: let the call be, let it fail, or end it all. It sees the call before it
        happens, and where it asks for that, its end.
Rule 3: only calls on files under `root` count, and those on the network where they are asked for. Paths are absolute.

    ptrace(2), seccomp(2) through ctypes; x86-64 and aarch64.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from tests.kills import arch

NETWORK: Final = frozenset({"connect", "sendto", "recvfrom", "sendmsg"})
BY_FILE: Final = frozenset(
    {"write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "copy_file_range"}
)
SYNCS: Final = frozenset({"fsync", "fdatasync"})
_PATH_AT: Final = {  # the argument that is the path which changes
    "open": 0, "truncate": 0, "mkdir": 0, "rmdir": 0, "unlink": 0, "rename": 1, "link": 1,
    "openat": 1, "mkdirat": 1, "unlinkat": 1, "renameat": 3, "renameat2": 3, "linkat": 3,
}  # fmt: skip
_FLAGS_AT: Final = {"open": 1, "openat": 2}
_PATH_MAX: Final = 4096
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that is about to happen."""

    number: int  # of those that count, from 1
    name: str
    path: str  # "": of the network
    thread: int
    handle: int = -1  # the file that it is about, where that is open

    @property
    def is_of_disk(self) -> bool:
        """Whether it changes a disk, and not only the network."""
        return bool(self.path)


@dataclass(frozen=True, slots=True)
class Fail:
    """Let the call not happen, and return this error."""

    errno: int


class Kill:
    """End the process, and all its threads, before the call happens."""


class Watcher(Protocol):
    """Decides at each call that counts."""

    def before(self, call: Call) -> Fail | Kill | None:
        """Say what is to become of the call; None lets it happen."""

    def synced(self, thread: int, *, ok: bool) -> None:
        """Take note that the sync which this thread began has ended."""


class _Info(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("nr", ctypes.c_int64),  # of an exit: the result
        ("args", ctypes.c_uint64 * 6),
        ("data", ctypes.c_uint64),
    )


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


class _Block(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def be_traced(*, with_network: bool) -> None:
    """In the child: wait for the tracer, and be stopped before each watched call from then on. Raises OSError."""
    _ptrace(arch.TRACEME, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    machine = arch.this_machine()
    assert machine is not None
    watched = [number for name, number in machine.calls.items() if with_network or name not in NETWORK]
    # number; is it one of these? -> trace, else allow
    steps = [_Step(arch.LOAD_WORD, 0, 0, 0)]
    steps += [_Step(arch.JUMP_IF_EQUAL, len(watched) - place, 0, number) for place, number in enumerate(watched)]
    steps += [_Step(arch.RETURN, 0, 0, arch.SECCOMP_ALLOW), _Step(arch.RETURN, 0, 0, arch.SECCOMP_TRACE)]
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    _check(_libc.prctl(arch.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(arch.PR_SET_SECCOMP, arch.SECCOMP_FILTER, ctypes.byref(program), 0, 0))


def trace(pid: int, root: Path, watcher: Watcher, *, with_network: bool) -> int:
    """Follow a child that called `be_traced` to its end, and return how it ended, as waitpid says it."""
    _, status = os.waitpid(pid, arch.WAIT_ALL)
    if not os.WIFSTOPPED(status):
        return status
    _ptrace(arch.SETOPTIONS, pid, 0, arch.FOLLOW_ALL)
    _ptrace(arch.CONT, pid, 0, 0)
    return _Trace(pid, str(root), watcher, with_network=with_network).follow()


class _Trace:
    def __init__(self, pid: int, root: str, watcher: Watcher, *, with_network: bool) -> None:
        machine = arch.this_machine()
        assert machine is not None
        self._machine = machine
        self._names = {number: name for name, number in machine.calls.items()}
        self._pid, self._root, self._watcher = pid, root.rstrip("/") + "/", watcher
        self._with_network = with_network
        self._count = 0
        self._seen = {pid}

    def follow(self) -> int:
        while True:
            thread, status = os.waitpid(-1, arch.WAIT_ALL)
            if not os.WIFSTOPPED(status):
                if thread == self._pid:
                    return status
                continue
            with suppress(ProcessLookupError):  # it was killed while it stood
                self._go_on(thread, status)

    def _go_on(self, thread: int, status: int) -> None:
        number, event, how = os.WSTOPSIG(status), status >> 16, arch.CONT
        deliver = 0
        if event == arch.EVENT_SECCOMP:
            how = self._before(thread)
        elif number == signal.SIGTRAP | 0x80:  # the end of a sync
            info = _info(thread)
            self._watcher.synced(thread, ok=info.nr == 0)
        elif event == 0 and number != signal.SIGTRAP and not (number == signal.SIGSTOP and thread not in self._seen):
            deliver = number
        self._seen.add(thread)
        _ptrace(how, thread, 0, deliver)

    def _before(self, thread: int) -> int:
        info = _info(thread)
        name = self._names[int(info.nr)]
        path, handle = self._subject(thread, name, info.args)
        if path is None:
            return arch.CONT
        self._count += 1
        verdict = self._watcher.before(Call(self._count, name, path, thread, handle))
        if isinstance(verdict, Kill):
            os.kill(self._pid, signal.SIGKILL)
        elif isinstance(verdict, Fail):
            self._refuse(thread, verdict.errno)
        return arch.SYSCALL if name in SYNCS and verdict is None else arch.CONT

    def _subject(self, thread: int, name: str, args: Any) -> tuple[str | None, int]:
        """Return the path that a call is about, None where it does not count, and the open file."""
        if name in NETWORK:
            return ("" if self._with_network and self._is_socket(thread, args[0]) else None), -1
        handle = -1
        if name in BY_FILE:
            handle = int(args[2] if name == "copy_file_range" else args[0])
            path = _link(f"/proc/{thread}/fd/{handle}")
        elif name in _FLAGS_AT and not args[_FLAGS_AT[name]] & os.O_CREAT:
            return None, -1
        else:
            path = _text(thread, int(args[_PATH_AT[name]]))
        return (path if f"{path}/".startswith(self._root) else None), handle

    def _is_socket(self, thread: int, handle: int) -> bool:
        return _link(f"/proc/{thread}/fd/{handle}").startswith("socket:")

    def _refuse(self, thread: int, errno: int) -> None:
        if self._machine.number_at is not None:
            _ptrace(arch.POKE_USER_AREA, thread, self._machine.number_at, ctypes.c_ulong(-1).value)
            _ptrace(arch.POKE_USER_AREA, thread, self._machine.result_at, ctypes.c_ulong(-errno).value)
            return
        none = ctypes.c_int(-1)
        _registers(arch.SETREGSET, thread, arch.ARM_SYSTEM_CALL, none)
        general = (ctypes.c_uint64 * 34)()
        _registers(arch.GETREGSET, thread, arch.GENERAL_REGISTERS, general)
        general[0] = ctypes.c_ulong(-errno).value
        _registers(arch.SETREGSET, thread, arch.GENERAL_REGISTERS, general)


def _registers(how: int, thread: int, which: int, value: Any) -> None:
    block = _Block(ctypes.cast(ctypes.pointer(value), ctypes.c_void_p), ctypes.sizeof(value))
    _check(_libc.ptrace(how, thread, which, ctypes.cast(ctypes.pointer(block), ctypes.c_void_p)))


def _info(thread: int) -> _Info:
    info = _Info()
    _check(_libc.ptrace(arch.GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info)))
    return info


def _ptrace(how: int, thread: int, address: int, data: int) -> None:
    _check(_libc.ptrace(how, thread, address, data))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _link(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)  # noqa: PTH115 - "socket:[1]" is no path
    return ""


def _text(thread: int, address: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - at an address, unbuffered
        found = b""
        for start, end in _pages(address):
            memory.seek(start)
            block = memory.read(end - start)
            found += block.partition(b"\0")[0]
            if b"\0" in block:
                break
    return os.fsdecode(found)


def _pages(address: int) -> Iterator[tuple[int, int]]:
    """Cut at pages: the one after the text need not be there."""
    start = address
    while start < address + _PATH_MAX:
        end = (start // _PATH_MAX + 1) * _PATH_MAX
        yield start, end
        start = end


def is_possible() -> str:
    """Return "" where a child can be traced here, else why not. For a process without threads and other children."""
    if arch.this_machine() is None:
        return "only Linux on x86-64 and aarch64 is known"
    pid = os.fork()
    if pid == 0:
        try:
            be_traced(with_network=False)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = trace(pid, Path("/"), _Nobody(), with_network=False)
    return "" if status == 0 else f"ptrace or seccomp is refused here: {os.strerror(os.waitstatus_to_exitcode(status))}"


class _Nobody:
    def before(self, _call: Call) -> None:
        """Let everything be."""

    def synced(self, _thread: int, *, ok: bool) -> None:
        """Take no note."""


if __name__ == "__main__":
    sys.stdout.write(is_possible())
