"""Segment in this process, without a service.

Needs the server packages (`pip install keymask-server`), which are imported at the first call.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Unpack

import numpy as np
import numpy.typing as npt

from keymask.errors import LocalError, ServerNotInstalledError
from keymask.marks import LocalJobOptions, Mark, is_prompt, split, to_json
from keymask.mask_file import MaskLike, to_array, to_file
from keymask.models import PromptObject

if TYPE_CHECKING:
    from service.run.segment import Segmentation
    from service.writers.writer import ResultWriter
    from vos.types import FrameMask

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | BinaryIO | Sequence[str | os.PathLike[str]] | npt.NDArray[np.uint8] | Any"
)
"""Path of a video or of a folder of pictures, bytes, seekable binary file, list of picture files, or pictures
uint8 [T, H, W, 3] in RGB (array or torch tensor)."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalFrame:
    """The mask of one frame.

    Attributes:
        index: Position in presentation order, from 0.
        time: Presentation time in seconds from the start of the file.
        source: "prompt", "corrected", "key", "propagated" or "fallback".
        mask: Labels uint8 [height, width] in display size: 0 background, other values object ids.
        scores: Object id -> confidence 0 to 1; 0 for an object that is not in the frame.
        soft: Object id -> probability uint8 [height, width] in display size, 255 is 1; None without the option `soft`.
    """

    index: int
    time: float
    source: str
    mask: npt.NDArray[np.uint8]
    scores: dict[int, float]
    soft: dict[int, npt.NDArray[np.uint8]] | None = None


class LocalFrames(Iterator[LocalFrame]):
    """The masks of a video in presentation order, computed as they are asked for.

    Attributes:
        prompt: The objects that were read from the prompt.
    """

    def __init__(self, segmentation: Segmentation, source: Any, exports: Mapping[str, Path]) -> None:
        self.prompt = tuple(
            PromptObject(**item.to_json(segmentation.options.labels)) for item in segmentation.prompt.objects
        )
        self._segmentation = segmentation
        self._writers: list[ResultWriter] = []
        self._frames = _masks(segmentation, source, exports, self._writers)

    @property
    def notes(self) -> tuple[str, ...]:
        """What you should know about the inputs and, after the last mask, about exports, in plain words."""
        return (*self._segmentation.notes, *(note for writer in self._writers for note in getattr(writer, "notes", ())))

    def __iter__(self) -> LocalFrames:
        return self

    def __next__(self) -> LocalFrame:
        return next(self._frames)

    def close(self) -> None:
        """Stop before the end, and close the video."""
        self._frames.close()
        self._segmentation.close()  # the line above does not if no frame was asked for

    def __del__(self) -> None:
        """Close the video of an iterator that is dropped."""
        self.close()


def segment(
    source: Source,
    prompt: MaskLike | Sequence[Mark] | None = None,
    *,
    exports: Mapping[str, str | os.PathLike[str]] | None = None,
    **options: Unpack[LocalJobOptions],
) -> LocalFrames:
    """Segment a video and yield one mask per frame, in presentation order, as they are computed.

    Memory does not grow with the length of the video. Pictures without a bitstream get their motion from an H.264
    re-encode.

    Args:
        source: Path, bytes or binary file of a video; a folder or a list of pictures; or an array or torch tensor
            uint8 [T, H, W, 3] in RGB.
        prompt: Mask of the prompt frame: path or bytes of a picture, PIL image, or array, for example of object ids
            [height, width]; see `keymask.mask_file.MaskLike`. Or marks on any frames, as in `keymask.marks.Mark`.
        exports: Format -> file, for example {"npz": "soft.npz"}: a format of `keymask.Client.download`.
            The files are complete after the last mask. Formats that are videos need a path or bytes as source.
        **options: See `LocalOptions`; in place of `prompt`, `prompts={0: mask, 120: mask}`, `box` and `boxes` as in
            `keymask.marks.LocalJobOptions`.

    Raises:
        ServerNotInstalledError: The server packages are missing.
        LocalError: The source, the prompt or an option cannot be used, or decoding stopped in the middle; all masks
            before that have been yielded.

    Example:
        for frame in segment("dog.mp4", "dog_first.png", quality="fast"):
            print(frame.index, frame.source, int((frame.mask == 1).sum()))
    """
    files = {name: Path(path) for name, path in (exports or {}).items()}
    segmentation = _open(source, prompt, options, files)  # at the call, so that a bad input is an error here
    return LocalFrames(segmentation, source, files)


