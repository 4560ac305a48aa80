"""Odd video files as cameras, recorders and broken transfers produce them, made with PyAV's encoders."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import av.filter
import numpy as np
from PIL import Image

from tests.support.synthetic import RgbArray, encode, pan, x264

FRAMES = 24


@dataclass(frozen=True)
class OddStream:
    """Recipe for an odd file.

    Attributes:
        suffix: Suffix of the file name.
        make: Returns the bytes of the file.
        frames: Least number of frames that FFmpeg must decode, so that no comparison is empty.
        breaks: Whether the file's own headers reveal that it ends early.
    """

    suffix: str
    make: Callable[[], bytes]
    frames: int = FRAMES
    breaks: bool = False


def pictures(count: int = FRAMES, width: int = 160, height: int = 96, seed: int = 0) -> RgbArray:
    """Pictures of a pan over a texture, uint8 [count, height, width, 3]."""
    return pan(count, (width, height), seed=seed).frames


def encoded(encoder: str, suffix: str, container: str, pixel_format: str = "yuv420p", **options: str) -> OddStream:
    """A complete file from one encoder."""
    return OddStream(
        suffix, lambda: encode(pictures(), encoder, options, container=container, pixel_format=pixel_format)
    )


def h264(container: str = "mp4", pixel_format: str = "yuv420p", **params: object) -> bytes:
    """An H.264 file of 24 frames with these x264 parameters."""
    return encode(pictures(), "libx264", x264(**params), container=container, pixel_format=pixel_format)


def interlaced(encoder: str, container: str, options: Mapping[str, str]) -> bytes:
    """A file whose pictures are flagged and coded as interlaced."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(width=160, height=96, format="yuv420p", time_base=Fraction(1, 25)),
            graph.add("setfield", "tff"),
            graph.add("buffersink"),
        ).configure()
        for i, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            graph.push(frame)
            output.mux(stream.encode(graph.pull()))
        output.mux(stream.encode(None))
    return file.getvalue()


def cut_before(video: bytes, first: int, container: str) -> bytes:
    """The packets of a video from number `first` on, as a cut without encoding leaves them."""
    file = io.BytesIO()
    with av.open(io.BytesIO(video)) as source, av.open(file, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets[first:]:
            packet.stream = stream
            output.mux(packet)
    return file.getvalue()


def with_stated_seconds(video: bytes, container: str, seconds: float) -> bytes:
    """A video whose header states this duration, whatever its pictures last; an MP4 must be fragmented."""
    data = bytearray(video)
    if container == "mp4":
        for box in (b"mvhd", b"mdhd"):  # version 0: two times, time scale, duration
            place = data.index(box) + 16
            (scale,) = struct.unpack(">I", data[place : place + 4])
            data[place + 4 : place + 8] = struct.pack(">I", round(seconds * scale))
        return bytes(data)
    if container == "matroska":
        place, value = data.index(b"\x44\x89\x88") + 3, seconds * 1000
    else:
        place, value = data.index(b"\x00\x08duration\x00") + 11, seconds
    data[place : place + 8] = struct.pack(">d", value)
    return bytes(data)


def encrypted() -> bytes:
    """A video under Common Encryption."""
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 31 + "1", "encryption_kid": "0" * 31 + "2"}
    return remux(h264(), options)


def nal_units(stream: bytes) -> list[bytes]:
    """The NAL units of an Annex B stream, each with its start code."""
    starts = [i for i in range(len(stream) - 3) if stream[i : i + 3] == b"\x00\x00\x01"]
    return [stream[a:b] for a, b in zip(starts, [*starts[1:], len(stream)], strict=True)]


def open_gop_start() -> bytes:
    """A raw stream that starts at an I frame other than IDR, so its leading B frames lack a reference."""
    units = nal_units(h264("h264", keyint=8, min_keyint=8, open_gop=1, bframes=3, b_adapt=0))
    kinds = [unit[3] & 31 for unit in units]
    parameters = [unit for unit, kind in zip(units, kinds, strict=True) if kind in (7, 8)][:2]
    recovery = [i for i, kind in enumerate(kinds) if kind == 6][1]  # SEI recovery point before the second I frame
    return b"".join(parameters + units[recovery:])


def lost_slice() -> bytes:
    """A raw stream from which one P frame is missing."""
    units = nal_units(h264("h264", bframes=0))
    pictures_at = [i for i, unit in enumerate(units) if unit[3] & 31 in (1, 5)]
    del units[pictures_at[9]]
    return b"".join(units)


