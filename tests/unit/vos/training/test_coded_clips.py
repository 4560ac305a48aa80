"""Coded clips: truth and bitstream agree, draws are repeatable, held-out data is never drawn."""

import pickle
from collections import Counter
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from codec import CompressedFrame, FrameType
from tests.support import synthetic
from vos.training.common.errors import TrainingDataError
from vos.training.data.clips import Clip
from vos.training.data.coded_clips import CodedClip, CodedRecipe, coded_clips
from vos.training.data.datasets import LabeledStill, LabeledVideo, TrainingData, load_data
from vos.training.data.photometry import grade
from vos.training.data.random_encoders import describe, random_encoder
from vos.training.data.scene_sampler import Weighted, still_scene, video_scene
from vos.training.data.scenes import cut_out, paste_sprite
from vos.training.data.trajectories import LIVELY, glide, leave, wander

SMALL = CodedRecipe(frames=(4, 6), sizes=((64, 80), (80, 96)))
RED, BLUE = (255, 0, 0), (0, 0, 255)

DAVIS_2016_VALIDATION = {
    *("blackswan", "bmx-trees", "breakdance", "camel", "car-roundabout", "car-shadow", "cows", "dance-twirl", "dog"),
    *("drift-chicane", "drift-straight", "goat", "horsejump-high", "kite-surf", "libby", "motocross-jump"),
    *("paragliding-launch", "parkour", "scooter-black", "soapbox"),
}


def panned_video(frames: int = 30) -> LabeledVideo:
    """A blue texture seen through a moving window, with a red ellipse as the object."""
    pan = synthetic.pan(frames, size=(320, 240), velocity=(4.0, 2.0))
    y, x = np.mgrid[:240, :320]
    images, labels = [], []
    for t in range(frames):
        moved = pan.motion(t, 0)
        inside = ((x + moved[..., 0] - 230) / 60) ** 2 + ((y + moved[..., 1] - 150) / 45) ** 2 < 1
        images.append(
            pan.frames[t] // 3 + np.where(inside[..., None], np.uint8([150, 20, 20]), np.uint8([20, 20, 150]))
        )
        labels.append(inside.astype(np.uint8))
    return LabeledVideo("made/pan", images, labels, (1,))


def disc(size: int = 160) -> LabeledStill:
    """A red disc on blue and its mask."""
    labels = np.zeros((size, size + 20), np.uint8)
    cv2.circle(labels, (90, 70), 40, 1, thickness=-1)
    return LabeledStill("made/disc", np.where(labels[..., None] == 1, np.uint8(RED), np.uint8(BLUE)), labels, (1,))


def data_of(videos: list[LabeledVideo], stills: list[LabeledStill]) -> TrainingData:
    """Videos and stills as one set each."""
    return TrainingData({"made": videos} if videos else {}, {"made": stills} if stills else {}, "")


def overlap_along_vectors(clip: CodedClip, frame: CompressedFrame) -> tuple[int, int]:
    """Count cells in union and intersection of a frame's mask and its reference's mask along the vectors."""
    by_decode_index = {other.decode_index: other for other in clip.frames}
    truth = clip.labels[frame.index]
    height, width = truth.shape
    union = both = 0
    for row, column in np.ndindex(frame.motion.shape):
        used = 0 if frame.motion.reference[0, row, column] >= 0 else 1
        reference = int(frame.motion.reference[used, row, column])
        if reference < 0:
            continue
        dx, dy = frame.motion.vectors[used, row, column]
        x, y = round(4 * column + 1.5 + float(dx)), round(4 * row + 1.5 + float(dy))
        if not (0 <= x < width and 0 <= y < height):
            continue
        before = clip.labels[by_decode_index[reference].index][y, x] > 0
        now = truth[4 * row + 2, 4 * column + 2] > 0
        union += before or now
        both += before and now
    return union, both


@pytest.mark.parametrize("seed", range(3))
def test_labels_follow_the_vectors(seed: int) -> None:
    """In every frame, the mask covers the object's colour and is the same at both ends of a vector."""
    data = data_of([panned_video()], [])
    recipe = CodedRecipe(frames=(10, 12), sizes=((352, 384),))
    for clip in islice(coded_clips(data, seed, recipe), 4):
        assert clip.labels.shape[1:] == clip.frames[0].luma.shape == (352, 384)
        assert sorted(frame.index for frame in clip.frames) == list(range(len(clip.labels)))
        for frame in clip.frames:
            picture = frame.rgb().astype(int)
            assert ((picture[..., 0] > picture[..., 2]) == (clip.labels[frame.index] > 0)).mean() > 0.994
            if frame.type is not FrameType.I:
                union, both = overlap_along_vectors(clip, frame)
                assert both > 0.93 * union, (clip.settings, frame)


