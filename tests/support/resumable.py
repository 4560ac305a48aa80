"""A small run whose masks depend on everything that a resume state holds, for tests of resuming."""

from __future__ import annotations

import os
import signal
import sys
from math import inf
from pathlib import Path

from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice
from service.run.options import RunOptions
from service.run.outputs import Outputs
from service.run.resume import save_schedule
from service.run.run_to_files import RunRequest, run_to_files
from tests.support.networks import MemoryNetwork
from vos.segmenter import Segmenter
from vos.types import Options


def load_memory(_choice: ModelChoice, options: Options, _settings: Settings) -> LoadedModel:
    """Replace `service.run.model_loader.load_model`: key frames depend on the whole memory."""
    return LoadedModel(Segmenter(MemoryNetwork(), options), {"name": "memory"})


def request_of(folder: Path, out: Path, *, resume: bool = False, direction: str = "forward") -> RunRequest:
    """Return the request for `folder`/in.mp4 and its mask, with all outputs; in both directions from the middle."""
    outputs = Outputs(out, out / "overlay.mp4", out / "masks.ndjson", exports={"npz": out / "soft.npz"})
    prompt_frame = 12 if direction == "both" else 0
    options = RunOptions(keyframes="every:3", start=2, direction=direction, prompt_frame=prompt_frame)
    return RunRequest(folder / "in.mp4", folder / "mask.png", outputs, options, resume=resume)


def main(folder: str, out: str, last: str, direction: str) -> None:
    """Run, save the state after every mask, and die without a word after some masks or, both ways, frames."""

    def die(done: int, _total: int | None) -> None:
        if done == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    save_schedule._MAX_TIME_SHARE = inf
    request = request_of(Path(folder), Path(out), direction=direction)
    run_to_files(request, Settings(), on_progress=die, load=load_memory, state_seconds=0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
