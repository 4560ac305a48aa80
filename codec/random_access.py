"""Read single frames anywhere in a video, exactly as decoding it from the start yields them.

Players seek to some frame near a time. Here a frame is its position in presentation order: a scan of the packets, which
decodes nothing, lists the timestamps of all frames, and decoding begins at a key frame before the wanted one.
"""

from __future__ import annotations

from contextlib import closing
from typing import TypeAlias

import av
import av.error
import numpy as np
import numpy.typing as npt

from codec.decode.decoder import VideoDecoder
from codec.decode.timeline import timeline_of
from codec.demux.source import VideoFile, VideoSource
from codec.displayed_frame import DisplayedFrame, displayed, full_size_info, no_such_frame, read_displayed_frame

Timestamps: TypeAlias = npt.NDArray[np.int64]
"""Timestamps of all frames in presentation order, in units of the stream's time base; strictly ascending."""

_EARLIER_SECONDS = (0, 1, 4, 16)
"""How long before the frame to look for a key frame from which it decodes exactly; after the last, from the start."""
_VP8_SHOWN = 1 << 4
"""Bit `show_frame` in the first byte of a VP8 frame (RFC 6386, section 9.1)."""


def list_timestamps(source: VideoSource) -> Timestamps | None:
    """List the timestamps of all frames; None if only decoding tells, as where timestamps are missing or start anew.

    Reads the whole file, but decodes no more than its first frame.

    Raises:
        SourceError: The source is not a readable video (see `codec.errors`).
    """
    with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
        file, first = decoder.file, decoder.peek().frame.pts
        found: list[int] = []
        latest: int | None = None
        try:
            file.container.seek(0, stream=file.stream)
            for packet in file.container.demux(file.stream):
                if not packet.size or packet.is_discard or not _is_shown(file, packet):
                    continue
                starts_anew = latest is not None and packet.dts is not None and packet.dts <= latest
                if packet.pts is None or starts_anew:
                    return None
                latest = packet.dts if packet.dts is not None else latest
                found.append(packet.pts)
        except av.error.FFmpegError:
            return None
    stamps = np.unique(np.array(found, np.int64))
    if first is None or len(stamps) < len(found):
        return None
    # Frames before the first key frame cannot be decoded, and do not count.
    return stamps[stamps >= first]


def read_frame_at(source: VideoSource, index: int, timestamps: Timestamps | None) -> DisplayedFrame:
    """Read one frame as it is displayed.

    Args:
        source: Path, bytes, or seekable binary file object. A file object stays open.
        index: Position in presentation order, from 0.
        timestamps: From `list_timestamps`; None decodes the video up to the frame.

    Raises:
        SourceError: The source is not a readable video.
        NoSuchFrameError: The video has fewer frames.
        BrokenStreamError: Decoding stopped before the frame.
    """
    if timestamps is None:
        return read_displayed_frame(source, index)
    if index >= len(timestamps):
        raise no_such_frame(index, len(timestamps))
    with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
        file, info = decoder.file, full_size_info(decoder)
        timeline = timeline_of(file)  # the decoder's own has placed the first picture already
        start = timeline.place(decoder.peek().frame.pts)
        stamp = int(timestamps[index])
        frame = _decode_at(file, stamp)
        if frame is not None:
            time = float(start + (stamp - int(timestamps[0])) * timeline.time_base)
            return displayed(frame, info, index, time)
    return read_displayed_frame(source, index)


def _decode_at(file: VideoFile, stamp: int) -> av.VideoFrame | None:
    """Return the frame with this timestamp; None if no seek finds it intact."""
    time_base = file.stream.time_base
    if not time_base:
        return None
    for seconds in _EARLIER_SECONDS:
        try:
            file.container.seek(stamp - round(seconds / time_base), stream=file.stream)
            for packet in file.container.demux(file.stream):
                for frame in packet.decode():
                    if frame.pts == stamp and not frame.is_corrupt:
                        return frame
                    if frame.pts is None or frame.pts >= stamp:
                        break
                else:
                    continue
                break
        except av.error.FFmpegError:
            continue
    return None


def _is_shown(file: VideoFile, packet: av.Packet) -> bool:  # type: ignore[type-arg]
    """Whether decoding the packet yields a picture. VP8 has packets that only later pictures refer to."""
    return file.stream.codec_context.name != "vp8" or bool(bytes(packet)[0] & _VP8_SHOWN)
