"""The clock on which pictures are placed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from codec.decode.timeline import Timeline

MILLISECOND = Fraction(1, 1000)


def placed(stamps: list[int | None], **more: object) -> tuple[list[float], tuple[int, ...]]:
    """Return the times in milliseconds of pictures with these timestamps, and where the clock jumped."""
    timeline = Timeline(MILLISECOND, Fraction(25), **more)  # type: ignore[arg-type]
    return [float(timeline.place(stamp) * 1000) for stamp in stamps], timeline.jumps


@pytest.mark.parametrize("origin", [0, 90_000_000, -500])
def test_the_first_picture_is_time_0(origin: int) -> None:
    """Times count from the first picture, whatever the origin, and keep uneven distances."""
    assert placed([origin, origin + 40, origin + 50, origin + 9000]) == ([0, 40, 50, 9000], ())


def test_sound_that_begins_earlier_is_time_0() -> None:
    """Sound up to 10 seconds before the pictures moves them; a sound with another origin does not."""
    assert placed([1480, 1520], sound_start=Fraction("1.4"))[0] == [80, 120]
    assert placed([1480, 1520], sound_start=Fraction("1.6"))[0] == [0, 40]
    assert placed([90_000_000, 90_000_040], sound_start=Fraction(0))[0] == [0, 40]


def test_the_lead_in_of_an_audio_encoder_is_not_time_0() -> None:
    """Sound at negative times is not heard, so pictures from 0 stay at 0."""
    assert placed([0, 40], sound_start=Fraction(-1, 50))[0] == [0, 40]


def test_times_go_on_where_the_clock_starts_anew() -> None:
    """After a step back, pictures follow at the distance before it, and the jump is known."""
    assert placed([80, 120, 160, 80, 120, 160, 0, 40]) == ([0, 40, 80, 120, 160, 200, 240, 280], (3, 6))


def test_a_long_step_ahead_is_a_jump_only_where_clocks_jump() -> None:
    """In a transport stream it is closed; in other formats a picture is simply shown for long."""
    stamps: list[int | None] = [0, 40, 3_600_000, 3_600_040]
    assert placed(stamps, may_jump=True) == ([0, 40, 80, 120], (2,))
    assert placed(stamps) == ([0, 40, 3_600_000, 3_600_040], ())


@pytest.mark.parametrize("wrong", [0, 20_000_000])
def test_one_wrong_timestamp_is_no_jump(wrong: int) -> None:
    """The pictures after it keep their times."""
    assert placed([0, 40, 80, wrong, 160, 200], may_jump=True) == ([0, 40, 80, 120, 160, 200], ())


def test_pictures_without_timestamps_follow_at_the_frame_rate() -> None:
    """Without any timestamp the rate gives the times; a missing one is filled in."""
    assert placed([None] * 3)[0] == [0, 40, 80]
    assert placed([1000, 1020, None, 1060])[0] == [0, 20, 40, 60]


def test_equal_timestamps_are_moved_apart() -> None:
    """Times ascend, by one tick at least."""
    assert placed([0, 40, 40, 80])[0] == [0, 40, 41, 80]
