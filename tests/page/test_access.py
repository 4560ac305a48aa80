"""Who may use the page: keys where they are required, the keyboard, screen readers, small screens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from service.config import digest_of_key
from tests.support.browser import Guard, new_page
from tests.support.page_robot import Robot
from tests.support.paths import ROOT
from tests.support.serving import FRAMES, Served, served
from tests.support.syscall_log import DEMAND
from tests.support.thread_engine import REVIEW
from tests.support.waiting import wait_for

AXE = ROOT / "service" / "web" / "node_modules" / "axe-core" / "axe.min.js"
KEY = "a-key-for-the-tests-of-the-page"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("access")) as running:
        yield running


def serious_findings(page: Page) -> list[str]:
    """Return what axe-core finds serious or worse."""
    if not AXE.exists():
        reason = "axe-core is not installed: run `npm ci` in service/web"
        (pytest.fail if os.environ.get(DEMAND) else pytest.skip)(reason)
    page.evaluate(AXE.read_text())  # not a script of the page, so its policy does not apply
    found = page.evaluate("() => axe.run().then((result) => result.violations)")
    return [
        f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "size"), [("dark", (1280, 800)), ("light", (390, 844))])
def test_axe_has_no_serious_findings(
    browser: Browser, service: Served, guard: Guard, scheme: str, size: tuple[int, int]
) -> None:
    """Every state of the page passes axe-core in light and dark, wide and narrow, and does not scroll sideways."""
    viewport = {"width": size[0], "height": size[1]}
    with new_page(browser, str(service.client.base_url), guard, color_scheme=scheme) as page:
        page.set_viewport_size(viewport)
        assert serious_findings(page) == []
        robot = Robot(page)
        robot.open(service.clip)
        page.keyboard.press("d")
        robot.drag((20, 20), (30, 24))
        assert serious_findings(page) == []
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.get_by_role("heading", name="Done")).to_be_visible()
        assert serious_findings(page) == []
        for name in ("Export", "Jobs", "Keyboard shortcuts"):
            page.get_by_role("button", name=name, exact=True).click()
            expect(page.get_by_role("dialog")).to_be_visible()
            assert serious_findings(page) == []
            page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_the_keyboard_reaches_frames_tools_and_help(browser: Browser, service: Served, guard: Guard) -> None:
    """Frames, tools and help work without a mouse."""
    with new_page(browser, str(service.client.base_url), guard) as page:
        Robot(page).open(service.clip)
        timeline = page.get_by_role("slider", name="Timeline")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        expect(timeline).to_have_attribute("aria-valuenow", "11")
        page.keyboard.press("Home")
        expect(timeline).to_have_attribute("aria-valuenow", "0")
        page.keyboard.press("e")
        expect(page.get_by_role("button", name="Eraser")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard and mouse")).to_contain_text("Next frame to check")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_keys_review_play_and_explain_a_job(browser: Browser, service: Served, guard: Guard) -> None:
    """N goes to the frames to check, K plays to the end, V shows the motion, A and X add and select objects."""
    job = service.run()
    with new_page(browser, str(service.client.base_url), guard) as page:
        page.goto("about:blank")
        page.goto(f"/#job={job}")
        expect(page.get_by_role("button", name="Next to check")).to_be_visible()
        timeline, first = page.get_by_role("slider", name="Timeline"), str(REVIEW[0]["from"])
        page.keyboard.press("n")
        expect(timeline).to_have_attribute("aria-valuenow", first)
        page.keyboard.press("End")
        page.keyboard.press("Shift+N")
        expect(timeline).to_have_attribute("aria-valuenow", first)
        page.keyboard.press("k")
        expect(timeline).to_have_attribute("aria-valuenow", str(FRAMES - 1))
        expect(page.get_by_role("button", name="Play")).to_be_visible()
        page.keyboard.press("v")
        wait_for(lambda: bool(Robot(page).pixels("overlay")[..., 3].any()), 20)
        page.keyboard.press("a")
        expect(page.get_by_role("radio", name="Mark Object 2")).to_be_checked()
        page.keyboard.press("x")
        expect(page.get_by_role("radio", name="Mark Object 1")).to_be_checked()


def test_a_service_with_keys_asks_for_one(browser: Browser, guard: Guard, tmp_path: Path) -> None:
    """With API keys the page asks for one, works and downloads with it, and keeps it out of addresses and storage."""
    guard.expected.append("401")
    with (
        served(tmp_path / "keys", api_keys=f"alice:{digest_of_key(KEY)}") as service,
        new_page(browser, str(service.client.base_url), guard) as page,
    ):
        field = page.get_by_label("API key")
        field.fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("does not accept this key")).to_be_visible()
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Log in").click()
        robot = Robot(page)
        robot.open(service.clip)
        page.keyboard.press("d")
        robot.drag((20, 20), (30, 24))
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.locator("[data-format=coco]").click()
        assert Path(download.value.path()).read_text().startswith("{")
        assert KEY not in page.url
        assert page.evaluate("Object.values({...localStorage}).join()").find(KEY) < 0
