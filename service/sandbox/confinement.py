"""What a process that decodes strangers' files may still do, and how much of it the kernel enforces.

Two kinds of process are confined: the one of a sandbox call, which has its open files and nothing else, and a worker,
which needs its database, its storage and its device.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import codec
import service
import vos
from codec.demux.limits import DecodeLimits, limit_decoding
from service.sandbox.formats import DECODERS, FORMATS
from service.sandbox.landlock import landlock_version, restrict
from service.sandbox.seccomp import has_seccomp, refuse_system_calls

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG = 4, 38, 1
_CAPABILITY_VERSION = 0x20080522
_MAX_FILES = 512
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_SYSTEM = (
    *("/usr", "/etc", "/sys", "/run/systemd/resolve"),
    *(f"/proc/{name}" for name in ("cpuinfo", "meminfo", "stat", "devices", "modules", "driver", "sys")),
)
"""What CUDA, torch and a database's client read: drivers, properties of devices, names of hosts, certificates."""
_DEVICES = ("/dev",)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this kernel enforces.

    Attributes:
        landlock: Version of Landlock, which takes files away; 0 if the kernel has none.
        seccomp: Whether system calls are refused: no sockets, no programs, no new processes.
    """

    landlock: int
    seccomp: bool

    @property
    def is_complete(self) -> bool:
        """Whether all of it is enforced."""
        return self.landlock > 0 and self.seccomp

    def as_json(self) -> dict[str, Any]:
        """The values as in `/health/ready` and the log."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of one process.

    Attributes:
        memory_bytes: Largest address space; None sets no limit.
        file_bytes: Largest file that it writes.
        max_pixels: Most pixels of a picture that it decodes; None for what `codec` allows.
    """

    memory_bytes: int | None = 4 << 30
    file_bytes: int = 64 << 20
    max_pixels: int | None = None


@cache
def available_confinement() -> Confinement:
    """Return what this kernel enforces."""
    return Confinement(landlock_version(), has_seccomp())


def give_up_privileges() -> None:
    """Gain no rights by running programs, let no process of the same user look inside, and write no core file."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def end_with_parent(signal_number: int) -> None:
    """Get a signal when the thread ends that has made this process."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def close_file_system() -> None:
    """Leave this process, and those that it makes, open files and libraries. It must have a single thread.

    Raises:
        OSError: The kernel offers the restriction but refuses to apply it.
    """
    if available_confinement().landlock:
        restrict(_libraries())


def limit_formats(max_pixels: int | None) -> None:
    """Read only the containers and codecs that people upload, and pictures up to a size."""
    limit_decoding(DecodeLimits(max_pixels, FORMATS, DECODERS))


def confine_call(limits: ProcessLimits) -> None:
    """Limit what this process uses, and leave it no way to sockets, programs and other processes.

    The number of processes of a user (RLIMIT_NPROC) is no limit of one process; seccomp refuses new processes, and
    threads end with the address space.

    Raises:
        OSError: The kernel offers the restriction but refuses to apply it.
    """
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    if limits.memory_bytes is not None:
        _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _drop_capabilities()
    if available_confinement().seccomp:
        refuse_system_calls()


def limit_processor_time(seconds: float) -> None:
    """End this process (SIGXCPU) when all processors together have worked for it for so long."""
    _limit(resource.RLIMIT_CPU, ceil(seconds * (os.cpu_count() or 1)))


def confine_worker(readable: Iterable[Path], writable: Iterable[Path], *, network: bool) -> None:
    """Leave this process its libraries, its folders and its devices, and no way to programs and other processes.

    Threads that exist keep their files; call it before there are any but those of libraries.

    Args:
        readable: Further folders and files to read.
        writable: Folders with all rights.
        network: Whether it needs the network, for its database.

    Raises:
        OSError: The kernel offers a restriction but refuses to apply it.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _end_library_threads()
    found = available_confinement()
    if found.landlock:
        devices = [Path(path) for path in _DEVICES]
        own = Path(f"/proc/{os.getpid()}")
        restrict((*_libraries(), *map(Path, _SYSTEM), own, *readable), (*devices, *writable), network=network)
    if found.seccomp:
        refuse_system_calls(files=True, network=network)


def _end_library_threads() -> None:
    """Let OpenBLAS end its threads, which it does before a fork; those that it makes later are confined."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _libraries() -> Iterator[Path]:
    """Folders of the interpreter, of the libraries and of this program."""
    yield from (Path(path) for path in _SYSTEM_LIBRARIES)
    paths = sysconfig.get_paths()
    yield from (Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from (Path(folder) for package in (codec, vos, service) for folder in package.__path__)


def _drop_capabilities() -> None:
    """Give up what root may do beyond other users, such as raising its limits."""
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(ctypes.CDLL(None, use_errno=True).capset(header, none))


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))


def _prctl(option: int, value: int) -> None:
    _check(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
