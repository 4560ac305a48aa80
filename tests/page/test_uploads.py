"""Uploads of the page that are cut off: by the network, and by a reload."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import Guard, new_page
from tests.support.page_robot import Robot
from tests.support.serving import Served, served

CHUNK = 8 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("uploads")) as running:
        yield running


@pytest.fixture(scope="module")
def large(service: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip with a box of free space behind it: three chunks."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    size = 2 * CHUNK
    path.write_bytes(service.clip.read_bytes() + struct.pack(">I4s", size, b"free") + bytes(size - 8))
    return path


@pytest.fixture
def page(browser: Browser, service: Served, guard: Guard) -> Iterator[Page]:
    """The service's page; requests that the test breaks are expected on its console."""
    guard.expected.append("Failed to load resource")
    with new_page(browser, str(service.client.base_url), guard) as opened:
        yield opened


class Network:
    """Lets `good` chunks pass, then breaks the connection until it is repaired."""

    def __init__(self, page: Page, good: int) -> None:
        self.offsets: list[int] = []
        self.left = good
        page.route("**/v1/uploads/*", self._handle)

    def _handle(self, route: Route) -> None:
        request = route.request
        if request.method == "PATCH":
            if self.left <= 0:
                route.abort()
                return
            self.left -= 1
            self.offsets.append(int(request.headers["upload-offset"]))
        route.continue_()


def test_a_lost_connection_continues_where_it_stopped(page: Page, large: Path) -> None:
    """A chunk that was refused is sent again, and none that the service has."""
    network = Network(page, good=1)
    robot = Robot(page)
    robot.choose(large)
    expect(page.get_by_text("The connection is lost")).to_be_visible(timeout=30_000)
    network.left = 99
    robot.wait_for_frame(0)
    assert network.offsets == [0, CHUNK, 2 * CHUNK]


def test_a_reload_continues_once_the_file_is_chosen_again(page: Page, large: Path) -> None:
    """After a reload, the same file is not sent from its start."""
    network = Network(page, good=2)
    robot = Robot(page)
    robot.choose(large)
    expect(page.get_by_text("The connection is lost")).to_be_visible(timeout=30_000)
    page.reload()
    expect(page.get_by_text("was cut off")).to_be_visible()
    network.left = 99
    robot.open(large)
    assert network.offsets == [0, CHUNK, 2 * CHUNK]


def test_the_sample_opens(page: Page) -> None:
    """The clip that ships with keymask opens without a file."""
    page.get_by_role("button", name="Try the sample clip").click()
    Robot(page).wait_for_frame(0)
    expect(page.get_by_text("What the bitstream offers")).to_be_visible()


def test_what_is_no_video_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    """A file that is no video is refused with the reason, and another one can be chosen."""
    path = tmp_path / "notes.mp4"
    path.write_bytes(b"these are notes, and no video")
    Robot(page).choose(path)
    expect(page.locator(".message.error")).to_be_visible()
    expect(page.get_by_text("Drop a video here")).to_be_visible()
