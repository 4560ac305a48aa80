"""Training clips: images and masks stay aligned, and corrupted masks differ from the truth as intended."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from vos.training.base.batches import ClipBatches
from vos.training.base.clip_sampler import ClipSources, draw_clip
from vos.training.base.recipe import Recipe, Stage
from vos.training.common.errors import TrainingDataError
from vos.training.data.clips import Clip, View, absence, choose, frame_of, real_clip, still_clip, walk
from vos.training.data.datasets import LabeledStill, LabeledVideo, TrainingData, load_data
from vos.training.data.mask_corruption import mask_errors, rough_propagation
from vos.training.data.photometry import recolour

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def painted(colour: tuple[int, int, int], size: int = 200, at: tuple[int, int] = (100, 90)) -> LabeledStill:
    """A disc of one colour on blue, and its mask."""
    labels = np.zeros((size, size + 40), dtype=np.uint8)
    cv2.circle(labels, at, 45, 1, thickness=-1)
    image = np.where(labels[..., None] == 1, np.uint8(colour), np.uint8(BLUE))
    return LabeledStill("painted", np.ascontiguousarray(image), labels, (1,))


def assert_label_is_colour(images: np.ndarray, labels: np.ndarray, label: int, channel: int) -> None:
    """Check that the label covers the pixels of a colour and no other pixels.

    A few pixels of a pasted object's feathered border may differ.
    """
    others = images.astype(int).copy()
    own = others[..., channel].copy()
    others[..., channel] = 0
    margin = own - others.max(axis=-1)
    assert (labels[margin > 60] != label).mean() < 0.003
    assert (labels[margin < -60] == label).mean() < 0.003
    assert (abs(margin) <= 60).mean() < 0.1


@pytest.mark.parametrize("seed", range(6))
def test_moved_stills_stay_aligned(seed: int) -> None:
    """In a clip made from a still, the mask covers the object's colour, whatever the motion."""
    clip = still_clip(np.random.default_rng(seed), painted(RED), View(4, 96), 1)
    assert clip is not None
    assert_label_is_colour(clip.images, clip.labels, 1, 0)
    assert clip.area(1) > 0


@pytest.mark.parametrize("seed", range(6))
def test_cropped_videos_stay_aligned(seed: int) -> None:
    """In a clip cut from a video, the mask covers the object's colour in each frame."""
    stills = [painted(RED, at=(60 + 5 * t, 80 + 3 * t)) for t in range(12)]
    video = LabeledVideo("video", [s.image for s in stills], [s.labels for s in stills], (1,))
    clip = real_clip(np.random.default_rng(seed), video, View(4, 96, widest_gap=12), 1)
    assert clip is not None
    assert_label_is_colour(clip.images, clip.labels, 1, 0)


PLAIN = Recipe(absent=0, rivals=0, occluders=0, tiny=0, copy_paste=1, real_clips=0)
"""Objects pasted over backdrops, visible throughout."""


def drawn(recipe: Recipe, data: TrainingData, objects: int = 1, count: int = 30, frames: int = 5) -> list[Clip]:
    """Clips of 96 x 96 pixels from seeds 0, 1, ..., without draws that show no object."""
    sources, view = ClipSources.of(data, recipe), View(frames, 96, widest_gap=5)
    clips = (draw_clip(np.random.default_rng(seed), sources, view, objects) for seed in range(count))
    return [clip for clip in clips if clip is not None]


def stills(*colours: tuple[int, int, int]) -> TrainingData:
    """One set with one picture per colour."""
    return TrainingData({}, {str(colour): [painted(colour)] for colour in colours}, {})


def film(colour: tuple[int, int, int]) -> LabeledVideo:
    """A disc at rest."""
    still = painted(colour)
    return LabeledVideo(f"film/{colour}", [still.image] * 12, [still.labels] * 12, (1,))


def test_pasted_objects_are_labelled_and_cover() -> None:
    """Pasted objects are labelled where they are visible, and the backdrop is not."""
    for clip in drawn(PLAIN, stills(GREEN), objects=2, count=8):
        found, truth = (clip.images[..., 1] > 120) & (clip.images[..., 2] < 135), clip.labels > 0
        assert set(np.unique(clip.labels)) == {0, 1, 2}
        # The backdrop is a disc of the same colour that is not followed.
        assert (truth & ~found).mean() < 0.02


