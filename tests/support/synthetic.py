"""Small synthetic clips whose true motion is known, and their encoding by PyAV.

A clip is drawn by looking at a large smooth texture through a window that moves, so every picture is exact to a
sub-pixel and the motion between any two pictures is a formula.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import numpy.typing as npt

RgbArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """Pictures and the camera that took them.

    Attributes:
        frames: uint8 [n, height, width, 3] RGB.
        cameras: float64 [n, 2, 3]; affine map from a picture's pixel (x, y, 1) to its place on the texture.
        scenes: int [n], which texture each picture shows.
    """

    frames: RgbArray
    cameras: npt.NDArray[np.float64]
    scenes: tuple[int, ...]

    def motion(self, index: int, reference: int) -> npt.NDArray[np.float64]:
        """True motion [height, width, 2], (dx, dy) in pixels from a pixel of `index` to its place in `reference`."""
        height, width = self.frames.shape[1:3]
        y, x = np.mgrid[:height, :width].astype(np.float64)
        here = np.stack((x, y, np.ones_like(x)), axis=-1)
        inverse = cv2.invertAffineTransform(self.cameras[reference])
        on_texture = here @ self.cameras[index].T
        there = np.concatenate((on_texture, np.ones_like(x)[..., None]), axis=-1) @ inverse.T
        return np.asarray(there - here[..., :2])


def texture(seed: int = 0, side: int = 640) -> RgbArray:
    """Random smooth texture, uint8 [side, side, 3], with detail at several scales and little aliasing."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3), np.float32)
    for step, weight in ((4, 0.8), (8, 1.0), (24, 1.2), (96, 1.6)):
        coarse = rng.normal(size=(side // step + 2, side // step + 2, 3)).astype(np.float32)
        total += weight * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 42 * total, 0, 255).astype(np.uint8)


def draw(
    cameras: Sequence[npt.NDArray[np.float64]],
    size: tuple[int, int],
    textures: Sequence[RgbArray],
    scenes: Sequence[int] | None = None,
) -> Clip:
    """Draw pictures of `size` (width, height), one a camera; `scenes` says which texture each one shows."""
    shown = tuple(scenes or (0,) * len(cameras))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    frames = [
        cv2.warpAffine(textures[scene], camera, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
        for camera, scene in zip(cameras, shown, strict=True)
    ]
    return Clip(np.stack(frames), np.stack(cameras), shown)


def _camera(zoom: float, x: float, y: float) -> npt.NDArray[np.float64]:
    return np.array([[zoom, 0.0, x], [0.0, zoom, y]])


def pan(
    count: int = 12, size: tuple[int, int] = (192, 128), velocity: tuple[float, float] = (3.0, 1.5), seed: int = 0
) -> Clip:
    """A camera that moves by `velocity` (x, y) pixels a picture: motion to the picture before is +velocity."""
    cameras = [_camera(1.0, 100 + velocity[0] * i, 100 + velocity[1] * i) for i in range(count)]
    return draw(cameras, size, [texture(seed)])


def zoom(count: int = 12, size: tuple[int, int] = (192, 128), rate: float = 0.985, seed: int = 0) -> Clip:
    """A camera that zooms in about the middle of the picture by `rate` a picture."""
    centre = (size[0] / 2, size[1] / 2)
    cameras = [_camera(rate**i, 320 - centre[0] * rate**i, 320 - centre[1] * rate**i) for i in range(count)]
    return draw(cameras, size, [texture(seed)])


def alternating(
    count: int = 12, size: tuple[int, int] = (192, 128), velocity: tuple[float, float] = (2.0, 1.0)
) -> Clip:
    """Two scenes that alternate picture by picture, both panning: only every second picture is a sensible reference."""
    cameras = [_camera(1.0, 100 + velocity[0] * (i // 2), 100 + velocity[1] * (i // 2)) for i in range(count)]
    return draw(cameras, size, [texture(1), texture(2)], [i % 2 for i in range(count)])


def encode(
    frames: RgbArray,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    *,
    container: str = "matroska",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    pts: Sequence[int] | None = None,
) -> bytes:
    """Encode pictures [n, height, width, 3] RGB into a video file.

    Args:
        frames: The pictures.
        codec: FFmpeg's name of the encoder.
        options: Its options, such as {"bf": "3", "crf": "18", "x264-params": "..."}.
        container: FFmpeg's name of the container.
        pixel_format: What to encode.
        rate: Pictures a second.
        pts: Times of the pictures in 1/rate seconds; by default 0, 1, 2, ...
    """
    file = io.BytesIO()
    # without this option a Matroska file has a random id
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.thread_count = 1
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = i if pts is None else pts[i]
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def x264(**params: object) -> dict[str, str]:
    """Options for libx264, of high quality and reproducible, such as `bframes=3, b_pyramid="normal", ref=2`."""
    chosen = {"threads": 1, "crf": 12, "keyint": 250, "scenecut": 0, "weightp": 0, "weightb": 0, **params}
    return {"x264-params": ":".join(f"{name.replace('_', '-')}={value}" for name, value in chosen.items())}