@pytest.mark.parametrize("real", [0.0, 1.0])
def test_first_frame_shows_every_object(training_folder: Path, real: float) -> None:
    """Objects are numbered 1..K without a gap, K is at most three, frame 0 shows all, and sizes are as requested."""
    counts = Counter()
    for clip in islice(coded_clips(load_data([training_folder]), 3, CodedRecipe(real, (4, 6), SMALL.sizes)), 25):
        areas = np.bincount(clip.labels[0].ravel(), minlength=4)
        assert len(areas) == 4
        assert (areas[1 : clip.objects + 1] >= 0.003 * clip.labels[0].size).all()
        assert clip.labels.max() <= clip.objects
        assert clip.labels.shape[1:] in SMALL.sizes
        assert clip.frames[0].rgb().shape == (*clip.labels.shape[1:], 3)
        counts[clip.objects] += 1
    assert min(counts) >= 1
    assert len(counts) > 1


def same(one: CodedClip, other: CodedClip) -> bool:
    """Whether two clips are equal in truth, vectors, residual and pictures."""
    return (one.name, one.settings, len(one.frames)) == (other.name, other.settings, len(other.frames)) and all(
        np.array_equal(a, b)
        for mine, theirs in zip(one.frames, other.frames, strict=True)
        for a, b in (
            (one.labels[mine.index], other.labels[theirs.index]),
            (mine.motion.vectors, theirs.motion.vectors),
            (mine.motion.reference, theirs.motion.reference),
            (mine.residual, theirs.residual),
            (mine.rgb(), theirs.rgb()),
        )
    )


def test_clips_are_functions_of_seed_and_number(training_folder: Path) -> None:
    """A seed gives the same clips, made by one process or by several in turn; another seed gives other clips."""
    data = load_data([training_folder])
    clips = list(islice(coded_clips(data, 5, SMALL), 6))
    odd = list(islice(coded_clips(data, 5, SMALL, first=1, every=2), 3))
    assert all(same(a, b) for a, b in zip(clips[1::2], odd, strict=True))
    assert not same(clips[0], next(coded_clips(data, 6, SMALL)))
    assert not same(clips[0], clips[1])


def test_clips_can_be_sent_to_another_process(training_folder: Path) -> None:
    """A clip survives pickling, pictures included."""
    clip = next(coded_clips(load_data([training_folder]), 1, SMALL))
    assert same(clip, pickle.loads(pickle.dumps(clip)))


def test_settings_vary() -> None:
    """Codecs, presets, rates, key intervals, references and B frames vary, in about the intended shares."""
    encoders = [random_encoder(np.random.default_rng(seed)) for seed in range(600)]
    names = Counter(encoder.name for encoder in encoders)
    assert 470 <= names["libx264"] <= 530
    assert names["libx265"] > 40
    assert names["mpeg4"] > 12
    x264 = [encoder.all_options for encoder in encoders if encoder.name == "libx264"]
    assert {o["preset"] for o in x264} == {"ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"}
    assert {o["g"] for o in x264} == {"250", "48", "12"}
    assert {o["refs"] for o in x264} == set("12345")
    assert {o["bf"] for o in x264} == set("01234")
    assert 0.28 < np.mean([o["bf"] == "0" for o in x264]) < 0.42
    assert all(o["bf"] == "0" for o in x264 if o.get("profile") == "baseline")
    rates = [float(o["crf"]) for o in x264]
    assert 18 <= min(rates) < 19
    assert 34 < max(rates) <= 35


def test_encoders_are_described_with_all_options() -> None:
    """The line for logs names the encoder and each option."""
    encoder = random_encoder(np.random.default_rng(0))
    assert describe(encoder).split()[0] == encoder.name
    assert all(f"{key}={value}" in describe(encoder) for key, value in encoder.all_options.items())


@pytest.mark.parametrize("seed", range(8))
def test_pasted_sprites_are_labelled_where_they_are_visible(seed: int) -> None:
    """The label of a sprite covers its colour in every frame of a lively path."""
    rng = np.random.default_rng(seed)
    clip = Clip(np.full((10, 128, 160, 3), BLUE, np.uint8), np.zeros((10, 128, 160), np.uint8))
    path = wander(rng, 10, (80, 60), LIVELY)
    paste_sprite(rng, clip, cut_out(disc(), 1, 50), path, 3, flip=seed % 2 == 0)
    red, blue = clip.images[..., 0].astype(int), clip.images[..., 2].astype(int)
    assert set(np.unique(clip.labels)) == {0, 3}
    assert (clip.labels[red - blue > 60] == 3).mean() > 0.99
    assert (clip.labels[blue - red > 60] == 0).mean() > 0.99
    assert 0.7 * 2500 < (clip.labels[0] == 3).sum() < 1.3 * 2500


