"""The formats in which all masks of a video are written into one file, for the command line and for HTTP alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from codec.types import VideoInfo
from service.errors import UsageError
from service.writers.annotations.coco import CocoWriter
from service.writers.annotations.label_studio import LabelStudioWriter
from service.writers.annotations.label_studio_brush import LabelStudioBrushWriter
from service.writers.annotations.polygons import TOLERANCE, PolygonWriter
from service.writers.annotations.ytvis import YtvisWriter
from service.writers.binary_png import BinaryPngWriter
from service.writers.categories import Categories
from service.writers.png import ZipWriter
from service.writers.soft import SoftWriter
from service.writers.video.cutout import PRORES_4444, VP9_ALPHA, CutoutWriter
from service.writers.video.film import Encoding
from service.writers.video.matte import MatteWriter
from service.writers.video.overlay import CONTAINERS, Look, OverlayWriter
from service.writers.writer import MakeTemporary, ResultWriter, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What writers need besides the masks.

    Attributes:
        source: The video, or a folder of pictures.
        sound: The video a second time, if it is an open file.
        temporary: Makes temporary files; beside the written file by default.
        name: What files call the video.
        size: Width and height of the masks in pixels.
        read_info: Returns sizes and orientation of the video, which only videos need.
        objects: Object ids of the prompt.
        categories: Names of the objects.
        about: The `info` of annotation files.
        look: How masks are drawn over the video.
        tolerance: Farthest distance in pixels of polygons from the outline.
    """

    source: Path | BinaryIO
    name: str
    size: tuple[int, int]
    read_info: Callable[[], VideoInfo]
    sound: BinaryIO | None = None
    temporary: MakeTemporary | None = None
    objects: tuple[int, ...] = ()
    categories: Categories = field(default_factory=Categories)
    about: Mapping[str, Any] = field(default_factory=dict)
    look: Look = field(default_factory=Look)
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Format:
    """A format of result files.

    Attributes:
        file: Usual name of the file; its suffix is one of `suffixes`.
        media_type: Media type of the file.
        about: One line on what it holds, for help and documentation.
        open: Starts to write the file.
        suffixes: Allowed endings of the file's name.
        grows: Whether the file is written from front to back, so that it can be sent while it is built.
        temporary_files: Number of temporary files that writing takes, given the number of objects.
        is_soft: Whether it holds soft masks, which only runs with the option `soft` keep.
    """

    file: str
    media_type: str
    about: str
    open: Callable[[Target, Material], ResultWriter]
    suffixes: tuple[str, ...]
    grows: bool = False
    temporary_files: Callable[[int], int] = lambda _objects: 0
    is_soft: bool = False

    @property
    def is_video(self) -> bool:
        """Whether it is a video, which may change or lose something of its source and says so in notes."""
        return self.media_type.startswith("video/")

    @property
    def notes_file(self) -> str:
        """Name of the file with the notes on a video."""
        return f"{self.file}.notes.json"


def _annotations(kind: type[CocoWriter | YtvisWriter], target: Target, given: Material) -> ResultWriter:
    return kind(target, given.size, given.categories, given.about, given.temporary)


def _polygons(target: Target, given: Material) -> ResultWriter:
    return PolygonWriter(target, given.size, given.categories, given.about, given.temporary, tolerance=given.tolerance)


def _boxes(target: Target, given: Material) -> ResultWriter:
    return LabelStudioWriter(target, given.size, given.categories, given.name, given.temporary)


def _brush(target: Target, given: Material) -> ResultWriter:
    return LabelStudioBrushWriter(target, given.size, given.categories, given.name)


def _cutout(encoding: Encoding, target: Target, given: Material) -> ResultWriter:
    return CutoutWriter(given.source, target, given.read_info(), encoding, given.sound)


def _one(_objects: int) -> int:
    return 1


def _per_object(objects: int) -> int:
    return objects


FORMATS: Mapping[str, Format] = {
    "png": Format(
        "masks.zip",
        "application/zip",
        "zip of indexed PNGs with the DAVIS palette",
        lambda target, given: ZipWriter(target),  # noqa: ARG005
        (".zip",),
        grows=True,
    ),
    "binary-png": Format(
        "binary.zip",
        "application/zip",
        "zip of a folder per object with black and white PNGs",
        lambda target, given: BinaryPngWriter(target, given.objects),
        (".zip",),
        grows=True,
    ),
    "coco": Format(
        "coco.json",
        "application/json",
        "COCO instances with run-length encoding",
        partial(_annotations, CocoWriter),
        (".json",),
        grows=True,
        temporary_files=_one,
    ),
    "polygons": Format(
        "polygons.json",
        "application/json",
        "COCO instances with polygons; holes are filled",
        _polygons,
        (".json",),
        grows=True,
        temporary_files=_one,
    ),
    "ytvis": Format(
        "ytvis.json",
        "application/json",
        "YouTube-VIS",
        partial(_annotations, YtvisWriter),
        (".json",),
        temporary_files=_per_object,
    ),
    "labelstudio": Format(
        "labelstudio.json",
        "application/json",
        "Label Studio task with a box per object and frame (VideoRectangle)",
        _boxes,
        (".json",),
        temporary_files=_per_object,
    ),
    "labelstudio-brush": Format(
        "labelstudio_brush.json",
        "application/json",
        "Label Studio task per frame with a brush mask per object",
        _brush,
        (".json",),
        grows=True,
    ),
    "npz": Format(
        "soft.npz",
        "application/zip",
        "soft masks, a NumPy array per object and frame",
        lambda target, given: SoftWriter(target, given.read_info(), given.objects),
        (".npz",),
        is_soft=True,
    ),
    "overlay": Format(
        "overlay.mp4",
        "video/mp4",
        "video with the masks drawn over it",
        lambda target, given: OverlayWriter(given.source, target, given.read_info(), given.look, given.sound),
        tuple(CONTAINERS),
    ),
    "matte": Format(
        "matte.mp4",
        "video/mp4",
        "luma matte: white objects on black",
        lambda target, given: MatteWriter(given.source, target, given.read_info(), given.sound),
        (".mp4",),
    ),
    "prores4444": Format(
        "cutout.mov",
        "video/quicktime",
        "the objects cut out, ProRes 4444 with alpha",
        partial(_cutout, PRORES_4444),
        (".mov",),
    ),
    "vp9-alpha": Format(
        "cutout.webm", "video/webm", "the objects cut out, VP9 with alpha", partial(_cutout, VP9_ALPHA), (".webm",)
    ),
}
"""Name -> format."""


def need_soft(names: Iterable[str]) -> bool:
    """Return whether one of the formats holds soft masks."""
    return any(FORMATS[name].is_soft for name in names)


def check_suffix(name: str, path: Path) -> None:
    """Refuse a file name whose ending does not say its format.

    Raises:
        UsageError: The message names the allowed endings.
    """
    allowed = FORMATS[name].suffixes
    if path.suffix.lower() not in allowed:
        raise UsageError(f"the {name} file is {path.name!r}; allowed endings: {', '.join(allowed)}")
