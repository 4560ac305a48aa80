"""The objects cut out of the video: its own picture with the masks as alpha, for editing programs and web pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from codec.decode.colors import bits_of, colors_of, from_planes
from codec.types import VideoInfo
from service.errors import UsageError
from service.writers.video.film import Encoding, FilmWriter, even
from service.writers.writer import Target
from vos.types import FrameMask

PRORES_4444 = Encoding("mov", "prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"}, is_deep=True)
# Alternate reference frames cannot carry alpha.
VP9_ALPHA = Encoding(
    "webm",
    "libvpx-vp9",
    "yuva420p",
    {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1", "auto-alt-ref": "0"},
)
_OPAQUE = {"yuva444p10le": "yuv444p10le", "yuva420p": "yuv420p"}
"""Format with alpha -> the same without."""


class CutoutWriter(FilmWriter):
    """All objects together are opaque, the rest is transparent. Colors are not multiplied by alpha ("straight" alpha).

    Args:
        source: The video that is segmented, or a folder of pictures.
        target: File to write.
        info: Size and orientation of the video.
        encoding: `PRORES_4444` or `VP9_ALPHA`.
        sound: The video a second time, if it is an open file.

    Raises:
        UsageError: The video is HDR, which VP9 with alpha, of 8 bits per sample, cannot hold.
    """

    noun = "cutout"

    def __init__(
        self,
        source: Path | BinaryIO,
        target: Target,
        info: VideoInfo,
        encoding: Encoding,
        sound: BinaryIO | None = None,
    ) -> None:
        self._chosen = encoding
        self._from_planes = VideoReformatter()
        super().__init__(source, target, info, sound)

    def _choose_encoding(self, picture: av.VideoFrame) -> Encoding:
        # Programs read ProRes as limited range whatever its tags say; VP9 follows, so that both look alike.
        colors = replace(colors_of(picture), is_full_range=False)
        if not self._chosen.is_deep and colors.is_hdr:
            raise UsageError("the video is HDR, and VP9 with alpha has 8 bits per sample; use prores4444")
        if not self._chosen.is_deep and bits_of(picture) > 8:
            self.notes.append(f"the cutout has 8 bits per sample, the video {bits_of(picture)}")
        return replace(self._chosen, colors=colors)

    def _draw(self, picture: av.VideoFrame, frame: FrameMask) -> av.VideoFrame:
        planes, inside = self._upright(picture), frame.labels > 0
        if "420" in self._encoding.pixel_format:
            planes, inside = even(planes), even(inside)
        pixel_format = self._encoding.pixel_format
        return with_alpha(from_planes(planes, self._colors, self._from_planes, _OPAQUE[pixel_format]), inside)


def with_alpha(frame: av.VideoFrame, inside: npt.NDArray[np.bool_]) -> av.VideoFrame:
    """Return a picture of `yuv444p10le` or `yuv420p` with an alpha plane: opaque inside, transparent elsewhere.

    Args:
        frame: The picture.
        inside: bool [height, width].
    """
    result = av.VideoFrame(frame.width, frame.height, frame.format.name.replace("yuv", "yuva"))
    for target, source in zip(result.planes, frame.planes, strict=False):
        target.update(bytes(source))
    alpha = result.planes[3]
    kind, opaque = (np.uint16, 1023) if frame.format.name.endswith("10le") else (np.uint8, 255)
    rows: npt.NDArray[Any] = np.zeros((alpha.buffer_size // alpha.line_size, alpha.line_size // kind().itemsize), kind)
    rows[: inside.shape[0], : inside.shape[1]] = inside * kind(opaque)
    alpha.update(rows.tobytes())
    result.colorspace, result.color_range = frame.colorspace, frame.color_range
    result.color_primaries, result.color_trc = frame.color_primaries, frame.color_trc
    return result
