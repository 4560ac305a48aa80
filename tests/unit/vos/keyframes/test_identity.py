"""Where an object can be at a key frame, and whether it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from vos.keyframes.identity import PRESENT, REACH_CELLS, Presence, distant_parts, without_parts
from vos.modeling.aggregate import without_objects

ROWS, COLUMNS = 60, 110


def squares(*places: tuple[int, int], size: int = 6) -> Tensor:
    """Return one soft mask [rows, columns] with squares at (top, left)."""
    mask = torch.zeros(ROWS, COLUMNS)
    for top, left in places:
        mask[top : top + size, left : left + size] = 0.9
    return mask


def test_a_neighbour_out_of_reach_is_dropped_for_its_object_only() -> None:
    """The part at the expected place stays, the twin far away goes; another object may be there."""
    masks = torch.stack((squares((10, 10), (10, 90)), squares((10, 90))))
    expected = torch.stack((squares((12, 12)), squares((10, 88))))
    found = distant_parts(masks, expected)
    assert found is not None
    assert torch.equal(found[0], squares((10, 90)) > 0.5)
    assert not found[1].any()


def test_the_reach_is_a_distance() -> None:
    """Random squares: exactly those whose nearest cell is farther than the reach are dropped."""
    random = np.random.default_rng(3)
    for _ in range(20):
        places = [(20, 20), *((int(random.integers(0, 54)), int(random.integers(60, 104))) for _ in range(3))]
        mask, place = squares(*places), squares((20, int(random.integers(8, 40))))
        rows, columns = (np.flatnonzero((place > 0.5).any(dim=axis).numpy()) for axis in (1, 0))
        parts, count = ndimage.label((mask > 0.5).numpy(), np.ones((3, 3)))
        far = np.zeros((ROWS, COLUMNS), bool)
        kept = 0
        for part in range(1, count + 1):
            ys, xs = np.nonzero(parts == part)
            distances = [
                max(abs(rows[:, None] - y).min(), abs(columns[:, None] - x).min()) for y, x in zip(ys, xs, strict=True)
            ]
            is_far = min(distances) > REACH_CELLS
            far |= (parts == part) & is_far
            kept += not is_far
        found = distant_parts(mask[None], place[None])
        assert np.array_equal(np.zeros_like(far) if found is None else found[0].numpy(), far if kept else far & False)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (squares((10, 90)), squares((10, 10))),  # the object has jumped as a whole
        (squares((10, 10), (10, 90)), torch.zeros(ROWS, COLUMNS)),  # propagation has lost it: it may be anywhere
        (torch.zeros(ROWS, COLUMNS), squares((10, 10))),
    ],
    ids=["jumped", "lost", "empty"],
)
def test_an_object_is_never_dropped_as_a_whole(mask: Tensor, expected: Tensor) -> None:
    """Only parts beside a part that stays are doubtful."""
    assert distant_parts(mask[None], expected[None]) is None


def test_logits_without_parts_and_objects() -> None:
    """What is dropped, with its edge, is certainly background; all else keeps its logits."""
    logits = torch.full((2, 1, ROWS, COLUMNS), 3.0)
    parts = torch.stack((squares((10, 90)) > 0.5, torch.zeros(ROWS, COLUMNS, dtype=torch.bool)))
    left = without_parts(logits, parts)
    assert left[0, 0, 9:17, 89:97].max() < -10
    assert (left[0, 0] == 3).sum() == ROWS * COLUMNS - 8 * 8
    assert (left[1] == 3).all()
    gone = without_objects(logits, torch.tensor([False, True]))
    assert (gone[0] == 3).all()
    assert gone[1].max() < -10


def test_an_object_is_absent_after_a_cut_and_returns() -> None:
    """A low logit counts only after a cut; then the object stays absent until it is seen."""
    presence = Presence(1)
    seen, unsure = PRESENT + 1, PRESENT - 1
    for logit, cut, absent in (
        (seen, False, False),
        (unsure, False, False),  # no cut: it has turned, say
        (seen, True, False),
        (unsure, True, True),
        (unsure, False, True),
        (seen, False, False),
    ):
        if cut:
            presence.note_cut()
        assert presence.judge(torch.tensor([logit])).tolist() == [absent]


def test_while_another_object_is_seen_the_shot_may_be_the_same() -> None:
    """Then only a logit below 0 tells that an object is absent."""
    presence = Presence(3)
    presence.note_cut()
    assert presence.judge(torch.tensor([PRESENT, PRESENT - 1, -1.0])).tolist() == [False, False, True]
    presence.note_cut()
    assert presence.judge(torch.tensor([PRESENT - 1, PRESENT - 1, 1.0])).tolist() == [True, True, True]
    assert presence.judge(torch.tensor([1.0, -1.0, PRESENT])).tolist() == [False, True, False]


def test_a_captured_judgement_goes_on() -> None:
    """A restored judge says what the one that was not interrupted says."""
    random = torch.Generator().manual_seed(0)
    one, other = Presence(3), Presence(3)
    for step in range(40):
        logits, cut = torch.randn(3, generator=random) * 3, step % 5 == 0
        for judge in (one, other) if cut else ():
            judge.note_cut()
        restored = Presence(3)
        restored.restore(other.capture())
        other = restored
        assert torch.equal(other.judge(logits), one.judge(logits))