def two_sizes() -> bytes:
    """A raw stream whose picture size changes."""
    small = encode(pictures(12, 128, 80), "libx264", x264(bframes=2), container="h264")
    return h264("h264", bframes=2) + small


def two_tracks() -> bytes:
    """A file with a small video track and a large one, which is the default."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        small, large = (output.add_stream("libx264", rate=25, options=x264()) for _ in range(2))
        small.width, small.height, small.pix_fmt = 64, 48, "yuv420p"
        large.width, large.height, large.pix_fmt = 160, 96, "yuv420p"
        small.disposition, large.disposition = av.stream.Disposition(0), av.stream.Disposition.default
        for shown in zip(pictures(FRAMES, 64, 48), pictures(), strict=True):
            for picture, stream in zip(shown, (small, large), strict=True):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in (small, large):
            output.mux(stream.encode(None))
    return file.getvalue()


def with_stream(container: str, change: Callable[[av.VideoStream], None], **params: object) -> bytes:
    """An H.264 file whose stream is changed by `change` before the header is written."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream("libx264", rate=25, options=x264(**params))
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        change(stream)
        for picture in pictures():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return file.getvalue()


def stretched(stream: av.VideoStream) -> None:
    """Set a pixel aspect ratio other than 1."""
    stream.codec_context.sample_aspect_ratio = Fraction(16, 11)


def vp8() -> bytes:
    """A VP8 file (IVF) of key frames, taken from lossy WebP pictures (RFC 9649, section 2.5)."""
    frames = []
    for picture in pictures():
        webp = io.BytesIO()
        Image.fromarray(picture).save(webp, "WEBP", quality=80, method=0)
        chunk = webp.getvalue()[12:]
        assert chunk[:4] == b"VP8 "
        frames.append(chunk[8 : 8 + int.from_bytes(chunk[4:8], "little")])
    numbers = [(0, 2), (32, 2)], [(160, 2), (96, 2), (25, 4), (1, 4), (len(frames), 4), (0, 4)]
    version, rest = (b"".join(value.to_bytes(size, "little") for value, size in group) for group in numbers)
    body = b"".join(
        len(frame).to_bytes(4, "little") + i.to_bytes(8, "little") + frame for i, frame in enumerate(frames)
    )
    return b"DKIF" + version + b"VP80" + rest + body


