"""Independent pieces of work run side by side."""

from __future__ import annotations

import os
import sys
import threading

import pytest
import torch

from vos.runtime.thread_pools import ThreadPools, one_thread


def test_results_are_in_order_and_each_thread_uses_one_core(pools: ThreadPools) -> None:
    """Each piece runs with one torch thread and without gradients, and two pieces run at the same time."""
    before, together = torch.get_num_threads(), threading.Barrier(2)

    def work(n: int) -> tuple[int, int, bool]:
        together.wait(60)
        return n, torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert pools.map(work, range(4)) == [(n, 1, True) for n in range(4)]
    assert torch.get_num_threads() == before
    fresh: list[int] = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [before]


def test_a_single_piece_runs_in_the_calling_thread(pools: ThreadPools) -> None:
    """It uses all cores but one, which is left to work beside."""
    before = torch.get_num_threads()
    assert pools.map(lambda _: (threading.current_thread(), torch.get_num_threads()), [0]) == [
        (threading.current_thread(), 1)
    ]
    assert torch.get_num_threads() == before
    assert pools.map(lambda _: 0, []) == []


def test_work_beside_runs_while_the_caller_works(pools: ThreadPools) -> None:
    """Pieces run one after another, on one core and without gradients; errors are raised by `result`."""
    before, meet = torch.get_num_threads(), threading.Barrier(2)

    def work(n: int) -> tuple[int, int, bool]:
        meet.wait(60)
        return n, torch.get_num_threads(), torch.is_inference_mode_enabled()

    coming = [pools.beside(work, n) for n in (1, 2)]
    failing = pools.beside(lambda n: 1 / n, 0)
    for n in (1, 2):
        assert not coming[n - 1].done()
        meet.wait(60)
        assert coming[n - 1].result(60) == (n, 1, True)
    with pytest.raises(ZeroDivisionError):
        failing.result(60)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="threads have their own priorities only on Linux")
def test_work_beside_has_low_priority(pools: ThreadPools) -> None:
    """Its thread has a lower priority than the process and the threads of `map`."""
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    beside = pools.beside(lambda _: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), 0).result(60)
    side_by_side = pools.map(lambda _: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), range(2))
    assert side_by_side == [own, own]
    assert beside == min(own + 5, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


@pytest.mark.parametrize(("device", "cores", "can"), [("cpu", 2, True), ("cpu", 1, False), ("meta", 2, False)])
def test_work_beside_needs_several_cores(device: str, cores: int, can: bool) -> None:
    """A single core or another device leaves no room."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        assert ThreadPools(torch.device(device)).can_work_beside is can
    finally:
        torch.set_num_threads(before)


def test_an_error_of_a_piece_is_raised(pools: ThreadPools) -> None:
    """`map` raises the exception of the function."""
    with pytest.raises(ZeroDivisionError):
        pools.map(lambda n: 1 / n, [1, 0, 2])


def test_another_device_uses_no_threads() -> None:
    """On a device other than the CPU, pieces run one after another in the calling thread."""
    here = ThreadPools(torch.device("meta")).map(lambda _: threading.current_thread(), range(3))
    assert here == [threading.current_thread()] * 3


def test_one_thread_restores_the_number_of_threads() -> None:
    """Inside, torch uses one thread; afterwards as many as before, also after an error."""
    before = torch.get_num_threads()

    @one_thread()
    def inside() -> int:
        return torch.get_num_threads()

    assert inside() == 1
    with pytest.raises(ZeroDivisionError), one_thread():
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before
