"""Inputs and results of a batch that are objects of a store, named as paths are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from service.errors import UsageError
from service.storage.objects.object_store import SCHEME, ObjectStore, open_object_store


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """An object, or a folder of objects.

    Attributes:
        url: Its URL, such as s3://bucket/prefix.
    """

    url: str

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> ObjectPath:
        """The folder that it is in."""
        return ObjectPath(self.url.rpartition("/")[0])

    def open(self) -> ObjectStore:
        """Open the store of the objects in this folder.

        Raises:
            UsageError: The URL names no bucket, or obstore is not installed.
        """
        return open_object_store(self.url, "the URL", check=False)

    def objects(self) -> frozenset[ObjectPath]:
        """Return all objects in this folder, at any depth."""
        return frozenset(self / entry.key for entry in self.open().entries(""))


Place: TypeAlias = Path | ObjectPath
"""A file or folder of this machine, or an object or a folder of objects."""


def place_of(text: str) -> Place:
    """Return what a path or a URL names.

    Raises:
        UsageError: It is a URL of another kind than s3://bucket/prefix.
    """
    if "://" not in text:
        return Path(text)
    if not text.startswith(SCHEME) or not urlsplit(text).netloc:
        raise UsageError(f"{text} is neither a path nor a URL such as {SCHEME}bucket/prefix")
    return ObjectPath(text.rstrip("/"))
