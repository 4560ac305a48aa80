"""The types that the reader returns. All are frozen and validated.

Pictures have one of two orientations. *Coded* is that of the decoder's output; luma, motion and the input of the
networks use it. *Display* is the orientation after the container's rotation; prompts and masks use it.
*Analysis size* is the size that pictures are scaled down to before analysis. Vectors are in pixels of that size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Float32Array: TypeAlias = npt.NDArray[np.float32]
VectorArray: TypeAlias = npt.NDArray[Any]
"""AVMotionVector records [n] (libavutil/motion_vector.h), as PyAV's `MotionVectors.to_ndarray()` returns them."""

STRIDE = 4
"""Size in analysis pixels of a cell of the stride-4 grid, which motion fields and soft masks use."""


class FrameType(StrEnum):
    """Coding type of a picture: that of its most general slice (H.264 clause 7.4.3, slice_type)."""

    I = "I"  # noqa: E741 - the standard's name
    P = "P"
    B = "B"


class MotionSource(StrEnum):
    """Origin of the motion vectors: the stream itself or a motion proxy."""

    BITSTREAM = "bitstream"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video that are known before its first frame is read.

    Attributes:
        codec: FFmpeg's name of the codec, such as "h264".
        pixel_format: FFmpeg's name of the pixel format, such as "yuv420p10le".
        coded_width, coded_height: Size of the decoded picture in pixels, after cropping and before rotation.
        analysis_width, analysis_height: Analysis size in pixels, coded orientation.
        rotation: Degrees clockwise (0, 90, 180 or 270) that turn the decoded picture upright.
        mirrored: Whether the upright picture is then flipped left to right.
        sample_aspect_ratio: Width of a pixel divided by its height. Masks are in pixels and do not apply it.
        average_rate: Frames per second according to the container, None if unknown.
        frames_from_header: Frame count according to the container, often wrong, None if unknown.
        duration_seconds_from_header: Duration according to the container, often wrong, None if it states none.
        motion_source: Where the reader gets motion vectors.
        profile: FFmpeg's name of the codec's profile, such as "High", None if there is none.
        lost_packets: Packets before the first key frame that give no picture, as in a stream cut elsewhere.
        clean_aperture: Part of the decoded picture that players show (x, y, width, height) in pixels, None for all of
            it. Pictures and masks do not apply it.
    """

    codec: str
    pixel_format: str
    coded_width: int
    coded_height: int
    analysis_width: int
    analysis_height: int
    rotation: int
    mirrored: bool
    sample_aspect_ratio: Fraction
    average_rate: Fraction | None
    frames_from_header: int | None
    duration_seconds_from_header: float | None
    motion_source: MotionSource
    profile: str | None = None
    lost_packets: int = 0
    clean_aperture: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.rotation not in (0, 90, 180, 270):
            raise ValueError(f"rotation is {self.rotation}; allowed: 0, 90, 180, 270")
        for name in ("coded_width", "coded_height", "analysis_width", "analysis_height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def display_width(self) -> int:
        """Width in pixels after rotation."""
        return self.coded_height if self.rotation in (90, 270) else self.coded_width

    @property
    def display_height(self) -> int:
        """Height in pixels after rotation."""
        return self.coded_width if self.rotation in (90, 270) else self.coded_height

    @property
    def display_clean_aperture(self) -> tuple[int, int, int, int]:
        """The clean aperture (x, y, width, height) in display orientation; the whole picture if there is none."""
        x, y, width, height = self.clean_aperture or (0, 0, self.coded_width, self.coded_height)
        right, below = self.coded_width - x - width, self.coded_height - y - height
        if self.rotation in (90, 270):
            width, height = height, width
        turned = {0: (x, y), 90: (below, x), 180: (right, below), 270: (y, right)}[self.rotation]
        left = self.display_width - turned[0] - width if self.mirrored else turned[0]
        return left, turned[1], width, height

    def to_display(self, picture: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Turn a picture [h, w, ...] from coded to display orientation (a view, no copy)."""
        turned = np.rot90(picture, k=-(self.rotation // 90))
        return turned[:, ::-1] if self.mirrored else turned

    def to_coded(self, picture: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Turn a picture [h, w, ...] from display to coded orientation (a view, no copy)."""
        unmirrored = picture[:, ::-1] if self.mirrored else picture
        return np.rot90(unmirrored, k=self.rotation // 90)


@dataclass(frozen=True, slots=True, eq=False)
class MotionField:
    """Block motion of one frame, one value per stride-4 cell.

    Attributes:
        vectors: float32 [2, rows, columns, 2], by prediction list (0 prefers past frames, 1 future frames). (dx, dy) in
            analysis pixels points from the cell to the place it is predicted from. 0 if the list is unused.
        reference: int32 [2, rows, columns], `decode_index` of the reference picture, -1 if the list is unused. A cell
            with -1 in both lists is intra coded or lost.
    """

    vectors: Float32Array
    reference: Int32Array

    def __post_init__(self) -> None:
        if self.reference.ndim != 3 or self.reference.shape[0] != 2:
            raise ValueError(f"reference has shape {self.reference.shape}; allowed: [2, rows, columns]")
        if self.vectors.shape != (*self.reference.shape, 2):
            raise ValueError(f"vectors have shape {self.vectors.shape}; allowed: {(*self.reference.shape, 2)}")

    def __repr__(self) -> str:
        return f"MotionField(rows={self.shape[0]}, columns={self.shape[1]}, coverage={self.coverage:.2f})"

    @classmethod
    def empty(cls, rows: int, columns: int) -> MotionField:
        """A field without vectors, as I frames have."""
        return cls(np.zeros((2, rows, columns, 2), np.float32), np.full((2, rows, columns), -1, np.int32))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.reference.shape[1], self.reference.shape[2]

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """Bool [rows, columns]: cells with at least one vector."""
        return np.asarray((self.reference >= 0).any(axis=0))

    @property
    def coverage(self) -> float:
        """Share of cells with at least one vector, 0 to 1. The rest is intra coded."""
        return float(self.covered.mean())

    @property
    def references(self) -> tuple[int, ...]:
        """Decode indices of the frames that cells are predicted from, ascending."""
        highest = int(self.reference.max(initial=-1))
        if highest < 0:
            return ()
        # References are recent, so counting back from the highest index is far faster than sorting.
        counts = np.bincount(highest - self.reference[self.reference >= 0])
        return tuple(int(highest - i) for i in np.flatnonzero(counts)[::-1])


@dataclass(frozen=True, slots=True, eq=False)
class PicturePlanes:
    """A decoded picture at full size in coded orientation, 8 bit per sample, chroma at half the size (4:2:0).

    Attributes:
        y: Luma uint8 [height, width], in the stream's own range.
        u, v: Chroma uint8 [ceil(height / 2), ceil(width / 2)].
    """

    y: UInt8Array
    u: UInt8Array
    v: UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class CompressedFrame:
    """One frame with its picture, motion and residual.

    Attributes:
        index: Position in presentation order among all decoded frames, from 0.
        decode_index: Position in decode order, in which the reader yields frames, from 0. References have smaller ones.
        pts: Presentation time in units of the stream's time base, None if the stream has none.
        time: Presentation time in seconds from the start of the file, across jumps of the stream's clock (see
            `codec.decode.timeline`).
        type: I, P or B.
        is_reference: Whether later frames may be predicted from this one.
        luma: uint8 [height, width] at analysis size, coded orientation.
        motion: Motion field, empty for intra frames.
        residual: int16 [height, width] at analysis size, luma minus its motion-compensated prediction. 0 in cells
            without a vector.
        available_references: Decode indices of the frames that later frames may still refer to. Anything kept for other
            frames can be dropped.
        to_rgb: Converts the picture to RGB. Call `rgb()` instead.
        to_planes: Returns the picture at full size; None where only the picture at analysis size is known.
    """

    index: int
    decode_index: int
    pts: int | None
    time: float
    type: FrameType
    is_reference: bool
    luma: UInt8Array
    motion: MotionField
    residual: Int16Array
    available_references: tuple[int, ...]
    to_rgb: Callable[[], UInt8Array] = field(repr=False)
    to_planes: Callable[[], PicturePlanes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.luma.shape != self.residual.shape:
            raise ValueError(f"residual has shape {self.residual.shape}; allowed: {self.luma.shape}, the shape of luma")
        height, width = self.luma.shape
        grid = (-(-height // STRIDE), -(-width // STRIDE))
        if self.motion.shape != grid:
            raise ValueError(f"motion has shape {self.motion.shape}; allowed: {grid} for {width}x{height} pixels")

    def __repr__(self) -> str:
        height, width = self.luma.shape
        return (
            f"CompressedFrame(index={self.index}, decode_index={self.decode_index}, pts={self.pts}, "
            f"time={self.time:.3f}, type={self.type}, reference={self.is_reference}, "
            f"size={width}x{height}, motion={self.motion!r})"
        )

    def is_predicted(self, source: MotionSource) -> bool:
        """Whether the frame is inter coded in `source`. In a motion proxy, all frames but the first are."""
        return self.decode_index > 0 if source is MotionSource.PROXY else self.type is not FrameType.I

    def rgb(self) -> UInt8Array:
        """The picture as RGB uint8 [height, width, 3] at analysis size, coded orientation. Converted on each call."""
        return self.to_rgb()
