"""Read masks in which each color is an object."""

from __future__ import annotations

from codec.types import UInt8Array
from service.errors import AmbiguousMaskError
from service.prompts.colors.background import DARK
from service.prompts.colors.exact import ColorClasses, exact_colors, is_smoothed
from service.prompts.colors.plain import merge_to_plain
from service.prompts.labels import Labels, numbered

_SHIFT = 8
"""How far JPEG moves a plain color at most, in any channel; colors of the DAVIS palette are at least 32 apart."""


def read_colors(rgb: UInt8Array, is_lossy: bool) -> Labels:
    """Read RGB uint8 [height, width, 3]: each exact color is an object; with smoothed edges or noise, each plain color.

    Raises:
        AmbiguousMaskError: It is not plain which colors are objects.
    """
    exact = exact_colors(rgb)
    if exact is not None and not is_lossy and not is_smoothed(exact):
        return numbered(exact)
    plain = merge_to_plain(rgb)
    if plain is None:
        count = "more than 256" if exact is None else str(len(exact.colors))
        raise AmbiguousMaskError(
            f"the mask has {count} colors, and it is not plain which of them are objects; draw each object in one "
            "color on black, without smoothing, and save it as PNG"
        )
    return read_plain(plain, None if exact is None else len(exact.colors))


def read_plain(plain: ColorClasses, count: int | None) -> Labels:
    """Number the plain colors that `count` colors were merged into; None for more than 256."""
    if len(plain.colors) == 1 and plain.colors.max() <= 2 * DARK:
        raise AmbiguousMaskError(
            "the mask is nearly black everywhere, and its format does not keep small values; save it as PNG"
        )
    many = "more than 256" if count is None else count
    note = (
        f"the mask has {many} colors, as smoothed edges or JPEG make them; merged into {len(plain.colors)} plain ones"
    )
    return numbered(plain, () if len(plain.colors) == count else (note,), _SHIFT)
