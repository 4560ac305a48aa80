"""The size at which videos are analyzed, and what is said about it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codec.types import UInt8Array, VideoInfo
from service.prompts.objects import PromptObject, objects_of
from service.run.options import RunOptions
from service.run.segment import segment
from service.run.source.analysis_size import size_notes, sufficient_side
from tests.support.frames import info
from tests.support.still_engine import load_still
from tests.support.synthetic import encode, pan


def squares(width: int, height: int, *sides: int) -> UInt8Array:
    """Return labels with one square per object, side by side."""
    labels, left = np.zeros((height, width), np.uint8), 0
    for number, side in enumerate(sides, 1):
        labels[:side, left : left + side] = number
        left += side
    return labels


def marked(labels: UInt8Array) -> tuple[PromptObject, ...]:
    """Return the objects of labels, as they are read from a prompt."""
    return objects_of(labels, 0, {})


def full_hd(short_side: int = 480) -> VideoInfo:
    """Describe a 1080p video that is analyzed at this height."""
    return replace(info(1920, 1080), analysis_width=round(1920 * short_side / 1080), analysis_height=short_side)


@pytest.mark.parametrize(("sides", "expected"), [((200,), 480), ((200, 36), 720), ((24, 90), 1080), ((9,), 1080)])
def test_auto_keeps_24_pixels_of_the_smallest_object(sides: tuple[int, ...], expected: int) -> None:
    """From 480 to 1080 lines: a square of 36 pixels at 1080 lines has 24 at 720."""
    assert sufficient_side(marked(squares(1920, 1080, *sides)), full_hd()) == expected


def test_auto_never_exceeds_the_video() -> None:
    """Frames are not enlarged, so an object that is small in its video stays so."""
    assert sufficient_side(marked(squares(1280, 720, 9)), info(1280, 720)) == 720
    assert sufficient_side(marked(squares(64, 48, 2)), info(64, 48)) == 480


@pytest.mark.parametrize(("value", "expected"), [(None, 480), ("auto", 480), (240, 240), ("1080", 1080)])
def test_a_number_is_the_side(value: object, expected: int) -> None:
    """`auto` begins with the default."""
    assert RunOptions.checked(analysis_side=value).least_analysis_side == expected


@pytest.mark.parametrize(
    ("options", "side", "expected"),
    [
        ({}, 480, []),
        ({"analysis_side": "auto"}, 480, []),
        ({"analysis_side": 720}, 720, []),
        ({"max_side": 1920}, 480, ["max_side is 1920 and changes nothing: frames are analyzed at 853x480 anyway"]),
        ({"max_side": 640}, 360, []),
    ],
)
def test_an_option_that_changes_nothing_is_noted(options: dict[str, object], side: int, expected: list[str]) -> None:
    """A choice of `auto` that is as usual is not."""
    chosen = RunOptions.checked(**options)
    notes = size_notes(chosen, chosen.least_analysis_side, marked(squares(1920, 1080, 100)), full_hd(side))
    assert len(notes) == len(expected)
    for note, part in zip(notes, expected, strict=True):
        assert part in note


def test_frames_are_never_enlarged_and_the_note_says_so() -> None:
    """A side above the video's own changes nothing."""
    options = RunOptions.checked(analysis_side=720)
    notes = size_notes(options, 720, marked(squares(640, 480, 90)), info(640, 480))
    assert notes == ["analysis_side is 720; frames are never enlarged, so they are analyzed at 640x480"]


def test_an_object_that_may_be_lost_is_noted() -> None:
    """Below 12 pixels at analysis size, where a larger size would help."""
    labels, options = squares(1920, 1080, 200, 20), RunOptions(analysis_side=480)
    (note,) = size_notes(options, 480, marked(labels), full_hd())
    assert "object 2, the smallest, is about 9 pixels large there and may be lost: try analysis_side auto" in note
    assert not size_notes(options, 480, marked(squares(640, 480, 9)), info(640, 480))


def test_more_lines_for_a_small_object_are_noted() -> None:
    """The note says what they cost and how to do without."""
    (note,) = size_notes(RunOptions(), 720, marked(squares(1920, 1080, 200, 36)), full_hd(720))
    assert note.startswith("frames are analyzed at 1280x720; object 2, the smallest, is about 24 pixels large there.")
    assert "faster, with analysis_side 480" in note


@pytest.mark.parametrize(("side", "expected"), [(480, (960, 480)), (240, (480, 240)), (None, (1200, 600))])
def test_a_run_analyzes_at_the_chosen_size(side: object, expected: tuple[int, int]) -> None:
    """Masks have the video's size at any analysis size."""
    video = encode(pan(3, (1200, 600)).frames)
    labels = squares(1200, 600, 24)
    with segment(video, labels, RunOptions.checked(analysis_side=side), load=load_still) as run:
        assert (run.info.analysis_width, run.info.analysis_height) == expected
        assert {mask.labels.shape for mask in run} == {(600, 1200)}