def test_paths_are_smooth() -> None:
    """Glides start at 0, keep to their speed, and change it little from frame to frame."""
    reached = []
    for seed in range(300):
        steps = np.diff(glide(np.random.default_rng(seed), 14, 15.0), prepend=0)
        assert steps[0] == 0
        assert np.abs(steps).max() <= 15.0
        assert np.abs(np.diff(steps[1:])).max() < 15.0 * 0.75
        reached.append(np.abs(steps).max())
    assert max(reached) > 12


@pytest.mark.parametrize("come_back", [True, False])
def test_leaving_objects_leave(come_back: bool) -> None:
    """A leaving object is visible in the first frame, then out of sight, and back at the end if it returns."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        clip = Clip(np.full((13, 200, 240, 3), BLUE, np.uint8), np.zeros((13, 200, 240), np.uint8))
        sprite = cut_out(disc(), 1, 40)
        path = leave(rng, (200, 240), 13, sprite.radius, LIVELY, come_back=come_back)
        paste_sprite(rng, clip, sprite, path, 1)
        seen = (clip.labels == 1).mean(axis=(1, 2))
        assert seen[0] > 0.003
        assert seen.min() < 0.2 * seen[0]
        assert (seen[-1] > 0.003) == come_back


def test_grading_is_constant_over_a_clip() -> None:
    """Equal frames stay equal except for grain, so that an encoder sees no flicker."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        images = np.repeat(np.kron(rng.integers(40, 200, (1, 8, 8, 3)), np.ones((1, 12, 12, 1))), 3, axis=0)
        out = grade(rng, images.astype(np.uint8)).astype(float)
        assert out.shape == images.shape
        blocks = out.reshape(3, 8, 12, 8, 12, 3).mean(axis=(2, 4))
        assert np.abs(blocks - blocks[0]).max() < 2.5


def test_short_videos_and_unwanted_sets_are_never_drawn() -> None:
    """Videos shorter than a clip, videos without objects and sets of weight 0 are never drawn."""
    video, short = panned_video(16), panned_video(5)
    empty = LabeledVideo("made/none", video.frames, video.labels, ())
    recipe = CodedRecipe(real=1.0, frames=(6, 8), sizes=((240, 256),), set_weights={"sparse": 0.0})
    data = TrainingData({"made": [LabeledVideo("made/short", short.frames, short.labels, (1,)), empty, video]}, {}, "")
    assert {clip.name for clip in islice(coded_clips(data, 0, recipe), 5)} == {"made/pan"}
    with pytest.raises(TrainingDataError, match="at least 8 frames"):
        next(coded_clips(TrainingData({"sparse": [video], "made": [short]}, {}, ""), 0, recipe))


def test_masks_without_objects_are_reported() -> None:
    """If no draw shows an object, an error is raised instead of drawing for ever."""
    video = panned_video(16)
    nothing = [np.zeros_like(label) for label in video.labels]
    data = data_of([LabeledVideo("made/empty", video.frames, nothing, (1,))], [])
    with pytest.raises(TrainingDataError, match="no object large enough"):
        next(coded_clips(data, 0, CodedRecipe(sizes=((240, 256),))))


def test_scenes_name_their_sources() -> None:
    """The name of a scene holds its sources: the video, or the still and its background."""
    videos = Weighted[LabeledVideo].of([("made", [panned_video(16)], {})])
    stills = Weighted[LabeledStill].of([("made", [disc()], {})])
    rng = np.random.default_rng(0)
    live = video_scene(rng, videos, stills, 8, (240, 256))
    assert live is not None
    assert live[1] == "made/pan"
    made = {scene[1] for _ in range(20) if (scene := still_scene(rng, videos, stills, 8, (240, 256)))}
    assert made == {"made/disc over made/disc", "made/disc over made/pan"}


@pytest.mark.shared
def test_no_held_out_sequence_is_among_the_training_data(shared_dir: Path) -> None:
    """No development sequence and no DAVIS-2016 validation sequence can be drawn."""
    development = {path.name for path in (shared_dir / "data" / "dev").glob("davis480/JPEGImages/480p/*")}
    development |= {path.name for path in (shared_dir / "data" / "dev" / "multi").iterdir()}
    training = {path.parent.name for path in (shared_dir / "data" / "train" / "video").glob("*/*/frames")}
    assert len(development) == 8
    assert len(training) > 40
    assert len(DAVIS_2016_VALIDATION) == 20
    assert not training & (development | DAVIS_2016_VALIDATION)
