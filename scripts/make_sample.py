"""Makes the embedded sample, service/sample/clip.mp4 and mask.png: `python scripts/make_sample.py`.

A coffee cup on its saucer flies past a rocket. Both pictures ship with scikit-image: `coffee` by Rachel Michetti, CC0,
and `rocket` by SpaceX, public domain. The cup is cut out along the ellipses and the polygon below. The camera pans,
zooms and shakes, the shutter is open for half a frame, and the sensor is slightly noisy. The true mask of every frame
is known; the acceptance test of `keymask demo` compares against it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

from service.writers.png import encode_mask

Picture = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

WIDTH, HEIGHT, FRAMES, RATE = 640, 360, 90, 30
EXPOSURES = 4
"""Exposures averaged into one frame."""
NOISE = 1.5
"""Standard deviation of the sensor noise, in grey values."""
SEED = 20
OBJECT_ID = 2
"""Green in the palette, visible on a red cup; object 1 is red."""
ENCODER = {"preset": "medium", "crf": "25", "threads": "1"}
FOLDER = Path(__file__).resolve().parent.parent / "service" / "sample"

# Outline of the cup in the coffee picture at twice its size: ellipses (centre, axes, angle) and the handle.
SAUCER = ((556.0, 439.5), (663.0, 801.0), 98.9)
RIM = ((581.0, 226.0), (466.0, 376.0), 0.0)
HANDLE = [(795, 144), (815, 135), (838, 137), (847, 150), (843, 175), (823, 260), (780, 260), (800, 190)]


def cut_out() -> tuple[Picture, Picture]:
    """Return the coffee picture [400, 600, 3] and the coverage of its cup, uint8 [400, 600], 0 to 255."""
    picture = data.coffee()
    outline = np.zeros((2 * picture.shape[0], 2 * picture.shape[1]), np.uint8)
    for ellipse in (SAUCER, RIM):
        cv2.ellipse(outline, ellipse, 255, -1)
    cv2.fillPoly(outline, [np.array(HANDLE)], 255)
    return picture, cv2.resize(outline, picture.shape[1::-1], interpolation=cv2.INTER_AREA)


def camera(t: float) -> Matrix:
    """Return the affine map [2, 3] from the rocket picture to the frame at time `t` in 0..1: pan, zoom, shake."""
    shake = np.array([1.6 * np.sin(29 * t + 1) + np.sin(47 * t), 1.3 * np.sin(37 * t) + 0.8 * np.sin(53 * t + 2)])
    centre = np.array([262 + 116 * t, 268 - 60 * t]) + shake
    return _placed(centre, 1.34 + 0.22 * t, 0.8 * np.sin(5 * t), np.array([WIDTH / 2, HEIGHT / 2]))


def flight(t: float) -> Matrix:
    """Return the affine map [2, 3] from the coffee picture to the frame at time `t` in 0..1: arc, turn, approach."""
    place = np.array([165 + 300 * t, 215 - 75 * np.sin(np.pi * t) + 6 * np.sin(20 * t)])
    return _placed(np.array([278.0, 210.0]), 0.42 + 0.16 * t, 16 * np.sin(4.5 * t - 0.6), place)


def _placed(centre: npt.NDArray[np.float64], scale: float, degrees: float, place: npt.NDArray[np.float64]) -> Matrix:
    """Return the affine map [2, 3] that scales and turns around `centre` and moves it to `place`."""
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), degrees, scale)
    matrix[:, 2] += place - centre
    return np.asarray(matrix, np.float64)


def frames(count: int = FRAMES) -> Iterator[tuple[Picture, Picture]]:
    """Yield each frame, RGB uint8 [360, 640, 3], with its true mask, uint8 [360, 640], 0 and 1."""
    rocket = data.rocket()
    coffee, coverage = cut_out()
    random = np.random.default_rng(SEED)
    for number in range(count):
        light = np.zeros((HEIGHT, WIDTH, 3))
        share = np.zeros((HEIGHT, WIDTH))
        for exposure in range(EXPOSURES):
            t = (number + exposure / EXPOSURES / 2) / FRAMES
            back = _warp(rocket, camera(t), cv2.BORDER_REPLICATE)
            front, cover = _warp(coffee, flight(t), cv2.BORDER_REPLICATE), _warp(coverage, flight(t)) / 255
            light += (back * (1 - cover[..., None]) + front * cover[..., None]) / EXPOSURES
            share += cover / EXPOSURES
        noisy = light + random.normal(0, NOISE, light.shape)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8), (share > 0.5).astype(np.uint8)


def _warp(picture: Picture, matrix: Matrix, border: int = cv2.BORDER_CONSTANT) -> npt.NDArray[np.float64]:
    warped = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(warped, np.float64)


def true_masks() -> Iterator[Picture]:
    """Yield the true mask of every frame of the sample, uint8 [360, 640], 0 and 1."""
    return (mask for _, mask in frames())


def encode(pictures: Iterator[Picture]) -> bytes:
    """Encode pictures as H.264 in MP4, with B frames."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def main() -> None:
    """Write the clip and the mask of its first frame."""
    parser = argparse.ArgumentParser(description="Make the embedded sample clip and mask.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write into")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    clip = encode(picture for picture, _ in frames())
    (folder / "clip.mp4").write_bytes(clip)
    (folder / "mask.png").write_bytes(encode_mask(next(true_masks()) * OBJECT_ID))
    print(f"{folder}: clip.mp4 has {len(clip)} bytes, {FRAMES} frames")


if __name__ == "__main__":
    main()
