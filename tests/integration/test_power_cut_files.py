"""What the command line trusts later survives a power cut, judged by the order of the system calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.media import write_clip, write_mask
from tests.support.paths import ROOT
from tests.support.syscall_log import Call, Disk, check_strace, read_calls, traced

_STORE = """
import sys, torch
from pathlib import Path
from service.cli.commands.keys import new_key
from vos.weights.load import save_weights
folder = Path(sys.argv[1])
save_weights("stm", {"a": torch.zeros(3)}, folder / "weights", origin="x")
print("weights stored", flush=True)
new_key("ann", folder / "keys")
"""


def calls_of(log: Path, disk: Disk, *command: str) -> Iterator[Call]:
    """Run a program to its end, and yield the begin of each of its calls with the disk as it was then."""
    check_strace()
    subprocess.run(traced(log, [sys.executable, *command]), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for call in read_calls(log):
        if call.result is None:
            yield call
        disk.apply(call)


def test_a_run_can_be_resumed_and_trusted_after_a_power_cut(tmp_path: Path) -> None:
    """A resume state never is ahead of the masks, and a complete report never is ahead of any result."""
    write_clip(tmp_path / "in.mp4")
    write_mask(tmp_path / "mask.png")
    out, disk, states, reports = tmp_path / "a" / "out", Disk(tmp_path), 0, 0
    command = ("-m", "tests.support.resumable", str(tmp_path), str(out), "-1")
    for call in calls_of(tmp_path / "calls.log", disk, *command):
        if call.name.startswith("rename") and call.strings[1].endswith("state.npz"):
            states += 1
            masks = disk.files(out / "masks")
            assert masks
            assert [path.name for path in (*masks, out / ".resume/frames.ndjson") if not disk.is_durable(path)] == []
        elif call.name.startswith("rename") and call.strings[1] == str(out / "report.json"):
            reports += 1
            files = [path for path in disk.files(out) if ".resume" not in path.parts and path.suffix != ".part"]
            assert {path.suffix for path in files} == {".png", ".mp4", ".ndjson"}
            assert [path.name for path in files if not disk.is_durable(path)] == []
    assert states > 3
    assert reports == 1
    assert disk.is_durable(out / "report.json")


def test_weights_and_keys_survive_a_power_cut(tmp_path: Path) -> None:
    """`models pull` says that the weights are stored, and `keys new` shows the key, once they are on the disk."""
    disk, said = Disk(tmp_path), []
    for call in calls_of(tmp_path / "calls.log", disk, "-c", _STORE, str(tmp_path)):
        if call.name == "write" and "weights stored" in call.text:
            said.append("weights")
            assert [path.suffix for path in disk.files(tmp_path / "weights")] == [".json", ".safetensors"]
            assert all(map(disk.is_durable, disk.files(tmp_path / "weights")))
        elif call.name == "write" and "km_" in call.text:
            said.append("key")
            assert disk.is_durable(tmp_path / "keys")
    assert said == ["weights", "key"]
