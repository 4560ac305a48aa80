"""Masks as indexed PNG files, one per frame, in the layout of the DAVIS data set."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from codec.types import UInt8Array
from service.writers.palette import PALETTE
from service.writers.stored_zip import StoredZip
from service.writers.writer import Target, opened
from vos.runtime.durable import make_folder
from vos.types import FrameMask

COMPRESS_LEVEL = 1
"""zlib level. Labels are long runs: level 6 makes files slightly smaller but takes several times as long."""


def mask_name(index: int) -> str:
    """Return the file name for a presentation index, with at least 5 digits."""
    return f"{index:05d}.png"


def encode_mask(labels: UInt8Array) -> bytes:
    """Encode labels uint8 [height, width] as an 8-bit indexed PNG with the DAVIS palette."""
    height, width = labels.shape
    picture = Image.frombytes("P", (width, height), labels.tobytes())
    picture.putpalette(PALETTE.tobytes())
    buffer = BytesIO()
    picture.save(buffer, format="PNG", compress_level=COMPRESS_LEVEL)
    return buffer.getvalue()


class PngWriter:
    """Writes `folder`/00000.png, 00001.png, ... named by presentation index."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._folder = folder

    def write(self, frame: FrameMask) -> None:
        """Write the frame's mask, encoded in memory first so that an interruption leaves no partial picture."""
        (self._folder / mask_name(frame.index)).write_bytes(encode_mask(frame.labels))

    def close(self) -> None:
        """Nothing is open between frames."""


class ZipWriter:
    """Writes the masks of `PngWriter` into one zip, from front to back."""

    def __init__(self, target: Target) -> None:
        self._file = opened(target)
        self._archive = StoredZip(self._file)

    def write(self, frame: FrameMask) -> None:
        """Add the frame's mask."""
        self._archive.add(mask_name(frame.index), encode_mask(frame.labels))

    def close(self) -> None:
        """Write the zip's directory."""
        if not self._file.closed:
            with self._file:
                self._archive.close()
