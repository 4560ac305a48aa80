"""What the command line trusts later survives a power cut, judged by the order of the system calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.media import write_clip, write_mask
from tests.support.paths import ROOT
from tests.support.syscall_log import Call, Disk, check_strace, read_calls, traced

_PROGRAM = """
import sys, torch
from pathlib import Path
from service.cli.commands.keys import new_key
from tests.support import resumable
from vos.weights.load import save_weights
folder = Path(sys.argv[1])
save_weights("stm", {"a": torch.zeros(3)}, folder / "weights", origin="x")
print("weights stored", flush=True)
new_key("ann", folder / "keys")
resumable.main(str(folder), str(folder / "a" / "out"), "-1", "forward")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a program has stored weights and a key and then segmented a video, and the log of its system calls."""
    check_strace()
    folder = tmp_path_factory.mktemp("files")
    write_clip(folder / "in.mp4")
    write_mask(folder / "mask.png")
    command = traced(folder / "calls.log", [sys.executable, "-c", _PROGRAM, str(folder)])
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


def calls_of(folder: Path, disk: Disk) -> Iterator[Call]:
    """Yield the begin of each call of the program with the disk as it was then."""
    for call in read_calls(folder / "calls.log"):
        if call.result is None:
            yield call
        disk.apply(call)


def test_a_run_can_be_resumed_and_trusted_after_a_power_cut(folder: Path) -> None:
    """A resume state never is ahead of the masks, and a complete report never is ahead of any result."""
    out, disk, states, reports = folder / "a" / "out", Disk(folder), 0, 0
    for call in calls_of(folder, disk):
        if call.name.startswith("rename") and call.strings[1].endswith("state.npz"):
            states += 1
            masks = disk.files(out / "masks")
            assert masks
            assert [path.name for path in (*masks, out / ".resume/frames.ndjson") if not disk.is_durable(path)] == []
        elif call.name.startswith("rename") and call.strings[1] == str(out / "report.json"):
            reports += 1
            files = [path for path in disk.files(out) if ".resume" not in path.parts and path.suffix != ".part"]
            assert {path.suffix for path in files} == {".png", ".mp4", ".ndjson", ".npz"}
            assert [path.name for path in files if not disk.is_durable(path)] == []
    assert states > 3
    assert reports == 1
    assert disk.is_durable(out / "report.json")


def test_weights_and_keys_survive_a_power_cut(folder: Path) -> None:
    """`models pull` says that the weights are stored, and `keys new` shows the key, once they are on the disk."""
    disk, said = Disk(folder), []
    for call in calls_of(folder, disk):
        if call.name == "write" and "weights stored" in call.text:
            said.append("weights")
            assert [path.suffix for path in disk.files(folder / "weights")] == [".json", ".safetensors"]
            assert all(map(disk.is_durable, disk.files(folder / "weights")))
        elif call.name == "write" and "km_" in call.text:
            said.append("key")
            assert disk.is_durable(folder / "keys")
    assert said == ["weights", "key"]
