"""Motion proxy: it finds known motion and returns one set of vectors per picture."""

from __future__ import annotations

import io

import av
import cv2
import numpy as np
import pytest

from codec.decode.motion_proxy import VECTOR_CODECS, MotionProxy, resolve_motion_source
from codec.encode import same_scheduling
from codec.errors import MotionError, UnsupportedSizeError
from codec.types import MotionSource, UInt8Array

ENCODERS = {  # encoder: (container, pixel format)
    "libx264": ("mp4", "yuv420p"),
    "mpeg4": ("mp4", "yuv420p"),
    "mpeg2video": ("mpegts", "yuv420p"),
    "mpeg1video": ("mpegts", "yuv420p"),
    "h263": ("avi", "yuv420p"),
    "h261": ("avi", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "msmpeg4": ("avi", "yuv420p"),
    "msmpeg4v2": ("avi", "yuv420p"),
    "wmv1": ("asf", "yuv420p"),
    "wmv2": ("asf", "yuv420p"),
    "rv10": ("rm", "yuv420p"),
    "rv20": ("rm", "yuv420p"),
    "libx265": ("mp4", "yuv420p"),
    "libvpx-vp9": ("webm", "yuv420p"),
    "libsvtav1": ("mp4", "yuv420p"),
    "mjpeg": ("avi", "yuvj420p"),
    "prores_ks": ("mov", "yuv422p10le"),
    "ffv1": ("matroska", "yuv420p"),
}


def texture(height: int, width: int, seed: int = 0) -> UInt8Array:
    """A smooth random picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3))


def encode(encoder: str, pictures: list[UInt8Array]) -> bytes:
    """Encode gray pictures with one of PyAV's encoders."""
    container_format, pixel_format = ENCODERS[encoder]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt = pixel_format
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(320, 240), (161, 121), (854, 480)])
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 1), (0, -4), (0, 0)])
def test_a_pan_is_found(width: int, height: int, dx: int, dy: int) -> None:
    """When the view moves by (dx, dy), more than 90 % of the whole blocks have the vector (dx, dy)."""
    scene = texture(height + 60, width + 60)
    proxy = MotionProxy(width, height)
    for step in range(6):
        x, y = 30 + dx * step, 30 + dy * step
        vectors = proxy.vectors(scene[y : y + height, x : x + width])
        if step == 0:
            assert vectors is None
            continue
        assert vectors is not None
        assert set(vectors["source"]) == {-1}
        vectors = vectors[(vectors["dst_x"] < width - 16) & (vectors["dst_y"] < height - 16)]
        found = np.stack([vectors["motion_x"], vectors["motion_y"]], -1) / vectors["motion_scale"][:, None]
        assert (np.abs(found - (dx, dy)).max(axis=1) <= 0.25).mean() > 0.9


def test_a_cut_to_another_scene_has_no_vectors() -> None:
    """The first picture of a new scene has no vectors."""
    proxy = MotionProxy(320, 240)
    shots = [texture(240, 320, seed=1)] * 10 + [255 - cv2.resize(texture(60, 80, seed=2), (320, 240))] * 2
    motion = [proxy.vectors(picture) for picture in shots]
    assert [index for index, vectors in enumerate(motion) if vectors is None] == [0, 10]


def test_the_same_pictures_give_the_same_vectors() -> None:
    """Two proxies with the same input return equal records."""
    scene = texture(300, 400)
    one, two = MotionProxy(320, 240), MotionProxy(320, 240)
    for step in range(10):
        picture = scene[step : step + 240, 3 * step : 3 * step + 320]
        first, second = one.vectors(picture), two.vectors(picture)
        assert (first is None) == (second is None) == (step == 0)
        if first is not None and second is not None:
            assert first.tolist() == second.tolist()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 2), (15, 1), (3, 200)])
def test_tiny_pictures_pass_through(width: int, height: int) -> None:
    """Pictures smaller than a macroblock raise no error."""
    proxy = MotionProxy(width, height)
    for _ in range(3):
        proxy.vectors(np.zeros((height, width), np.uint8))


def test_other_sizes_are_rejected() -> None:
    """The error for a size that libx264 cannot encode names the size and the allowed range."""
    with pytest.raises(UnsupportedSizeError, match=r"20000x16.*1x1 to 16384x16384"):
        MotionProxy(20000, 16)
    with pytest.raises(ValueError, match=r"\(8, 8\).*\(16, 16\)"):
        MotionProxy(16, 16).vectors(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_vector_codecs_are_those_whose_decoder_exports_vectors(encoder: str) -> None:
    """A moving scene decoded with export_mvs has vectors if and only if `VECTOR_CODECS` lists the codec."""
    scene = texture(160, 200)
    with same_scheduling():
        data = encode(encoder, [scene[i : i + 144, i : i + 176] for i in range(6)])
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        exported = [frame.side_data.get("MOTION_VECTORS") is not None for frame in container.decode(stream)]
        assert any(exported) == (stream.codec_context.name in VECTOR_CODECS)


def test_auto_prefers_the_bitstream() -> None:
    """Motion "auto" selects the proxy only if the codec or an intra-only stream has no vectors."""
    assert resolve_motion_source("auto", "h264") is MotionSource.BITSTREAM
    assert resolve_motion_source("auto", "hevc") is MotionSource.PROXY
    assert resolve_motion_source("auto", "h264", intra_only=True) is MotionSource.PROXY
    assert resolve_motion_source("bitstream", "h264", intra_only=True) is MotionSource.BITSTREAM
    assert resolve_motion_source("proxy", "h264") is MotionSource.PROXY


def test_unavailable_motion_sources_are_rejected() -> None:
    """The error for bitstream motion of HEVC names the codec and the alternatives."""
    with pytest.raises(MotionError, match=r"hevc streams export no motion vectors.*auto, proxy"):
        resolve_motion_source("bitstream", "hevc")
    with pytest.raises(MotionError, match=r"'quick'; allowed: auto, bitstream, proxy"):
        resolve_motion_source("quick", "h264")
