"""Ways to mark an object on the page: points, polygons, a picture of a mask, fingers, the brush on a zoomed picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Guard, new_page
from tests.support.page_robot import Robot
from tests.support.serving import Served, served
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("marking")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, service: Served, guard: Guard) -> Iterator[Page]:
    """The service's page on a screen that can be touched."""
    with new_page(browser, str(service.client.base_url), guard, has_touch=True) as opened:
        yield opened


def run(page: Page, service: Served) -> dict[str, Any]:
    """Run, and return the job."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url(lambda url: "#job=" in url)
    job: dict[str, Any] = service.client.get(f"/v1/jobs/{page.url.partition('#job=')[2]}").json()
    return job


def test_a_point_becomes_a_mask_and_runs(page: Page, service: Served) -> None:
    """A click with the points tool marks what is there; a point beside it, with Alt, is never part of the mask."""
    robot = Robot(page)
    robot.open(service.clip)
    page.keyboard.press("p")
    page.mouse.click(*robot.at(20, 20))
    wait_for(lambda: robot.masked()[20, 20], 20)
    page.keyboard.down("Alt")
    page.mouse.click(*robot.at(50, 40))
    page.keyboard.up("Alt")
    wait_for(lambda: robot.masked()[20, 20] and not robot.masked()[40, 50], 20)
    assert [one["object"] for one in run(page, service)["prompt"]] == [1]


def test_points_refine_the_mask_of_a_box(page: Page, service: Served) -> None:
    """A point beside the object takes its place out of the box's mask, which otherwise stays; the box can be undone."""
    robot = Robot(page)
    robot.open(service.clip)
    robot.drag((10, 8), (40, 36))
    wait_for(lambda: robot.masked().any(), 20)
    rows, columns = np.nonzero(robot.masked())
    x, y, area = int(columns[len(columns) // 3]), int(rows[len(rows) // 3]), len(rows)
    page.keyboard.press("p")
    page.keyboard.down("Alt")
    page.mouse.click(*robot.at(x + 0.5, y + 0.5))
    page.keyboard.up("Alt")
    wait_for(lambda: not robot.masked()[y, x], 20)
    assert 0 < robot.masked().sum() < area
    page.keyboard.press("Control+z")
    wait_for(lambda: bool(robot.masked()[y, x]), 20)


def test_a_picture_of_a_mask_is_the_prompt(page: Page, service: Served, tmp_path: Path) -> None:
    """A PNG of the video's size is shown and sent pixel by pixel; each of its colors is an object."""
    labels = np.zeros((48, 64, 3), np.uint8)
    labels[5:15, 4:30], labels[20:40, 33:60] = (128, 0, 0), (0, 128, 0)
    Image.fromarray(labels).save(tmp_path / "first.png")
    robot = Robot(page)
    robot.open(service.clip)
    page.get_by_label("Mask picture").set_input_files(tmp_path / "first.png")
    wait_for(lambda: np.array_equal(robot.masked(), labels.any(axis=2)), 20)
    assert sorted(one["area"] for one in run(page, service)["prompt"]) == [10 * 26, 20 * 27]


def test_a_polygon_closes_at_its_first_corner(page: Page, service: Served) -> None:
    """Backspace takes back a corner; a click on the first one fills the polygon, a step of the history like Delete."""
    robot = Robot(page)
    robot.open(service.clip)
    page.keyboard.press("g")
    for corner in ((10, 10), (40, 10), (60, 44)):
        page.mouse.click(*robot.at(*corner))
    page.keyboard.press("Backspace")
    for corner in ((40, 30), (10, 30), (10, 10)):
        page.mouse.click(*robot.at(*corner))
    filled = np.zeros((48, 64), np.bool_)
    filled[10:30, 10:40] = True
    wait_for(lambda: np.array_equal(robot.masked(), filled), 20)
    page.keyboard.press("Delete")  # the object is not in this frame
    wait_for(lambda: not robot.masked().any(), 20)
    page.keyboard.press("Control+z")
    wait_for(lambda: np.array_equal(robot.masked(), filled), 20)
    page.keyboard.press("Control+z")
    wait_for(lambda: not robot.masked().any(), 20)
    for _ in range(2):
        page.keyboard.press("Control+y")
    wait_for(lambda: not page.get_by_role("button", name="Redo").is_enabled(), 20)
    assert not robot.masked().any()


def test_brush_and_eraser_draw_where_the_picture_is(page: Page, service: Served) -> None:
    """After zooming by the wheel and moving by Space, one pixel of the brush is the pixel under the pointer."""
    robot = Robot(page)
    robot.open(service.clip)
    page.keyboard.press("d")
    for _ in range(20):
        page.keyboard.press("[")
    expect(page.get_by_label("Brush size in pixels")).to_have_value("1")
    page.mouse.move(*robot.at(48, 36))
    before = robot.at(48, 36)
    page.mouse.wheel(0, -1000)
    wait_for(lambda: page.locator(".zoom").is_visible(), 20)
    zoomed = robot.at(48, 36)
    assert np.allclose(zoomed, before, atol=4)  # the browser rounds where a wheel turned
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(before[0] + 40, before[1] - 30, steps=3)
    page.mouse.up()
    page.keyboard.up("Space")
    assert np.allclose(robot.at(48, 36), (zoomed[0] + 40, zoomed[1] - 30), atol=2)
    assert not robot.masked().any()
    robot.drag((46.5, 36.5), (50.5, 36.5))
    wait_for(lambda: robot.masked().sum() == 5, 20)
    assert robot.masked()[36, 46:51].all()
    page.keyboard.press("e")
    page.mouse.click(*robot.at(48.5, 36.5))
    wait_for(lambda: robot.masked().sum() == 4, 20)
    assert not robot.masked()[36, 48]
    page.keyboard.press("0")
    expect(page.locator(".zoom")).to_have_count(0)


def test_fingers_draw_and_zoom(page: Page, service: Served) -> None:
    """One finger uses the tool; a second one gives the stroke up and zooms."""
    robot = Robot(page)
    robot.open(service.clip)
    page.get_by_role("button", name="Brush").tap()
    robot.touch([[(20, 20)], [(25, 20)], [(35, 20)]])
    wait_for(lambda: bool(robot.masked()[20, 21:34].all()), 20)
    drawn, width = robot.masked(), robot.at(64, 0)[0] - robot.at(0, 0)[0]
    robot.touch([[(20, 40)], [(20, 40), (40, 40)], [(15, 40), (45, 40)], [(10, 40), (50, 40)]])
    wait_for(lambda: robot.at(64, 0)[0] - robot.at(0, 0)[0] > 1.5 * width, 20)
    assert np.array_equal(robot.masked(), drawn)
