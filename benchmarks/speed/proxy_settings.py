"""Compares libx264 settings for the motion proxy: cost, and accuracy of masks propagated along the vectors.

The true mask of every fifth frame is propagated to the next four frames along the vectors alone, and J is measured
against the true masks there. No network takes part. Sequences are from DAVIS-2016 train, laid out in `--data` as
SEQUENCE/frames/*.jpg and SEQUENCE/masks/*.png, and enlarged to a short side of 480.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Any

import av
import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Report, Row, Spread, parser
from benchmarks.paths import ROOT
from codec import CompressedFrame, FrameType, open_video
from codec.decode.decoded_picture import DecodedPicture
from codec.decode.motion_proxy import ENCODER_OPTIONS, MotionProxy
from codec.decode.scaler import Scaler
from codec.encode import Encoder, encode
from codec.motion.analyzer import FrameAnalyzer
from vos.evaluation.metrics import region_similarity
from vos.masks.geometry import to_grid
from vos.propagation.warp import ReferenceStore

Pictures = np.ndarray[Any, np.dtype[np.uint8]]

SEQUENCES = ("dance-jump", "dog-agility", "lucia", "hockey")
INTERVAL = 5
BASE = "bframes=0:ref=1:keyint=infinite:scenecut=40"
SETTINGS: dict[str, Mapping[str, str]] = {
    "as shipped": ENCODER_OPTIONS,
    **{
        name: {"preset": preset, "tune": "zerolatency", "threads": "1", "crf": crf, "x264-params": f"{BASE}{more}"}
        for name, preset, crf, more in (
            ("ultrafast", "ultrafast", "23", ""),
            ("ultrafast, 8x8 blocks", "ultrafast", "23", ":partitions=p8x8"),
            ("ultrafast, 8x8 and intra 4x4 blocks", "ultrafast", "23", ":partitions=p8x8,i4x4"),
            ("ultrafast, 8x8 blocks, crf 33", "ultrafast", "33", ":partitions=p8x8"),
            ("superfast", "superfast", "23", ""),
            ("veryfast", "veryfast", "23", ""),
            ("medium", "medium", "23", ""),
        )
    },
}


def load(folder: Path, most: int | None) -> tuple[Pictures, Pictures]:
    """Load the first pictures, RGB uint8 [n, height, width, 3], and masks, uint8 [n, height, width]; short side 480."""
    pictures, masks = [], []
    files = (sorted((folder / name).iterdir())[:most] for name in ("frames", "masks"))
    for picture, mask in zip(*files, strict=True):
        rgb, labels = np.array(Image.open(picture).convert("RGB")), np.array(Image.open(mask))
        height, width = labels.shape
        size = (round(width * 240 / min(height, width)) * 2, round(height * 240 / min(height, width)) * 2)
        pictures.append(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC))
        masks.append(cv2.resize((labels > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST))
    return np.stack(pictures), np.stack(masks)


def proxied(pictures: Pictures, options: Mapping[str, str], seconds: list[float]) -> Iterator[CompressedFrame]:
    """Yield frames with a proxy's motion, and append the processor time of each proxy picture to `seconds`."""
    height, width = pictures.shape[1:3]
    proxy, analyzer = MotionProxy(width, height, options), FrameAnalyzer(Scaler((width, height)))
    for index, picture in enumerate(pictures):
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        started = process_time()
        vectors = proxy.vectors(luma)
        seconds.append(process_time() - started)
        frame = av.VideoFrame.from_ndarray(luma, format="gray")
        yield analyzer.analyze(
            DecodedPicture(
                frame=frame,
                index=index,
                pts=index,
                time=index / 24,
                type=FrameType.P,
                is_reference=True,
                is_idr=False,
                vectors=vectors,
                vector_size=(width, height),
                vector_crop=(0, 0),
                max_reference_frames=1,
                luma=luma,
            )
        )


def propagated_j(frames: Iterator[CompressedFrame], masks: Pictures) -> float:
    """Return the mean J, in percent, of masks propagated to the frames between given masks."""
    found, store = [], None
    for frame in frames:
        truth = torch.from_numpy(masks[frame.index].astype(np.float32))[None]
        if store is None:
            store = ReferenceStore(2, *frame.motion.shape, torch.device("cpu"))
        if frame.index % INTERVAL == 0:
            cells = to_grid(truth)
            channels = torch.cat([cells, torch.zeros_like(cells)])
        else:
            channels = store.warp(frame.motion).channels
            height, width = frame.luma.shape
            soft = torch.nn.functional.interpolate(channels[None, :1], scale_factor=4.0, mode="bilinear")
            arrived = soft[0, 0, :height, :width].numpy() > 0.5
            found.append(100 * region_similarity(arrived, masks[frame.index] > 0))
        store.put(frame.decode_index, channels)
        store.keep(frame.available_references)
    return float(np.mean(found))


def main() -> None:
    """Measure and write proxy_settings.json."""
    options = parser(__doc__)
    options.set_defaults(data=ROOT.parent / "shared" / "data" / "train" / "video" / "davis2016_train")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("proxy_settings", arguments)
    names = SEQUENCES[:1] if arguments.quick else SEQUENCES
    clips = [load(arguments.data / name, 8 if arguments.quick else None) for name in names]
    for name, settings in SETTINGS.items():
        seconds: list[float] = []
        scores = [propagated_j(proxied(pictures, settings, seconds), masks) for pictures, masks in clips]
        cost = Spread.of(1000 * value for value in seconds)
        report.details[name] = {"J": dict(zip(names, scores, strict=True)), "ms_per_picture": asdict(cost)}
        note = f"{cost.median:.1f} ms of one core per picture"
        report.rows.append(Row(f"J of propagated masks, proxy {name}", Spread.of(scores, 1), "%", note=note))
    for name, encoder in {
        "x264 medium": Encoder("libx264", {}),
        "x264 baseline": Encoder("libx264", {"profile": "baseline"}),
    }.items():
        scores = []
        for pictures, masks in clips:
            with open_video(encode(iter(pictures), encoder), motion="bitstream") as video:
                scores.append(propagated_j(iter(video), masks))
        report.details[name] = {"J": dict(zip(names, scores, strict=True))}
        report.rows.append(Row(f"J of propagated masks, bitstream {name}", Spread.of(scores, 1), "%"))
    report.details["key_frame_interval"] = INTERVAL
    report.write()


if __name__ == "__main__":
    main()
