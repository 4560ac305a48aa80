"""Draws masks of the mask log as pictures; in a sandbox if they have many pixels and objects, which takes seconds."""

from __future__ import annotations

from service.errors import RunError
from service.sandbox.handles import Input, OutputFile, opened_input, opened_output
from service.writers.mask_line import labels_of, parse_line
from service.writers.png import encode_mask


def draw_line(line: bytes, width: int, height: int) -> bytes:
    """Return the mask of a line of the mask log as an indexed PNG of the display size."""
    return encode_mask(labels_of(parse_line(line), width, height))


def draw_to(out: OutputFile, line: bytes, width: int, height: int) -> None:
    """Write what `draw_line` returns."""
    with opened_output(out) as file:
        file.write(draw_line(line, width, height))


def draw_long_to(out: OutputFile, mask_log: Input, place: tuple[int, int], width: int, height: int) -> None:
    """Do as `draw_to` with a line that stands in the log at `place`: its offset and its bytes.

    Raises:
        RunError: The log has become shorter, because the job was started over.
    """
    start, size = place
    with opened_input(mask_log) as log:
        log.seek(start)
        line = log.read(size)
    if len(line) < size:
        raise RunError("the mask is gone, because the job was started over; try again")
    draw_to(out, line, width, height)
