"""Makes the README's picture from the output of a demo: `python scripts/make_contact_sheet.py demo-out`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images" / "demo.png"
COLUMNS, ROWS = 3, 2
TILE = (320, 180)
MARGIN = 4
WORDS = {"prompt": "the given mask", "key": "key frame: the network", "propagated": "carried by the bitstream's motion"}


def chosen(sources: list[str]) -> list[int]:
    """Frames to show: the prompt's, then frames spread over the clip, one of them a key frame."""
    count = COLUMNS * ROWS
    spread = [round(i * (len(sources) - 1) / (count - 1)) for i in range(count)]
    keys = [i for i, source in enumerate(sources) if source == "key"]
    middle = count // 2
    if keys:
        spread[middle] = min(keys, key=lambda key: abs(key - spread[middle]))
    return spread


def sheet(folder: Path) -> Image.Image:
    """The contact sheet of a demo's overlay, each tile with where its mask comes from."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    sources = [frame["source"] for frame in report["frames"]]
    with av.open(str(folder / "overlay.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    size = (COLUMNS * (TILE[0] + MARGIN) - MARGIN, ROWS * (TILE[1] + MARGIN) - MARGIN)
    whole = Image.new("RGB", size, "white")
    for place, index in enumerate(chosen(sources)):
        tile = Image.fromarray(np.asarray(pictures[index])).resize(TILE, Image.Resampling.LANCZOS)
        text = f"frame {index}: {WORDS[sources[index]]}"
        draw = ImageDraw.Draw(tile)
        draw.rectangle((0, TILE[1] - 16, TILE[0], TILE[1]), fill=(0, 0, 0))
        draw.text((5, TILE[1] - 14), text, fill=(255, 255, 255))
        row, column = divmod(place, COLUMNS)
        whole.paste(tile, (column * (TILE[0] + MARGIN), row * (TILE[1] + MARGIN)))
    return whole


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="Make the README's picture from a demo's output folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    small = sheet(arguments.folder).quantize(128, dither=Image.Dither.FLOYDSTEINBERG)
    small.save(arguments.out, optimize=True)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
