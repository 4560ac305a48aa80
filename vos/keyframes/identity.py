"""What the base network may claim at a key frame: where an object can be, and whether it is there at all.

A memory read always finds some best match. So a neighbour of the same kind is taken for the object, and after a cut to
another shot a mask is invented. Propagation along the bitstream's motion vectors knows better where an object is, and
the distance of the match tells whether the object is in the picture.
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
STRANGE = 1.25
"""Distance of a match, relative to that of earlier key frames, beyond which it is another object."""

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
    """Which objects are in the picture, judged by how far their matches in memory are.

    Args:
        objects: Number of objects, K.

    Attributes:
        absent: Objects that were not there at the latest key frame, bool [K].
    """

    def __init__(self, objects: int) -> None:
        self.absent = torch.zeros(objects, dtype=torch.bool)
        self._after_cut = False
        self._sum = torch.zeros(objects, dtype=torch.float64)
        self._count = torch.zeros(objects, dtype=torch.float64)

    def note_cut(self) -> None:
        """Note a cut, after which objects may not be there; the next key frame is judged by it."""
        self._after_cut = True

    def judge(self, distances: Tensor, logits: Tensor | None = None) -> Tensor:
        """Judge a key frame and remember its distances.

        Args:
            distances: Mean distance of each mask's cells to the object in memory, [K]; NaN for an empty mask.
            logits: Logits of the network that each object is in the picture, [K]; None if it has no presence head. They
                then count in place of the distances.

        Returns:
            Objects that are not there, bool [K]. An object that is there has to be left by a cut to be absent; one that
            is absent has to be seen, or to match as well as before, to return.
        """
        distances = distances.double().cpu()
        usual = self._sum / self._count.clamp(min=1)
        strange = (self._count > 0) & (distances > STRANGE * usual)
        asked = self.absent | self._after_cut
        if logits is not None:
            strange = logits.cpu() < PRESENT
        self._after_cut = False
        self.absent = asked & (strange | (self.absent & distances.isnan()))
        counted = ~self.absent & ~distances.isnan()
        self._sum += torch.where(counted, distances, 0.0)
        self._count += counted
        return self.absent

    def capture(self) -> dict[str, npt.NDArray[Any]]:
        """Return the state for `restore`."""
        cut = torch.full_like(self._sum, self._after_cut)
        return {"presence": torch.stack((self.absent.double(), self._sum, self._count, cut)).numpy()}

    def restore(self, captured: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a captured state."""
        if "presence" in captured:
            absent, self._sum, self._count, cut = torch.from_numpy(np.array(captured["presence"]))
            self.absent, self._after_cut = absent > 0, bool(cut.any())
