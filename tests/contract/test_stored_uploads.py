"""What every storage does with uploads that arrive in several requests, on any machine."""

from __future__ import annotations

import os

import pytest

from service.errors import StorageFullError
from service.problems import ProblemError
from service.storage.objects import object_uploads
from tests.support.object_stores import Storages


def test_an_upload_continues_on_another_machine(kinds: Storages) -> None:
    """Each machine sees what the other stored, what was not committed does not count, and a deleted upload is gone."""
    here, there = kinds.machine("here"), kinds.machine("there")
    content = os.urandom(30)
    begun = here.create_upload("key", 30, 10)
    with here.uploads.writing(begun, 0) as writer:
        writer.write([content[:4], content[4:10]])
        writer.commit()
        writer.write([b"lost"])
    found = there.uploads.get(begun.id, "key")
    assert (found.offset, found.length, found.is_complete) == (10, 30, False)
    with pytest.raises(ProblemError) as refused, there.uploads.writing(found, 14):
        pass
    assert refused.value.members == {"offset": 10}
    for start in (10, 20):
        with there.uploads.writing(found, start) as writer:
            writer.write([content[start : start + 10]])
            writer.commit()
    complete = here.uploads.get(begun.id, "key")
    assert complete.is_complete
    for machine in (here, there):
        upload = machine.uploads.get(begun.id, None)
        machine.uploads.fetch(upload)
        assert upload.video.read_bytes() == content
    with pytest.raises(ProblemError):
        there.uploads.get(begun.id, "another key")
    assert here.uploads.promised()[0] == {"key": 30}
    there.uploads.delete(begun.id)
    for machine in (here, there):
        with pytest.raises(ProblemError):
            machine.uploads.get(begun.id, None)


def test_two_requests_cannot_both_continue_an_upload(stores: Storages) -> None:
    """On two machines both begin at one byte; the first part that is stored counts, and the other one is refused."""
    here, there = stores.machine("here"), stores.machine("there")
    upload = here.create_upload(None, 8, 10)
    with here.uploads.writing(upload, 0) as first, there.uploads.writing(upload, 0) as second:
        first.write([b"1234"])
        second.write([b"567"])
        first.commit()
        with pytest.raises(ProblemError, match="another request"):
            second.commit()
        first.write([b"5678"])
        first.commit()
    complete = there.uploads.get(upload.id, None)
    there.uploads.fetch(complete)
    assert complete.video.read_bytes() == b"12345678"


def test_an_upload_that_comes_in_too_many_parts_is_refused(stores: Storages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is an object, so their number has a limit."""
    monkeypatch.setattr(object_uploads, "_MAX_PARTS", 2)
    here = stores.machine("here")
    upload = here.create_upload(None, 9, 10)
    for start in (0, 1):
        with here.uploads.writing(upload, start) as writer:
            writer.write([b"x"])
            writer.commit()
    with pytest.raises(ProblemError, match="2 parts"), here.uploads.writing(upload, 2):
        pass


def test_uploads_that_nobody_continues_are_swept(kinds: Storages) -> None:
    """Wherever they began; those that are continued stay."""
    here, there = kinds.machine("here", upload_seconds=100.0), kinds.machine("there")
    now = 0.0
    here.uploads._watch._clock = lambda: now
    left, continued = there.create_upload(None, 9, 10), there.create_upload(None, 9, 10)
    here.uploads.sweep()
    now = 60.0
    with there.uploads.writing(continued, 0) as writer:
        writer.write([b"x"])
        writer.commit()
    here.uploads.sweep()
    now = 110.0
    here.uploads.sweep()
    assert there.uploads.get(continued.id, None).offset == 1
    with pytest.raises(ProblemError):
        there.uploads.get(left.id, None)


def test_the_number_and_size_of_uploads_are_limited_across_machines(kinds: Storages) -> None:
    """An upload counts with its whole length from its creation on, on the machine that creates the next one, too."""
    here, there = kinds.machine("here", quota=100), kinds.machine("there", quota=100)
    here.create_upload("key", 60, 2)
    with pytest.raises(StorageFullError):
        there.create_upload("key", 41, 2)
    there.create_upload("key", 40, 2)
    with pytest.raises(ProblemError, match="2 uploads are waiting"):
        here.create_upload("key", 0, 2)
