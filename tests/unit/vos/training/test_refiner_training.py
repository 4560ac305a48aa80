"""Training the refiner on coded clips: what a sample holds, and that training carries masks as propagation does."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vos.modeling.network import Memory
from vos.modeling.refiner import LIGHT_CHANNELS, RefinerFeatures
from vos.propagation.propagate import Propagated, propagate
from vos.propagation.uncertainty import UNCERTAINTY_AFTER_REFINEMENT, hop_uncertainty
from vos.propagation.warp import ReferenceStore
from vos.refinement.mask_refiner import MATCHED_KEYFRAMES
from vos.training.data.coded_clips import CodedClip, CodedRecipe, coded_clips
from vos.training.data.datasets import TrainingData, load_data
from vos.training.refiner import batches
from vos.training.refiner import unroll as unrolling
from vos.training.refiner.batches import RefinerBatches, Sample, collate, sample
from vos.training.refiner.unroll import unroll

FRAMES = 5
RECIPE = CodedRecipe(frames=(FRAMES, FRAMES + 1), sizes=((64, 80),), most_objects=2)


@pytest.fixture
def data(training_folder: Path) -> TrainingData:
    """Two videos and three stills."""
    return load_data([training_folder])


def clips_of(data: TrainingData, count: int, seed: int = 3) -> list[CodedClip]:
    """Some coded clips."""
    return list(islice(coded_clips(data, seed, RECIPE), count))


def by_cells(mask: np.ndarray) -> np.ndarray:
    """Share of each 4 x 4 block."""
    rows, columns = (n // 4 for n in mask.shape)
    return mask.reshape(rows, 4, columns, 4).mean(axis=(1, 3))


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_a_sample_is_the_clip_in_decode_order(data: TrainingData, objects: int) -> None:
    """Pictures, labels and places are those of the clip; the first mask is the truth; objects beyond it are empty."""
    for clip in clips_of(data, 6):
        one = sample(clip, FRAMES, objects, np.random.default_rng(0))
        assert one["rgb"].shape == (FRAMES, 64, 80, 3)
        assert one["given"].shape == (FRAMES, objects, 16, 20)
        assert {name: one[name].dtype for name in ("rgb", "labels", "given")} == dict.fromkeys(
            ("rgb", "labels", "given"), torch.uint8
        )
        for t, frame in enumerate(clip.frames[:FRAMES]):
            truth = clip.labels[frame.index]
            assert one["index"][t] == frame.index
            assert np.array_equal(one["rgb"][t], frame.rgb())
            assert np.array_equal(one["labels"][t], np.where(truth <= objects, truth, 0))
        for k in range(objects):
            first = by_cells(clip.labels[clip.frames[0].index] == k + 1)
            np.testing.assert_allclose(one["given"][0, k].numpy() / 255, first, atol=0.003)
            if k >= clip.objects:
                assert not one["given"][:, k].any()


def test_evidence_and_places_are_within_their_ranges(data: TrainingData) -> None:
    """Doubt is 0..1, residual 0..4, lack of vectors 0 or 1; weights add up to 1 in all frames but those without any."""
    for clip in clips_of(data, 8):
        one = sample(clip, FRAMES, 1, np.random.default_rng(0))
        doubt, residual, bare = one["evidence"].unbind(1)
        assert one["evidence"].dtype == one["weights"].dtype == torch.float32
        assert 0 <= doubt.min() <= doubt.max() <= 1
        assert 0 <= residual.min() <= residual.max() <= 255 / 64
        for t, frame in enumerate(clip.frames[:FRAMES]):
            assert np.array_equal(bare[t], (frame.motion.reference < 0).all(axis=0))
            np.testing.assert_allclose(residual[t] * 64, by_cells(np.abs(frame.residual)), atol=0.51)
            sums, predicted = one["weights"][t].sum(dim=1), bool((frame.motion.reference >= 0).any())
            torch.testing.assert_close(sums, torch.full_like(sums, float(predicted)), rtol=0, atol=1e-5)
            assert predicted or one["key"][t]
        assert one["key"][0]
        assert 0 <= one["corners"].min() <= one["corners"].max() < FRAMES * 16 * 20


def test_batches_are_functions_of_seed_and_step(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's batch is the same however often and in how long a run it is made; other steps and seeds differ."""
    monkeypatch.setattr(batches, "SIZE", (64, 80))

    def batch(step: int, seed: int = 1, steps: int = 9) -> Sample:
        return RefinerBatches(data, seed, 2, 4, steps)[step]

    one, again = batch(3), batch(3, steps=50)
    assert one.keys() == again.keys()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["rgb"], batch(4)["rgb"])
    assert not torch.equal(one["rgb"], batch(3, seed=2)["rgb"])
    assert {batch(step)["given"].shape[2] for step in range(8, 14)} == {1, 2}
    assert {batch(step)["rgb"].shape[2:4] for step in range(9)} == {(64, 80), (48, 64), (32, 48)}


