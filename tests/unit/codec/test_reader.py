"""open_video: frames, their order, kinds of sources and cleanup."""

from __future__ import annotations

import contextlib
import io
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import codec
from codec import (
    BrokenStreamError,
    CompressedFrame,
    MotionSource,
    NoFramesError,
    UnreadableError,
    UnsupportedSizeError,
    open_video,
)  # fmt: skip
from codec.demux import source as source_module
from tests.support import synthetic
from tests.support.odd_streams import cut_before

STREAMS = {  # encoder, its options, container, pixel format
    "h264": ("libx264", synthetic.x264(bframes=3, b_pyramid="normal", ref=3), "mp4", "yuv420p"),
    "h264-open-gop": ("libx264", synthetic.x264(bframes=3, keyint=6, open_gop=1), "matroska", "yuv420p"),
    "h264-annexb": ("libx264", synthetic.x264(bframes=2), "h264", "yuv420p"),
    "h264-interlaced": ("libx264", synthetic.x264(bframes=2, tff=1), "mpegts", "yuv420p"),
    "h264-10-bit": ("libx264", synthetic.x264(bframes=2), "matroska", "yuv420p10le"),
    "h264-422": ("libx264", synthetic.x264(bframes=2), "matroska", "yuv422p"),
    "h264-444": ("libx264", synthetic.x264(bframes=2), "matroska", "yuv444p"),
    "h264-gray": ("libx264", synthetic.x264(bframes=2), "matroska", "gray"),
    "h264-rgb": ("libx264rgb", synthetic.x264(bframes=2), "matroska", "rgb24"),
    "h264-slices": ("libx264", synthetic.x264(bframes=2, slices=4), "mp4", "yuv420p"),
    "mpeg4": ("mpeg4", {"bf": "2", "b": "2M"}, "avi", "yuv420p"),
    "mpeg4-qpel": ("mpeg4", {"flags": "+qpel+mv4", "b": "2M"}, "mp4", "yuv420p"),
    "mpeg2": ("mpeg2video", {"bf": "2", "b": "4M"}, "mpegts", "yuv420p"),
    "mpeg2-interlaced": ("mpeg2video", {"flags": "+ildct+ilme", "b": "4M"}, "mpegts", "yuv420p"),
    "mpeg1": ("mpeg1video", {"bf": "2", "b": "2M"}, "mpeg", "yuv420p"),
    "mjpeg": ("mjpeg", {}, "avi", "yuvj420p"),
    "prores": ("prores_ks", {}, "mov", "yuv422p10le"),
    "vp8": ("libvpx", {"b": "1M"}, "webm", "yuv420p"),
    "vp9": ("libvpx-vp9", {"b": "1M", "deadline": "realtime", "cpu-used": "8"}, "webm", "yuv420p"),
    "hevc": ("libx265", {"x265-params": "bframes=3:log-level=none:pools=1:frame-threads=1"}, "mp4", "yuv420p"),
}


def pts_from_ffmpeg(data: bytes) -> list[int | None]:
    """Pts of all frames according to FFmpeg."""
    with av.open(io.BytesIO(data)) as file:
        return [frame.pts for frame in file.decode(file.streams.video[0])]


def encode(name: str, count: int = 11) -> bytes:
    """Encode one of STREAMS."""
    encoder, options, container, pixel_format = STREAMS[name]
    frames = synthetic.pan(count).frames
    return synthetic.encode(frames, encoder, options, container=container, pixel_format=pixel_format)


def same(one: CompressedFrame, other: CompressedFrame) -> bool:
    """Whether two frames are equal in all their data."""
    return (
        (one.index, one.pts, one.type, one.available_references)
        == (other.index, other.pts, other.type, other.available_references)
        and np.array_equal(one.luma, other.luma)
        and np.array_equal(one.residual, other.residual)
        and np.array_equal(one.motion.vectors, other.motion.vectors)
        and np.array_equal(one.motion.reference, other.motion.reference)
    )


@pytest.mark.parametrize("name", STREAMS)
def test_frames_match_ffmpeg(name: str) -> None:
    """Each frame that FFmpeg decodes is yielded once with its index and pts, after its references."""
    data = encode(name)
    with codec.open_video(data) as video:
        frames = list(video)
    assert sorted((frame.index, frame.pts) for frame in frames) == list(enumerate(pts_from_ffmpeg(data)))
    assert [frame.decode_index for frame in frames] == list(range(len(frames)))
    assert all(index < frame.decode_index for frame in frames for index in frame.motion.references)


