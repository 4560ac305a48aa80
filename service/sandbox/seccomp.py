"""seccomp: system calls that this process and what it starts can no longer make (Linux 3.17; x86-64 and ARM64).

Decoding needs memory, threads and open files. So a list of what leads out of the process is refused with EPERM: other
processes, programs, sockets, names of files, and the kernel's rarely used parts. Threads that exist are included.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import TypeAlias

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of classic BPF: load a word, jump if it is equal, at least, has one of the bits; return."""
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
"""Offsets in `struct seccomp_data`."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _ALL_THREADS = 1, 2, 1
_X32 = 0x40000000
"""First number of the calls for 32-bit pointers on x86-64."""
_CLONE_THREAD = 0x10000
_NEW_FILE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TIOCSTI = 0x5412
"""Types into the terminal."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4

Numbers: TypeAlias = tuple[int, int | None]
"""Numbers of a system call on x86-64 and ARM64."""
Instruction: TypeAlias = tuple[int, int, int, int]

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine -> its number for the kernel, and its column below."""

_PROCESSES: dict[str, Numbers] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440), "kcmp": (312, 272),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "setsid": (112, 157),
    "setpgid": (109, 154),
}  # fmt: skip
_SOCKETS: dict[str, Numbers] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
}  # fmt: skip
_KERNEL: dict[str, Numbers] = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89),
    "quotactl": (179, 60), "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "personality": (135, 92), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "mq_unlink": (241, 181),
}  # fmt: skip
_NAMES: dict[str, Numbers] = {
    "creat": (85, None), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "unlink": (87, None), "unlinkat": (263, 35),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "truncate": (76, 45), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}  # fmt: skip
_CLONE, _CLONE3, _OPEN, _OPENAT, _OPENAT2 = (56, 220), (435, 435), (2, None), (257, 56), (437, 437)
_KILL, _TGKILL, _PRLIMIT, _PRCTL, _IOCTL = (62, 129), (234, 131), (302, 261), (157, 167), (16, 29)
_SECCOMP = (317, 277)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class Test(Enum):
    """When an argument leads to a refusal."""

    HAS_BIT = (_ANY_BIT, 0, 1)
    LACKS_BIT = (_ANY_BIT, 1, 0)
    IS = (_EQUAL, 0, 1)


def has_seccomp() -> bool:
    """Whether the kernel can refuse system calls, and this module knows the processor."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    with suppress(OSError):
        _seccomp(_GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(_REFUSE)))
        return True
    return False


def refuse_system_calls(*, files: bool = False, network: bool = False) -> None:
    """Refuse what leads out of this process, for good.

    Args:
        files: Whether files may be created, opened for writing, renamed and deleted.
        network: Whether sockets may be opened.

    Raises:
        OSError: The kernel does not allow it. `PR_SET_NO_NEW_PRIVS` has to be set before.
    """
    code = b"".join(struct.pack("=HBBI", *line) for line in _program(files=files, network=network))
    program = _Program(len(code) // 8, code)
    _seccomp(_SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))


def _program(*, files: bool, network: bool) -> Iterator[Instruction]:
    arch, column = _ARCHITECTURES[platform.machine()]
    yield _LOAD, 0, 0, _ARCH_AT
    yield _EQUAL, 1, 0, arch
    yield _refuse()
    yield _LOAD, 0, 0, _NUMBER_AT
    if platform.machine() == "x86_64":
        yield _AT_LEAST, 0, 1, _X32
        yield _refuse()
    refused = _PROCESSES | _KERNEL | ({} if network else _SOCKETS) | ({} if files else _NAMES)
    for numbers in refused.values():
        yield from _never(numbers[column])
    yield from _never(_CLONE3[column], errno.ENOSYS)  # so that the C library uses clone, whose flags can be checked
    yield from _if(_CLONE[column], 0, Test.LACKS_BIT, _CLONE_THREAD)
    for numbers in (_KILL, _TGKILL):
        yield from _unless(numbers[column], 0, (os.getpid(),))
    yield from _unless(_PRLIMIT[column], 0, (0, os.getpid()))
    yield from _if(_IOCTL[column], 1, Test.IS, _TIOCSTI)
    for option in (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE):
        yield from _if(_PRCTL[column], 0, Test.IS, option)
    if not files:
        yield from _never(_OPENAT2[column], errno.ENOSYS)
        yield from _if(_OPENAT[column], 2, Test.HAS_BIT, _NEW_FILE)
        yield from _if(_OPEN[column], 1, Test.HAS_BIT, _NEW_FILE)
    yield _RETURN, 0, 0, _ALLOW


def _refuse(code: int = errno.EPERM) -> Instruction:
    return _RETURN, 0, 0, _REFUSE | code


def _never(number: int | None, code: int = errno.EPERM) -> Iterator[Instruction]:
    """Refuse a system call; None is one that this processor does not have."""
    if number is not None:
        yield _EQUAL, 0, 1, number
        yield _refuse(code)


def _if(number: int | None, argument: int, test: Test, value: int) -> Iterator[Instruction]:
    """Refuse a system call if the low word of an argument passes a test."""
    if number is not None:
        code, on_true, on_false = test.value
        yield _EQUAL, 0, 4, number
        yield _LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument
        yield code, on_true, on_false, value
        yield _refuse()
        yield _LOAD, 0, 0, _NUMBER_AT


def _unless(number: int | None, argument: int, values: tuple[int, ...]) -> Iterator[Instruction]:
    """Refuse a system call unless the low word of an argument has one of some values."""
    if number is not None:
        yield _EQUAL, 0, 3 + len(values), number
        yield _LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument
        yield from ((_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values))
        yield _refuse()
        yield _LOAD, 0, 0, _NUMBER_AT


def _seccomp(operation: int, flags: int, argument: object) -> None:
    number = _SECCOMP[_ARCHITECTURES[platform.machine()][1]]
    result = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), operation, flags, argument)
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
