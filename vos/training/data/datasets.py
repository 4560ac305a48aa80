"""Training data from folders, decoded once and kept in memory as uint8.

Layouts below a data folder:

    video/<set>/<sequence>/{frames/*.jpg, masks/*.png}   a mask per frame, with the same name
    static/<set>/{images/*.jpg, masks/*.png}             masks_parts/*.png: optional finer objects of the same images

Masks are indexed PNG: 0 background, other values object ids. `video/<set>/classes.json` may restrict the objects of a
sequence to the ids under its "things".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from codec.types import UInt8Array
from vos.training.common.errors import TrainingDataError

_IMAGES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True, eq=False)
class LabeledVideo:
    """One sequence: frames uint8 [H, W, 3] RGB, labels uint8 [H, W], ids of objects that may be followed."""

    source: str
    frames: list[UInt8Array]
    labels: list[UInt8Array]
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabeledStill:
    """One picture uint8 [H, W, 3] RGB, its labels uint8 [H, W], ids of objects large enough to follow."""

    source: str
    image: UInt8Array
    labels: UInt8Array
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """All training data.

    Attributes:
        videos: Sequences by set name.
        stills: Pictures by set name.
        digests: SHA-256 of a listing of each set's files, by the names of `summary`. The listing has one line per
            file as written by `sha256sum`, sorted by name.
    """

    videos: dict[str, list[LabeledVideo]]
    stills: dict[str, list[LabeledStill]]
    digests: dict[str, str]

    @property
    def summary(self) -> dict[str, int]:
        """Number of items by "video/<set>" and "static/<set>"."""
        counts = {f"video/{name}": len(items) for name, items in self.videos.items()}
        return counts | {f"static/{name}": len(items) for name, items in self.stills.items()}


def load_data(folders: list[Path], min_share: float = 0.01) -> TrainingData:
    """Read all data folders.

    Args:
        folders: Folders that contain `video`, `static` or both.
        min_share: Smallest share of a still's area for an object to be followed.

    Raises:
        TrainingDataError: A folder is missing, has neither layout, or holds a file that cannot be used.
    """
    videos: dict[str, list[LabeledVideo]] = {}
    stills: dict[str, list[LabeledStill]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise TrainingDataError(f"{folder} is not a folder; --data takes folders with video/ or static/ in them")
        for path in sorted((folder / "video").glob("*/*/frames")):
            videos.setdefault(path.parent.parent.name, []).append(_read_video(path.parent))
        for path in sorted((folder / "static").glob("*/images")):
            stills.setdefault(path.parent.name, []).extend(_read_stills(path.parent, min_share))
    if not videos and not stills:
        given = ", ".join(str(folder) for folder in folders) or "nothing"
        raise TrainingDataError(
            f"no training data in {given}; expected video/<set>/<sequence>/{{frames,masks}} "
            "or static/<set>/{images,masks} below a data folder"
        )
    return TrainingData(videos, stills, _digests(folders))


def _read_video(folder: Path) -> LabeledVideo:
    frames, labels = [], []
    for frame, mask in _pairs(folder / "frames", folder / "masks"):
        image, label = _read_pair(frame, mask)
        frames.append(image)
        labels.append(label)
    if len(frames) < 2:
        raise TrainingDataError(f"{folder} has {len(frames)} frame with a mask; a sequence needs at least 2")
    present = sorted({int(i) for label in labels for i in np.unique(label) if i})
    things = _things(folder)
    ids = tuple(i for i in present if things is None or i in things)
    return LabeledVideo(f"{folder.parent.name}/{folder.name}", frames, labels, ids)


def _read_stills(folder: Path, min_share: float) -> list[LabeledStill]:
    stills = []
    for masks in ("masks", "masks_parts"):
        if masks == "masks_parts" and not (folder / masks).is_dir():
            continue
        for image_path, mask_path in _pairs(folder / "images", folder / masks):
            image, label = _read_pair(image_path, mask_path)
            sizes = np.bincount(label.ravel(), minlength=256)
            ids = tuple(int(i) for i in np.flatnonzero(sizes >= min_share * label.size) if i)
            stills.append(LabeledStill(f"{folder.name}/{image_path.stem}", image, label, ids))
    return stills


def _pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    if not masks.is_dir():
        raise TrainingDataError(f"{masks} is missing; each image in {images} needs a mask of the same name there")
    names = {path.stem: path for path in masks.glob("*.png")}
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in _IMAGES)
    return [(path, names[path.stem]) for path in paths if path.stem in names]


def _read_pair(image_path: Path, mask_path: Path) -> tuple[UInt8Array, UInt8Array]:
    bgr = cv2.imread(str(image_path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise TrainingDataError(f"{image_path} cannot be read as an image")
    label = np.array(Image.open(mask_path))
    if label.ndim != 2 or label.dtype != np.uint8:
        raise TrainingDataError(f"{mask_path} is not an indexed 8-bit PNG with one channel")
    if label.shape != bgr.shape[:2]:
        raise TrainingDataError(
            f"{mask_path} is {label.shape[1]}x{label.shape[0]}, its image {bgr.shape[1]}x{bgr.shape[0]}; "
            "both must have the same size"
        )
    return np.ascontiguousarray(bgr[:, :, ::-1]), label


def _things(sequence: Path) -> set[int] | None:
    """Read the ids that classes.json allows for a sequence; None if it has no entry."""
    path = sequence.parent / "classes.json"
    if not path.is_file():
        return None
    entry = json.loads(path.read_text()).get(sequence.name)
    return None if entry is None else set(entry["things"])


def _digests(folders: list[Path]) -> dict[str, str]:
    """Digest each set; sets of the same name in several folders count as one."""
    lists: dict[str, list[str]] = {}
    for folder in folders:
        for part in sorted(folder / kind / name for kind in ("video", "static") for name in _sets(folder / kind)):
            lines = lists.setdefault(part.relative_to(folder).as_posix(), [])
            for path in sorted(part.rglob("*.*")):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append(f"{content}  {path.relative_to(part).as_posix()}\n")
    return {name: hashlib.sha256("".join(lines).encode()).hexdigest() for name, lines in lists.items()}


def _sets(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
