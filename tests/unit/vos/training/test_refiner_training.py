"""Training the refiner on coded clips: contents of a sample, and propagation in training as at inference."""

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
    """Draw coded clips."""
    return list(islice(coded_clips(data, seed, RECIPE), count))


def by_cells(mask: np.ndarray) -> np.ndarray:
    """Share of each 4 x 4 block."""
    rows, columns = (n // 4 for n in mask.shape)
    return mask.reshape(rows, 4, columns, 4).mean(axis=(1, 3))


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_a_sample_is_the_clip_in_decode_order(data: TrainingData, objects: int) -> None:
    """Pictures, labels and indices are those of the clip; the first mask is the truth; surplus objects are empty."""
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


def test_bitstream_features_and_weights_are_within_their_ranges(data: TrainingData) -> None:
    """Uncertainty is 0..1, the residual 0..4, lack of vectors 0 or 1; weights sum to 1 in predicted frames."""
    for clip in clips_of(data, 8):
        one = sample(clip, FRAMES, 1, np.random.default_rng(0))
        uncertainty, residual, no_vector = one["bitstream"].unbind(1)
        assert one["bitstream"].dtype == one["weights"].dtype == torch.float32
        assert 0 <= uncertainty.min() <= uncertainty.max() <= 1
        assert 0 <= residual.min() <= residual.max() <= 255 / 64
        for t, frame in enumerate(clip.frames[:FRAMES]):
            assert np.array_equal(no_vector[t], (frame.motion.reference < 0).all(axis=0))
            np.testing.assert_allclose(residual[t] * 64, by_cells(np.abs(frame.residual)), atol=0.51)
            sums, predicted = one["weights"][t].sum(dim=1), bool((frame.motion.reference >= 0).any())
            torch.testing.assert_close(sums, torch.full_like(sums, float(predicted)), rtol=0, atol=1e-5)
            assert predicted or one["key"][t]
        assert one["key"][0]
        assert 0 <= one["corners"].min() <= one["corners"].max() < FRAMES * 16 * 20


def test_batches_are_functions_of_seed_and_step(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch of a step is always the same, in a run of any length; other steps and seeds differ."""
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
    """In a batch, the corners of each clip point into its own part of the table; everything else is stacked."""
    samples = [sample(clip, FRAMES, 1, np.random.default_rng(0)) for clip in clips_of(data, 3)]
    expected = [one["corners"].clone() for one in samples]
    batch = collate(samples)
    for n, corners in enumerate(expected):
        assert torch.equal(batch["corners"][n] - n * FRAMES * 320, corners)
        assert torch.equal(batch["given"][n], samples[n]["given"])


class IdentityRefiner(nn.Module):
    """Takes the place of the refiner: returns the propagated masks of one object and records its inputs."""

    def __init__(self, light: Tensor) -> None:
        super().__init__()
        self.light = light
        self.bitstream: list[Tensor] = []
        self.propagated_light: list[Tensor] = []
        self.read: list[Tensor] = []

    def normalize(self, rgb: Tensor) -> Tensor:
        """Return the picture as float."""
        return rgb.float()

    def encode(self, image: Tensor, step: tuple[float, float]) -> RefinerFeatures:
        """Return the prepared light features, with the number of the picture as its key."""
        self.step = step
        number = torch.arange(len(image)).float().view(-1, 1, 1, 1)
        return RefinerFeatures({4: image}, number, self.light)

    def memorize(self, features: RefinerFeatures, soft: Tensor) -> Memory:
        """Return the number of the picture as key."""
        return Memory(features.key.flatten(2), soft.flatten(1)[:, :1, None])

    def confidence(self, _features: RefinerFeatures, propagated_light: Tensor) -> Tensor:
        """Record the light features and return their first channel."""
        self.propagated_light.append(propagated_light)
        return propagated_light[:, :1]

    def refine(
        self, _features: RefinerFeatures, memory: Memory, propagated: Tensor, _confidence: Tensor, bitstream: Tensor
    ) -> Tensor:
        """Return logits that aggregation, which squares the odds, turns into the propagated mask."""
        self.bitstream.append(bitstream)
        self.read.append(memory.key[:, 0].int())
        return torch.logit(propagated, 1e-7) / 2


@pytest.mark.parametrize("seed", range(4))
def test_training_propagates_as_inference_does(data: TrainingData, seed: int) -> None:
    """Through a whole clip, masks, light features and uncertainty in each frame equal those of the propagation code."""
    clip = clips_of(data, 1, seed)[0]
    rng = np.random.default_rng(seed)
    batch = collate([sample(clip, FRAMES, 1, rng)])
    # Masks everywhere, so that every cell is propagated.
    batch["given"] = torch.from_numpy(rng.integers(40, 215, (1, FRAMES, 1, 16, 20), dtype=np.uint8))
    light = nn.functional.normalize(torch.rand(FRAMES, LIGHT_CHANNELS, 16, 20), dim=1)
    refiner = IdentityRefiner(light)
    out = unroll(refiner, batch)

    store = ReferenceStore(1 + LIGHT_CHANNELS + 1, 16, 20, torch.device("cpu"))
    refined = []
    for t, frame in enumerate(clip.frames[:FRAMES]):
        if batch["key"][0, t]:
            stored = Propagated(batch["given"][0, t] / 255, light[t], torch.zeros(16, 20), 1.0)
        else:
            propagated = propagate(frame, store, 1)
            n = len(refined)
            torch.testing.assert_close(out.propagated[n], propagated.soft, atol=2e-3, rtol=0)
            torch.testing.assert_close(refiner.propagated_light[n][0], propagated.light, atol=2e-3, rtol=0)
            torch.testing.assert_close(refiner.bitstream[n][0, 0], propagated.uncertainty, atol=2e-3, rtol=0)
            stored = Propagated(propagated.soft, light[t], propagated.uncertainty * UNCERTAINTY_AFTER_REFINEMENT, 1.0)
            refined.append(t)
        store.put(frame.decode_index, stored.channels())
    assert out.time.tolist() == refined
    assert refined


def test_downscaled_clips_are_propagated_at_full_size(data: TrainingData) -> None:
    """The network gets all inputs at the downscaled size; its outputs are propagated at full size."""
    samples = [sample(clip, FRAMES, 1, np.random.default_rng(n), 0.75) for n, clip in enumerate(clips_of(data, 2))]
    batch = collate(samples)
    assert batch["rgb"].shape == (2, FRAMES, 48, 64, 3)
    # Constant masks and light features do not change when they are resized.
    batch["given"].fill_(180)
    refiner = IdentityRefiner(torch.full((2 * FRAMES, LIGHT_CHANNELS, 12, 16), 0.25))
    out = unroll(refiner, batch)
    assert refiner.step == (64 / 48, 80 / 64)
    assert {x.shape[-2:] for x in (*refiner.bitstream, *refiner.propagated_light)} == {(12, 16)}
    assert {x.shape[-2:] for x in (out.logits, out.propagated, out.confidence)} == {(16, 20)}
    torch.testing.assert_close(out.propagated, torch.full_like(out.propagated, 180 / 255), atol=2e-3, rtol=0)
    torch.testing.assert_close(out.confidence, torch.full_like(out.confidence, 0.25), atol=2e-3, rtol=0)
    for n, (clip, time) in enumerate(zip(out.clip.tolist(), out.time.tolist(), strict=True)):
        assert not batch["key"][clip, time]
        assert out.logits[n].softmax(0)[1].mean() == pytest.approx(180 / 255, abs=0.02)


def test_all_frames_but_key_frames_are_refined(data: TrainingData) -> None:
    """Every frame but the key frames is refined once, in decode order."""
    batch = collate([sample(clip, FRAMES, 1, np.random.default_rng(n)) for n, clip in enumerate(clips_of(data, 3))])
    batch["key"][1, 2] = ~batch["key"][1, 2]
    out = unroll(IdentityRefiner(torch.rand(3 * FRAMES, LIGHT_CHANNELS, 16, 20)), batch)
    assert out.time.tolist() == sorted(out.time.tolist())
    done = set(zip(out.clip.tolist(), out.time.tolist(), strict=True))
    assert done == {(c, t) for c, t in np.ndindex(3, FRAMES) if not batch["key"][c, t]}
    assert len(out.clip) == len(done) == len(out.logits)


@pytest.mark.parametrize("seed", range(20))
def test_memory_is_the_first_and_the_nearest_key_frames(seed: int) -> None:
    """Of the key frames decoded before, the first and the nearest by presentation are chosen, each once."""
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


def test_clips_read_their_own_key_frames(data: TrainingData) -> None:
    """The frames of each clip are matched with key frames of the same clip."""
    batch = collate([sample(clip, FRAMES, 1, np.random.default_rng(n)) for n, clip in enumerate(clips_of(data, 3))])
    refiner = IdentityRefiner(torch.rand(3 * FRAMES, LIGHT_CHANNELS, 16, 20))
    out = unroll(refiner, batch)
    read = torch.cat(refiner.read)
    assert read.shape == (len(out.clip), MATCHED_KEYFRAMES)
    for clip, t, row in zip(out.clip.tolist(), out.time.tolist(), read.tolist(), strict=True):
        assert row[0] == clip * FRAMES
        assert all(n // FRAMES == clip and n % FRAMES < t and batch["key"].flatten()[n] for n in row)


def test_hop_uncertainty_is_that_of_propagation(data: TrainingData) -> None:
    """The first bitstream feature of a sample is the uncertainty that propagation adds at that frame."""
    clip = clips_of(data, 1)[0]
    one = sample(clip, FRAMES, 1, np.random.default_rng(0))
    for t, frame in enumerate(clip.frames[:FRAMES]):
        assert np.array_equal(one["bitstream"][t, 0], hop_uncertainty(frame))
