"""Ways to mark an object on the page, beside box and brush: points, a picture of a mask, and fingers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

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