def test_clips_side_by_side_keep_to_themselves(data: TrainingData) -> None:
    """In a batch, each clip's places point into its own part of the table; all else is stacked."""
    samples = [sample(clip, FRAMES, 1, np.random.default_rng(0)) for clip in clips_of(data, 3)]
    expected = [one["corners"].clone() for one in samples]
    batch = collate(samples)
    for n, corners in enumerate(expected):
        assert torch.equal(batch["corners"][n] - n * FRAMES * 320, corners)
        assert torch.equal(batch["given"][n], samples[n]["given"])


class Keeping(nn.Module):
    """Stands in for the refiner: leaves one object's masks as they were carried and notes what it is told."""

    def __init__(self, light: Tensor) -> None:
        super().__init__()
        self.light = light
        self.told: list[Tensor] = []
        self.hints: list[Tensor] = []
        self.read: list[Tensor] = []

    def normalize(self, rgb: Tensor) -> Tensor:
        """As it is."""
        return rgb.float()

    def encode(self, image: Tensor, step: tuple[float, float]) -> RefinerFeatures:
        """The prepared light features; the number of the picture as its key."""
        self.step = step
        number = torch.arange(len(image)).float().view(-1, 1, 1, 1)
        return RefinerFeatures({4: image}, number, self.light)

    def memorize(self, features: RefinerFeatures, soft: Tensor) -> Memory:
        """The number of the picture."""
        return Memory(features.key.flatten(2), soft.flatten(1)[:, :1, None])

    def confidence(self, _features: RefinerFeatures, propagated_light: Tensor) -> Tensor:
        """None."""
        self.hints.append(propagated_light)
        return propagated_light[:, :1]

    def refine(
        self, _features: RefinerFeatures, memory: Memory, carried: Tensor, _confidence: Tensor, evidence: Tensor
    ) -> Tensor:
        """Logits that come out of aggregation as the carried mask: its odds are squared there."""
        self.told.append(evidence)
        self.read.append(memory.key[:, 0].int())
        return torch.logit(carried, 1e-7) / 2


@pytest.mark.parametrize("seed", range(4))
def test_training_carries_as_propagation_does(data: TrainingData, seed: int) -> None:
    """Through a whole clip, masks, light features and doubt reach each frame as propagation's own store brings them."""
    clip = clips_of(data, 1, seed)[0]
    rng = np.random.default_rng(seed)
    batch = collate([sample(clip, FRAMES, 1, rng)])
    # Masks everywhere, so that propagation carries every cell.
    batch["given"] = torch.from_numpy(rng.integers(40, 215, (1, FRAMES, 1, 16, 20), dtype=np.uint8))
    light = nn.functional.normalize(torch.rand(FRAMES, LIGHT_CHANNELS, 16, 20), dim=1)
    refiner = Keeping(light)
    out = unroll(refiner, batch)

    store = ReferenceStore(1 + LIGHT_CHANNELS + 1, 16, 20, torch.device("cpu"))
    repaired = []
    for t, frame in enumerate(clip.frames[:FRAMES]):
        if batch["key"][0, t]:
            held = Propagated(batch["given"][0, t] / 255, light[t], torch.zeros(16, 20), 1.0)
        else:
            came = propagate(frame, store, 1)
            n = len(repaired)
            torch.testing.assert_close(out.carried[n], came.soft, atol=2e-3, rtol=0)
            torch.testing.assert_close(refiner.hints[n][0], came.light, atol=2e-3, rtol=0)
            torch.testing.assert_close(refiner.told[n][0, 0], came.doubt, atol=2e-3, rtol=0)
            held = Propagated(came.soft, light[t], came.doubt * UNCERTAINTY_AFTER_REFINEMENT, 1.0)
            repaired.append(t)
        store.put(frame.decode_index, held.channels())
    assert out.time.tolist() == repaired
    assert repaired


