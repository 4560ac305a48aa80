"""Corrections compute only the frames that change, and leave everything else as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codec.types import FrameType, UInt8Array
from service.config import load_settings
from service.errors import TooManyObjectsError
from service.run.directions.corrected_frame import CorrectedFrame
from service.run.directions.resegment import resegment
from service.run.directions.stored_masks import ChangedMasks, IndexedMaskLines
from service.run.options import RunOptions
from service.run.segment import segment
from service.writers.mask_line import encode_line
from tests.support.squares import coded, iou, load_brightness, moving_square, true_masks
from vos.errors import OptionError, PromptError
from vos.types import FrameMask, MaskSource, Prompt

COUNT = 24
PROXY = RunOptions(motion="proxy")


@pytest.fixture(scope="module")
def clip() -> bytes:
    """The square, in groups of 6 frames."""
    return coded(moving_square(COUNT), keyint=6, bframes=0)


class Stored:
    """Masks in memory."""

    def __init__(self, masks: list[FrameMask]) -> None:
        self.masks = {mask.index: mask for mask in masks}

    def mask(self, index: int) -> FrameMask | None:
        """The mask of a frame."""
        return self.masks.get(index)


def upper(truth: UInt8Array) -> UInt8Array:
    """The upper half of the square."""
    half = truth.copy()
    half[..., 32:, :] = 0
    return half


def run(clip: bytes, prompts: dict[int, UInt8Array], options: RunOptions = PROXY) -> Stored:
    """The masks of a whole run."""
    with segment(clip, prompts, options, load=load_brightness()) as whole:
        return Stored(list(whole))


def correct(
    clip: bytes,
    stored: Stored,
    earlier: dict[int, UInt8Array],
    new: object,
    options: RunOptions = PROXY,
    **more: object,
) -> tuple[dict[int, FrameMask], set[int]]:
    """The changed masks, and the frames that were read."""
    read: set[int] = set()
    with resegment(
        clip, stored, earlier, new, options, load=load_brightness(), on_frame=lambda f: read.add(f.index), **more
    ) as correction:
        masks = list(correction)
        assert correction.steps[0] <= (correction.steps[1] or 0)
        assert correction.stats.total == len(masks)
        assert correction.report({"write": 0, "total": 1}).to_json()["sources"]["corrected"] >= 1
    assert [mask.index for mask in masks] == sorted({mask.index for mask in masks})
    return {mask.index: mask for mask in masks}, read


def test_a_correction_travels_forwards_and_half_way_back(clip: bytes) -> None:
    """Wrong masks are replaced from the corrected frame on, and before it up to where the first prompt counts more."""
    truth = true_masks(COUNT)
    stored = run(clip, {0: upper(truth[0])})
    changed, _ = correct(clip, stored, {0: upper(truth[0])}, {14: truth[14]})
    assert np.array_equal(changed[14].labels, truth[14])
    assert changed[14].source is MaskSource.CORRECTED
    assert set(range(14, COUNT)) <= changed.keys()
    assert min(iou(changed[i].labels, truth[i]) for i in range(14, COUNT)) > 0.75
    assert set(range(9, 14)) <= changed.keys()
    assert min(iou(changed[i].labels, truth[i]) for i in range(9, 14)) > 0.75
    assert not changed.keys() & set(range(5))
    assert changed[20].time == stored.masks[20].time
    assert changed[20].source is MaskSource.PROPAGATED


def test_other_objects_keep_their_masks(clip: bytes) -> None:
    """Only the corrected object changes, pixel by pixel."""
    truth = true_masks(COUNT)
    first = upper(truth[0])
    first[50:60, 20:60] = 2
    stored = run(clip, {0: first})
    changed, _ = correct(clip, stored, {0: first}, {14: truth[14]})
    for index, mask in changed.items():
        assert np.array_equal(mask.labels == 2, (stored.masks[index].labels == 2) & (mask.labels != 1))
    assert min(iou(changed[i].labels, truth[i]) for i in range(14, COUNT)) > 0.75


def test_a_correction_that_changes_little_ends_early(clip: bytes) -> None:
    """Where new and stored masks agree for some frames, both directions end; what lies behind a seek is not read."""
    truth = true_masks(COUNT)
    long = coded(moving_square(COUNT), keyint=6, bframes=0)
    stored = run(long, {0: truth[0]})
    changed, read = correct(long, stored, {0: truth[0]}, {12: truth[12]})
    assert set(read) <= set(range(3, 22))
    assert len(changed) <= 3


@pytest.mark.parametrize(("rows", "goes_on"), [(10, True), (2, True), (0, False)])
def test_a_small_correction_travels_as_a_large_one(rows: int, goes_on: bool) -> None:
    """A walk goes on while new masks differ by what the correction changed, be it only 4 % of the object."""
    before, fixed = (np.zeros((64, 128), np.uint8) for _ in range(2))
    before[rows:50] = fixed[:50] = 1
    masks = [FrameMask(i, i, i / 25, FrameType.P, MaskSource.PROPAGATED, before, {1: 0.9}) for i in range(3)]
    stored = ChangedMasks(Stored(masks))
    given = Prompt(fixed, 1, source=MaskSource.CORRECTED)
    stored.change(replace(masks[1], labels=fixed))
    corrected = CorrectedFrame(given, {0: Prompt(before), 1: given}, stored, both=False)
    assert corrected.joined(replace(masks[2], labels=fixed), masks[2])[1] != goes_on
    assert corrected.joined(masks[2], masks[2])[1]
    stored.close()


@pytest.mark.parametrize(("score", "replaced"), [(0.6, False), (0.8, True), (0.9, True)])
def test_masks_before_give_way_only_to_masks_as_confident(score: float, replaced: bool) -> None:
    """Nearness alone replaces masks after the corrected frame, and none before it."""
    before, fixed = (np.zeros((64, 128), np.uint8) for _ in range(2))
    before[:30], fixed[20:50] = 1, 1
    masks = [FrameMask(i, i, i / 25, FrameType.P, MaskSource.PROPAGATED, before, {1: 0.8}) for i in range(13)]
    given = Prompt(fixed, 10, source=MaskSource.CORRECTED)
    stored = ChangedMasks(Stored(masks))
    corrected = CorrectedFrame(given, {0: Prompt(before), 10: given}, stored, both=False)
    earlier, later = (corrected.joined(replace(masks[i], labels=fixed, scores={1: score}), masks[i]) for i in (9, 11))
    assert (earlier[0] is not None) == (not earlier[1]) == replaced
    assert later[0] is not None
    assert np.array_equal(later[0].labels, fixed)
    stored.close()


def test_the_next_prompt_ends_a_correction(clip: bytes) -> None:
    """Frames from the next prompt of the object on do not change; between two prompts nearness decides."""
    truth = true_masks(COUNT)
    prompts = {0: upper(truth[0]), 18: upper(truth[18])}
    for direction in ("forward", "both"):
        options = RunOptions(motion="proxy", direction=direction)
        changed, read = correct(clip, run(clip, prompts, options), prompts, {10: truth[10]}, options)
        assert max(changed) < 18
        assert max(read) <= 20
        assert (max(changed) < 16) == (direction == "both")
        assert {10, 11, 12} <= changed.keys()


def test_several_corrections_and_a_new_object(clip: bytes) -> None:
    """Each corrected frame is exact; a new object appears on both sides of its frame up to the start of the result."""
    truth = true_masks(COUNT)
    stored = run(clip, {0: upper(truth[0])})
    other = np.zeros_like(truth[0])
    other[50:60, 100:120] = 2
    changed, _ = correct(clip, stored, {0: upper(truth[0])}, {8: truth[8], 16: other})
    assert np.array_equal(changed[8].labels == 1, truth[8] == 1)
    assert np.array_equal(changed[16].labels == 2, other == 2)
    assert all((changed[index].labels == 2).any() for index in range(COUNT))
    assert iou(changed[12].labels, truth[12]) > 0.75


def test_an_absent_object_is_gone_afterwards(clip: bytes) -> None:
    """An object that is absent has no pixel from there on, and keeps its masks before."""
    truth = true_masks(COUNT)
    stored = run(clip, {0: truth[0]})
    from service.prompts.shapes import parse_shapes

    absent = parse_shapes('[{"frame":12,"object":1,"absent":true}]', several=True)
    changed, _ = correct(clip, stored, {0: truth[0]}, absent)
    assert list(changed) == list(range(12, COUNT))
    assert not any((mask.labels == 1).any() for mask in changed.values())
    assert changed[12].scores.get(1, 0) == 0


def test_the_rest_of_a_result_that_ends_early_is_computed(clip: bytes) -> None:
    """From its last frame on: corrected objects as corrected, others as they were, and later prompts count."""
    truth = true_masks(COUNT)
    both = truth.copy()
    both[:, 50:60, 100:120] = 2
    given = {0: np.where(upper(truth[0]) > 0, 1, both[0] * (both[0] == 2)).astype(np.uint8)}
    whole = run(clip, given)
    stored = Stored([whole.masks[index] for index in range(12)])
    changed, _ = correct(clip, stored, given, {8: truth[8]}, rest_from=12)
    assert set(range(8, COUNT)) <= changed.keys()
    for index in (8, 11, 12, 13, COUNT - 1):
        assert iou(changed[index].labels == 1, truth[index]) > 0.75
        assert iou(changed[index].labels == 2, both[index] == 2) > 0.75
    for index in (8, 11):
        assert np.array_equal(changed[index].labels == 2, stored.masks[index].labels == 2)
    late, _ = correct(clip, stored, given | {18: both[18]}, {2: upper(truth[2])}, rest_from=12)
    assert set(late) >= {2, *range(12, COUNT)}
    assert iou(late[17].labels == 1, upper(truth[17])) > 0.75
    assert iou(late[19].labels == 1, truth[19]) > 0.75
    ended, _ = correct(clip, stored, given, {8: truth[8]}, RunOptions(motion="proxy", end=12), rest_from=12)
    assert max(ended) == 11


def test_more_objects_than_are_allowed_are_refused(clip: bytes) -> None:
    """All objects of all versions count, as in a run."""
    truth = true_masks(COUNT)
    settings = load_settings().model_copy(update={"max_objects": 1})
    stored = run(clip, {0: truth[0]})
    with pytest.raises(TooManyObjectsError, match="marks 2 objects; allowed: 1"):
        correct(clip, stored, {0: truth[0]}, {8: truth[8] * 2}, settings=settings)


def test_bad_corrections(clip: bytes) -> None:
    """A frame outside the result and an object that nothing marks are refused before anything is computed."""
    truth = true_masks(COUNT)
    stored = Stored([mask for mask in run(clip, {0: truth[0]}).masks.values() if mask.index < 20])
    with pytest.raises(OptionError, match="frame 21 has no mask in the result"):
        correct(clip, stored, {0: truth[0]}, {21: truth[21]})
    with pytest.raises(OptionError, match="the prompt frame is 30; the video has 24 frames"):
        correct(clip, stored, {0: truth[0]}, {30: truth[21]})
    with pytest.raises(PromptError, match="marks no object"):
        correct(clip, stored, {0: truth[0]}, {10: np.zeros_like(truth[0])})


def test_mask_lines_by_index(clip: bytes, tmp_path: Path) -> None:
    """Lines of several files are found by frame; what lies beyond the bytes that count is not."""
    masks = list(run(clip, {0: true_masks(COUNT)[0]}).masks.values())
    masks[5] = FrameMask(5, 5, 0.2, masks[5].type, masks[5].source, masks[5].labels * 0, {})
    lines = [encode_line(mask) + b"\n" for mask in masks]
    (tmp_path / "a").write_bytes(b"".join(lines[:10]) + lines[3])
    (tmp_path / "b").write_bytes(b"".join(lines[10:]))
    size = sum(map(len, lines[:10]))
    stored = IndexedMaskLines([(tmp_path / "a", size), (tmp_path / "b", 1 << 30)])
    for index in (0, 5, 9, 10, 23):
        found = stored.mask(index)
        assert found is not None
        assert np.array_equal(found.labels, masks[index].labels)
    assert stored.mask(24) is None
    assert stored.mask(-1) is None
