"""Prompts as they are stored: the mask or the absence of one object in one frame each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco
from pydantic import BaseModel, ConfigDict

from service.prompts.shapes import Rle, ShapePrompt, Shapes, frames_of


class StoredPrompts(BaseModel):
    """The prompts of a result, each an object's mask or its absence.

    Attributes:
        new: Prompts of this version.
        earlier: Prompts of the versions before, one per frame and object.
    """

    model_config = ConfigDict(frozen=True)

    new: Shapes
    earlier: Shapes = ()

    @property
    def merged(self) -> Shapes:
        """All prompts; a new one takes the place of an earlier one of its object in its frame."""
        found = {(shape.frame, shape.object): shape for shape in (*self.earlier, *self.new)}
        return tuple(found.values())

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames of the new prompts, ascending."""
        return tuple(frames_of(self.new))

    def to_json(self) -> bytes:
        """Return the content of a file."""
        return self.model_dump_json(exclude_defaults=True).encode()


def given_mask(mask: npt.NDArray[np.bool_], frame: int, number: int) -> ShapePrompt:
    """Return the prompt of an object whose mask bool [height, width] is given."""
    rle = coco.encode(np.asfortranarray(mask).view(np.uint8))
    height, width = mask.shape
    return ShapePrompt(frame=frame, object=number, rle=Rle(size=(height, width), counts=rle["counts"].decode("ascii")))