@pytest.mark.parametrize("name", ["h264", "h264-interlaced", "mpeg4", "mpeg2", "vp9"])
def test_reading_is_deterministic(name: str) -> None:
    """Reading a file again returns the same frames."""
    data = encode(name)
    with codec.open_video(data) as video:
        first = list(video)
    for _ in range(3):
        with codec.open_video(data) as video:
            assert all(same(one, other) for one, other in zip(first, video, strict=True))


@pytest.mark.parametrize("name", ["h264-interlaced", "mpeg2-interlaced"])
def test_interlaced_motion_is_in_frame_lines(name: str) -> None:
    """The motion of interlaced video is the camera's motion in lines of the frame."""
    fields = synthetic.pan(24, velocity=(3.0, 1.5)).frames
    woven = fields[0::2].copy()
    woven[:, 1::2] = fields[1::2, 1::2]
    encoder, options, container, _ = STREAMS[name]
    if encoder == "libx264":
        options = synthetic.x264(bframes=0, ref=1, tff=1)
    data = synthetic.encode(woven, encoder, {**options, "flags": "+ildct+ilme"}, container=container)
    with codec.open_video(data) as video:
        moving = [frame for frame in video if frame.motion.coverage > 0.5]
    assert len(moving) >= 8
    medians = [np.median(frame.motion.vectors[0][frame.motion.covered], axis=0) for frame in moving]
    assert np.abs(np.median(medians, axis=0) - (6.0, 3.0)).max() <= 0.5


def test_path_bytes_and_file_are_equivalent(tmp_path: Path) -> None:
    """A path, bytes and a file object yield the same frames, and the file object stays open."""
    data = encode("h264")
    (tmp_path / "clip.mp4").write_bytes(data)
    file = io.BytesIO(data)
    file.seek(100)
    runs = []
    for source in (data, tmp_path / "clip.mp4", str(tmp_path / "clip.mp4"), file):
        with codec.open_video(source) as video:
            runs.append(list(video))
    assert not file.closed
    assert all(same(one, other) for run in runs[1:] for one, other in zip(runs[0], run, strict=True))


@pytest.mark.parametrize(
    ("size", "short_side", "max_side", "expected"),
    [
        ((192, 128), 480, None, (192, 128)),
        ((192, 128), 64, None, (96, 64)),
        ((128, 192), 64, None, (64, 96)),
        ((192, 128), 480, 96, (96, 64)),
        ((186, 122), 61, None, (93, 61)),
        ((130, 90), 480, None, (130, 90)),
    ],
)
def test_analysis_size(size: tuple[int, int], short_side: int, max_side: int | None, expected: tuple[int, int]) -> None:
    """Both sides are limited, the aspect ratio is kept, and nothing is scaled up."""
    data = synthetic.encode(synthetic.pan(3, size).frames, options=synthetic.x264(bframes=0))
    with codec.open_video(data, short_side=short_side, max_side=max_side) as video:
        frames = list(video)
        assert (video.info.analysis_width, video.info.analysis_height) == expected
    assert all(frame.luma.shape == (expected[1], expected[0]) for frame in frames)
    assert frames[0].rgb().shape == (expected[1], expected[0], 3)


def test_vectors_are_scaled_per_axis() -> None:
    """Vectors are in analysis pixels: x is scaled with the width, y with the height."""
    data = synthetic.encode(synthetic.pan(6, velocity=(6.0, 3.0)).frames, options=synthetic.x264(bframes=0, ref=1))
    with codec.open_video(data, short_side=64) as video:
        moving = [frame for frame in video if frame.type == "P"]
    for frame in moving:
        median = np.median(frame.motion.vectors[0][frame.motion.covered], axis=0)
        assert np.allclose(median, (3.0, 1.5), atol=0.25)


def test_rgb_matches_the_source() -> None:
    """`rgb()` returns the source picture up to compression loss, also after the reader is closed."""
    clip = synthetic.pan(4)
    with codec.open_video(synthetic.encode(clip.frames, options=synthetic.x264(bframes=2, crf=4))) as video:
        frames = list(video)
    for frame in frames:
        # Chroma has half the resolution, so single pixels differ.
        assert np.abs(frame.rgb().astype(int) - clip.frames[frame.index]).mean() < 6


