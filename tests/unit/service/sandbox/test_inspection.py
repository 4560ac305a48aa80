"""Inspection of uploads by several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from service.sandbox.inspection import _size_of
from tests.support.media import header_only


def test_reading_sizes_in_threads_restores_the_pixel_limit(tmp_path: Path) -> None:
    """Pillow's pixel limit is global; threads that lift it to read a header restore it."""
    (tmp_path / "mask.png").write_bytes(header_only(60_000, 60_000))
    before = Image.MAX_IMAGE_PIXELS
    assert before
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(_size_of, [tmp_path / "mask.png"] * 800))
    assert set(sizes) == {(60_000, 60_000)}
    assert before == Image.MAX_IMAGE_PIXELS