def test_recolouring_moves_no_edges() -> None:
    """Changes of colour and sharpness do not move an edge, except for a blur of a few pixels."""
    image = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    image[:, :, 32:] = 200
    for seed in range(10):
        out = recolour(np.random.default_rng(seed), image).astype(float).mean(axis=-1)
        assert (out[:, :, 36:].min(axis=(1, 2)) > out[:, :, :28].max(axis=(1, 2))).all()


def test_walks_stay_inside_and_start_anywhere() -> None:
    """Frame numbers stay within short and long videos, and gaps reach but never exceed the widest one allowed."""
    starts, gaps = set(), {2: set(), 12: set()}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        length, widest = int(rng.integers(2, 80)), 2 if seed % 2 else 12
        times = walk(rng, length, 5, widest)
        assert all(0 <= t < length for t in times)
        gaps[widest] |= {abs(a - b) for a, b in pairwise(times)}
        starts.add(times[0])
    assert len(starts) > 15
    assert {widest: max(found) for widest, found in gaps.items()} == {2: 2, 12: 12}


def test_zooms_lie_evenly_in_their_range() -> None:
    """Zooms lie within the range, half on either side of its geometric middle; with spread 0 they are the middle."""
    rng = np.random.default_rng(0)
    zooms = np.array([View(3, 256).zoom(rng, 0.5, 2.0) for _ in range(2000)])
    assert 0.5 <= zooms.min() < 0.51
    assert 1.96 < zooms.max() <= 2.0
    assert abs((zooms < 1).mean() - 0.5) < 0.05
    assert View(3, 256, zoom_spread=0).zoom(rng, 0.5, 2.0) == pytest.approx(1)
    assert View(3, 1024, zoom_spread=0).zoom(rng, 0.5, 2.0) == pytest.approx(2)


def test_a_rival_is_visible_but_not_labelled() -> None:
    """A clip with a rival shows more of the object's colour than of its label; without a rival, as much."""
    surplus = {}
    for share in (0.0, 1.0):
        recipe = Recipe(absent=0, rivals=share, occluders=0, real_clips=1)
        surplus[share] = []
        for clip in drawn(recipe, TrainingData({"film": [film(RED)]}, {}, {})):
            red = (clip.images[..., 0] > 200) & (clip.images[..., 2] < 55)
            surplus[share].append((red & (clip.labels == 0)).mean())
    assert max(surplus[0.0]) < 0.01
    assert np.mean(np.array(surplus[1.0]) > 0.01) > 0.5


def test_objects_leave_and_some_return() -> None:
    """With absence, an object is out of sight in some frame of many clips, and returns in some."""
    data = TrainingData({"film": [film(RED), film(BLUE)]}, {"stills": [painted(GREEN)]}, {})
    absent, back = [], []
    for clip in drawn(Recipe(absent=1, rivals=0, occluders=0, zoomed=0), data, count=80):
        visible = (clip.labels == 1).any(axis=(1, 2))
        assert visible[0]
        absent.append(not visible.all())
        back.append((~visible[:-1] & visible[1:]).any())
    assert np.mean(absent) > 0.4
    assert np.mean(back) > 0.2


def test_objects_that_are_not_absent_stay_in_sight() -> None:
    """Without absence and occluders, a pasted object is visible in nearly all frames."""
    visible = [(clip.labels == 1).any(axis=(1, 2)) for clip in drawn(PLAIN, stills(GREEN), count=60)]
    assert np.mean(visible) > 0.8


def test_a_cut_shows_another_clip_without_labels() -> None:
    """The frames of a cut are the other clip's, without labels; all other frames stay."""
    clip, other = (still_clip(np.random.default_rng(1), painted(c), View(4, 96), 1) for c in (RED, GREEN))
    assert clip is not None
    assert other is not None
    before = clip.images.copy()
    clip.cut_to(Clip(other.images[:2], other.labels[:2]), 1)
    assert (clip.images[1:3] == other.images[:2]).all()
    assert (clip.images[[0, 3]] == before[[0, 3]]).all()
    assert clip.labels.any(axis=(1, 2)).tolist() == [True, False, False, True]


