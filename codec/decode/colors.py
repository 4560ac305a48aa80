"""What the numbers of a picture mean: matrix, range, primaries and transfer, as tagged or as players assume.

Values are code points of ITU-T H.273, which FFmpeg uses too (`AVCOL_SPC_*`, `AVCOL_PRI_*`, `AVCOL_TRC_*`). All pictures
that leave the decoder, as RGB for networks and people or as YCbCr for a written video, go through this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from codec.types import UInt8Array

_UNKNOWN = (0, 2, 3)
"""Reserved and unspecified code points; matrix 0 is that of RGB."""
BT709, BT601_625, BT601_525, BT2020 = 1, 5, 6, 9
SRGB, PQ, HLG = 13, 16, 18
_FCC, _SMPTE240M, _BT2020_CONSTANT = 4, 7, 10

_SWSCALE = {
    BT709: Colorspace.ITU709,
    _FCC: Colorspace.FCC,
    BT601_625: Colorspace.ITU601,
    BT601_525: Colorspace.ITU601,
    _SMPTE240M: Colorspace.SMPTE240M,
    BT2020: Colorspace.BT2020,
    _BT2020_CONSTANT: Colorspace.BT2020,
}
"""Matrix -> its name in swscale; other matrices are read as BT.709."""
_LUMA_WEIGHTS = {
    _FCC: (0.30, 0.11),
    BT601_625: (0.299, 0.114),
    BT601_525: (0.299, 0.114),
    _SMPTE240M: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
    _BT2020_CONSTANT: (0.2627, 0.0593),
}
"""Matrix -> weights of red and blue in luma (H.273, table 4)."""
_BT709_WEIGHTS = (0.2126, 0.0722)
_BT709_TO_BT2020 = np.array(((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)))
"""Linear RGB with the primaries of BT.709 -> those of BT.2020 (ITU-R BT.2087)."""
_GRAPHICS_WHITE = 203.0
"""Brightness of white graphics in HDR video, in candela per square meter (ITU-R BT.2408)."""
_DEEP = "yuv444p16le"

UNCHANGED: dict[str, Any] = {
    "src_colorspace": Colorspace.ITU601,
    "dst_colorspace": Colorspace.ITU601,
    "src_color_range": ColorRange.JPEG,
    "dst_color_range": ColorRange.JPEG,
}
"""Arguments of `reformat`. Equal settings on both sides, so that swscale changes no value, whatever it assumes of a
format: of gray, for example, that it is full range BT.601."""


@dataclass(frozen=True, slots=True)
class Colors:
    """Colors of a picture, all specified.

    Attributes:
        matrix, primaries, transfer: Code points of H.273.
        is_full_range: Whether luma uses all values, and not 16 to 235 of 8 bits.
    """

    matrix: int
    primaries: int
    transfer: int
    is_full_range: bool

    @property
    def is_hdr(self) -> bool:
        """Whether the picture is PQ or HLG, which 8 bits cannot hold."""
        return self.transfer in (PQ, HLG)

    @property
    def color_range(self) -> ColorRange:
        """FFmpeg's name of the range."""
        return ColorRange.JPEG if self.is_full_range else ColorRange.MPEG


def colors_of(frame: av.VideoFrame) -> Colors:
    """Return a picture's tags, and where they are missing what players assume (mpv's rules, by size).

    Pictures of RGB have the colors in which a video of them is written: a YCbCr matrix and limited range.
    """
    is_rgb = _is_rgb(frame)
    matrix = frame.colorspace
    if is_rgb or matrix in _UNKNOWN:
        matrix = assumed_matrix(frame.width, frame.height)
    primaries = frame.color_primaries
    if primaries in _UNKNOWN:
        primaries = _assumed_primaries(matrix, frame.height)
    transfer = frame.color_trc
    if transfer in _UNKNOWN:
        transfer = SRGB if is_rgb else BT709
    is_full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return Colors(matrix, primaries, transfer, is_full and not is_rgb)


def bits_of(frame: av.VideoFrame) -> int:
    """Return the bits per sample."""
    return max(component.bits for component in frame.format.components)


def assumed_matrix(width: int, height: int) -> int:
    """Return the matrix of a video of this size without a tag: BT.709 for HD, BT.601 below."""
    if width >= 1280 or height > 576:
        return BT709
    return BT601_625 if height == 576 else BT601_525


