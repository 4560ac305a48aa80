"""Settings from the environment; no other file reads it.

| variable | default | meaning |
| --- | --- | --- |
| `KEYMASK_HOME` | `$XDG_DATA_HOME/keymask`, else `~/.local/share/keymask` | where pulled weights are kept |
| `KEYMASK_DEBUG` | off | anything but empty or 0: show the traceback of an unexpected error |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment decides.

    Attributes:
        home: Folder of what keymask keeps between runs; it need not exist yet.
        debug: Whether an unexpected error shows its traceback.
    """

    home: Path
    debug: bool = False

    @property
    def weights_dir(self) -> Path:
        """Folder of the weights that `keymask models pull` stores."""
        return self.home / "weights"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (the process's own by default)."""
    env = os.environ if environ is None else environ
    return Settings(
        home=_home(env),
        debug=env.get("KEYMASK_DEBUG", "") not in ("", "0"),
    )


def _home(env: Mapping[str, str]) -> Path:
    if given := env.get("KEYMASK_HOME"):
        return Path(given).expanduser()
    if data_home := env.get("XDG_DATA_HOME"):
        return Path(data_home).expanduser() / "keymask"
    return Path("~/.local/share/keymask").expanduser()
