"""The compiled memory read against a full sort in float64."""

from __future__ import annotations

import pytest
import torch

from vos.modeling.cpu.topk_read import can_read_rows, read_rows


def noise(*shape: int, seed: int) -> torch.Tensor:
    """Seeded normal numbers, rounded to bfloat16."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def full_sort_read(key: torch.Tensor, value: torch.Tensor, query: torch.Tensor, k: int) -> torch.Tensor:
    """Read by a full sort of all distances, in float64."""
    differences = query.double()[:, None] - key.double()[None]
    affinity = -differences.square().sum(dim=2) / key.shape[1] ** 0.5
    best, index = affinity.sort(dim=1, descending=True)
    weights = torch.softmax(best[:, :k], dim=1)
    return (weights[..., None] * value.double()[index[:, :k]]).sum(dim=1)


def clustered(positions: int, queries: int, size: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys [N, 16] far from zero, `size` of them in a cluster far from the rest; queries near the cluster."""
    key = noise(positions, 16, seed=positions) * 2 + 30
    chosen = torch.randperm(positions, generator=torch.Generator().manual_seed(k))[:size]
    centre = torch.full((16,), 10.0)
    key[chosen] = (centre + noise(size, 16, seed=1).float()).bfloat16()
    return key, (centre + 0.5 * noise(queries, 16, seed=2).float()).bfloat16()


@pytest.mark.parametrize(("positions", "k"), [(1, 1), (7, 7), (100, 3), (997, 20), (3000, 20), (4099, 1), (60, 14)])
def test_reading_equals_a_full_sort(positions: int, k: int) -> None:
    """If k keys are clearly nearest, they are read, weighed by their exact distances, within bfloat16 rounding."""
    key, query = clustered(positions, 33, k, k)
    value = noise(positions, 10, seed=3)
    read = read_rows(key, value, query, k)
    assert read.dtype == torch.bfloat16
    torch.testing.assert_close(read.double(), full_sort_read(key, value, query, k), rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize(("positions", "k"), [(1, 1), (7, 7), (100, 3), (997, 20), (3000, 20), (4099, 1), (60, 14)])
def test_float32_reading_equals_a_full_sort(positions: int, k: int) -> None:
    """In float32 the k nearest of any keys are read; keys far from zero cost little precision."""
    generator = torch.Generator().manual_seed(positions)
    key, query, value = (
        torch.randn(n, c, generator=generator) for n, c in ((positions, 16), (33, 16), (positions, 10))
    )
    read = read_rows(key + 30, value, query + 30, k)
    assert read.dtype == torch.float32
    torch.testing.assert_close(read.double(), full_sort_read(key, value, query, k), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_and_threads_do_not_change_the_result(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries in small blocks, by any number of threads, read the same values."""
    key, query = clustered(500, 37, 20, 20)
    value = noise(500, 6, seed=3)
    expected = full_sort_read(key, value, query, 20)
    monkeypatch.setattr("vos.modeling.cpu.topk_read._BLOCK", 500 * 8)
    monkeypatch.setattr("vos.modeling.cpu.topk_read._FLOAT32_BLOCK", 500 * 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)
    torch.testing.assert_close(read_rows(key, value, query, 20).double(), expected, rtol=2**-8, atol=1e-3)
    exact = read_rows(key.float(), value.float(), query.float(), 20)
    # Keys are so far from their centre here that float32 affinities, about 1,600, are exact to 0.0002.
    torch.testing.assert_close(exact.double(), expected, rtol=0, atol=1e-3)


def test_k_above_the_number_of_positions_reads_all() -> None:
    """With k above the number of positions, every position is weighed."""
    key, query, value = noise(9, 8, seed=1), noise(5, 8, seed=2), noise(9, 4, seed=3)
    expected = full_sort_read(key, value, query, 9)
    torch.testing.assert_close(read_rows(key, value, query, 500).double(), expected, rtol=2**-8, atol=1e-3)


def test_equal_keys_are_read_as_one() -> None:
    """Among equally near positions any k are read: with equal keys and values, the result is the value."""
    key, query = torch.ones(200, 8).bfloat16(), noise(5, 8, seed=2)
    value = noise(1, 4, seed=3).expand(200, 4).contiguous()
    torch.testing.assert_close(read_rows(key, value, query, 20), value[:5], rtol=2**-8, atol=0)


def test_unsupported_inputs_are_recognized() -> None:
    """Gradients, more than one picture and other dtypes are left to the plain read."""
    key = noise(1, 8, 20, seed=1)
    assert can_read_rows(key, key)
    assert can_read_rows(key.float(), key.float())
    assert not can_read_rows(key.half(), key.half())
    assert not can_read_rows(key.float(), key)
    assert not can_read_rows(key.expand(2, -1, -1), key.expand(2, -1, -1))
    trained = key.clone().requires_grad_()
    assert not can_read_rows(trained, key)
    assert not can_read_rows(key, trained)
    with torch.no_grad():
        assert can_read_rows(trained, key)
