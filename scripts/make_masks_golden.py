"""Make the golden masks of the demo clip, tests/acceptance/masks_golden.json: `python scripts/make_masks_golden.py`.

The file has one line per frame in the format of mask lines (`service.writers.mask_line`): index, source, masks as
run-length encoding, scores. Make it anew only for a change that is meant to change masks, and say so in the commit.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from codec import open_video
from service.writers.mask_line import frame_line
from vos.segmenter import Segmenter
from vos.types import FrameMask, Options, Prompt
from vos.weights.load import load_network, load_refiner

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "service" / "sample"
GOLDEN = ROOT / "tests" / "acceptance" / "masks_golden.json"
OPTIONS = Options(keyframes="adaptive", end=30)


def segment_demo() -> list[FrameMask]:
    """Segment the first frames of the demo clip with the shipped weights, in float32 on the CPU."""
    network = load_network("compact", device="cpu", precision="float32")
    refiner = load_refiner(device="cpu", precision="float32")
    prompt = Prompt(np.asarray(Image.open(io.BytesIO((SAMPLE / "mask.png").read_bytes())), np.uint8))
    with open_video(SAMPLE / "clip.mp4") as video:
        return list(Segmenter(network, OPTIONS, refiner).run(video, video.info, prompt))


def main() -> None:
    """Write the golden file."""
    lines = [json.dumps(frame_line(frame), separators=(",", ":")) for frame in segment_demo()]
    GOLDEN.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{GOLDEN}: {len(lines)} frames, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