@pytest.mark.parametrize(
    ("pixel_format", "size", "view"),
    [("yuv420p", (192, 128), True), ("yuv444p", (191, 127), False), ("yuv420p10le", (192, 128), False)],
)
def test_planes_are_the_picture_at_full_size(pixel_format: str, size: tuple[int, int], view: bool) -> None:
    """`to_planes` returns 8-bit 4:2:0 planes at coded size, whatever the format and the analysis size."""
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 4) for picture in synthetic.pan(4, size).frames])
    data = synthetic.encode(smooth, options=synthetic.x264(bframes=2, crf=4), pixel_format=pixel_format)
    with codec.open_video(data, short_side=64) as video:
        frames = sorted(video, key=lambda frame: frame.index)
    width, height = size
    for frame, decoded in zip(frames, av.open(io.BytesIO(data)).decode(video=0), strict=True):
        assert frame.to_planes is not None
        planes = frame.to_planes()
        y, *chroma = decoded.to_ndarray(format="yuv444p").astype(int)
        assert planes.y.shape == (height, width)
        assert np.abs(planes.y - y).mean() < 1
        for plane, full in zip((planes.u, planes.v), chroma, strict=True):
            assert plane.shape == full[::2, ::2].shape
            assert np.abs(plane - full[::2, ::2]).mean() < 2
        assert not (view and planes.y.flags.owndata)


def test_info_describes_the_stream() -> None:
    """VideoInfo has codec, pixel format, sizes and frame rate of the stream."""
    with codec.open_video(encode("h264")) as video:
        info = video.info
    assert (info.codec, info.pixel_format, info.average_rate) == ("h264", "yuv420p", Fraction(25))
    assert (info.coded_width, info.coded_height, info.frames_from_header) == (192, 128, 11)
    assert info.motion_source is MotionSource.BITSTREAM


def test_variable_rate_keeps_times() -> None:
    """Uneven presentation times are preserved."""
    times = [0, 1, 5, 6, 14, 15, 16, 40]
    frames = synthetic.pan(8).frames
    data = synthetic.encode(frames, options=synthetic.x264(bframes=2), pts=times, rate=100)
    with codec.open_video(data) as video:
        seconds = {frame.index: frame.time for frame in video}
    assert [seconds[i] for i in range(8)] == pytest.approx([time / 100 for time in times])


def test_missing_times_are_computed_from_rate_and_index() -> None:
    """Frames without a pts get their time from index and frame rate."""
    with codec.open_video(encode("h264-annexb")) as video:
        rate = video.info.average_rate
        frames = sorted(video, key=lambda frame: frame.index)
    assert rate is not None
    without = [frame for frame in frames if frame.pts is None]
    assert all(frame.time == pytest.approx(float(frame.index / rate)) for frame in without)
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)


def test_ffmpegs_preferred_stream_is_read() -> None:
    """Of several video streams, the one that FFmpeg prefers is read."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = [output.add_stream("libx264", rate=25, options=synthetic.x264(bframes=0)) for _ in range(2)]
        for stream, size in zip(streams, ((96, 64), (192, 128)), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for stream, size in zip(streams, ((96, 64), (192, 128)), strict=True):
            for picture in synthetic.pan(3, size).frames:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))
    with codec.open_video(file.getvalue()) as video, av.open(io.BytesIO(file.getvalue())) as direct:
        best = direct.streams.best("video")
        assert isinstance(best, av.VideoStream)
        assert video.info.coded_width == best.width
        assert len(list(video)) == 3


def test_a_change_of_size_keeps_the_first_analysis_size() -> None:
    """After a change of size, frames are scaled to the first analysis size and refer to no earlier frame."""
    options = synthetic.x264(bframes=0)
    parts = [
        synthetic.encode(synthetic.pan(4, size).frames, options=options, container="h264")
        for size in ((192, 128), (96, 64))
    ]
    with codec.open_video(b"".join(parts)) as video:
        frames = list(video)
    assert len(frames) == 8
    assert {frame.luma.shape for frame in frames} == {(128, 192)}
    assert min((index for frame in frames[4:] for index in frame.motion.references), default=4) >= 4


@pytest.mark.parametrize("kept", [0.5, 0.8])
def test_trailing_garbage_and_truncation_match_ffmpeg(kept: float) -> None:
    """A truncated file and one with trailing garbage yield FFmpeg's frames, then end or raise BrokenStreamError."""
    whole = encode("mpeg2", 24)
    for data in (whole[: int(len(whole) * kept)], whole + bytes(range(256)) * 20):
        times: list[int | None] = []
        frames: list[tuple[int, int | None]] = []
        stopped = None
        with av.open(io.BytesIO(data)) as file, contextlib.suppress(av.error.FFmpegError):
            times.extend(frame.pts for frame in file.decode(video=0))
        with codec.open_video(data) as video:
            try:
                frames.extend((frame.index, frame.pts) for frame in video)
            except BrokenStreamError as error:
                stopped = error.frames
        assert sorted(frames) == list(enumerate(times))
        assert stopped in (None, len(times))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("clip", "count"), [("androidx_media/mp4__sample_with_invalid_nalu.mp4", 26), ("decord/corrupted.mp4", 28)]
)
def test_a_break_in_the_middle(shared_dir: Path, clip: str, count: int) -> None:
    """A broken stream yields the frames before the break, then raises an error with their number."""
    frames: list[int] = []
    with codec.open_video(shared_dir / "data" / "clips" / clip, short_side=64) as video:
        indices = (frame.index for frame in video)
        with pytest.raises(BrokenStreamError, match=f"decoding stopped after {count} frames") as raised:
            frames.extend(indices)
    assert sorted(frames) == list(range(count))
    assert raised.value.frames == count


