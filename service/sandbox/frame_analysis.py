"""What the bitstream says about one frame: motion and residual, to show why a frame was key. Runs in a sandbox."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.reader import open_video
from codec.types import CompressedFrame, Float32Array, Int32Array, UInt8Array, VideoInfo
from service.sandbox.frames import frame_not_found, timestamps_of
from service.sandbox.handles import Input
from service.sandbox.inspection import uploaded

_LONGEST_GRID = 64
"""Most vectors in a row or a column."""
_LONGEST_PICTURE = 320
"""Most pixels of the residual's longer side."""
_GAIN = 4
"""Grey levels per level of the residual, which is small almost everywhere."""


def analyze_frame(video: Input, listed: bytes, index: int) -> dict[str, Any]:
    """Return type, motion and residual of a frame as JSON values; all of it in display orientation.

    Args:
        video: The video.
        listed: From `service.sandbox.frames.list_frames`.
        index: Presentation index of the frame.

    Raises:
        ProblemError: The frame cannot be read.
    """
    shown: dict[int, int] = {}
    with uploaded(video) as file, open_video(file, first=index, timestamps=timestamps_of(listed)) as reader:
        for frame in reader:
            shown[frame.decode_index] = frame.index
            if frame.index == index:
                return _describe(reader.info, frame, shown)
    raise frame_not_found(index, len(shown))


def _describe(info: VideoInfo, frame: CompressedFrame, shown: dict[int, int]) -> dict[str, Any]:
    vectors, reference = _display_motion(info, frame)
    none = reference < 0
    residual = _residual_picture(info, frame)
    return {
        "frame": frame.index,
        "type": str(frame.type),
        "source": str(info.motion_source),
        "width": info.display_width,
        "height": info.display_height,
        "motion": {
            "columns": reference.shape[1],
            "rows": reference.shape[0],
            "dx": _values(vectors[..., 0], none),
            "dy": _values(vectors[..., 1], none),
            "reference": [shown.get(int(value)) for value in reference.ravel()],
        },
        "residual": {"width": residual.shape[1], "height": residual.shape[0], "png": _png(residual)},
    }


def _display_motion(info: VideoInfo, frame: CompressedFrame) -> tuple[Float32Array, Int32Array]:
    """Return vectors [rows, columns, 2] in display pixels, and the decode index of their reference, -1 without one.

    Of a cell that is predicted from two pictures, the vector is that of list 0.
    """
    motion = frame.motion
    first = motion.reference[0] >= 0
    reference = np.where(first, motion.reference[0], motion.reference[1])
    vectors = np.where(first[..., None], motion.vectors[0], motion.vectors[1])
    step = -(-max(motion.shape) // _LONGEST_GRID)
    middle = slice(min(step // 2, min(motion.shape) - 1), None, step)
    scale = np.array((info.coded_width / info.analysis_width, info.coded_height / info.analysis_height), np.float32)
    vectors = cast(Float32Array, info.to_display(vectors[middle, middle] * scale))
    x, y = vectors[..., 0], vectors[..., 1]
    for _ in range(info.rotation // 90):
        x, y = -y, x
    if info.mirrored:
        x = -x
    return np.stack((x, y), axis=-1), cast(Int32Array, info.to_display(reference[middle, middle]))


def _residual_picture(info: VideoInfo, frame: CompressedFrame) -> UInt8Array:
    """Return the residual's magnitude [height, width], brighter where it is larger."""
    bright = np.minimum(np.abs(frame.residual.astype(np.int32)) * _GAIN, 255).astype(np.uint8)
    shrink = min(1.0, _LONGEST_PICTURE / max(bright.shape))
    size = max(1, round(bright.shape[1] * shrink)), max(1, round(bright.shape[0] * shrink))
    return cast(UInt8Array, info.to_display(cv2.resize(bright, size, interpolation=cv2.INTER_AREA)))


def _values(values: Float32Array, none: npt.NDArray[np.bool_]) -> list[float | None]:
    pairs = zip(values.ravel().tolist(), none.ravel().tolist(), strict=True)
    return [None if is_none else round(value, 2) for value, is_none in pairs]


def _png(picture: UInt8Array) -> str:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode()