def test_absences_are_runs_after_the_first_frame() -> None:
    """Every run of frames without the first frame is drawn, and nothing else."""
    found = {absence(np.random.default_rng(seed), 4) for seed in range(200)}
    assert found == {(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3)}


def test_missing_objects_are_pasted() -> None:
    """Clips of all sources reach the number of objects asked for, and frame 0 shows each object."""
    data = TrainingData({"film": [film(RED)]}, {"stills": [painted(GREEN)]}, {})
    counts = []
    for clip in drawn(Recipe(), data, objects=5):
        first, later = (set(np.unique(labels)) - {0} for labels in (clip.labels[0], clip.labels[1:]))
        assert later <= first
        counts.append(len(first))
    assert max(counts) == 5
    assert np.mean(counts) > 3.5


def test_tiny_objects_are_tiny() -> None:
    """Tiny pasted objects have a side of 8 to 40 pixels in frame 0, unless partly covered."""
    recipe = Recipe(absent=0, rivals=0, occluders=0, tiny=1, copy_paste=1, real_clips=0)
    sides = [np.sqrt((clip.labels[0] == 1).sum()) for clip in drawn(recipe, stills(GREEN))]
    assert max(sides) < 44
    assert np.median(sides) > 8


def test_sparse_sequences_are_not_walked_with_wide_gaps() -> None:
    """In a set with every tenth video frame, clips use neighbouring frames: gaps count in video frames."""
    frames = [np.full((64, 64, 3), 10 * t, np.uint8) for t in range(20)]
    labels = [np.pad(np.ones((20, 20), np.uint8), 22)] * 20
    video = LabeledVideo("sparse/a", frames, labels, (1,))
    recipe = Recipe(absent=0, rivals=0, occluders=0, real_clips=1, spacing={"sparse": 10})
    sources = ClipSources.of(TrainingData({"sparse": [video]}, {}, {}), recipe)
    for seed in range(20):
        clip = draw_clip(np.random.default_rng(seed), sources, View(5, 64, widest_gap=12), 1)
        assert clip is not None
        steps = np.abs(np.diff(clip.images[:, 32, 32, 0].astype(int)))
        assert steps.max() <= 10


def test_large_objects_are_chosen_more_often() -> None:
    """An object with nine times the area is chosen three times as often; objects without pixels never."""
    labels = np.repeat(np.array([1] + [2] * 9, np.uint8), 10)[None]
    first = [choose(np.random.default_rng(seed), labels, (1, 2, 3), 3)[0] for seed in range(400)]
    assert set(first) == {1, 2}
    assert 0.68 < np.mean(np.array(first) == 2) < 0.82
    assert choose(np.random.default_rng(0), labels, (), 1) == []


def test_masks_of_leaving_objects_are_propagated_but_not_of_returning_ones(training_folder: Path) -> None:
    """The previous mask is propagated: into a frame that the object has just left, but not into that of its return."""
    recipe = Recipe(stages=(Stage(40, 5, 2, 64),), absent=1, followed={1: 1.0})
    batches = ClipBatches(load_data([training_folder]), recipe)
    left = returned = 0
    for step in range(15):
        batch = batches[step]
        visible = (batch["labels"] == 1).flatten(2).any(dim=2)
        propagated = batch["propagated"][:, :, 0].flatten(2).any(dim=2)
        left += int((visible[:, :-1] & ~visible[:, 1:] & propagated[:, 1:]).sum())
        returned += int((~visible[:, :-1] & visible[:, 1:]).sum())
        assert not (~visible[:, :-1] & visible[:, 1:] & propagated[:, 1:]).any()
    assert left > 0
    assert returned > 0


def test_frames_of_videos_have_the_ids_of_visible_objects() -> None:
    """A frame taken from a video has only ids of objects that cover at least 0.05 % of it."""
    still = painted(RED)
    labels = still.labels.copy()
    labels[0, 0] = 2
    frame = frame_of(np.random.default_rng(0), LabeledVideo("video", [still.image], [labels], (1, 2)))
    assert frame.ids == (1,)
    assert (frame.image == still.image).all()


