"""Functions that tests call in sandboxes; their processes import this module, so it imports little."""

from __future__ import annotations

import time

from service.sandbox.handles import OutputFile, opened_output


def block(file: OutputFile) -> None:
    """Write to the file and never return."""
    with opened_output(file) as opened:
        opened.write(b"begun")
        opened.flush()
        time.sleep(3600)
