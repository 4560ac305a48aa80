"""Files that are stored in parts: each is an object that is named by the offset of its first byte."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from service.storage.objects.object_store import ObjectStore

_PARALLEL = 8
"""Parts that are read side by side."""


def first_of(key: str) -> int:
    """Return the offset of the first byte of a part."""
    return int(key.rpartition("/")[2].partition(".")[0])


def append_parts(store: ObjectStore, keys: Sequence[str], file: BinaryIO) -> None:
    """Append parts, given in order, to a file. A part that does not begin where the file ends does not count.

    Raises:
        FileNotFoundError: A part is gone.
        StorageUnavailableError: The parts cannot be read at the moment.
    """
    with ThreadPoolExecutor(min(_PARALLEL, max(1, len(keys)))) as pool:
        for batch in (keys[at : at + _PARALLEL] for at in range(0, len(keys), _PARALLEL)):
            for key, content in zip(batch, pool.map(store.read, batch), strict=True):
                if first_of(key) == file.tell():
                    file.write(content)
