"""Restoring decode order from presentation order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codec.decode.reorder import DecodeOrderBuffer


def feed(
    decoded: list[int], times: list[int | None], missing: set[int], limit: int, delay: int
) -> tuple[list[int], int]:
    """Simulate a decoder in which packet n has presentation position `decoded[n]`.

    Returns:
        The packet numbers in the order of the output, and the most pictures held at once.
    """
    order: DecodeOrderBuffer[int] = DecodeOrderBuffer(limit)
    shown = sorted((position, number) for number, position in enumerate(decoded) if number not in missing)
    out: list[int] = []
    held = sent = 0
    for count, (_, number) in enumerate(shown):
        while sent < len(decoded) and (sent <= number or sent <= count + delay):
            order.expect(sent, times[sent])
            sent += 1
        out.extend(order.push(number, number, times[number]))
        held = max(held, count + 1 - len(out))
    out.extend(order.flush())
    return out, held


PYRAMID = [
    p for gop in range(6) for p in (8 * gop + 8, 8 * gop + 4, 8 * gop + 2, 8 * gop + 1, 8 * gop + 3, 8 * gop + 6)
]


def test_a_pyramid_comes_out_in_decode_order() -> None:
    """The pictures of a B pyramid come out once each, by packet number."""
    assert feed(PYRAMID, list(PYRAMID), set(), 18, 3)[0] == list(range(len(PYRAMID)))


def test_pictures_in_order_are_not_held() -> None:
    """Without reordering, no picture is held."""
    assert feed(list(range(30)), list(range(30)), set(), 18, 0) == (list(range(30)), 0)


def test_second_fields_cause_no_delay() -> None:
    """Packets without a picture are skipped as soon as a later time has come."""
    out, held = feed(list(range(40)), list(range(40)), set(range(1, 40, 2)), 18, 2)
    assert out == list(range(0, 40, 2))
    assert held <= 1


def test_gaps_without_times_are_skipped_at_the_limit() -> None:
    """Without times, a missing packet is skipped when `limit` pictures are held."""
    out, held = feed(list(range(60)), [None] * 60, {5}, 18, 0)
    assert out == [n for n in range(60) if n != 5]
    assert held == 18


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.booleans())
def test_any_reordering_comes_out_sorted(decoded: list[int], missing: set[int], timed: bool) -> None:
    """For any reordering and any gaps, each picture comes out once, by increasing packet number."""
    times: list[int | None] = list(decoded) if timed else [None] * 12
    out, _ = feed(decoded, times, missing, 18, 12)
    assert out == [n for n in range(12) if n not in missing]
