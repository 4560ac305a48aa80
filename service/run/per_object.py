"""Options with one value per object: names and colors, given as text (`1=dog,2=person`) or as JSON (`{"1": "dog"}`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from service.errors import UsageError

MAX_OBJECT_ID = 255
MAX_NAME = 64
"""Most characters of a name."""
_IDS = f"ids are 1 to {MAX_OBJECT_ID}"


def parse_labels(given: Any) -> dict[int, str] | None:
    """Return object id -> name.

    Raises:
        ValueError: Something else is given; the message says what is allowed.
    """
    labels = _parse(given, "1=dog,2=person")
    for name in (labels or {}).values():
        if len(name) > MAX_NAME or not name.isprintable():
            raise ValueError(f"a name has 1 to {MAX_NAME} printable characters")
    return labels


def parse_colors(given: Any) -> dict[int, str] | None:
    """Return object id -> color, "#rrggbb".

    Raises:
        ValueError: Something else is given; the message says what is allowed.
    """
    return {i: _hex_of(text) for i, text in colors.items()} if (colors := _parse(given, "1=#ff8800,2=teal")) else colors


def check_labels(labels: Mapping[int, str] | None, objects: Collection[int]) -> None:
    """Refuse a name for an object that the prompt does not have.

    Raises:
        UsageError: There is such a name.
    """
    unknown = sorted(set(labels or {}) - set(objects))
    if unknown:
        have = ", ".join(map(str, sorted(objects)))
        raise UsageError(f"labels names object {unknown[0]}; the prompt has {have}")


def _parse(given: Any, example: str) -> dict[int, str] | None:
    """Read pairs of id and value from text or a mapping."""
    if given is None:
        return None
    allowed = f"allowed: ID=VALUE,ID=VALUE, such as {example}; {_IDS}, each at most once"
    if isinstance(given, str):
        pairs = [part.partition("=")[::2] for part in given.split(",")]
    elif isinstance(given, Mapping):
        pairs = [(str(key), value) for key, value in given.items()]
    else:
        raise ValueError(allowed)  # noqa: TRY004 - pydantic reports a ValueError
    values: dict[int, str] = {}
    for key, value in pairs:
        text = value.strip() if isinstance(value, str) else ""
        number = int(key) if key.strip().isascii() and key.strip().isdecimal() and len(key.strip()) <= 3 else 0
        if not text or not 1 <= number <= MAX_OBJECT_ID or number in values:
            raise ValueError(allowed)
        values[number] = text
    return values


def _hex_of(text: str) -> str:
    from PIL import ImageColor  # noqa: PLC0415 - only where a color is given

    from service.prompts.colors.names import hex_of  # noqa: PLC0415

    try:
        return hex_of(ImageColor.getrgb(text)[:3])
    except ValueError:
        raise ValueError(f"{text!r:.40} is no color; allowed: #rrggbb or a CSS name such as teal") from None
