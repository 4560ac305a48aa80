"""Makes masks from boxes and points on uploaded videos. Runs in a sandbox, because it decodes the video."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Base64Bytes, JsonValue

from codec.displayed_frame import DisplayedFrame, read_displayed_frame
from codec.types import FrameType, UInt8Array
from service.prompts.made_mask import make_mask
from service.prompts.shapes import Shapes, prompt_frame_of
from service.sandbox.handles import Input, OutputFile, opened_output
from service.sandbox.inspection import UploadLimits, check_coded_size, check_objects, check_pixels, uploaded
from service.writers.mask_line import frame_line
from service.writers.png import encode_mask
from vos.types import FrameMask, MaskSource


@dataclass(frozen=True, slots=True)
class MarkedUpload:
    """The mask of one frame of an upload.

    Attributes:
        png: The mask as an indexed PNG.
        values: The mask as JSON values: frame, time, width, height, objects with run-length encodings, notes.
    """

    png: Base64Bytes
    values: dict[str, JsonValue]


def mark_upload(video: Input, shapes: Shapes, limits: UploadLimits) -> MarkedUpload:
    """Make the mask of the frame that shapes mark, as `POST /v1/prompts` returns it.

    Raises:
        ProblemError: The video cannot be read up to the frame, a limit is exceeded, or no object is found.
    """
    frame, labels, notes = _marked(video, shapes, prompt_frame_of(shapes, None), limits)
    scores = {shape.object: 1.0 for shape in shapes}
    mask = FrameMask(frame.index, None, frame.time, FrameType.I, MaskSource.PROMPT, labels, scores)
    values = {
        "frame": frame.index,
        "time": frame.time,
        "width": labels.shape[1],
        "height": labels.shape[0],
        "objects": frame_line(mask)["objects"],
        "notes": list(notes),
    }
    return MarkedUpload(encode_mask(labels), values)


def write_mask(video: Input, mask: OutputFile, shapes: Shapes, index: int, limits: UploadLimits) -> tuple[str, ...]:
    """Write the mask of a frame as if it had been uploaded; return the notes on it.

    Raises:
        ProblemError: As for `mark_upload`.
    """
    _, labels, notes = _marked(video, shapes, index, limits)
    with opened_output(mask) as file:
        file.write(encode_mask(labels))
    return notes


def _marked(
    video: Input, shapes: Shapes, index: int, limits: UploadLimits
) -> tuple[DisplayedFrame, UInt8Array, tuple[str, ...]]:
    check_objects("the prompt", len(shapes), limits)
    with uploaded(video) as file:
        check_coded_size(file, limits)
        frame = read_displayed_frame(file, index)
        check_pixels(frame.rgb.shape[1], frame.rgb.shape[0], limits)
        made = make_mask(frame.rgb, shapes)
    return frame, made.labels, made.notes
