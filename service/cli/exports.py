"""The option `--export`: formats in which masks are written besides those with an option of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from service.errors import UsageError

EXPORTS = (
    *("png", "binary-png", "coco", "polygons", "ytvis", "labelstudio", "labelstudio-brush", "npz"),
    *("overlay", "matte", "prores4444", "vp9-alpha"),
)
"""Names of `service.writers.formats.FORMATS`, which help must not import: av takes a second."""


def complete_export(incomplete: str) -> list[str]:
    """Return the formats that begin so, for the shell."""
    return [name for name in EXPORTS if name.startswith(incomplete)]


def parse_format(name: str) -> str:
    """Return the name of a format.

    Raises:
        UsageError: There is no such format.
    """
    if name not in EXPORTS:
        raise UsageError(f"--export {name!r}: there is no such format; allowed: {', '.join(EXPORTS)}")
    return name


def parse_exports(given: Sequence[str], taken: Collection[str]) -> dict[str, Path]:
    """Parse FORMAT=FILE words.

    Args:
        given: The words.
        taken: Formats that options of their own already ask for.

    Raises:
        UsageError: A word is not FORMAT=FILE, there is no such format, or it is asked for twice.
    """
    exports: dict[str, Path] = {}
    for word in given:
        name, equals, file = word.partition("=")
        parse_format(name)
        if not equals or not file:
            raise UsageError(f"--export {word!r}: expected FORMAT=FILE, such as matte=matte.mp4")
        if name in exports or name in taken:
            raise UsageError(f"--export {name}: this format is asked for twice")
        exports[name] = Path(file)
    return exports
