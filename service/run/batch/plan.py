"""Plan a batch: which videos, which mask belongs to each, and where its results go."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec.demux.picture_files import find_pictures
from codec.errors import UnreadableError
from service.config import Settings
from service.errors import UsageError
from service.net.input_urls import file_name_of, has_wildcard, is_url, list_objects
from service.run.batch.object_path import ObjectPath, Place
from service.run.options import RunOptions
from service.run.output_paths import is_same
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest
from service.storage.objects.object_store import SCHEME
from service.writers.formats import FORMATS

VIDEO_ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        "264", "265", "3g2", "3gp", "asf", "avi", "flv", "gif", "h264", "h265", "hevc", "ivf", "m2ts", "m2v", "m4v",
        "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "obu", "ogm", "ogv", "ts", "vob", "webm",
        "wmv", "y4m",
    )
)  # fmt: skip
"""Endings of the files that are taken from a folder. A file that is named itself may have any ending."""
MASK_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".npy")
REPORT_NAME = "report.jsonl"
_RLE_NAME = "masks.ndjson"


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One video of a batch. It holds all that another process, or another machine with the same files, has to know.

    Attributes:
        name: Name of the video without its ending, unique in the batch.
        video: Video file, or folder of pictures.
        mask: Mask of the prompt frame, or an object with it; None if none was found.
        problem: Why there is no mask; None if there is one.
        folder: Folder of the results, or of the objects with them.
        options: How to segment.
        writes: What to write besides masks and report: "rle", and names of `service.writers.formats.FORMATS`.
        force: Whether to replace an earlier result.
        resume: Whether to skip a finished video and continue one that was cut off.
        url: URL that the video is copied from, to a file of the name in `video`; None for a video of this machine.
    """

    name: str
    video: Path
    mask: Place | None
    problem: str | None
    folder: Place
    options: RunOptions = field(default_factory=RunOptions)
    writes: tuple[str, ...] = ()
    force: bool = False
    resume: bool = False
    url: str | None = None

    @property
    def source(self) -> str:
        """Where the video is from, as it was given."""
        return self.url or str(self.video)

    @property
    def is_local(self) -> bool:
        """Whether all its files are files of this machine."""
        return self.url is None and not isinstance(self.mask, ObjectPath) and not isinstance(self.folder, ObjectPath)

    def request(self) -> RunRequest:
        """Return the run of this task, whose files are files of this machine.

        Raises:
            UsageError: There is no mask.
        """
        if self.mask is None:
            raise UsageError(self.problem or f"no mask for {self.video}")
        assert isinstance(self.mask, Path)
        assert isinstance(self.folder, Path)
        exports = {name: self.folder / FORMATS[name].file for name in self.writes if name != "rle"}
        outputs = Outputs(self.folder, rle=self.folder / _RLE_NAME if "rle" in self.writes else None, exports=exports)
        return RunRequest(self.video, self.mask, outputs, self.options, self.force, self.resume)


def plan_batch(
    videos: Sequence[str],
    masks: Place,
    out: Place,
    options: RunOptions,
    *,
    writes: tuple[str, ...] = (),
    force: bool = False,
    resume: bool = False,
) -> list[BatchTask]:
    """Plan a batch, in the order in which the videos are given.

    Args:
        videos: Video files, folders of pictures, folders of these, patterns such as "clips/*.mp4", or URLs.
        masks: Folder with the mask of each video: NAME.png (or another ending), or NAME/00000.png.
        out: Folder of the results, one folder per video.
        options: How to segment.
        writes: What to write besides masks and report: "rle", and names of `service.writers.formats.FORMATS`.
        force: Whether to replace earlier results.
        resume: Whether to continue an earlier batch.

    Raises:
        UsageError: There is no video or no mask at all, two videos have the same name, or results are in the way.
    """
    urls = {Path(name): url for url in videos if is_url(url) and (name := file_name_of(url))}
    if len(urls) < len({url for url in videos if is_url(url)}):
        raise UsageError("several URLs end in the same name, or one has none; run them in two batches")
    here = (video for given in videos if not is_url(given) for video in _expand(given))
    found = [*urls, *dict.fromkeys(here)]
    if not found:
        raise UsageError(f"there is no video in {', '.join(videos)}")
    exists = _files_in(masks)
    _check_names(found)
    if isinstance(out, Path) and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; a folder is expected")
    if _has_report(out) and not (force or resume):
        raise UsageError(f"{out} has results of an earlier batch: continue it with --resume, or replace with --force")
    tasks = []
    for video in found:
        name = name_of(video)
        mask, problem = find_mask(masks, name, options.prompt_frame, exists)
        url = urls.get(video)
        tasks.append(BatchTask(name, video, mask, problem, out / name, options, writes, force, resume, url))
    if all(task.mask is None for task in tasks):
        raise UsageError(f"no video has a mask: {tasks[0].problem}")
    return tasks


