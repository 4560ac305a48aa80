"""Soft masks as NumPy arrays: a zip of one `.npy` per object and frame, which `numpy.load` reads one at a time."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from codec.types import Float32Array, UInt8Array, VideoInfo
from service.errors import RunError
from service.writers.stored_zip import StoredZip
from service.writers.writer import Target, opened
from vos.types import GIVEN, FrameMask


class SoftWriter:
    """Writes OBJECT/00000.npy, ...: uint8 [height, width] in display size, 255 for a probability of 1.

    Objects whose masks were given have 0 and 255 only. Every object has every frame. Memory grows by 46 bytes and a
    name per array.

    Args:
        target: File to write.
        info: Sizes and orientation of the video.
        objects: Object ids of the prompt.
    """

    def __init__(self, target: Target, info: VideoInfo, objects: tuple[int, ...]) -> None:
        self._info = info
        self._objects = objects
        self._file = opened(target)
        self._archive = StoredZip(self._file)

    def write(self, frame: FrameMask) -> None:
        """Add one array per object.

        Raises:
            RunError: The frame has no soft masks.
        """
        if frame.soft is None and frame.source not in GIVEN:
            raise RunError(f"the mask of frame {frame.index} was kept without soft masks, which npz needs")
        for number in self._objects:
            soft = in_display_size(frame, number, self._info)
            file = io.BytesIO()
            np.lib.format.write_array(file, soft, allow_pickle=False)
            self._archive.add(f"{number}/{frame.index:05d}.npy", file.getvalue(), deflate=True)

    def close(self) -> None:
        """Write the zip's directory."""
        if not self._file.closed:
            with self._file:
                self._archive.close()


def in_display_size(frame: FrameMask, number: int, info: VideoInfo) -> UInt8Array:
    """Return an object's soft mask, uint8 [height, width] in display size, by bilinear interpolation.

    An object without a soft mask has its mask, in 0 and 255.
    """
    soft = None if frame.soft is None else frame.soft.get(number)
    if soft is None:
        return np.where(frame.labels == number, np.uint8(255), np.uint8(0))
    values = soft.values
    if not (info.coded_height, info.coded_width) == values.shape == soft.extent:
        height, width = soft.extent
        rows = _enlarged(values.astype(np.float32), info.coded_height, height / info.coded_height)
        both = _enlarged(rows.T, info.coded_width, width / info.coded_width).T
        values = np.rint(both).astype(np.uint8)
    return np.ascontiguousarray(info.to_display(values)).astype(np.uint8, copy=False)


def _enlarged(cells: Float32Array, pixels: int, scale: float) -> npt.NDArray[np.float32]:
    """Interpolate along the first axis: [cells, n] -> [pixels, n], with `scale` cells per pixel."""
    position = np.clip((np.arange(pixels) + 0.5) * scale - 0.5, 0, len(cells) - 1)
    before = position.astype(int)
    after = np.minimum(before + 1, len(cells) - 1)
    share = (position - before).astype(np.float32)[:, None]
    return np.asarray(cells[before] * (1 - share) + cells[after] * share, np.float32)
