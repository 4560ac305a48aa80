"""The memory read against slow loops."""

from __future__ import annotations

import math

import pytest
import torch

from vos.modeling.memory_read import dot_affinity, l2_affinity, read_top_k


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Seeded normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_read(affinity: torch.Tensor, value: torch.Tensor, k: int) -> torch.Tensor:
    """Read position by position in float64: sort, keep k, weigh by exp, add."""
    objects, channels, _ = value.shape
    queries = affinity.shape[2]
    out = torch.zeros(objects, channels, queries, dtype=torch.float64)
    for o in range(objects):
        table = affinity[o if affinity.shape[0] > 1 else 0].tolist()
        for m in range(queries):
            column = [row[m] for row in table]
            best = sorted(range(len(column)), key=lambda n: -column[n])[:k]
            weights = [math.exp(column[n] - column[best[0]]) for n in best]
            for n, weight in zip(best, weights, strict=True):
                out[o, :, m] += weight / sum(weights) * value[o, :, n].double()
    return out


@pytest.mark.parametrize("keys", [1, 3], ids=["shared key", "a key per object"])
@pytest.mark.parametrize("k", [1, 5, 20, 40, 100])
def test_reading_equals_a_slow_loop(keys: int, k: int) -> None:
    """Each query position reads the softmax-weighted mean of its k best memory positions, all if there are fewer."""
    affinity, value = noise(keys, 40, 15) * 3, noise(3, 6, 40, seed=1)
    torch.testing.assert_close(
        read_top_k(affinity, value, k).double(), slow_read(affinity, value, k), atol=1e-5, rtol=0
    )


def test_dot_affinity_is_the_scaled_inner_product() -> None:
    """Affinity of positions n and m is the inner product of their keys over sqrt(channels)."""
    key, query = noise(2, 16, 7), noise(1, 16, 5, seed=1)
    affinity = dot_affinity(key, query)
    for o in range(2):
        for n in range(7):
            for m in range(5):
                expected = sum(a * b for a, b in zip(key[o, :, n].tolist(), query[0, :, m].tolist(), strict=True)) / 4
                assert affinity[o, n, m].item() == pytest.approx(expected, abs=1e-5)


def test_l2_affinity_is_the_negative_squared_distance_up_to_a_constant_per_query() -> None:
    """For each query, affinities differ between memory positions as -|a - b|^2 / sqrt(channels) does."""
    key, query = noise(1, 16, 7), noise(1, 16, 5, seed=1)
    distance = (key[0, :, :, None].double() - query[0, :, None, :].double()).square().sum(dim=0)
    expected = -distance / math.sqrt(16)
    affinity = l2_affinity(key, query)[0].double()
    torch.testing.assert_close(affinity - affinity[:1], expected - expected[:1], atol=1e-5, rtol=0)


def test_large_affinities_do_not_overflow() -> None:
    """Affinities in the thousands give finite reads."""
    read = read_top_k(noise(1, 40, 15) * 5000, noise(2, 6, 40, seed=1), 20)
    assert bool(read.isfinite().all())


def test_the_readout_has_the_precision_of_the_value() -> None:
    """bfloat16 values read by float32 affinities give bfloat16, within its rounding of the exact read."""
    affinity, value = noise(1, 40, 15), noise(2, 6, 40, seed=1)
    read = read_top_k(affinity, value.bfloat16(), 20)
    assert read.dtype == torch.bfloat16
    torch.testing.assert_close(read.double(), slow_read(affinity, value, 20), atol=0.03, rtol=0)


@pytest.mark.parametrize("keys", [1, 3], ids=["shared key", "a key per object"])
def test_reading_has_the_gradients_of_a_masked_softmax(keys: int) -> None:
    """Gradients of affinity and value are those of a softmax with all other affinities at minus infinity."""
    gradients = []
    for masked in (False, True):
        affinity, value = noise(keys, 40, 15).requires_grad_(), noise(3, 6, 40, seed=1).requires_grad_()
        if masked:
            smallest = affinity.detach().sort(dim=1, descending=True).values[:, 4:5]
            weights = torch.softmax(affinity.masked_fill(affinity.detach() < smallest, -torch.inf), dim=1)
            read = torch.einsum("kcn,knm->kcm", value, weights.expand(3, -1, -1))
        else:
            read = read_top_k(affinity, value, 5)
        (read * noise(3, 6, 15, seed=2)).sum().backward()
        gradients.append((affinity.grad, value.grad))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("positions", "k"), [(3, 5), (7, 7), (100, 3), (1000, 20), (997, 20), (4099, 1), (60, 14)])
def test_top_k_among_groups_is_top_k(positions: int, k: int) -> None:
    """The read over many positions, which searches in groups, equals the read of a full sort."""
    affinity, value = noise(1, positions, 5, seed=positions) * 4, noise(1, 3, positions, seed=k)
    expected = slow_read(affinity, value, k)
    torch.testing.assert_close(read_top_k(affinity, value, k).double(), expected, rtol=1e-4, atol=1e-5)
