"""Categories of annotation files: objects of one name share one, and the rest are "object 1", "object 2", ..."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Categories:
    """Names and category ids of objects.

    Readers look categories up by name, so no two may have the same one.

    Args:
        labels: Object id -> name.
    """

    def __init__(self, labels: Mapping[int, str] | None = None) -> None:
        self._labels = dict(labels or {})

    def name_of(self, object_id: int) -> str:
        """Return the name of an object."""
        return self._labels.get(object_id, f"object {object_id}")

    def id_of(self, object_id: int) -> int:
        """Return the category of an object: the smallest id of the objects with its name."""
        name = self.name_of(object_id)
        return min((other for other, label in self._labels.items() if label == name), default=object_id)

    def to_json(self, object_ids: Iterable[int]) -> list[dict[str, Any]]:
        """Return the categories of these objects as in COCO."""
        ids = {self.id_of(i): self.name_of(i) for i in object_ids}
        return [{"id": i, "name": name, "supercategory": "object"} for i, name in sorted(ids.items())]
