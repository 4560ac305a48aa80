"""The page from a video to corrected and exported masks, in Chromium on a running service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from service.writers.mask_line import labels_of
from tests.support.browser import Guard, new_page
from tests.support.media import write_clip
from tests.support.page_robot import Robot
from tests.support.result_readers import READERS, boxes_at
from tests.support.serving import FRAMES, Served, served
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, service: Served, guard: Guard) -> Iterator[Page]:
    """The service's page."""
    with new_page(browser, str(service.client.base_url), guard) as opened:
        yield opened


def job_of(page: Page) -> str:
    """Return the id of the job in the page's address."""
    page.wait_for_url(lambda url: "#job=" in url)
    return page.url.partition("#job=")[2]


def labels_at(service: Served, job: str, frame: int) -> np.ndarray:
    """Return the labels [48, 64] of a frame as the service has them."""
    line = service.client.get(f"/v1/jobs/{job}/masks", params={"from": frame, "to": frame + 1}).text
    return labels_of(json.loads(line), 64, 48)


def mark_and_run(robot: Robot) -> str:
    """Mark object 1 by a brush stroke, run, and return the job."""
    robot.page.keyboard.press("d")
    robot.drag((20, 20), (30, 24))
    robot.page.get_by_role("button", name="Run", exact=True).click()
    return job_of(robot.page)


def test_the_first_frame_is_that_of_the_video(page: Page, service: Served) -> None:
    """The page shows the picture that PyAV decodes."""
    robot = Robot(page)
    robot.open(service.clip)
    shown = robot.pixels("picture")[..., :3].astype(int)
    with av.open(service.clip) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 6  # a JPEG of the same picture


def test_a_box_becomes_a_mask_and_can_be_undone(page: Page, service: Served) -> None:
    """The service makes the mask of a box, within the box; it is a step of the history."""
    robot = Robot(page)
    robot.open(service.clip)
    robot.drag((10, 8), (40, 36))
    wait_for(lambda: robot.masked().any(), 20)
    assert not robot.masked()[:, 41:].any()
    page.keyboard.press("Control+z")
    wait_for(lambda: not robot.masked().any(), 20)
    page.keyboard.press("Control+Shift+z")
    wait_for(lambda: robot.masked().any(), 20)


def test_masks_are_shown_before_the_job_ends(page: Page, service: Served) -> None:
    """Masks are drawn while the job runs, and are those of the service, pixel by pixel."""
    robot = Robot(page)
    robot.open(service.clip)
    with service.held(at=6):
        job = mark_and_run(robot)
        page.wait_for_selector("canvas.masks[data-frame='5']", state="attached")
        assert robot.masked().any()
        assert service.client.get(f"/v1/jobs/{job}").json()["status"] == "running"
        expect(page.get_by_text(f"6 of {FRAMES} frames")).to_be_visible()
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    page.wait_for_selector(f"canvas.masks[data-frame='{FRAMES - 1}']", state="attached")
    assert np.array_equal(robot.masked(), labels_at(service, job, FRAMES - 1) > 0)


def test_a_job_can_be_canceled(page: Page, service: Served) -> None:
    """The button stops the job."""
    robot = Robot(page)
    robot.open(service.clip)
    with service.held(at=3):
        job = mark_and_run(robot)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("heading", name="Canceled")).to_be_visible()
    assert service.client.get(f"/v1/jobs/{job}").json()["status"] == "canceled"


def test_a_correction_travels_and_can_be_undone(page: Page, service: Served) -> None:
    """A stroke becomes a correction of exactly these pixels; the version before can be seen and restored."""
    robot = Robot(page)
    robot.open(service.clip)
    first = mark_and_run(robot)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    robot.go_to(8)
    before = robot.masked()
    robot.drag((45, 40), (55, 40))
    added = robot.masked() & ~before
    assert added[40, 46:54].all()
    page.get_by_role("button", name="Apply correction").click()
    page.wait_for_url(lambda url: "#job=" in url and first not in url)
    second = job_of(page)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    assert service.client.get(f"/v1/jobs/{second}").json()["corrects"] == first
    assert np.array_equal(labels_at(service, second, 8) > 0, before | added)
    robot.go_to(8)
    expect(page.get_by_text("corrected by you")).to_be_visible()
    page.get_by_role("button", name="Before", exact=True).click()
    wait_for(lambda: np.array_equal(robot.masked(), before), 20)
    page.get_by_role("button", name="Now", exact=True).click()
    page.get_by_role("button", name="Undo this correction").click()
    page.wait_for_url(f"**/#job={first}")
    wait_for(lambda: service.client.get(f"/v1/jobs/{second}").status_code == 404, 20)


def assert_drawn_over(clip: Path, overlay: Path, mask: np.ndarray) -> None:
    """Check that frame 5 of an overlay differs from the video where its mask is, and hardly elsewhere."""
    pictures = []
    for path in (clip, overlay):
        with av.open(path) as container:
            pictures.append(list(container.decode(video=0))[5].to_ndarray(format="rgb24").astype(int))
    difference = np.abs(pictures[0] - pictures[1]).mean(axis=2)
    assert difference[mask].mean() > 3 * difference[~mask].mean()


