"""Reads single frames of uploaded videos as pictures. Runs in a sandbox, because it decodes the video."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeAlias

import cv2
import numpy as np
from PIL import Image
from pydantic import Base64Bytes

from codec.decode.seeking import Timestamps
from codec.displayed_frame import no_such_frame
from codec.errors import NoSuchFrameError
from codec.random_access import list_timestamps, read_frames_at
from codec.types import UInt8Array
from service.problems import ProblemError
from service.sandbox.handles import Input, OutputFile, opened_output
from service.sandbox.inspection import UploadLimits, check_coded_size, uploaded

PictureFormat: TypeAlias = Literal["jpeg", "webp"]

_ENCODINGS = {"jpeg": {"quality": 85}, "webp": {"quality": 80, "method": 0}}
"""Options of Pillow. Slower methods of WebP take four times as long for a tenth of the bytes."""
_GROUP_BYTES = 16 << 20
"""Bytes of pictures after which no further ones are made."""


@dataclass(frozen=True, slots=True)
class WantedFrames:
    """Successive frames as pictures.

    Attributes:
        first: Presentation index of the first frame.
        count: Largest number of frames.
        width: Width of the pictures in pixels; None, or more than the display width, leaves them as they are.
        form: Format of the pictures.
    """

    first: int
    count: int
    width: int | None
    form: PictureFormat


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A picture in a file with several.

    Attributes:
        index: Presentation index of the frame.
        size: Number of bytes; they follow those of the picture before.
    """

    index: int
    size: int


def list_frames(video: Input, limits: UploadLimits) -> Base64Bytes:
    """List the timestamps of all frames, for `encode_frames`; empty if only decoding the whole video tells.

    Raises:
        ProblemError: The video cannot be read or exceeds a limit.
    """
    with uploaded(video) as file:
        check_coded_size(file, limits)
        stamps = list_timestamps(file)
    if stamps is not None and len(stamps) > limits.frames:
        raise ProblemError(
            "too-many-frames", f"the video has more than the {limits.frames} frames allowed", limit=limits.frames
        )
    return b"" if stamps is None else stamps.astype("<i8").tobytes()


def count_frames(listed: bytes) -> int | None:
    """Return the number of frames in what `list_frames` has returned; None if it is not known."""
    return len(listed) // 8 or None


def encode_frames(video: Input, out: OutputFile, listed: bytes, wanted: WantedFrames) -> list[EncodedFrame]:
    """Write frames as pictures in display orientation, as far as they can be decoded.

    Args:
        video: The video.
        out: File to write; the pictures follow each other.
        listed: From `list_frames`.
        wanted: The frames.

    Raises:
        ProblemError: Not even the first frame can be read.
    """
    encoded: list[EncodedFrame] = []
    written = 0
    with uploaded(video) as file, opened_output(out) as pictures:
        try:
            with closing(read_frames_at(file, wanted.first, wanted.count, timestamps_of(listed))) as frames:
                for frame in frames:
                    picture = _encode(_narrowed(frame.rgb, wanted.width), wanted.form)
                    pictures.write(picture)
                    encoded.append(EncodedFrame(frame.index, len(picture)))
                    written += len(picture)
                    if written > _GROUP_BYTES:
                        break
        except NoSuchFrameError as error:
            raise ProblemError("frame-not-found", str(error), frames=error.frames) from None
    return encoded


def frame_not_found(index: int, frames: int) -> ProblemError:
    """Return the problem of a frame beyond the end."""
    return ProblemError("frame-not-found", str(no_such_frame(index, frames)), frames=frames)


def timestamps_of(listed: bytes) -> Timestamps | None:
    """Return the timestamps in what `list_frames` has returned; None if they are not known."""
    return np.frombuffer(listed, "<i8").astype(np.int64) if listed else None


def _narrowed(rgb: UInt8Array, width: int | None) -> UInt8Array:
    """Scale a picture [height, width, 3] down to a width in pixels; never up."""
    height, own = rgb.shape[:2]
    if width is None or width >= own:
        return rgb
    size = width, max(1, round(height * width / own))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encode(rgb: UInt8Array, form: PictureFormat) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, form, **_ENCODINGS[form])
    return buffer.getvalue()
