"""What the cache of pictures keeps, and how requests share work."""

from __future__ import annotations

import asyncio

import pytest

from service.http.streaming.frame_cache import FrameCache, SharedWork


def test_the_size_is_bounded() -> None:
    """What was asked for longest ago is dropped first; a replaced entry counts once."""
    cache = FrameCache(10)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    cache.put("a", b"12345")
    assert cache.get("b") == b"1234"
    cache.put("c", b"123")
    assert [cache.get(key) for key in "abc"] == [None, b"1234", b"123"]
    cache.put("d", b"x" * 11)
    assert [cache.get(key) for key in "bcd"] == [None, None, None]
    cache.put("e", b"x" * 10)
    assert cache.get("e") == b"x" * 10


@pytest.mark.parametrize("begun", [False, True])
def test_work_ends_with_its_last_request_unless_it_has_begun(begun: bool) -> None:
    """One that still waits is not hurt by another that has gone."""

    async def main() -> tuple[list[str], str | None]:
        cache, steps, release = FrameCache(10), list[str](), asyncio.Event()

        async def work(shared: SharedWork) -> str:
            shared.begun = begun
            steps.append("begun")
            await release.wait()
            steps.append("done")
            return "result"

        one, two = (asyncio.create_task(cache.share("key", work)) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        await asyncio.sleep(0.01)
        assert steps == ["begun"]
        two.cancel()
        await asyncio.sleep(0.01)
        release.set()
        await asyncio.sleep(0.01)
        return steps, await cache.share("key", work)

    steps, result = asyncio.run(main())
    assert result == "result"
    assert steps == (["begun", "done"] if begun else ["begun"]) + ["begun", "done"]


def test_an_error_reaches_all_requests_and_is_not_kept() -> None:
    """The next request tries again."""

    async def main() -> None:
        cache, calls = FrameCache(10), 0

        async def work(_shared: SharedWork) -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.01)
            raise ValueError(f"attempt {calls}")

        for attempt in (1, 2):
            found = await asyncio.gather(*(cache.share("key", work) for _ in range(3)), return_exceptions=True)
            assert [str(error) for error in found] == [f"attempt {attempt}"] * 3

    asyncio.run(main())
