"""What all storages do with the resume states and the walks of a job's attempts."""

from __future__ import annotations

import pytest

from service.errors import LostJobError
from service.storage.job_files import JobFiles
from tests.support.object_stores import Storages
from tests.support.stored_jobs import VIDEO, submit


def test_resume_states_of_earlier_attempts_are_found(kinds: Storages) -> None:
    """A later attempt on another machine finds the states of all earlier ones, with their last content."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id = submit(here)
    files = here.job(job_id)
    for fence, content in ((1, b"old"), (2, b"older"), (2, b"two"), (5, b"late")):
        files.state(fence).write_bytes(content)
        files.publish_state(fence)
    found = there.job(job_id)
    found.fetch()
    found.fetch_states(before=5)
    assert found.attempts("state", before=5) == [2, 1]
    assert found.state(2).read_bytes() == b"two"


def walk_lines(files: JobFiles, number: int, fence: int, *contents: bytes) -> None:
    """Append lines to the masks of a walk and publish each, with a state that names it."""
    files.folder.mkdir(exist_ok=True)
    for content in contents:
        masks = files.walks.masks(number, fence)
        start = masks.stat().st_size if masks.exists() else 0
        with masks.open("ab") as file:
            file.write(content)
        files.walks.state(number, fence).write_bytes(b"state after " + content)
        files.walks.publish_masks(number, fence, start, masks.stat().st_size)
        files.walks.publish_state(number, fence)


def test_walks_of_earlier_attempts_are_found(kinds: Storages) -> None:
    """A later attempt on another machine finds masks and states of each walk; those of one walk may go alone."""
    here, there = kinds.machine("here"), kinds.machine("there")
    job_id = submit(here)
    files = here.job(job_id)
    walk_lines(files, 0, 1, b"a\n", b"b\n")
    walk_lines(files, 1, 1, b"c\n")
    walk_lines(files, 0, 2, b"d\n")
    walk_lines(files, 10, 5, b"e\n")
    found = there.job(job_id)
    found.fetch()
    found.walks.fetch(before=5)
    assert [found.walks.fences(number, before=5) for number in (0, 1, 10)] == [[2, 1], [1], []]
    assert found.walks.masks(0, 1).read_bytes() == b"a\nb\n"
    assert found.walks.state(0, 1).read_bytes() == b"state after b\n"
    found.walks.discard(2, 0)
    found.walks.discard(9, 10)
    third = kinds.machine("third").job(job_id)
    third.fetch()
    third.walks.fetch(before=9)
    assert [third.walks.fences(number, before=9) for number in (0, 1, 10)] == [[2], [1], []]
    third.walks.discard(9)
    fourth = kinds.machine("fourth").job(job_id)
    fourth.fetch()
    fourth.walks.fetch(before=9)
    assert fourth.walks.fences(0, before=9) == fourth.walks.fences(1, before=9) == []
    assert fourth.video.read_bytes() == VIDEO


def test_a_walk_has_one_writer(stores: Storages) -> None:
    """Another process that writes a walk with the same fence is refused."""
    here, there = stores.machine("here"), stores.machine("there")
    job_id = submit(here)
    walk_lines(here.job(job_id), 0, 1, b"a\n")
    with pytest.raises(LostJobError):
        walk_lines(there.job(job_id), 0, 1, b"b\n")


def test_discarded_states_are_gone_everywhere(stores: Storages) -> None:
    """After the end of a job, no machine finds its states; the video is still there."""
    here, there = stores.machine("here"), stores.machine("there")
    job_id = submit(here)
    files = here.job(job_id)
    files.state(1).write_bytes(b"state")
    files.publish_state(1)
    files.discard_states()
    found = there.job(job_id)
    found.fetch()
    found.fetch_states(before=9)
    assert found.attempts("state", before=9) == []
    assert found.video.read_bytes() == VIDEO