def test_a_clip_seen_smaller_is_carried_at_its_own_size(data: TrainingData) -> None:
    """The network gets everything at the size of the pictures, made smaller; what it gives is carried at full size."""
    samples = [sample(clip, FRAMES, 1, np.random.default_rng(n), 0.75) for n, clip in enumerate(clips_of(data, 2))]
    batch = collate(samples)
    assert batch["rgb"].shape == (2, FRAMES, 48, 64, 3)
    # Alike everywhere, masks and light features stay as they are at any size.
    batch["given"].fill_(180)
    refiner = Keeping(torch.full((2 * FRAMES, LIGHT_CHANNELS, 12, 16), 0.25))
    out = unroll(refiner, batch)
    assert refiner.step == (64 / 48, 80 / 64)
    assert {x.shape[-2:] for x in (*refiner.told, *refiner.hints)} == {(12, 16)}
    assert {x.shape[-2:] for x in (out.logits, out.carried, out.confidence)} == {(16, 20)}
    torch.testing.assert_close(out.carried, torch.full_like(out.carried, 180 / 255), atol=2e-3, rtol=0)
    torch.testing.assert_close(out.confidence, torch.full_like(out.confidence, 0.25), atol=2e-3, rtol=0)
    for n, (clip, time) in enumerate(zip(out.clip.tolist(), out.time.tolist(), strict=True)):
        assert not batch["key"][clip, time]
        assert out.logits[n].softmax(0)[1].mean() == pytest.approx(180 / 255, abs=0.02)


def test_key_frames_are_given_and_not_repaired(data: TrainingData) -> None:
    """Every frame that is no key frame of its clip is repaired once, in decode order, and no key frame is."""
    batch = collate([sample(clip, FRAMES, 1, np.random.default_rng(n)) for n, clip in enumerate(clips_of(data, 3))])
    batch["key"][1, 2] = ~batch["key"][1, 2]
    out = unroll(Keeping(torch.rand(3 * FRAMES, LIGHT_CHANNELS, 16, 20)), batch)
    assert out.time.tolist() == sorted(out.time.tolist())
    done = set(zip(out.clip.tolist(), out.time.tolist(), strict=True))
    assert done == {(c, t) for c, t in np.ndindex(3, FRAMES) if not batch["key"][c, t]}
    assert len(out.clip) == len(done) == len(out.logits)


@pytest.mark.parametrize("seed", range(20))
def test_memory_is_the_first_and_the_nearest_key_frames(seed: int) -> None:
    """Of the key frames decoded before, the first and the nearest by presentation are chosen, none of them twice."""
    rng = np.random.default_rng(seed)
    key = rng.random((3, 12)) < 0.4
    key[:, 0] = True
    index = np.stack([rng.permutation(12) for _ in range(3)])
    t = int(rng.integers(1, 12))
    batch = {"key": torch.from_numpy(key), "index": torch.from_numpy(index)}
    chosen = unrolling._nearest(batch, torch.tensor([2, 0]), t).tolist()
    for clip, row in zip((2, 0), chosen, strict=True):
        others = sorted((abs(index[clip, i] - index[clip, t]), i) for i in range(1, t) if key[clip, i])
        wanted = [distance for distance, _ in others[: MATCHED_KEYFRAMES - 1]]
        found = [i for i in row[1:] if i]
        assert row[0] == 0
        assert len(row) == MATCHED_KEYFRAMES
        assert len(set(found)) == len(found)
        assert all(key[clip, i] and i < t for i in found)
        assert [abs(index[clip, i] - index[clip, t]) for i in found] == wanted


def test_what_is_read_belongs_to_the_clip(data: TrainingData) -> None:
    """Each clip's frames are matched with key frames of that clip."""
    batch = collate([sample(clip, FRAMES, 1, np.random.default_rng(n)) for n, clip in enumerate(clips_of(data, 3))])
    refiner = Keeping(torch.rand(3 * FRAMES, LIGHT_CHANNELS, 16, 20))
    out = unroll(refiner, batch)
    read = torch.cat(refiner.read)
    assert read.shape == (len(out.clip), MATCHED_KEYFRAMES)
    for clip, t, row in zip(out.clip.tolist(), out.time.tolist(), read.tolist(), strict=True):
        assert row[0] == clip * FRAMES
        assert all(n // FRAMES == clip and n % FRAMES < t and batch["key"].flatten()[n] for n in row)


def test_doubt_that_a_hop_adds_is_propagation_s(data: TrainingData) -> None:
    """The first row of a sample's evidence is the doubt that propagation adds at that frame."""
    clip = clips_of(data, 1)[0]
    one = sample(clip, FRAMES, 1, np.random.default_rng(0))
    for t, frame in enumerate(clip.frames[:FRAMES]):
        assert np.array_equal(one["evidence"][t, 0], hop_uncertainty(frame))
