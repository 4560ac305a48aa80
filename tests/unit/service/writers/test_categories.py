"""Categories of annotation files."""

from __future__ import annotations

from service.writers.categories import Categories


def test_objects_without_a_name_are_numbered() -> None:
    """Each object is a category of its own by default."""
    assert [(entry["id"], entry["name"]) for entry in Categories().to_json([7, 2])] == [
        (2, "object 2"),
        (7, "object 7"),
    ]


def test_objects_of_one_name_share_a_category() -> None:
    """Its id is the smallest id of these objects, whichever are in the video; no two share a name."""
    categories = Categories({2: "dog", 5: "dog", 3: "cat", 6: "object 9"})
    assert [categories.id_of(i) for i in (2, 5, 3, 6, 9)] == [2, 2, 3, 6, 6]
    assert [entry["name"] for entry in categories.to_json([5, 3, 6, 9])] == ["dog", "cat", "object 9"]