def _assumed_primaries(matrix: int, height: int) -> int:
    if matrix in (BT2020, _BT2020_CONSTANT):
        return BT2020
    if matrix in (BT601_625, BT601_525) and height in (480, 486, 576):
        return BT601_625 if height == 576 else BT601_525
    return BT709


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def to_rgb(
    frame: av.VideoFrame, size: tuple[int, int], reformatter: VideoReformatter | None = None, *, threads: int = 1
) -> UInt8Array:
    """Convert a picture to RGB uint8 [height, width, 3] of `size` (width, height), by its own matrix and range.

    HDR is not mapped to SDR: its RGB keeps the transfer of the picture.
    """
    arguments: dict[str, Any] = {}
    if not _is_rgb(frame):
        colors = colors_of(frame)
        space = _SWSCALE.get(colors.matrix, Colorspace.ITU709)
        arguments = {"src_colorspace": space, "dst_colorspace": space, "src_color_range": colors.color_range}
    scaled = (reformatter or VideoReformatter()).reformat(frame, *size, "rgb24", threads=threads, **arguments)
    return np.asarray(scaled.to_ndarray(), np.uint8)


def to_planes(
    frame: av.VideoFrame, size: tuple[int, int], colors: Colors, reformatter: VideoReformatter, *, deep: bool
) -> npt.NDArray[Any]:
    """Convert a picture to YCbCr without subsampling, [3, height, width] of `size` (width, height).

    Values of a picture that has `colors` already are kept as they are; only chroma is scaled up.

    Args:
        frame: The picture.
        size: Width and height in pixels.
        colors: Matrix and range of the result.
        reformatter: Kept by the caller from picture to picture.
        deep: Whether the result is uint16, with 16 bits per sample, and not uint8.
    """
    own = colors_of(frame)
    if not _is_rgb(frame) and (own.matrix, own.is_full_range) == (colors.matrix, colors.is_full_range):
        arguments = UNCHANGED
    else:
        target = _SWSCALE.get(colors.matrix, Colorspace.ITU709)
        source = target if _is_rgb(frame) else _SWSCALE.get(own.matrix, Colorspace.ITU709)
        source_range = ColorRange.JPEG if _is_rgb(frame) else own.color_range
        arguments = {
            "src_colorspace": source,
            "dst_colorspace": target,
            "src_color_range": source_range,
            "dst_color_range": colors.color_range,
        }
    planes = reformatter.reformat(frame, *size, _DEEP if deep else "yuv444p", threads=1, **arguments).to_ndarray()
    return np.moveaxis(planes, -1, 0) if deep else planes


def from_planes(
    planes: npt.NDArray[Any], colors: Colors, reformatter: VideoReformatter, pixel_format: str
) -> av.VideoFrame:
    """Turn YCbCr [3, height, width], uint8 or uint16, into a picture of a format such as "yuv420p" with its tags."""
    if planes.dtype == np.uint16:
        whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.moveaxis(planes, 0, -1)), _DEEP)
    else:
        whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), "yuv444p")
    frame = reformatter.reformat(whole, whole.width, whole.height, pixel_format, threads=1, **UNCHANGED)
    frame.colorspace, frame.color_range = colors.matrix, colors.color_range
    frame.color_primaries, frame.color_trc = colors.primaries, colors.transfer
    return frame


def drawn_in(rgb: UInt8Array, colors: Colors, *, deep: bool) -> npt.NDArray[Any]:
    """Return sRGB colors uint8 [n, 3] as YCbCr [n, 3] of a video with `colors`: uint8, or uint16 if `deep`.

    In HDR video white has the brightness of graphics, 203 candela per square meter.
    """
    signal = rgb / 255.0
    if colors.is_hdr:
        signal = _hdr_signal(signal, colors)
    red, blue = _LUMA_WEIGHTS.get(colors.matrix, _BT709_WEIGHTS)
    luma = signal @ np.array((red, 1 - red - blue, blue))
    chroma = np.stack(((signal[:, 2] - luma) / (2 - 2 * blue), (signal[:, 0] - luma) / (2 - 2 * red)), axis=1)
    scale = 256 if deep else 1
    if colors.is_full_range:
        values = np.column_stack((luma * 255, chroma * 255 + 128))
    else:
        values = np.column_stack((16 + luma * 219, 128 + chroma * 224))
    kind = np.uint16 if deep else np.uint8
    return np.asarray(np.clip(np.rint(values * scale), 0, np.iinfo(kind).max), kind)


def _hdr_signal(signal: npt.NDArray[np.float64], colors: Colors) -> npt.NDArray[np.float64]:
    """Turn sRGB [n, 3], 0 to 1, into the signal of PQ or HLG (ITU-R BT.2100, tables 4 and 5)."""
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    if colors.primaries == BT2020:
        linear = linear @ _BT709_TO_BT2020.T
    display = linear * _GRAPHICS_WHITE
    if colors.transfer == PQ:
        power = (display / 10_000) ** (2610 / 16384)
        return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))
    scene = (display / 1000) ** (1 / 1.2)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
