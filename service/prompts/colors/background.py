"""Find the background among the colors of a mask."""

from __future__ import annotations

import numpy as np

from service.errors import AmbiguousMaskError
from service.prompts.colors.exact import ColorClasses
from service.prompts.colors.names import hex_of
from service.prompts.objects import border_share

DARK = 24
"""A color whose channels are all at most this looks black."""
_CONTRAST = 64
BORDER_SHARE = 0.9
"""Share of the picture's border that the background fills."""
_NONE = -1


def background_of(classes: ColorClasses) -> tuple[int, tuple[str, ...]]:
    """Return the position of the background's color, and notes on the choice.

    It is exact black; without it, a color that looks black beside brighter ones; without that, a color that fills the
    picture's border.

    Raises:
        AmbiguousMaskError: No color is plainly the background.
    """
    brightest = classes.colors.max(axis=1)
    if not brightest.min():
        return int(brightest.argmin()), ()
    if len(classes.colors) == 1:
        return _NONE, ("the whole mask has one color; all of it is object 1",)
    darkest, second = np.argsort(brightest, kind="stable")[:2]
    if brightest[darkest] <= DARK and brightest[second] - brightest[darkest] >= _CONTRAST:
        return int(darkest), (f"no pixel of the mask is black; {hex_of(classes.colors[darkest])} is the background",)
    shares = np.array([border_share(classes.classes == i) for i in range(len(classes.colors))])
    if shares.max() < BORDER_SHARE:
        raise AmbiguousMaskError(
            "no pixel of the mask is black or transparent, and no color fills its border; it is not plain which color "
            "is the background; make it black, or give mask_mode=ids for values that are object ids"
        )
    chosen = int(shares.argmax())
    color = hex_of(classes.colors[chosen])
    return chosen, (f"no pixel of the mask is black; {color}, which fills its border, is the background",)