def test_corrupted_masks_are_related_to_the_truth() -> None:
    """Roughly propagated masks overlap the truth without equalling it; mask errors nearly always change the mask."""
    truth = np.zeros((64, 64), dtype=np.uint8)
    truth[20:44, 16:40] = 255
    overlaps, changed = [], 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        wrong = rough_propagation(rng, truth) > 127
        overlaps.append((wrong & (truth > 127)).sum() / (wrong | (truth > 127)).sum())
        keep, leak = mask_errors(rng, truth)
        changed += bool((np.maximum(np.minimum(truth, keep), leak) != truth).any())
    assert 0.5 < np.mean(overlaps) < 0.95
    assert changed > 90


def test_empty_masks_stay_empty() -> None:
    """An empty mask is neither propagated nor leaked."""
    empty = np.zeros((32, 32), dtype=np.uint8)
    rng = np.random.default_rng(0)
    keep, leak = mask_errors(rng, empty)
    assert not rough_propagation(rng, empty).any()
    assert not leak.any()
    assert (keep == 255).all()


def test_batches_are_functions_of_seed_and_step(training_folder: Path) -> None:
    """Equal seed and step give the same batch, another step another batch; the processes' shares make up the batch."""
    recipe = Recipe(stages=(Stage(steps=4, frames=3, clips=2, crop=64),))
    data = load_data([training_folder])
    whole, again = (ClipBatches(data, recipe)[2] for _ in range(2))
    shares = [ClipBatches(data, recipe, rank, 2)[2] for rank in range(2)]
    assert not (ClipBatches(data, recipe)[3]["images"] == whole["images"]).all()
    for name, tensor in whole.items():
        assert (again[name] == tensor).all()
        for rank, share in enumerate(shares):
            expected = tensor if name in ("middle", "blind") else tensor[rank : rank + 1]
            assert (share[name] == expected).all()


def test_scaled_recipes_keep_their_proportions() -> None:
    """A scaled recipe has the requested number of steps, with its stages in proportion."""
    recipe = Recipe(stages=(Stage(60, 3, 2, 64), Stage(30, 5, 2, 64), Stage(10, 5, 2, 96)))
    scaled = recipe.scaled(50)
    assert [stage.steps for stage in scaled.stages] == [30, 15, 5]
    assert [scaled.stage_at(step).frames for step in (0, 29, 30, 49)] == [3, 3, 5, 5]
    assert recipe.scaled(7).steps == 7


def _without_masks(folder: Path) -> Path:
    masks = folder / "static" / "made" / "masks"
    for path in masks.iterdir():
        path.unlink()
    masks.rmdir()
    return folder


def _other_size(folder: Path) -> Path:
    path = next((folder / "static" / "made" / "masks").iterdir())
    cv2.imwrite(str(path), np.ones((5, 5), dtype=np.uint8))
    return folder


def _no_image(folder: Path) -> Path:
    next((folder / "static" / "made" / "images").iterdir()).write_bytes(b"no picture")
    return folder


def _one_frame(folder: Path) -> Path:
    for path in sorted((folder / "video" / "made" / "a" / "frames").iterdir())[1:]:
        path.unlink()
    return folder


def test_folders_are_read(training_folder: Path) -> None:
    """Videos and stills are found by layout, with the ids in their masks."""
    data = load_data([training_folder])
    assert data.summary == {"video/made": 2, "static/made": 3}
    assert data.videos["made"][0].ids == (1,)
    assert data.videos["made"][0].frames[0].shape == (72, 96, 3)
    assert data.stills["made"][0].ids == (1,)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder / "nowhere", "is not a folder"),
        (lambda folder: folder / "video", "no training data in"),
        (_without_masks, "masks is missing"),
        (_other_size, "both must have the same size"),
        (_no_image, "cannot be read as an image"),
        (_one_frame, "needs at least 2"),
    ],
)
def test_bad_folders_are_named(training_folder: Path, spoil, message: str) -> None:
    """Each fault of a data folder is refused with a message that names it."""
    with pytest.raises(TrainingDataError, match=message):
        load_data([spoil(training_folder)])
