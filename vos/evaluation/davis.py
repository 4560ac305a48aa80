"""Sequences in the layout of the DAVIS data set: pictures with annotations of some or all of them.

`ROOT/JPEGImages/480p/SEQUENCE/*.jpg` and `ROOT/Annotations/480p/SEQUENCE/*.png`, paired by file name. Annotations are
0 and 255 for one object (DAVIS-2016), or palette indices 1, 2, ... for several (DAVIS-2017), where 255 marks pixels
that belong to no object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from codec.types import UInt8Array
from vos.errors import DatasetError

RESOLUTION = "480p"
_VOID = 255


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence on disk.

    Attributes:
        name: Name of the folder.
        pictures: JPEG files in order, at least three, all of one size.
        annotations: Frame index -> PNG file of the picture's size; always has frame 0.
        size: (width, height) in pixels.
        single: Whether annotations mark a single object by 255.
    """

    name: str
    pictures: tuple[Path, ...]
    annotations: dict[int, Path]
    size: tuple[int, int]
    single: bool

    def labels(self, index: int) -> UInt8Array:
        """Annotation of a frame as uint8 [height, width]: 0 background, other values object ids."""
        values = _read_labels(self.annotations[index])
        if self.single:
            return (values > 0).astype(np.uint8)
        return np.where(values == _VOID, 0, values).astype(np.uint8)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects in the first annotation, ascending."""
        return tuple(int(i) for i in np.unique(self.labels(0)) if i)


def find_sequences(root: Path, names: Iterable[str] | None = None) -> list[Sequence]:
    """Open the named sequences under `root` (all by default), in alphabetical order.

    Raises:
        DatasetError: `root` does not have the layout, a sequence is unknown, or its files do not fit together.
    """
    pictures = root / "JPEGImages" / RESOLUTION
    if not pictures.is_dir():
        raise DatasetError(f"{root} is not a DAVIS folder: {pictures} does not exist; expected {_layout()} in it")
    known = sorted(folder.name for folder in pictures.iterdir() if folder.is_dir())
    if not known:
        raise DatasetError(f"{pictures} holds no sequence; expected {_layout()} in {root}")
    wanted = known if names is None else sorted(set(names))
    for name in wanted:
        if name not in known:
            raise DatasetError(f"no sequence {name!r} in {pictures}; it has {', '.join(known)}")
    return [_open_sequence(root, name) for name in wanted]


def read_split(file: Path) -> list[str]:
    """Read names of sequences from a split file: one per line, or DAVIS-2016's lines of picture and annotation paths.

    Raises:
        DatasetError: The file cannot be read as text or names no sequence.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"--split {file} cannot be read as text: {error}") from error
    entries = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    names = [Path(entry).parent.name if "/" in entry else entry for entry in entries]
    if not names:
        raise DatasetError(f"--split {file} names no sequence; expected one name per line")
    return sorted(set(names))


def _layout() -> str:
    return f"JPEGImages/{RESOLUTION}/SEQUENCE/*.jpg and Annotations/{RESOLUTION}/SEQUENCE/*.png"


def _open_sequence(root: Path, name: str) -> Sequence:
    folder = root / "JPEGImages" / RESOLUTION / name
    pictures = tuple(sorted(folder.glob("*.jpg")))
    if len(pictures) < 3:
        raise DatasetError(
            f"{folder} holds {len(pictures)} .jpg files; at least 3 are needed, since first and last do not count"
        )
    annotation_folder = root / "Annotations" / RESOLUTION / name
    candidates = {index: annotation_folder / f"{picture.stem}.png" for index, picture in enumerate(pictures)}
    annotations = {index: file for index, file in candidates.items() if file.is_file()}
    if 0 not in annotations:
        raise DatasetError(f"{name}: no annotation of the first frame; {candidates[0]} does not exist")
    if not any(0 < index < len(pictures) - 1 for index in annotations):
        raise DatasetError(f"{name}: no annotation in {annotation_folder} between the first frame and the last")
    size = _common_size(name, (*pictures, *annotations.values()))
    values = {int(value) for value in np.unique(_read_labels(annotations[0])) if value}
    if not values or (values == {_VOID} and _is_indexed_with_objects(annotations.values())):
        raise DatasetError(f"{name}: the first annotation marks no object; {annotations[0]} is all background")
    return Sequence(name, pictures, annotations, size, single=values == {_VOID})


def _is_indexed_with_objects(files: Iterable[Path]) -> bool:
    """Whether any annotation names an object other than 255, so that 255 means void."""
    return any(bool(np.isin(_read_labels(file), (0, _VOID), invert=True).any()) for file in files)


def _common_size(name: str, files: Iterable[Path]) -> tuple[int, int]:
    """The one size of all files."""
    first: tuple[Path, tuple[int, int]] | None = None
    for file in files:
        size = _read_size(file)
        first = first or (file, size)
        if size != first[1]:
            raise DatasetError(
                f"{name}: {file} is {size[0]}x{size[1]} pixels, {first[0].name} is {first[1][0]}x{first[1][1]}; "
                "pictures and annotations must have the same size"
            )
    assert first is not None
    return first[1]


def _read_size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as picture:
            return picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{file} cannot be read as a picture: {error}") from error


def _read_labels(file: Path) -> UInt8Array:
    """Values of an annotation: palette indices, grey values, or the brightest channel of a colour picture."""
    try:
        with Image.open(file) as picture:
            if picture.mode in ("P", "L"):
                return np.array(picture, np.uint8)
            return np.asarray(np.array(picture.convert("RGB"), np.uint8).max(axis=2))
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{file} cannot be read as a picture: {error}") from error
