"""Takes the pictures of the page in docs/images: `python scripts/make_page_pictures.py [URL]` beside `keymask serve`.

It does what docs/howto/page.md tells, on the sample clip, in headless Chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = (640, 360)
"""Width and height of the sample clip."""
CUP, ROCKET = ((78, 128), (258, 298)), ((362, 2), (412, 356))
"""Corners of boxes: the cup in frame 0, the rocket in frame 10."""
_PATIENCE = 600_000


def take(page: Page, name: str) -> None:
    """Save what the page shows."""
    page.wait_for_timeout(500)  # pictures fade in
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").save(IMAGES / f"page_{name}.webp", quality=80, method=6)


def drag_box(page: Page, corners: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Drag a box around an object, and wait for its mask."""
    bounds = page.locator("canvas.picture").bounding_box()
    assert bounds is not None
    places = [
        (bounds["x"] + x / SIZE[0] * bounds["width"], bounds["y"] + y / SIZE[1] * bounds["height"]) for x, y in corners
    ]
    page.keyboard.press("b")
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()
    expect(page.get_by_text("edited, not sent")).to_be_visible()
    page.mouse.move(5, 5)


def name_object(page: Page, number: int, name: str) -> None:
    """Name an object of the list."""
    field = page.get_by_role("textbox", name=f"Name of object {number}")
    field.fill(name)
    field.blur()


def go_to(page: Page, frame: int) -> None:
    """Go to a frame, and wait until it is drawn."""
    field = page.get_by_role("spinbutton", name="Frame")
    field.fill(str(frame))
    field.press("Enter")
    field.blur()
    page.wait_for_selector(f"canvas.picture[data-frame='{frame}']", state="attached")


def tell(page: Page) -> None:
    """Open, mark, watch, look at the motion, correct, export."""
    take(page, "start")
    page.get_by_role("button", name="Try the sample clip").click()
    page.wait_for_selector("canvas.masks[data-frame='0']", state="attached")
    drag_box(page, CUP)
    name_object(page, 1, "cup")
    take(page, "mark")
    page.get_by_role("button", name="Run", exact=True).click()
    while int(page.locator("canvas.masks").get_attribute("data-frame") or 0) < 30:  # the newest mask; some are skipped
        page.wait_for_timeout(100)
    take(page, "watch")
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    go_to(page, 10)
    page.keyboard.press("v")
    page.wait_for_timeout(3000)
    take(page, "motion")
    page.keyboard.press("v")
    page.get_by_role("button", name="Add an object").click()
    name_object(page, 2, "rocket")
    drag_box(page, ROCKET)
    page.get_by_role("button", name="Apply correction").click()
    expect(page.get_by_text("Correction 1")).to_be_visible()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    go_to(page, 30)
    page.get_by_role("button", name="Split").click()
    take(page, "correct")
    page.get_by_role("button", name="Export").click()
    take(page, "export")


def main() -> None:
    """Take all pictures."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(base_url=url, viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.set_default_timeout(_PATIENCE)
        page.goto("/")
        tell(page)
        browser.close()


if __name__ == "__main__":
    main()
