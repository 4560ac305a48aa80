"""Landlock: take files, TCP ports and signals away from this process (Linux 5.13; kernel's userspace-api/landlock).

A process can only narrow what it may do, and what it starts inherits that. Only the calling thread is restricted, so
call `restrict` before there are others.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls, with the same numbers on all processors."""
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_OF_FILES = 1 << 0 | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15
"""Rights that a rule on a file can have: execute, write, read, truncate, ioctl."""
_READ = _READ_FILE | _READ_DIR
_RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
"""(version, number of rights on files that it knows)."""
_NETWORK_VERSION, _NETWORK_RIGHTS = 4, 0b11
_SCOPE_VERSION, _SCOPES = 6, 0b11
"""Abstract sockets and signals of processes outside."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def landlock_version() -> int:
    """Return the version of Landlock that the kernel offers, 0 if it offers none."""
    with suppress(OSError):
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return 0


def restrict(readable: Iterable[Path], writable: Iterable[Path] = (), *, network: bool = False) -> None:
    """Forbid this process all files but those below some folders, for good. Open files stay usable.

    Args:
        readable: Folders and files to read; one that does not exist is left out.
        writable: Folders and files with all rights.
        network: Whether TCP may be used.

    Raises:
        OSError: The kernel does not allow it. `PR_SET_NO_NEW_PRIVS` has to be set before.
    """
    version = landlock_version()
    rights = (1 << max(count for first, count in _RIGHTS if first <= version)) - 1
    ruleset = _Ruleset(
        rights,
        0 if network or version < _NETWORK_VERSION else _NETWORK_RIGHTS,
        0 if version < _SCOPE_VERSION else _SCOPES,
    )
    size = 8 if version < _NETWORK_VERSION else 16 if version < _SCOPE_VERSION else 24
    descriptor = _call(_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    try:
        for paths, allowed in ((readable, _READ), (writable, rights)):
            for path in paths:
                _allow(descriptor, path, allowed & rights)
        _call(_RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = _PathRule(rights if is_folder else rights & _OF_FILES, descriptor)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
