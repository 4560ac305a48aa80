"""Uploads masks into a task of CVAT through its own SDK (the package cvat-sdk, which is imported when it is needed).

CVAT has no track of masks: each mask is a shape of one frame. All shapes of an object are one group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import RunError, UsageError
from service.writers.categories import Categories
from vos.types import FrameMask

_SHAPES_PER_CALL = 500
"""Shapes that one call sends: enough to need few calls, few enough to fit into a request."""
_MASK_TYPES = ("any", "mask")


@dataclass(frozen=True, slots=True)
class CvatServer:
    """Where the task is.

    Attributes:
        url: Address of CVAT.
        token: Access token of an account.
    """

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was uploaded.

    Attributes:
        shapes: Number of masks.
        frames: Number of frames that have one.
        skipped: Number of frames that the task does not have.
    """

    shapes: int
    frames: int
    skipped: int


def upload(
    masks: Iterable[FrameMask],
    objects: Mapping[int, str],
    server: CvatServer,
    task_id: int,
    *,
    replace: bool = False,
    on_frames: Callable[[int], None] = lambda _count: None,
) -> Uploaded:
    """Add masks to a task; memory does not grow with the video.

    Args:
        masks: The masks, in presentation order.
        objects: Object id -> name, which is the name of a label of the task.
        server: Where the task is.
        task_id: The task.
        replace: Whether to remove all annotations of the task first.
        on_frames: Called with the number of frames that CVAT has so far.

    Raises:
        UsageError: cvat-sdk is not installed, the task has other labels or other frames.
        RunError: CVAT cannot be reached, or refuses a call.
    """
    sdk = _sdk()
    with _errors(server), sdk.Client(server.url, check_server_version=False) as client:
        client.login(sdk.core.client.AccessTokenCredentials(server.token))
        task = client.tasks.retrieve(task_id)
        labels = _label_ids(task, objects)
        frames = _Frames.of(task)
        if replace:
            task.remove_annotations()
        return _send(task, masks, labels, frames, on_frames)


def names_of(objects: Iterable[int], labels: Mapping[int, str] | None) -> dict[int, str]:
    """Return the names of objects, as annotation files have them."""
    categories = Categories(labels)
    return {object_id: categories.name_of(object_id) for object_id in objects}


@dataclass(frozen=True, slots=True)
class _Frames:
    """Which frames of the video a task has: every `step`-th from `first` on, without deleted ones; and their size."""

    first: int
    step: int
    count: int
    deleted: frozenset[int]
    size: tuple[int, int] | None

    @classmethod
    def of(cls, task: Any) -> _Frames:
        meta = task.get_meta()
        step = (meta.frame_filter or "step=1").rpartition("=")[2]
        sizes = {(frame.width, frame.height) for frame in meta.frames or ()}
        size = sizes.pop() if len(sizes) == 1 else None
        return cls(meta.start_frame, int(step), meta.size, frozenset(meta.deleted_frames), size)

    def position(self, index: int) -> int | None:
        """Return the number that the task gives to a frame of the video; None if it does not have it."""
        position, rest = divmod(index - self.first, self.step)
        is_there = rest == 0 and 0 <= position < self.count and position not in self.deleted
        return position if is_there else None

    def check_size(self, task: Any, mask: FrameMask) -> None:
        """Refuse masks of another size than the task's pictures."""
        given = mask.labels.shape[1], mask.labels.shape[0]
        if self.size is not None and given != self.size:
            raise UsageError(
                f"the masks are {given[0]}x{given[1]} pixels, the pictures of task {task.id} "
                f"{self.size[0]}x{self.size[1]}: it is a task of another video"
            )


def _label_ids(task: Any, objects: Mapping[int, str]) -> dict[int, int]:
    """Return object id -> id of the task's label of this name, which must take masks."""
    labels = task.get_labels()
    ids = {label.name: label.id for label in labels if str(label.type) in _MASK_TYPES}
    if not set(objects.values()) <= set(ids):
        needed = ", ".join(dict.fromkeys(objects.values()))
        there = ", ".join(f"{label.name} ({label.type})" for label in labels) or "none"
        raise UsageError(
            f"every object needs a label of its name and of type any or mask; the objects are {needed}; the labels of "
            f"task {task.id} are {there}; rename either, objects with --labels"
        )
    return {object_id: ids[name] for object_id, name in objects.items()}


def _send(
    task: Any, masks: Iterable[FrameMask], labels: Mapping[int, int], frames: _Frames, on_frames: Callable[[int], None]
) -> Uploaded:
    """Send the shapes of all frames, some hundred at a time."""
    from cvat_sdk import models  # noqa: PLC0415
    from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction  # noqa: PLC0415

    waiting: list[Any] = []
    shapes = shown = skipped = 0

    def flush() -> None:
        if waiting:
            data = models.PatchedLabeledDataRequest(shapes=list(waiting))
            task.update_annotations(data, action=AnnotationUpdateAction.CREATE)
            waiting.clear()
        on_frames(shown)

    for mask in masks:
        frames.check_size(task, mask)
        position = frames.position(mask.index)
        if position is None:
            skipped += 1
            continue
        made = list(_shapes(models, mask, position, labels))
        waiting += made
        shapes, shown = shapes + len(made), shown + bool(made)
        if len(waiting) >= _SHAPES_PER_CALL:
            flush()
    flush()
    return Uploaded(shapes, shown, skipped)


def _shapes(models: Any, mask: FrameMask, position: int, labels: Mapping[int, int]) -> Iterator[Any]:
    from cvat_sdk.masks import encode_mask  # noqa: PLC0415

    for object_id in (int(i) for i in np.unique(mask.labels) if i):
        yield models.LabeledShapeRequest(
            type=models.ShapeType("mask"),
            frame=position,
            label_id=labels[object_id],
            group=object_id,
            points=[float(n) for n in encode_mask(mask.labels == object_id)],
            source="auto",
            score=float(mask.scores.get(object_id, 0.0)),
        )


def _sdk() -> Any:
    try:
        import cvat_sdk  # noqa: PLC0415
        import cvat_sdk.core.client  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"uploads to CVAT need the package cvat-sdk ({error}): pip install 'keymask-server[cvat]'"
        ) from error
    return cvat_sdk


@contextmanager
def _errors(server: CvatServer) -> Iterator[None]:
    """Turn errors of the SDK into one line."""
    import urllib3  # noqa: PLC0415
    from cvat_sdk.core.exceptions import CvatSdkException  # noqa: PLC0415
    from cvat_sdk.exceptions import ApiException, OpenApiException  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or error.reason)
        raise RunError(f"CVAT at {server.url} answers {error.status}: {text[:200]}") from error
    except (CvatSdkException, OpenApiException, urllib3.exceptions.HTTPError) as error:
        raise RunError(f"CVAT at {server.url} cannot be used: {error}") from error