def test_a_running_job_can_be_corrected(page: Page, service: Served) -> None:
    """A stroke on a frame that has its mask is a correction, while later masks are still computed."""
    robot = Robot(page)
    robot.open(service.clip)
    with service.held(at=6):
        first = mark_and_run(robot)
        page.wait_for_selector("canvas.masks[data-frame='5']", state="attached")
        robot.go_to(3)
        robot.drag((45, 40), (55, 40))
        page.get_by_role("button", name="Apply correction").click()
        page.wait_for_url(lambda url: "#job=" in url and first not in url)
        second = job_of(page)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    assert service.client.get(f"/v1/jobs/{second}").json()["corrects"] == first
    assert (labels_at(service, second, 3)[40, 46:54] > 0).all()


def test_what_is_exported_are_the_masks(page: Page, service: Served) -> None:
    """Every format of the service is offered, and each download, read by other programs, holds the masks."""
    robot = Robot(page)
    robot.open(service.clip)
    page.get_by_role("checkbox", name="Keep soft masks").check()
    job = mark_and_run(robot)
    page.get_by_role("button", name="Export").click()
    formats = page.locator("[data-format]").evaluate_all("(all) => all.map((one) => one.dataset.format)")
    described = service.client.get("/openapi.json").json()["paths"]["/v1/jobs/{job_id}/result"]["get"]["parameters"]
    assert set(formats) == set(next(one["schema"]["enum"] for one in described if one["name"] == "format"))
    mask = labels_at(service, job, 5) > 0
    for name in formats:
        with page.expect_download() as download:
            page.locator(f"[data-format={name}]").click()
        path = Path(download.value.path())
        if name == "labelstudio":
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = np.zeros_like(mask)
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
            assert np.array_equal(boxes_at(path, 5), box)
        elif name == "overlay":
            assert_drawn_over(service.clip, path, mask)
        else:
            read, least = READERS[name]
            found = read(path, 5)[:48, :64]
            assert (found & mask).sum() >= least * (found | mask).sum(), name


def test_what_a_video_has_lost_is_said(page: Page, service: Served, guard: Guard, tmp_path: Path) -> None:
    """Below the format stands what the downloaded video lacks, or why it cannot be made."""
    guard.expected.append("507")
    clip = write_clip(tmp_path / "deep.mkv", audio="flac", pixel_format="yuv420p10le")
    robot = Robot(page)
    robot.open(clip)
    mark_and_run(robot)
    page.get_by_role("button", name="Export").click()
    expect(page.locator("[data-format=npz]")).to_have_count(0)  # the job keeps no soft masks
    with page.expect_download() as download:
        page.locator("[data-format=prores4444]").click()
    assert READERS["prores4444"][0](Path(download.value.path()), 5).any()
    expect(page.get_by_text("the cutout has no sound: flac does not fit into mov")).to_be_visible()
    page.route("**/result/notes*", lambda route: route.fulfill(status=507, json={"detail": "there is no room"}))
    page.locator("[data-format=overlay]").click()
    expect(page.get_by_text("there is no room")).to_be_visible()


def test_drawn_masks_are_not_lost_by_a_slip(page: Page, service: Served) -> None:
    """The page asks before it leaves a video whose masks were not sent, whichever way."""
    robot = Robot(page)
    robot.open(service.clip)
    page.keyboard.press("d")
    robot.drag((20, 20), (30, 24))
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("button", name="Open another").click()
    with page.expect_event("dialog"):
        page.close(run_before_unload=True)
    assert asked == ["confirm", "beforeunload"]
    assert robot.masked().any()


def test_a_link_opens_the_job_and_the_list_has_it(page: Page, service: Served) -> None:
    """An address with a job opens it anywhere."""
    robot = Robot(page)
    robot.open(service.clip)
    job = mark_and_run(robot)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    page.goto("about:blank")
    page.goto(f"/#job={job}")
    robot.wait_for_frame(0)
    wait_for(lambda: robot.masked().any(), 20)
    page.get_by_role("button", name="Jobs", exact=True).click()
    expect(page.locator(".job").first).to_contain_text("Object 1")


def test_several_objects_keep_their_names(page: Page, service: Served) -> None:
    """Names and ids of objects reach the job, with their pixels."""
    robot = Robot(page)
    robot.open(service.clip)
    page.get_by_role("textbox", name="Name of object 1").fill("dog")
    page.get_by_role("button", name="Add an object").click()
    page.get_by_role("textbox", name="Name of object 2").fill("ball")
    page.get_by_role("textbox", name="Name of object 2").blur()
    page.keyboard.press("g")
    for corner in ((40, 10), (60, 10), (60, 20), (40, 20)):
        page.mouse.click(*robot.at(*corner))
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    job = mark_and_run(robot)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    read = service.client.get(f"/v1/jobs/{job}").json()
    assert [(one["object"], one["label"]) for one in read["prompt"]] == [(1, "dog"), (2, "ball")]
    assert np.array_equal(np.unique(labels_at(service, job, 0)), [0, 1, 2])
    assert (labels_at(service, job, 0)[11:19, 41:59] == 2).all()
