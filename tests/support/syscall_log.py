"""What a power cut leaves, computed from the system calls of real processes.

`traced` puts `strace` in front of a command. `read_calls` reads its log, and `Disk` replays it: it knows which bytes
and which names have reached the disk for certain, because an `fsync` that began after them has returned. Everything
else may be lost.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DEMAND = "TESTS_SKIP_NOTHING"
"""Environment variable that turns a skipped test into a failed one; continuous integration sets it."""
_SHOWN_BYTES = 4200
"""Bytes of each argument in the log: a page of SQLite with its header."""
_WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
_SENDS = ("sendto", "sendmsg")
_SYNCS = ("fsync", "fdatasync")
_NAMES = ("openat", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "rmdir")
_SIZES = ("ftruncate",)

_LINE = re.compile(r"(\d+) +(.*)")
_BEGIN = re.compile(r"(\w+)\((.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_RESULT = re.compile(r"(.*)\) += (-?\d+|\?)(?:<(.*?)>)?.*")
_UNFINISHED = " <unfinished ...>"
_FILE = re.compile(r"\d+<([^>]*)>")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def check_strace() -> None:
    """Skip the test if processes cannot be traced here, or let it fail if `TESTS_SKIP_NOTHING` is set."""
    program = shutil.which("strace")
    if program is None:
        problem = "strace is not installed (Debian: apt-get install strace)"
    else:
        tried = subprocess.run([program, "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return
        problem = f"strace may not trace processes (ptrace is not permitted?): {tried.stderr.strip()}"
    if os.environ.get(DEMAND):
        pytest.fail(f"this test needs strace: {problem}")
    pytest.skip(f"this test needs strace: {problem}; {DEMAND}=1 makes this an error")


def traced(log: Path, command: list[str]) -> list[str]:
    """Return a command line that runs `command` and writes its system calls to `log`."""
    calls = ",".join((*_WRITES, *_SENDS, *_SYNCS, *_NAMES, *_SIZES))
    options = ["-f", "-qq", "-y", "--seccomp-bpf", "-s", str(_SHOWN_BYTES), "-e", f"trace={calls}", "-e", "signal=none"]
    return ["strace", *options, "-o", str(log), *command]


@dataclass(frozen=True, slots=True)
class Call:
    """The begin or the return of a system call.

    Attributes:
        process: Id of the thread.
        name: Name of the call.
        text: Arguments as `strace` shows them.
        result: What it returned; None at its begin.
        opened: Path of the file that it opened; empty for other calls.
    """

    process: int
    name: str
    text: str
    result: int | None = None
    opened: str = ""

    @property
    def file(self) -> str:
        """Path of the file that the first argument refers to."""
        found = _FILE.match(self.text)
        return found[1] if found else ""

    @property
    def strings(self) -> list[str]:
        """All strings among the arguments."""
        return _STRING.findall(self.text)

    @property
    def sends(self) -> bool:
        """Whether the call writes to a socket."""
        return self.name in _SENDS or (self.name in _WRITES and self.file.startswith("socket:"))


def read_calls(log: Path) -> Iterator[Call]:
    """Yield the begin and the return of each call, in the order in which they happened."""
    begun: dict[int, Call] = {}
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not (found := _LINE.match(line)):
                continue
            process, text = int(found[1]), found[2]
            if resumed := _RESUMED.match(text):
                begin = begun.pop(process, None)
                if begin is None:
                    continue
                whole = begin.text + resumed[2]
            elif begins := _BEGIN.match(text):
                name, whole = begins[1], begins[2]
                if whole.endswith(_UNFINISHED):
                    begun[process] = Call(process, name, whole.removesuffix(_UNFINISHED))
                    yield begun[process]
                    continue
                begin = Call(process, name, done[1] if (done := _RESULT.match(whole)) else whole)
                yield begin
            else:
                continue
            if (result := _RESULT.match(whole)) and result[2] != "?":
                yield Call(process, begin.name, result[1], int(result[2]), result[3] or "")


@dataclass(eq=False, slots=True)
class Node:
    """A file or a folder: as programs see it, and as it is on the disk for certain.

    Attributes:
        size: Bytes, for files that are written from front to back.
        changes: Number of writes so far.
        synced_size: `size` on the disk.
        synced: How many of the writes are on the disk.
        names: Entries of a folder.
        synced_names: Its entries on the disk.
    """

    size: int = 0
    changes: int = 0
    synced_size: int = 0
    synced: int = 0
    names: dict[str, Node] = field(default_factory=dict)
    synced_names: dict[str, Node] = field(default_factory=dict)


class Disk:
    """The files below a folder, which exists at the start with everything in it that no call creates."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = Node()
        self._syncing: dict[int, tuple[Node, Node]] = {}

    def apply(self, call: Call) -> None:
        """Follow a call."""
        if call.name in _SYNCS:
            self._sync(call)
        elif call.result is None or call.result < 0:
            return
        elif call.name == "openat":
            self._open(call)
        elif call.name in (*_WRITES, *_SIZES):
            self._write(call)
        elif call.name.startswith("rename"):
            old, new = self._paths(call)
            if (node := self._remove(old)) is not None:
                self._add(new, node)
        elif call.name.startswith("link"):
            old, new = self._paths(call)
            if (found := self.find(old)) is not None:
                self._add(new, found)
        elif call.name == "mkdir":
            self._add(self._paths(call)[0], Node())
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            self._remove(self._paths(call)[0])

    def find(self, path: str | Path) -> Node | None:
        """Return the file or folder of this path as programs see it; None also outside of the disk."""
        if not self._is_below(f"{path}/"):
            return None
        node: Node | None = self._top
        for name in self._parts(path):
            node = node.names.get(name) if node is not None else None
        return node

    def after_cut(self, path: str | Path) -> int | None:
        """Return the size that a file has if the power fails now and everything not synced is lost; None: no file."""
        node: Node | None = self._top
        for name in self._parts(path):
            node = node.synced_names.get(name) if node is not None else None
        return None if node is None else node.synced_size

    def is_durable(self, path: str | Path) -> bool:
        """Return whether the file with all its bytes survives a power cut, whatever else is lost."""
        seen, kept = self._top, self._top
        for name in self._parts(path):
            if name not in seen.names or name not in kept.synced_names:
                return False
            seen, kept = seen.names[name], kept.synced_names[name]
        return seen is kept and seen.synced == seen.changes

    def files(self, folder: str | Path) -> list[Path]:
        """Return the paths of all files below a folder."""
        top = self.find(folder)
        return [] if top is None else sorted(self._files(Path(folder), top))

    def _files(self, path: Path, node: Node) -> Iterator[Path]:
        for name, inner in node.names.items():
            if inner.names:
                yield from self._files(path / name, inner)
            elif inner.changes:
                yield path / name

    def _sync(self, call: Call) -> None:
        if call.result is None:
            node = self.find(call.file)
            if node is not None:
                now = Node(node.size, node.changes, names=dict(node.names))
                self._syncing[call.process] = node, now
        elif call.process in self._syncing:
            node, then = self._syncing.pop(call.process)
            if call.result == 0:
                node.synced_size, node.synced, node.synced_names = then.size, then.changes, then.names

    def _open(self, call: Call) -> None:
        if not self._is_below(call.opened):
            return
        node = self.find(call.opened)
        if node is None and "O_CREAT" in call.text:
            self._add(call.opened, Node())
        elif node is not None and "O_TRUNC" in call.text:
            node.size, node.changes = 0, node.changes + 1

    def _write(self, call: Call) -> None:
        node = self.find(call.file)
        if node is None:
            return
        node.changes += 1
        numbers = [int(number) for number in re.findall(r", (\d+)", call.text[call.text.rfind('"') :] + ",")]
        if call.name == "ftruncate":
            node.size = int(call.text.rpartition(", ")[2].rstrip(")"))
        elif call.name == "pwrite64":
            node.size = max(node.size, numbers[-1] + (call.result or 0))
        else:
            node.size += call.result or 0

    def _add(self, path: str, node: Node) -> None:
        if self._is_below(path):
            folder, name = os.path.split(path)
            self._folder(folder).names[name] = node

    def _remove(self, path: str) -> Node | None:
        if not self._is_below(path):
            return None
        folder, name = os.path.split(path)
        return self._folder(folder).names.pop(name, None)

    def _folder(self, path: str) -> Node:
        """Return a folder; one that no call has made was there before."""
        node = self._top
        for name in self._parts(path):
            if name not in node.names:
                node.names[name] = node.synced_names[name] = Node()
            node = node.names[name]
        return node

    def _paths(self, call: Call) -> list[str]:
        """Return the paths among the arguments; a relative one belongs to the folder that precedes it."""
        return [os.path.join(match[1] or "", match[2]) for match in _PATH.finditer(call.text)]  # noqa: PTH118

    def _is_below(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")

    def _parts(self, path: str | Path) -> tuple[str, ...]:
        return Path(path).relative_to(self._root).parts