def name_of(video: Path) -> str:
    """Return the name by which a video's mask is found and its results are called."""
    resolved = video if video.name else video.resolve()
    return resolved.name if video.is_dir() else resolved.stem


def expand_objects(videos: Sequence[str], settings: Settings) -> list[str]:
    """Replace patterns such as s3://bucket/*.mp4, and folders such as s3://bucket/clips/, by the URLs of their videos.

    Raises:
        UsageError: There is no such video.
        ServiceError: The bucket cannot be listed.
    """
    found: list[str] = []
    for given in videos:
        if not given.startswith(SCHEME) or not (given.endswith("/") or has_wildcard(given)):
            found.append(given)
            continue
        urls = list_objects(f"{given}*" if given.endswith("/") else given, settings)
        if given.endswith("/"):
            urls = [url for url in urls if Path(url).suffix.lower() in VIDEO_ENDINGS and "/." not in url]
        if not urls:
            raise UsageError(f"there is no video in {given}")
        found += urls
    return found


def find_mask(
    masks: Place, name: str, frame: int, exists: Callable[[Any], bool] = Path.is_file
) -> tuple[Place | None, str | None]:
    """Return the mask of a video; or None, and what is wrong.

    Args:
        masks: Folder of the masks.
        name: Name of the video.
        frame: The prompt frame, after which a mask in a folder of its own is named.
        exists: Returns whether there is such a file.
    """
    named = f"{frame:05d}"
    candidates = [masks / f"{name}{ending}" for ending in MASK_ENDINGS]
    candidates += [masks / name / f"{named}{ending}" for ending in MASK_ENDINGS]
    found = [path for path in candidates if exists(path)]
    if len(found) == 1:
        return found[0], None
    if found:
        return None, f"several masks for {name}: {', '.join(map(str, found))}; keep one of them"
    return None, f"no mask for {name}: looked for {masks / name}.png (or another ending) and {masks / name / named}.png"


def _files_in(masks: Place) -> Callable[[Any], bool]:
    """Return a function that says whether a file is in the folder of masks.

    Raises:
        UsageError: There is no such folder.
    """
    if isinstance(masks, ObjectPath):
        return masks.objects().__contains__
    if not masks.is_dir():
        raise UsageError(f"--masks {masks} is not a folder; it holds NAME.png or NAME/00000.png for each video NAME")
    return Path.is_file


def _has_report(out: Place) -> bool:
    """Whether an earlier batch has written there."""
    if isinstance(out, ObjectPath):
        return out.open().size(REPORT_NAME) is not None
    return (out / REPORT_NAME).exists()


def _expand(given: str) -> Iterator[Path]:
    """Yield the videos that an argument stands for."""
    path = Path(given)
    if not path.exists() and has_wildcard(given):
        for match in sorted(glob.glob(given)):  # noqa: PTH207 - the pattern may be absolute
            yield from _expand(match)
    elif path.is_dir() and not _is_sequence(path):
        for entry in sorted(path.iterdir()):
            if entry.name.startswith("."):
                continue
            if (entry.is_dir() and _is_sequence(entry)) or (entry.is_file() and entry.suffix.lower() in VIDEO_ENDINGS):
                yield entry
    else:
        yield path


def _is_sequence(folder: Path) -> bool:
    """Whether a folder holds the pictures of one video."""
    try:
        find_pictures(folder)
    except UnreadableError:
        return False
    return True


def _check_names(videos: Iterable[Path]) -> None:
    """Refuse videos of the same name, whose masks and results could not be told apart."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for video in videos:
        by_name[name_of(video)].append(video)
    for name, same in by_name.items():
        if len(same) > 1 and not all(is_same(same[0], other) for other in same[1:]):
            raise UsageError(
                f"{' and '.join(map(str, same))} have the same name {name!r}, so their masks and results cannot be "
                "told apart; rename one, or run them in two batches"
            )
        if len(same) > 1 or name == REPORT_NAME:
            raise UsageError(f"{same[0]} is given twice" if len(same) > 1 else f"a video cannot be called {name}")
