"""A job of 10,000 frames: the timeline draws, seeks and plays within the time of a frame."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import Guard, new_page
from tests.support.serving import Served, served

LONG = 10_000
_FRAME_MILLISECONDS = 16
_WATCH = """(() => {
  window.drawn = [];
  window.unwatched = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (call) => window.unwatched((now) => {
    const began = performance.now();
    call(now);
    window.drawn.push(performance.now() - began);
  });
})()"""
"""Takes the time of everything that is drawn: the page draws in animation frames."""
_SEEK = """async (steps) => {
  const canvas = document.querySelector(".timeline");
  const { left, top, width } = canvas.getBoundingClientRect();
  const at = (type, x) => canvas.dispatchEvent(new PointerEvent(type, {
    bubbles: true, pointerId: 1, buttons: 1, clientX: left + x * width, clientY: top + 5 }));
  canvas.setPointerCapture = () => undefined;
  const handled = [];
  at("pointerdown", 0);
  for (let i = 1; i <= steps; i += 1) {
    const began = performance.now();
    at("pointermove", i / steps);
    handled.push(performance.now() - began);
    await new Promise((done) => window.unwatched(done));
  }
  return handled;
}"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("timeline")) as running:
        yield running


def lengthen(page: Page, service: Served, job: str) -> None:
    """Let the page see the job as one of `LONG` frames: its description, masks and pictures are repeated."""
    lines = [json.loads(line) for line in service.client.get(f"/v1/jobs/{job}/masks").text.splitlines()]
    repeated = (lines[i % len(lines)] | {"index": i, "source": "propagated" if i % 37 else "key"} for i in range(LONG))
    masks = "".join(json.dumps(line) + "\n" for line in repeated)
    described = service.client.get(f"/v1/jobs/{job}").json()
    described["video"] |= {"frames": LONG}
    described["progress"] |= {"done": LONG, "total": LONG}
    review = [{"from": i, "to": i + 9, "object": 1, "reason": "uncertain", "score": 0.5} for i in range(0, LONG, 50)]
    picture = service.client.get(f"/v1/jobs/{job}/frames/0").content

    def answer(route: Route) -> None:
        path = route.request.url.partition(f"/v1/jobs/{job}")[2].partition("?")[0]
        if path.startswith("/frames/"):
            route.fulfill(body=picture, content_type="image/jpeg")
        elif path == "/masks":
            route.fulfill(body=masks, content_type="application/x-ndjson")
        elif path == "/review":
            route.fulfill(json=review)
        elif path == "":
            route.fulfill(json=described)
        else:
            route.continue_()

    page.route(f"**/v1/jobs/{job}**", answer)


def test_ten_thousand_frames_stay_smooth(browser: Browser, service: Served, guard: Guard) -> None:
    """The median of what is drawn, and of what a move of the pointer costs, is within one frame at 60 per second."""
    job = service.run()
    with new_page(browser, str(service.client.base_url), guard) as page:
        page.add_init_script(_WATCH)
        lengthen(page, service, job)
        page.goto("about:blank")
        page.goto(f"/#job={job}")
        timeline = page.get_by_role("slider", name="Timeline")
        expect(timeline).to_have_attribute("aria-valuemax", str(LONG - 1))
        expect(timeline).to_have_attribute("aria-valuetext", re.compile("mask: "))
        page.evaluate("window.drawn = []")
        handled = sorted(page.evaluate(_SEEK, 100))
        drawn = sorted(page.evaluate("window.drawn"))
        expect(timeline).to_have_attribute("aria-valuenow", str(LONG - 1))
    print(f"draw: median {drawn[len(drawn) // 2]:.2f} ms, most {drawn[-1]:.2f} ms, {len(drawn)} times; ", end="")
    print(f"pointer: median {handled[50]:.2f} ms, most {handled[-1]:.2f} ms")
    assert drawn[len(drawn) // 2] < _FRAME_MILLISECONDS
    assert handled[50] < _FRAME_MILLISECONDS
