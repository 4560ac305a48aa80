"""Draws masks of the mask log as pictures; in a sandbox if they have many pixels and objects, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from service.errors import RunError
from service.storage.mask_log import LongLine, find_line, read_piece
from service.writers.mask_line import labels_of, parse_line
from service.writers.png import encode_mask


def draw_mask(mask_log: Path, index: int, width: int, height: int) -> bytes:
    """Return the mask of a frame, which the log has, as an indexed PNG of the display size."""
    line = find_line(mask_log, index)
    if line is None:
        raise RunError(f"the mask of frame {index} is gone, because the job was started over; try again")
    return draw_line(read_piece(mask_log, line.start, line.size) if isinstance(line, LongLine) else line, width, height)


def draw_line(line: bytes, width: int, height: int) -> bytes:
    """Return the mask of a line as an indexed PNG of the display size."""
    return encode_mask(labels_of(parse_line(line), width, height))
