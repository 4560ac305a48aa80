"""One black and white picture per object and frame, as compositing and annotation programs read picture sequences."""

from __future__ import annotations

import cv2
import numpy as np

from service.writers.png import COMPRESS_LEVEL, mask_name
from service.writers.stored_zip import StoredZip
from service.writers.writer import Target, opened
from vos.types import FrameMask


class BinaryPngWriter:
    """Writes a zip of OBJECT/00000.png, ...: 8-bit grey, 255 inside the object. Every object has every frame.

    Args:
        target: File to write.
        objects: Object ids of the prompt.
    """

    def __init__(self, target: Target, objects: tuple[int, ...]) -> None:
        self._objects = objects
        self._file = opened(target)
        self._archive = StoredZip(self._file)

    def write(self, frame: FrameMask) -> None:
        """Add one picture per object."""
        for number in self._objects:
            picture = np.where(frame.labels == number, np.uint8(255), np.uint8(0))
            _, encoded = cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, COMPRESS_LEVEL))
            self._archive.add(f"{number}/{mask_name(frame.index)}", encoded.tobytes())

    def close(self) -> None:
        """Write the zip's directory."""
        if not self._file.closed:
            with self._file:
                self._archive.close()
