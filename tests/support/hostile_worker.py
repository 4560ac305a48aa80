"""A worker that a hostile video has taken over, just before its first job."""

from __future__ import annotations

import json
import os

from service.config import Settings
from service.run.model_loader import LoadedModel, ModelChoice
from tests.support import attacks, fakes
from vos.types import Options


def load(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Try everything that `attempts.json` in the settings' home names, store what came of it, and load a fake."""
    targets = json.loads((settings.home / "attempts.json").read_text())
    found = {
        "read": attacks.read(targets["file"]),
        "read environment": attacks.read(f"/proc/{os.getppid()}/environ"),
        "write": attacks.write(targets["file"]),
        "write a module": attacks.write(targets["module"]),
        "connect": attacks.connect(targets["port"]),
        "run a program": attacks.run_program(),
        "fork": attacks.fork(),
        "signal the parent": attacks.signal_the_parent(),
        "trace the parent": attacks.trace_the_parent(),
    }
    part = settings.home / "found.part"
    part.write_text(json.dumps(found))
    part.replace(settings.home / "found.json")
    return fakes.load(choice, options, settings)