def _open(source: Source, prompt: Any, given: LocalJobOptions, exports: Mapping[str, Path]) -> Segmentation:
    options, marks = split(given)
    if (prompt is not None) == bool(marks):
        raise LocalError(
            f"give one of prompt, prompts, box and boxes; given: {', '.join(['prompt', *marks]) if marks else 'none'}"
        )
    if is_prompt(prompt):
        marks = {"prompt": prompt}
    try:
        # torch reads these settings when it is loaded.
        if "torch" not in sys.modules:
            from service.run.torch_runtime import prepare_torch  # noqa: PLC0415

            prepare_torch()
        from service.run.options import RunOptions  # noqa: PLC0415
        from service.run.segment import segment as run  # noqa: PLC0415
    except ImportError as error:
        raise ServerNotInstalledError(
            f"keymask.local runs the networks in this process and needs the server packages ({error}); "
            "install them with `pip install keymask-server`, or use keymask.Client with a running service"
        ) from error
    chosen = {name: value for name, value in options.items() if value is not None}
    with _local_errors():
        if _check_exports(exports, source):
            chosen["soft"] = True
        return run(_video(source), _marked(marks) if marks else _prompt(prompt), RunOptions.checked(**chosen))


def _check_exports(exports: Mapping[str, Path], source: Source) -> bool:
    """Check formats and names of files; return whether one of them needs soft masks."""
    from service.errors import UsageError  # noqa: PLC0415
    from service.writers.formats import FORMATS, check_suffix, need_soft  # noqa: PLC0415

    for name, path in exports.items():
        if name not in FORMATS:
            raise UsageError(f"there is no format {name!r}; allowed: {', '.join(FORMATS)}")
        check_suffix(name, path)
        if FORMATS[name].is_video and not isinstance(source, bytes | str | os.PathLike):
            raise UsageError(f"{name} reads the source a second time, so it needs a path or bytes")
    return need_soft(exports)


def _opened_exports(segmentation: Segmentation, source: Any, exports: Mapping[str, Path]) -> Iterator[ResultWriter]:
    from service.run.outputs import material_of  # noqa: PLC0415
    from service.writers.formats import FORMATS  # noqa: PLC0415

    for name, path in exports.items():
        video, sound = (io.BytesIO(source), io.BytesIO(source)) if isinstance(source, bytes) else (_video(source), None)
        yield FORMATS[name].open(path, material_of(segmentation, video, sound=sound))


def _masks(
    segmentation: Segmentation, source: Any, exports: Mapping[str, Path], writers: list[ResultWriter]
) -> Generator[LocalFrame]:
    with segmentation, _local_errors(), ExitStack() as stack:
        for mask in segmentation:
            if exports and not writers:  # nothing is written before the first mask, so that bad input leaves no files
                for writer in _opened_exports(segmentation, source, exports):
                    stack.callback(writer.close)
                    writers.append(writer)
            for writer in writers:
                writer.write(mask)
            soft = _soft(segmentation, mask) if segmentation.options.soft else None
            yield LocalFrame(mask.index, mask.time, str(mask.source), mask.labels, mask.scores, soft)


def _soft(segmentation: Segmentation, mask: FrameMask) -> dict[int, npt.NDArray[np.uint8]]:
    from service.writers.soft import in_display_size  # noqa: PLC0415

    return {number: in_display_size(mask, number, segmentation.info) for number in segmentation.object_ids}


@contextmanager
def _local_errors() -> Iterator[None]:
    """Turn the errors that the server packages raise for users into `LocalError`."""
    from codec.errors import CodecError  # noqa: PLC0415
    from service.errors import ServiceError  # noqa: PLC0415
    from vos.errors import VosError  # noqa: PLC0415

    try:
        yield
    except (CodecError, ServiceError, VosError) as error:
        raise LocalError(str(error)) from error


def _video(source: Source) -> Any:
    """Turn a torch tensor into an array and file names into paths; return other sources as they are."""
    source = _array(source)
    if isinstance(source, str | os.PathLike):
        return Path(source)
    if isinstance(source, list | tuple):
        return tuple(Path(path) for path in source)
    return source


def _prompt(prompt: MaskLike) -> Any:
    """Return a path, the bytes of a file, or an array."""
    if isinstance(prompt, str | os.PathLike):
        return Path(prompt)
    try:
        return to_file(prompt) if isinstance(prompt, bytes) or hasattr(prompt, "mode") else to_array(prompt)
    except (OSError, ValueError) as error:
        raise LocalError(f"the mask cannot be used: {error}") from error


def _marked(marks: dict[str, Any]) -> Any:
    """Return prompts by frame, or marks, as the server packages take them."""
    prompts = marks.get("prompts")
    if prompts is None or len(marks) > 1:
        return _shapes(marks)
    if not isinstance(prompts, Mapping):
        raise LocalError(f"prompts must map frames to masks, such as {{0: mask}}; given: {type(prompts).__name__}")
    given = {int(frame): value for frame, value in prompts.items()}
    return {i: _shapes({"prompt": value}) if is_prompt(value) else _prompt(value) for i, value in given.items()}


def _shapes(marks: dict[str, Any]) -> Any:
    """Return marks as the server packages take them."""
    from service.prompts.shapes import parse_shapes  # noqa: PLC0415

    try:
        return parse_shapes(to_json(marks), several=True)
    except ValueError as error:
        raise LocalError(str(error)) from error


def _array(value: Any) -> Any:
    """Turn a torch tensor into an array; return everything else as it is."""
    return value.detach().cpu().numpy() if hasattr(value, "cpu") else value