def remux(data: bytes, options: dict[str, str]) -> bytes:
    """The same packets in an MP4 file with other muxer options."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format="mp4", options=options) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return file.getvalue()


def cut(data: bytes, share: float = 0.6) -> bytes:
    """The first part of a file, by its share of the bytes."""
    return data[: int(len(data) * share)]


def moov_first(video: bytes) -> bytes:
    """The same MP4 with its index before the media data (ISO/IEC 14496-12, 8.2.1)."""
    boxes, position = {}, 0
    while position < len(video):
        size, kind = struct.unpack(">I4s", video[position : position + 8])
        boxes[kind] = video[position : position + size]
        position += size
    moov, table = bytearray(boxes[b"moov"]), boxes[b"moov"].index(b"stco") + 8
    (count,) = struct.unpack(">I", moov[table : table + 4])
    for number in range(count):
        at = table + 4 + 4 * number
        struct.pack_into(">I", moov, at, struct.unpack_from(">I", moov, at)[0] + len(moov))
    rest = b"".join(box for kind, box in boxes.items() if kind not in (b"ftyp", b"moov"))
    return boxes[b"ftyp"] + bytes(moov) + rest


def _vfr() -> bytes:
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, FRAMES)).tolist()
    return encode(pictures(), "libx264", x264(bframes=2), pts=times, rate=50)


ODD_STREAMS: dict[str, OddStream] = {
    "interlaced mpeg2": OddStream(".ts", lambda: interlaced("mpeg2video", "mpegts", {"flags": "+ildct+ilme"})),
    "interlaced mpeg2 with B": OddStream(
        ".ts", lambda: interlaced("mpeg2video", "mpegts", {"flags": "+ildct+ilme", "bf": "2"})
    ),
    "interlaced h264": OddStream(".mkv", lambda: interlaced("libx264", "matroska", x264(tff=1, bframes=2))),
    "mpeg2 4:2:2": encoded("mpeg2video", ".ts", "mpegts", "yuv422p", bf="2"),
    "mpeg1 with B": encoded("mpeg1video", ".mpg", "mpeg", bf="2"),
    "mpeg4 with B": encoded("mpeg4", ".avi", "avi", bf="2"),
    "h264 4:2:2": OddStream(".mp4", lambda: h264(pixel_format="yuv422p")),
    "h264 4:4:4": OddStream(".mp4", lambda: h264(pixel_format="yuv444p")),
    "h264 10 bit": OddStream(".mp4", lambda: h264(pixel_format="yuv420p10le")),
    "h264 lossless": OddStream(".mp4", lambda: h264(pixel_format="yuv444p", qp=0)),
    "hevc": encoded("libx265", ".mp4", "mp4", **{"x265-params": "log-level=none:pools=1:frame-threads=1"}),
    "hevc 10 bit 4:2:2": encoded(
        "libx265", ".mkv", "matroska", "yuv422p10le", **{"x265-params": "log-level=none:pools=1:frame-threads=1"}
    ),
    "vp9 with hidden frames": encoded("libvpx-vp9", ".webm", "webm", **{"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "vp8": OddStream(".ivf", vp8),
    "prores": encoded("prores_ks", ".mov", "mov", "yuv422p10le"),
    "mjpeg": encoded("mjpeg", ".avi", "avi", "yuvj420p"),
    "ffv1": encoded("ffv1", ".mkv", "matroska", "yuv420p"),
    "raw": encoded("rawvideo", ".avi", "avi", "yuv420p"),
    "gif": encoded("gif", ".gif", "gif", "rgb8"),
    "apng": encoded("apng", ".apng", "apng", "rgb24"),
    "h263": OddStream(
        ".avi", lambda: encode(pictures(FRAMES, 176, 144), "h263", container="avi", pixel_format="yuv420p")
    ),
    "wmv2": encoded("wmv2", ".wmv", "asf"),
    "flv": encoded("flv", ".flv", "flv"),
    "variable rate": OddStream(".mkv", _vfr),
    "odd size": OddStream(
        ".mp4", lambda: encode(pictures(FRAMES, 161, 97), "libx264", x264(), container="mp4", pixel_format="yuv444p")
    ),
    "odd size mpeg4": OddStream(".mp4", lambda: encode(pictures(FRAMES, 161, 97), "mpeg4", container="mp4")),
    "tiny": OddStream(
        ".mp4", lambda: encode(pictures(FRAMES, 2, 2), "libx264", x264(), container="mp4", pixel_format="yuv420p")
    ),
    "one frame": OddStream(".mp4", lambda: encode(pictures(1), "libx264", x264(), container="mp4"), frames=1),
    "pixels not square": OddStream(".mp4", lambda: with_stream("mp4", stretched)),
    "missing pts": OddStream(".h264", lambda: h264("h264", bframes=3)),
    "missing pts hevc": encoded(
        "libx265", ".hevc", "hevc", **{"x265-params": "log-level=none:pools=1:frame-threads=1"}
    ),
    "open gop": OddStream(".mp4", lambda: h264(keyint=8, min_keyint=8, open_gop=1, bframes=3, b_adapt=0)),
    "open gop start": OddStream(".h264", open_gop_start, frames=12),
    "B pyramid": OddStream(".mp4", lambda: h264(bframes=7, b_pyramid="normal", b_adapt=0, ref=6)),
    "many references": OddStream(".mkv", lambda: h264("matroska", bframes=3, ref=16)),
    "two video tracks": OddStream(".mp4", two_tracks),
    "trailing garbage mp4": OddStream(".mp4", lambda: h264() + np.random.default_rng(1).bytes(5000)),
    "trailing garbage ts": OddStream(".ts", lambda: h264("mpegts") + np.random.default_rng(1).bytes(5000)),
    "trailing garbage h264": OddStream(".h264", lambda: h264("h264") + bytes(3000)),
    "cut mp4": OddStream(".mp4", lambda: cut(remux(h264(), {"moov_size": "3000"})), frames=2, breaks=True),
    "cut mkv": OddStream(".mkv", lambda: cut(h264("matroska")), frames=6, breaks=True),
    "cut ts": OddStream(".ts", lambda: cut(h264("mpegts")), frames=8),
    "cut raw": OddStream(".h264", lambda: cut(h264("h264", bframes=0)), frames=8),
    "lost frame": OddStream(".h264", lost_slice, frames=FRAMES - 2),
    "size changes": OddStream(".h264", two_sizes, frames=FRAMES + 10),
    "fragmented": OddStream(
        ".mp4",
        lambda: remux(h264(bframes=2), {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ),
}
