"""What the base network may claim at a key frame: where an object can be, and whether it is there at all.

A memory read always finds some best match. So a neighbour of the same kind is taken for the object, and after a cut to
another shot a mask is invented. Propagation along the bitstream's motion vectors knows better where an object is, and
the network's presence head tells whether the object is in the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from vos.modeling.aggregate import ABSENT_LOGIT

REACH_CELLS = 24
"""Cells of the stride-4 grid that a part of a mask may lie away from the propagated mask."""
KNOWN_COVERAGE = 0.5
"""Reference coverage from which on propagation is trusted: neither a cut nor an I frame."""
PRESENT = 3.0
"""Presence logit from which on an object counts as seen; high, because it is only asked where absence is likely."""


def distant_parts(masks: Tensor, expected: Tensor, reach: int = REACH_CELLS) -> Tensor | None:
    """Find the connected parts of masks that lie away from where they are expected.

    Args:
        masks: Soft masks [K, rows, columns].
        expected: Propagated soft masks [K, rows, columns]. An object that they have lost may be anywhere.
        reach: Distance in cells up to which a part counts as near.

    Returns:
        The cells of such parts, bool [K, rows, columns]; None if there are none.
    """
    inside, near = (masks > 0.5).cpu().numpy(), (expected > 0.5).cpu().numpy()
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    found = np.zeros(inside.shape, bool)
    for k, (mask, place) in enumerate(zip(inside, near, strict=True)):
        if not mask.any() or not place.any():
            continue
        count, parts = cv2.connectedComponents(mask.astype(np.uint8))
        reached = np.unique(parts[cv2.dilate(place.astype(np.uint8), kernel) > 0])
        distant = np.setdiff1d(np.arange(1, count), reached)
        if len(distant) and len(distant) < count - 1:  # what has moved away as a whole is the object
            found[k] = np.isin(parts, distant)
    return torch.from_numpy(found).to(masks.device) if found.any() else None


def without_parts(logits: Tensor, parts: Tensor) -> Tensor:
    """Return logits [K, 1, h, w] that are certain of the background in `parts` and on the edge around them.

    Args:
        logits: Logits of the padded picture.
        parts: bool [K, rows, columns] of the padded picture.
    """
    wide = F.max_pool2d(parts[:, None].float(), 3, stride=1, padding=1)
    return logits.masked_fill(F.interpolate(wide, size=logits.shape[-2:]) > 0, ABSENT_LOGIT)


class Presence:
    """Which objects are in the picture, by the network's presence logits after a cut.

    Args:
        objects: Number of objects, K.

    Attributes:
        absent: Objects that were not there at the latest key frame, bool [K].
    """

    def __init__(self, objects: int) -> None:
        self.absent = torch.zeros(objects, dtype=torch.bool)
        self._after_cut = False

    def note_cut(self) -> None:
        """Note a cut, after which objects may not be there; the next key frame is judged by it."""
        self._after_cut = True

    def judge(self, logits: Tensor) -> Tensor:
        """Judge a key frame.

        Args:
            logits: Logits of the network that each object is in the picture, [K].

        Returns:
            Objects that are not there, bool [K]. An object has to be left by a cut to be absent, and to be seen to
            return. As long as another object is seen, the shot may be the same; then a logit of 0 is enough.
        """
        logits = logits.cpu()
        limit = PRESENT if float(logits.max()) < PRESENT else 0.0
        self.absent = (self.absent | self._after_cut) & (logits < limit)
        self._after_cut = False
        return self.absent

    def capture(self) -> dict[str, npt.NDArray[Any]]:
        """Return the state for `restore`."""
        cut = torch.full_like(self.absent, self._after_cut)
        return {"presence": torch.stack((self.absent, cut)).numpy()}

    def restore(self, captured: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a captured state."""
        if "presence" in captured:
            absent, cut = torch.from_numpy(np.array(captured["presence"])) > 0
            self.absent, self._after_cut = absent, bool(cut.any())
