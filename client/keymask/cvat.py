"""Masks into a task of CVAT (https://docs.cvat.ai) through its own SDK, which is imported when it is needed.

CVAT has no track of masks: each mask is a shape of one frame. All shapes of an object are one group.
`pip install cvat-sdk`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keymask.errors import CvatError, InvalidArgumentError, PackageMissingError
from keymask.models import Frame

_SHAPES_PER_CALL = 500
"""Shapes that one call sends: enough to need few calls, few enough to fit into a request."""
_MASK_TYPES = ("any", "mask")


@dataclass(frozen=True, slots=True)
class CvatServer:
    """Where the task is.

    Attributes:
        url: Address of CVAT.
        token: Personal access token of an account.
    """

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class CvatUpload:
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
    frames: Sequence[Frame],
    labels: Mapping[int, str],
    server: CvatServer,
    task_id: int,
    *,
    replace: bool = False,
    on_frames: Callable[[int], None] = lambda _count: None,
) -> CvatUpload:
    """Add masks to a task; see `Track.to_cvat`."""
    sdk = _sdk()
    names = {item.id: labels.get(item.id, f"object {item.id}") for frame in frames for item in frame.objects}
    with _errors(server), sdk.Client(server.url, check_server_version=False) as client:
        client.login(sdk.core.client.AccessTokenCredentials(server.token))
        task = client.tasks.retrieve(task_id)
        ids, meta = _label_ids(task, names), task.get_meta()
        _check_size(task, meta, frames)
        placed = [(position, frame) for frame in frames if (position := _position(meta, frame.index)) is not None]
        if replace:
            task.remove_annotations()
        shapes = _send(sdk, task, placed, ids, on_frames)
    return CvatUpload(shapes, sum(1 for _, frame in placed if frame.objects), len(frames) - len(placed))


def _label_ids(task: Any, names: Mapping[int, str]) -> dict[int, int]:
    """Return object id -> id of the task's label of its name, which must take masks."""
    labels = task.get_labels()
    ids = {label.name: label.id for label in labels if str(label.type) in _MASK_TYPES}
    if not set(names.values()) <= set(ids):
        needed = ", ".join(dict.fromkeys(names.values()))
        there = ", ".join(f"{label.name} ({label.type})" for label in labels) or "none"
        raise InvalidArgumentError(
            f"every object needs a label of its name and of type any or mask; the objects are {needed}; the labels of "
            f"task {task.id} are {there}; rename either, objects with labels={{id: name}}"
        )
    return {object_id: ids[name] for object_id, name in names.items()}


def _position(meta: Any, index: int) -> int | None:
    """Return the number that a task gives to a frame of the video; None if it does not have it.

    A task has every `step`-th frame from the first one on, without deleted ones.
    """
    step = int((meta.frame_filter or "step=1").rpartition("=")[2])
    position, rest = divmod(index - meta.start_frame, step)
    is_there = rest == 0 and 0 <= position < meta.size and position not in meta.deleted_frames
    return position if is_there else None


def _check_size(task: Any, meta: Any, frames: Sequence[Frame]) -> None:
    """Refuse masks of another size than the task's pictures."""
    sizes = {(picture.width, picture.height) for picture in meta.frames or ()}
    given = {(frame.width, frame.height) for frame in frames}
    if len(sizes) == 1 and given - sizes:
        masks, pictures = ("{}x{}".format(*size) for size in ((given - sizes).pop(), sizes.pop()))
        raise InvalidArgumentError(
            f"the masks are {masks} pixels, the pictures of task {task.id} {pictures}: it is a task of another video"
        )


def _send(
    sdk: Any,
    task: Any,
    placed: Sequence[tuple[int, Frame]],
    ids: Mapping[int, int],
    on_frames: Callable[[int], None],
) -> int:
    """Send the shapes of all frames, some hundred at a time; return their number."""
    create = sdk.core.proxies.annotations.AnnotationUpdateAction.CREATE
    waiting: list[Any] = []
    shapes = 0
    for done, (position, frame) in enumerate(placed, 1):
        waiting += [_shape(sdk, position, item, ids[item.id]) for item in frame.objects]
        if len(waiting) >= _SHAPES_PER_CALL or (waiting and done == len(placed)):
            task.update_annotations(sdk.models.PatchedLabeledDataRequest(shapes=list(waiting)), action=create)
            shapes += len(waiting)
            waiting.clear()
            on_frames(done)
    return shapes


def _shape(sdk: Any, position: int, item: Any, label_id: int) -> Any:
    return sdk.models.LabeledShapeRequest(
        type=sdk.models.ShapeType("mask"),
        frame=position,
        label_id=label_id,
        group=item.id,
        points=[float(n) for n in sdk.masks.encode_mask(item.mask)],
        source="auto",
        score=item.score,
    )


def _sdk() -> Any:
    try:
        import cvat_sdk.core.client  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415
        import cvat_sdk.core.proxies.annotations  # noqa: PLC0415
        import cvat_sdk.masks  # noqa: PLC0415
        import cvat_sdk.models  # noqa: PLC0415
    except ImportError as error:
        raise PackageMissingError(
            f"uploads to CVAT need the package cvat-sdk ({error}); install it with `pip install cvat-sdk`"
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
        raise CvatError(f"CVAT at {server.url} answers {error.status}: {text[:200]}") from error
    except (CvatSdkException, OpenApiException, urllib3.exceptions.HTTPError) as error:
        raise CvatError(f"CVAT at {server.url} cannot be used: {error}") from error
