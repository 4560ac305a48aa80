"""Memory stays flat over a long video. Takes minutes: thousands of frames pass all stages, with refinement."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support.paths import ROOT

CHILD = "tests.integration.peak_memory_child"
WIDTH, HEIGHT = 96, 64
PICTURES = 50


def one_turn() -> bytes:
    """Encode a disc that circles once over a still texture as H.264 with a B pyramid."""
    rng = np.random.default_rng(3)
    texture = cv2.resize(rng.integers(0, 150, (8, 12, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "bf": "3", "refs": "3"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = WIDTH, HEIGHT, "yuv420p", 1
        for index in range(PICTURES):
            picture = cv2.circle(texture.copy(), centre(index), 12, (250, 240, 60), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def centre(index: int) -> tuple[int, int]:
    """Return the center of the disc."""
    angle = 2 * np.pi * index / PICTURES
    return round(WIDTH / 2 + 25 * np.cos(angle)), round(HEIGHT / 2 + 15 * np.sin(angle))


def repeat(turn: bytes, file: Path, frames: int) -> None:
    """Write the turn again and again until there are so many frames; each begins at an IDR picture."""
    with av.open(io.BytesIO(turn)) as reading, av.open(file, "w") as writing:
        stream = reading.streams.video[0]
        packets = [(bytes(packet), packet.pts) for packet in reading.demux(stream) if packet.size]
        order = sorted(pts for _, pts in packets)
        copy = writing.add_stream_from_template(stream)
        for number in range(frames):
            data, pts = packets[number % PICTURES]
            packet = av.Packet(data)
            packet.stream, packet.time_base = copy, Fraction(1, 25)
            packet.is_keyframe = number % PICTURES == 0
            packet.pts = number // PICTURES * PICTURES + order.index(pts) + 4
            packet.dts = number
            writing.mux(packet)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read by the resource module, which Windows lacks")
@pytest.mark.parametrize(
    ("network", "early", "frames", "growth"),
    [
        ("colour", 1000, 10_000, 12),  # keeping a picture per frame would take 50 MiB
        ("cutie-small", 500, 2000, 12),
        ("sam2.1-tiny", 500, 2000, 12),
        ("edgetam", 500, 2000, 12),
    ],
)
def test_a_long_video_takes_the_memory_of_a_short_one(
    network: str, early: int, frames: int, growth: int, tmp_path: Path
) -> None:
    """From an early frame to the last one, peak memory grows by less than so many MiB."""
    video = tmp_path / "long.mkv"
    repeat(one_turn(), video, frames)
    Image.fromarray(disc(0).astype(np.uint8)).save(tmp_path / "mask.png")
    # With one arena per thread, glibc's malloc grows by chance; with a single one, only by what is kept.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-m", CHILD, video, tmp_path / "mask.png", tmp_path / "out", network, str(early)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    masks = sorted((tmp_path / "out" / "masks").iterdir())
    assert len(masks) == sum(report["sources"].values()) == frames
    assert frames / 100 < report["sources"]["key"] < frames / 5
    assert report["seconds"]["correct"] > 1, "propagated masks must be refined"
    for index in (frames // 2, frames - PICTURES // 2):
        found = np.asarray(Image.open(masks[index])) > 0
        assert overlap(found, disc(index)) > 0.6, "the disc must still be followed, or nothing was refined"
    assert report["peak_kib"]["end"] - report["peak_kib"]["early"] < growth * 1024


def disc(index: int) -> np.ndarray:
    """Return the pixels of the disc in a frame, bool [HEIGHT, WIDTH]."""
    return cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), centre(index), 12, 1, -1) > 0


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union."""
    return float((found & truth).sum() / (found | truth).sum())
