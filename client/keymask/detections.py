"""Masks as `supervision.Detections` (https://supervision.roboflow.com), which its annotators and trackers take.

supervision is imported when it is needed; `pip install supervision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from keymask.errors import PackageMissingError

if TYPE_CHECKING:
    from keymask.models import Frame


def to_detections(frame: Frame, labels: Mapping[int, str] | None) -> Any:
    """Return the masks of a frame; see `Frame.to_detections`."""
    supervision = _supervision()
    ids = np.array([item.id for item in frame.objects], int)
    boxes = np.array([item.bbox for item in frame.objects], np.float32).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)  # the last pixel belongs to it
    return supervision.Detections(
        xyxy=corners,
        mask=_masks(supervision, frame, corners),
        confidence=np.array([item.score for item in frame.objects], np.float32),
        class_id=np.array([_class_of(int(i), labels or {}) for i in ids], int),
        tracker_id=ids,
        data={"class_name": np.array([(labels or {}).get(int(i), f"object {i}") for i in ids], str)},
    )


def _masks(supervision: Any, frame: Frame, corners: npt.NDArray[np.float32]) -> Any:
    """Return run lengths if the installed version takes them, otherwise bool [objects, height, width]."""
    from_runs = getattr(getattr(supervision, "CompactMask", None), "from_coco_rle", None)
    if from_runs is not None:
        runs = [{"size": list(item.rle.size), "counts": item.rle.counts} for item in frame.objects]
        return from_runs(runs, corners, (frame.height, frame.width))
    masks = np.zeros((len(frame.objects), frame.height, frame.width), np.bool_)
    for position, item in enumerate(frame.objects):
        masks[position] = item.mask
    return masks


def _class_of(object_id: int, labels: Mapping[int, str]) -> int:
    """Return the class of an object, as in COCO files: the smallest id of the objects with its name."""
    name = labels.get(object_id)
    return min((i for i, other in labels.items() if other == name), default=object_id) if name else object_id


def _supervision() -> Any:
    try:
        import supervision  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415
    except ImportError as error:
        raise PackageMissingError(
            f"detections need the package supervision ({error}); install it with `pip install supervision`"
        ) from error
    return supervision
