"""Small synthetic clips with known motion, and an encoder for them.

Each picture is the view of a camera that moves over a large smooth texture. So the motion between any two pictures is
known exactly.
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
    """Pictures of a moving camera.

    Attributes:
        frames: uint8 [n, height, width, 3] RGB.
        cameras: float64 [n, 2, 3], affine map from a pixel (x, y, 1) of each picture to its place on the texture.
        scenes: Number of the texture that each picture shows [n].
    """

    frames: RgbArray
    cameras: npt.NDArray[np.float64]
    scenes: tuple[int, ...]

    def motion(self, index: int, reference: int) -> npt.NDArray[np.float64]:
        """True motion [height, width, 2]: (dx, dy) from each pixel of picture `index` to its place in `reference`."""
        height, width = self.frames.shape[1:3]
        y, x = np.mgrid[:height, :width].astype(np.float64)
        here = np.stack((x, y, np.ones_like(x)), axis=-1)
        inverse = cv2.invertAffineTransform(self.cameras[reference])
        on_texture = here @ self.cameras[index].T
        there = np.concatenate((on_texture, np.ones_like(x)[..., None]), axis=-1) @ inverse.T
        return np.asarray(there - here[..., :2])


def texture(seed: int = 0, side: int = 640) -> RgbArray:
    """Random smooth texture uint8 [side, side, 3] with detail at several scales and little aliasing."""
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
    """Draw one picture of `size` (width, height) per camera. `scenes` selects the texture of each, by default 0."""
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
    """A camera pan by `velocity` (x, y) pixels per picture. Motion to the previous picture is +velocity."""
    cameras = [_camera(1.0, 100 + velocity[0] * i, 100 + velocity[1] * i) for i in range(count)]
    return draw(cameras, size, [texture(seed)])


def zoom(count: int = 12, size: tuple[int, int] = (192, 128), rate: float = 0.985, seed: int = 0) -> Clip:
    """A camera zoom about the center of the picture by the factor `rate` per picture."""
    centre = (size[0] / 2, size[1] / 2)
    cameras = [_camera(rate**i, 320 - centre[0] * rate**i, 320 - centre[1] * rate**i) for i in range(count)]
    return draw(cameras, size, [texture(seed)])


def alternating(
    count: int = 12, size: tuple[int, int] = (192, 128), velocity: tuple[float, float] = (2.0, 1.0)
) -> Clip:
    """Two panning scenes that alternate from picture to picture, so only every second picture is a good reference."""
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
        options: Options of the encoder, such as {"bf": "3", "crf": "18", "x264-params": "..."}.
        container: FFmpeg's name of the container format.
        pixel_format: FFmpeg's name of the pixel format to encode.
        rate: Pictures per second.
        pts: Times of the pictures in units of 1 / rate seconds, by default 0, 1, 2, ...
    """
    file = io.BytesIO()
    # Without this option, a Matroska file contains a random id.
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
    """Options for libx264: high quality, reproducible, and the given x264 parameters, such as `bframes=3, ref=2`."""
    chosen = {"threads": 1, "crf": 12, "keyint": 250, "scenecut": 0, "weightp": 0, "weightb": 0, **params}
    return {"x264-params": ":".join(f"{name.replace('_', '-')}={value}" for name, value in chosen.items())}
