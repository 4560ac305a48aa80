"""Pictures coded as two fields (PAFF), from a hand-written stream with known frames and motion."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from codec import CompressedFrame, open_video
from codec.types import STRIDE, FrameType, UInt8Array
from tests.support import field_pictures, synthetic
from tests.support.field_pictures import FieldPictures

COUNT, WIDTH, HEIGHT = 6, 160, 96
MOTION = (6, 2)


def stream(motion: tuple[int, int] = MOTION, *, is_second_predicted: bool = False) -> FieldPictures:
    """A camera pan over a texture."""
    first = synthetic.texture(3)[100 : 100 + HEIGHT, 100 : 100 + WIDTH, 1].copy()
    return field_pictures.write(first, motion, COUNT, is_second_predicted=is_second_predicted)


def mux(pictures: FieldPictures, container: str) -> bytes:
    """The stream in a container with both fields of a frame in one packet; unchanged for "h264"."""
    if container == "h264":
        return pictures.annex_b
    file = io.BytesIO()
    with av.open(io.BytesIO(pictures.annex_b), format="h264") as raw, av.open(file, "w", format=container) as output:
        track = output.add_stream_from_template(raw.streams.video[0])
        for number, fields in enumerate(pictures.units):
            packet = av.Packet(b"".join(fields))
            packet.stream, packet.time_base, packet.is_keyframe = track, Fraction(1, 25), number == 0
            packet.pts = packet.dts = number
            packet.duration = 1
            output.mux(packet)
    return file.getvalue()


def decode_with_ffmpeg(data: bytes) -> list[tuple[int | None, UInt8Array]]:
    """Pts and luma of each frame according to FFmpeg. All frames must be interlaced."""
    with av.open(io.BytesIO(data)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = list(container.decode(video=0))
    assert all(frame.interlaced_frame for frame in frames)
    planes = [np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size) for frame in frames]
    return [(frame.pts, plane[:HEIGHT, :WIDTH]) for frame, plane in zip(frames, planes, strict=True)]


def read(data: bytes) -> list[CompressedFrame]:
    """All frames in presentation order."""
    with open_video(data) as video:
        return sorted(video, key=lambda frame: frame.index)


def blended(luma: UInt8Array) -> np.ndarray:
    """Both fields blended: each line gets a quarter of the lines above and below."""
    lines = luma.astype(int)
    last = len(lines) - 1
    rows = [lines[abs(y - 1)] + 2 * lines[y] + lines[y + 1 if y < last else last - 1] for y in range(last + 1)]
    return np.array(rows) / 4


def slow_residual(frame: CompressedFrame, reference: UInt8Array) -> np.ndarray:
    """Luma minus the reference displaced by each cell's vector of whole pixels; edges repeated."""
    residual = np.zeros(frame.luma.shape, int)
    for row, column in np.ndindex(HEIGHT // STRIDE, WIDTH // STRIDE):
        dx, dy = frame.motion.vectors[0, row, column].astype(int)
        for y in range(row * STRIDE, (row + 1) * STRIDE):
            for x in range(column * STRIDE, (column + 1) * STRIDE):
                there = min(max(y + dy, 0), HEIGHT - 1), min(max(x + dx, 0), WIDTH - 1)
                residual[y, x] = int(frame.luma[y, x]) - int(reference[there])
    return residual


def test_the_written_stream_decodes_exactly() -> None:
    """FFmpeg decodes the written stream to interlaced frames that are exact to the sample."""
    pictures = stream()
    decoded = decode_with_ffmpeg(pictures.annex_b)
    assert len(decoded) == COUNT
    assert all(np.array_equal(luma, frame) for (_, luma), frame in zip(decoded, pictures.frames, strict=True))


@pytest.mark.parametrize("container", ["h264", "matroska", "mp4", "mpegts"])
def test_frames_match_ffmpeg(container: str) -> None:
    """Two fields become one frame with the right index, pts and luma, in one packet or in two."""
    data = mux(stream(), container)
    expected, frames = decode_with_ffmpeg(data), read(data)
    assert [(frame.index, frame.pts) for frame in frames] == [(i, pts) for i, (pts, _) in enumerate(expected)]
    for frame, (_, luma) in zip(frames, expected, strict=True):
        assert np.abs(frame.luma - blended(luma)).max() <= 1


@pytest.mark.parametrize("motion", [(6, 2), (-4, 6), (3, -2)])
@pytest.mark.parametrize("container", ["h264", "matroska"])
def test_motion_matches_the_camera(motion: tuple[int, int], container: str) -> None:
    """Every cell refers to the previous frame; its vector is in frame lines unless the block is too flat to tell."""
    for frame in read(mux(stream(motion), container))[1:]:
        assert (frame.motion.reference[0] == frame.decode_index - 1).all()
        assert_matches_camera(frame, motion)


def assert_matches_camera(frame: CompressedFrame, motion: tuple[int, int]) -> None:
    """At least 80 % of the cells have the camera's motion in frame lines, the rest have it in field lines."""
    vectors = frame.motion.vectors[0]
    assert (vectors[..., 0] == motion[0]).all()
    in_frame_lines, in_field_lines = vectors[..., 1] == motion[1], vectors[..., 1] == motion[1] / 2
    assert (in_frame_lines | in_field_lines).all()
    assert in_frame_lines.mean() > 0.8


def test_residual_matches_a_loop_over_pixels() -> None:
    """The residual is luma minus the displaced previous frame, and far smaller than the plain difference."""
    frames = read(stream().annex_b)
    assert not frames[0].residual.any()
    for before, frame in pairwise(frames):
        assert np.abs(frame.residual - slow_residual(frame, before.luma)).max() <= 1
        still = np.abs(frame.luma.astype(int) - before.luma)
        assert np.abs(frame.residual).mean() < 0.1 * still.mean()


def test_a_field_predicted_from_its_own_frame() -> None:
    """If the second field of the first frame refers to the first field, the frame has no motion and no residual."""
    pictures = stream(is_second_predicted=True)
    assert all(
        np.array_equal(luma, frame)
        for (_, luma), frame in zip(decode_with_ffmpeg(pictures.annex_b), pictures.frames, strict=True)
    )
    first, *others = read(pictures.annex_b)
    assert (first.type, first.motion.coverage, first.motion.references) == (FrameType.P, 0, ())
    assert not first.residual.any()
    for frame in others:
        assert_matches_camera(frame, MOTION)
