"""Makes the README's animation from the output of a demo: `python scripts/make_demo_animation.py demo-out`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

TARGET = Path(__file__).resolve().parent.parent / "docs" / "images" / "demo.webp"
SIZE = (480, 270)
CAPTION = 26
BAR = 6
STEP = 2
"""Every `STEP`-th frame is shown; key frames are shown always."""
QUALITY = 55
NETWORK, MOTION, GROUND = (255, 176, 32), (96, 165, 250), (24, 24, 27)
LABELS = {
    "prompt": "given mask",
    "key": "key frame: the network runs",
    "propagated": "mask propagated by motion vectors",
}


def frames(folder: Path) -> tuple[list[Image.Image], list[int]]:
    """Return the captioned pictures of a demo and how long each is shown, in milliseconds."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    sources = [frame["source"] for frame in report["frames"]]
    times = [frame["time"] for frame in report["frames"]]
    shown = [index for index, source in enumerate(sources) if index % STEP == 0 or source != "propagated"]
    with av.open(str(folder / "overlay.mp4")) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    ends = [times[index] for index in shown[1:]] + [times[-1] + times[1]]
    durations = [round(1000 * (end - times[index])) for index, end in zip(shown, ends, strict=True)]
    return [captioned(pictures[index], index, sources) for index in shown], durations


def captioned(picture: Image.Image, index: int, sources: list[str]) -> Image.Image:
    """Draw a frame with the source of its mask, the network runs so far, and a timeline of key frames below it."""
    width, height = SIZE
    whole = Image.new("RGB", (width, height + CAPTION + BAR), GROUND)
    whole.paste(picture.resize(SIZE, Image.Resampling.LANCZOS), (0, 0))
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(14)
    runs = sum(source != "propagated" for source in sources[: index + 1])
    colour = MOTION if sources[index] == "propagated" else NETWORK
    middle = height + CAPTION // 2
    draw.text((8, middle), LABELS[sources[index]], fill=colour, font=font, anchor="lm")
    count = f"network runs: {runs} of {index + 1} frames"
    draw.text((width - 8, middle), count, fill=(228, 228, 231), font=font, anchor="rm")
    for place, source in enumerate(sources[: index + 1]):
        left, right = (round(width * number / len(sources)) for number in (place, place + 1))
        fill = MOTION if source == "propagated" else NETWORK
        draw.rectangle((left, height + CAPTION, right - 1, height + CAPTION + BAR), fill=fill)
    return whole


def main() -> None:
    """Write the animation."""
    parser = argparse.ArgumentParser(description="Make the README's animation from a demo's output folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    pictures, durations = frames(arguments.folder)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    options = {"duration": durations, "loop": 0, "quality": QUALITY, "method": 6}
    pictures[0].save(arguments.out, save_all=True, append_images=pictures[1:], **options)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
