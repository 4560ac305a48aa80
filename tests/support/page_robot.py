"""What a person does on the page, for tests: open a clip, drag a box, draw, read what the canvases show."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Page

from codec.types import UInt8Array

_PIXELS = """(selector) => {
  const canvas = document.querySelector(selector);
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.width, canvas.height, btoa(Array.from(image.data, (byte) => String.fromCharCode(byte)).join(""))];
}"""


class Robot:
    """A person at the page.

    Args:
        page: The page.
        size: Width and height of the video in pixels.
    """

    def __init__(self, page: Page, size: tuple[int, int] = (64, 48)) -> None:
        self.page = page
        self.size = size

    def open(self, clip: Path, frame: int = 0) -> None:
        """Choose a file and wait until its frame is drawn."""
        self.choose(clip)
        self.wait_for_frame(frame)

    def choose(self, clip: Path) -> None:
        """Choose a file."""
        self.page.set_input_files("input[type=file]:not([aria-label])", clip)

    def go_to(self, frame: int) -> None:
        """Go to a frame by its number, and wait until it and its masks are drawn."""
        field = self.page.get_by_role("spinbutton", name="Frame")
        field.fill(str(frame))
        field.press("Enter")
        field.blur()
        self.wait_for_frame(frame)

    def wait_for_frame(self, frame: int) -> None:
        """Wait until a frame and its masks are drawn."""
        for layer in ("picture", "masks"):
            self.page.wait_for_selector(f"canvas.{layer}[data-frame='{frame}']", state="attached")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a position in the video, in its pixels, is in the window."""
        bounds = self.page.locator("canvas.picture").bounding_box()
        assert bounds is not None
        width, height = self.size
        return bounds["x"] + x / width * bounds["width"], bounds["y"] + y / height * bounds["height"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse between two positions in the video."""
        mouse = self.page.mouse
        mouse.move(*self.at(*start))
        mouse.down()
        mouse.move(*self.at(*end), steps=6)
        mouse.up()

    def touch(self, moments: Sequence[Sequence[tuple[float, float]]]) -> None:
        """Touch the screen: at each moment, the positions of the fingers in the video; lift them at the end."""
        session = self.page.context.new_cdp_session(self.page)
        places = [[self.at(*finger) for finger in fingers] for fingers in moments]  # before the picture is zoomed
        down = 0
        for fingers in [*places, []]:
            kind = "touchStart" if len(fingers) > down else "touchMove" if fingers else "touchEnd"
            touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
            down = len(fingers)
        session.detach()

    def pixels(self, layer: str) -> UInt8Array:
        """Return what a canvas (`picture` or `masks`) shows as RGBA uint8 [height, width, 4]."""
        width, height, data = self.page.evaluate(_PIXELS, f"canvas.{layer}")
        values: UInt8Array = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
        return values

    def masked(self) -> npt.NDArray[np.bool_]:
        """Return where the page draws a mask, bool [height, width]."""
        return self.pixels("masks")[..., 3] > 0
