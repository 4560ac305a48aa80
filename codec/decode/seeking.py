"""Find a place in a file from which frames decode exactly as they do from the start.

A seek leads to a key frame near a time. What decodes from there may lack references, or be damaged. So a place counts
only if every wanted frame comes out of the decoder intact and under its timestamp; otherwise an earlier one is tried.
"""

from __future__ import annotations

from typing import TypeAlias

import av
import av.error
import numpy as np
import numpy.typing as npt

from codec.demux.source import VideoFile

Timestamps: TypeAlias = npt.NDArray[np.int64]
"""Timestamps of all frames in presentation order, in units of the stream's time base; strictly ascending."""

_EARLIER_SECONDS = (0, 1, 4, 16)
"""How long before the frame to look for a key frame from which it decodes exactly; after the last, from the start."""


def decode_range(file: VideoFile, stamps: Timestamps) -> tuple[int, list[av.VideoFrame]] | None:
    """Decode consecutive frames, given by their timestamps.

    Returns:
        The time that was sought, in units of the time base, and the frames; None if no seek finds all of them intact.
    """
    time_base = file.stream.time_base
    if not time_base:
        return None
    for seconds in _EARLIER_SECONDS:
        target = int(stamps[0]) - round(seconds / time_base)
        try:
            file.container.seek(target, stream=file.stream)
            found = _collect(file, stamps.tolist())
        except av.error.FFmpegError:
            continue
        finally:
            file.stream.codec_context.skip_frame = "DEFAULT"
        if found is not None:
            return target, found
    return None


def _collect(file: VideoFile, stamps: list[int]) -> list[av.VideoFrame] | None:
    """Decode from here until all frames are found; None once one is missing or damaged."""
    found: list[av.VideoFrame] = []
    for packet in file.container.demux(file.stream):
        # Frames before the first that no other frame refers to are not decoded.
        is_early = packet.pts is not None and packet.pts < stamps[0]
        file.stream.codec_context.skip_frame = "NONREF" if is_early else "DEFAULT"
        for frame in packet.decode():
            if frame.pts is None:
                return None
            if frame.pts < stamps[0]:
                continue
            if frame.pts != stamps[len(found)] or frame.is_corrupt:
                return None
            found.append(frame)
            if len(found) == len(stamps):
                return found
    return None