def fail_inside(data: bytes) -> None:
    """Read a video and raise KeyError at the first frame."""
    with codec.open_video(data) as video:
        for frame in video:
            raise KeyError(frame.index)


def test_no_thread_is_left_running() -> None:
    """No thread of the reader survives the end, an early close or an exception."""
    data = encode("h264", 40)

    def alive() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("keymask-decode")]

    with codec.open_video(data) as video:
        list(video)
    with codec.open_video(data) as video:
        next(iter(video))
    with pytest.raises(KeyError):
        fail_inside(data)
    with codec.open_video(data):
        pass
    assert alive() == []


def test_an_abandoned_reader_stops_its_thread() -> None:
    """The thread ends when the reader is dropped without `close`."""
    video = codec.open_video(encode("h264", 40))
    next(iter(video))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("keymask-decode")]
    assert threads
    del video
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_large_pictures_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for too many pixels names the size and the limit."""
    monkeypatch.setattr(source_module, "MAX_PIXELS", 20_000)
    with pytest.raises(UnsupportedSizeError, match=r"pictures of 192x128; at most 0.02 million pixels are allowed"):
        codec.open_video(encode("h264"))


@pytest.mark.parametrize(("name", "value"), [("short_side", 8), ("max_side", 0)])
def test_sizes_have_a_lower_limit(name: str, value: int) -> None:
    """The error for an analysis size below 16 pixels names the value and the limit."""
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least 16"):
        codec.open_video(b"x", **{name: value})


def test_other_source_types_are_rejected() -> None:
    """The error for another type of source names the allowed types and the given one."""
    with pytest.raises(TypeError, match="a path, bytes or a seekable binary file object; given: int"):
        codec.open_video(3)  # type: ignore[arg-type]


def joined(*sizes: tuple[int, int], format: str) -> bytes:
    """Return pictures of these sizes (width, height), one after another."""
    files = [io.BytesIO() for _ in sizes]
    for file, (width, height), picture in zip(files, sizes, synthetic.pan(len(sizes), (64, 48)).frames, strict=True):
        Image.fromarray(picture[:height, :width]).save(file, format)
    return b"".join(file.getvalue() for file in files)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP"])
def test_a_film_is_told_by_its_second_picture(format: str) -> None:
    """Pictures of one size in a row are a film; a single one is not, nor is one with a thumbnail or gain map."""
    with open_video(joined(*[(64, 48)] * 5, format=format)) as reader:
        assert [frame.index for frame in reader] == list(range(5))
    for still in (joined((64, 48), format=format), joined((64, 48), (32, 24), format=format)):
        with pytest.raises(UnreadableError, match="is a still image"):
            open_video(still)


def test_the_error_of_a_stream_without_key_frame_says_so() -> None:
    """A cut that has no key frame at all gives no picture; the error names the reason."""
    whole = synthetic.encode(synthetic.pan(12, (64, 48)).frames, "libvpx-vp9", {"g": "100"})
    with pytest.raises(NoFramesError, match="no packet is marked as a key frame"):
        open_video(cut_before(whole, 3, "matroska"))
