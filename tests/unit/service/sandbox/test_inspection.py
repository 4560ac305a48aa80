"""What is looked at before a job is accepted, where threads could get into each other's way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from service.sandbox.inspection import _size_of
from tests.support.media import header_only


def test_sizes_read_side_by_side_leave_the_limit_of_pixels_as_it_was(tmp_path: Path) -> None:
    """Pillow's limit is one for the process: many threads that lift it for a header each give it back."""
    (tmp_path / "mask.png").write_bytes(header_only(60_000, 60_000))
    before = Image.MAX_IMAGE_PIXELS
    assert before
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(_size_of, [tmp_path / "mask.png"] * 800))
    assert set(sizes) == {(60_000, 60_000)}
    assert before == Image.MAX_IMAGE_PIXELS
