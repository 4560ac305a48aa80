"""Read single frames anywhere in a video, exactly as decoding it from the start yields them.

Players seek to some frame near a time. Here a frame is its position in presentation order: a scan of the packets, which
decodes nothing, lists the timestamps of all frames, and decoding begins at a key frame before the wanted one.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import av
import av.error
import numpy as np

from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.decode.seeking import Timestamps, decode_range
from codec.decode.timeline import LONGEST_STEP
from codec.demux.source import VideoFile, VideoSource
from codec.displayed_frame import DisplayedFrame, displayed, full_size_info, no_such_frame, read_displayed_frames
from codec.reader import presented_pictures

_VP8_SHOWN = 1 << 4
"""Bit `show_frame` in the first byte of a VP8 frame (RFC 6386, section 9.1)."""


def list_timestamps(source: VideoSource) -> Timestamps | None:
    """List the timestamps of all frames; None if only decoding tells, as where they are missing, jump or start anew.

    Reads the whole file, but decodes no more than its first frame.

    Raises:
        SourceError: The source is not a readable video (see `codec.errors`).
    """
    with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
        file, timeline, first = decoder.file, decoder.timeline, decoder.peek().frame.pts
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
    stamps = stamps[stamps >= first]
    jumps = timeline.may_jump and bool((np.diff(stamps) * float(timeline.time_base) > LONGEST_STEP).any())
    return None if jumps else stamps


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
    with closing(read_frames_at(source, index, 1, timestamps)) as frames:
        return next(frames)


def read_frames_at(
    source: VideoSource, first: int, count: int, timestamps: Timestamps | None
) -> Generator[DisplayedFrame, None, None]:
    """Yield up to `count` frames from `first` on as they are displayed, as far as they can be decoded from one place.

    Close the generator where it is used (`contextlib.closing`).

    Args:
        source: As for `read_frame_at`.
        first: Position of the first frame in presentation order, from 0.
        count: Largest number of frames.
        timestamps: As for `read_frame_at`.

    Raises:
        SourceError, NoSuchFrameError, BrokenStreamError: As for `read_frame_at`, if not even the first is found.
    """
    if timestamps is not None:
        if first >= len(timestamps):
            raise no_such_frame(first, len(timestamps))
        with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
            info = full_size_info(decoder)
            found = _decode_sought(decoder, first, first + count, timestamps)
        if found is not None:
            for picture in found:
                yield displayed(picture.frame, info, picture.index, picture.time)
            return
    yield from read_displayed_frames(source, first, count)


def read_range(source: VideoSource, first: int, stop: int, timestamps: Timestamps | None) -> list[PresentedPicture]:
    """Decode consecutive frames; all of them are in memory at once, at full size.

    Args:
        source: Path, bytes, or seekable binary file object. A file object stays open.
        first: Position of the first frame in presentation order.
        stop: Position after the last frame.
        timestamps: From `list_timestamps`; None decodes the video from its start.

    Raises:
        SourceError: The source is not a readable video.
        NoSuchFrameError: The video has fewer frames.
        BrokenStreamError: Decoding stopped before the last frame.
    """
    if timestamps is not None:
        if stop > len(timestamps):
            raise no_such_frame(stop - 1, len(timestamps))
        with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
            found = _decode_sought(decoder, first, stop, timestamps)
        if found is not None:
            return found
    with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
        pictures: list[PresentedPicture] = []
        count = 0
        for picture in presented_pictures(decoder):
            count = picture.index + 1
            if picture.index >= first:
                pictures.append(picture)
            if count == stop:
                return pictures
    raise no_such_frame(stop - 1, count)


def _decode_sought(
    decoder: VideoDecoder, first: int, stop: int, timestamps: Timestamps
) -> list[PresentedPicture] | None:
    """Decode the frames from `first` to before `stop` after a seek; None if no seek finds all of them intact."""
    decoder.peek()
    stamps = timestamps[first:stop]
    times = decoder.times_of(stamps, timestamps)
    found = decode_range(decoder.file, stamps)
    if found is None:
        return None
    frames = enumerate(zip(found[1], times, strict=True), first)
    return [PresentedPicture(frame, index, time, None) for index, (frame, time) in frames]


def _is_shown(file: VideoFile, packet: av.Packet) -> bool:  # type: ignore[type-arg]
    """Whether decoding the packet yields a picture. VP8 has packets that only later pictures refer to."""
    return file.stream.codec_context.name != "vp8" or bool(bytes(packet)[0] & _VP8_SHOWN)
