"""`keymask eval` on small synthetic data sets, with a fake segmenter where the scores must be known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.encode import Encoder, parse_options
from codec.types import CompressedFrame, UInt8Array, VideoInfo
from service.cli.main import main
from service.run.model_loader import LoadedModel
from tests.support.still_engine import segment_with
from vos.evaluation.davis import find_sequences, read_split
from vos.evaluation.evaluate import SequenceResult, evaluate
from vos.evaluation.summary import summarize
from vos.types import FrameMask, MaskSource, Prompt, Stats

FRAMES = 7
WIDTH, HEIGHT = 96, 64

Guess = Callable[[int, UInt8Array], tuple[UInt8Array, MaskSource]]
"""Frame index and the prompt's labels -> labels of that frame and their source."""


def two_objects() -> UInt8Array:
    """Return the annotation of every frame: two squares that do not move."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, 8:24], labels[32:56, 56:80] = 1, 2
    return labels


def save_sequence(
    root: Path,
    name: str,
    labels: UInt8Array,
    *,
    annotated: Iterable[int] = range(FRAMES),
    mode: str = "P",
) -> None:
    """Write a sequence of noisy pictures in the layout of DAVIS, with the same labels in every annotation."""
    rng = np.random.default_rng(7)
    pictures, annotations = (root / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
    for folder in (pictures, annotations):
        folder.mkdir(parents=True)
    height, width = labels.shape
    for index in range(FRAMES):
        picture = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
        picture[labels > 0] += 120
        Image.fromarray(picture).save(pictures / f"{index:05d}.jpg")
    for index in annotated:
        annotation = Image.fromarray(labels)
        if mode == "P":
            annotation = Image.frombytes("P", (width, height), labels.tobytes())
            annotation.putpalette(bytes(range(256)) * 3)
        annotation.convert(mode).save(annotations / f"{index:05d}.png")


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """A data set with the sequences "pair" (two objects) and "single" (0 and 255)."""
    save_sequence(tmp_path, "pair", two_objects())
    save_sequence(tmp_path, "single", ((two_objects() == 1) * 255).astype(np.uint8), mode="L")
    return tmp_path


class FakeSegmenter:
    """Reads every frame and yields prescribed masks with prescribed scores."""

    def __init__(self, guess: Guess, score: Callable[[int], float] = lambda _index: 1.0) -> None:
        self._guess, self._score = guess, score
        self.stats = Stats({}, {})

    state = None

    def run(
        self, frames: Iterable[CompressedFrame], _info: VideoInfo, prompt: Prompt, _state: object = None
    ) -> Iterator[FrameMask]:
        """Yield the masks in presentation order."""
        counts: dict[MaskSource, int] = {}
        for frame in sorted(frames, key=lambda frame: frame.index):
            labels, source = self._guess(frame.index, prompt.labels)
            counts[source] = counts.get(source, 0) + 1
            self.stats = Stats(dict(counts), {"decode": 1.0})
            scores = {object_id: self._score(frame.index) for object_id in prompt.object_ids}
            yield FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, scores)


def misses_first_on_odd(index: int, prompt: UInt8Array) -> tuple[UInt8Array, MaskSource]:
    """Lose object 1 on odd frames, which are propagated; all other labels are exact."""
    if index % 2:
        return np.where(prompt == 1, 0, prompt).astype(np.uint8), MaskSource.PROPAGATED
    return prompt, MaskSource.KEY if index else MaskSource.PROMPT


def exact(index: int, prompt: UInt8Array) -> tuple[UInt8Array, MaskSource]:
    """Return the annotation itself, as a mask of the base network."""
    return prompt, MaskSource.KEY if index else MaskSource.PROMPT


def run(
    root: Path,
    names: list[str],
    guess: Guess,
    baseline: Guess | None = None,
    score: Callable[[int], float] = lambda _index: 1.0,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate with fake segmenters."""
    results = evaluate(
        find_sequences(root, names),
        Encoder("mpeg4"),
        segment_with(FakeSegmenter(guess, score)),
        segment_with(FakeSegmenter(baseline)) if baseline else None,
        **options,
    )
    return summarize(list(results))


def test_means_follow_davis(davis: Path) -> None:
    """Frames 1 to n - 2 count; J and F are averaged per object, then over all objects with equal weight."""
    summary = run(davis, ["pair", "single"], misses_first_on_odd)
    pair, single = summary["sequences"]
    assert [pair["name"], single["name"]] == ["pair", "single"]
    # Of the frames 1 to 5, object 1 is exact on 2 and 4; object 2 always.
    assert pair["objects"] == {"1": {"J": 40, "F": 40}, "2": {"J": 100, "F": 100}}
    assert (pair["J"], pair["F"], pair["JF"]) == (70, 70, 70)
    assert single["JF"] == 40
    assert summary["JF"] == pytest.approx((40 + 100 + 40) / 3, abs=0.01)
    assert summary["key_share"] == pytest.approx(100 * 4 / 7, abs=0.01)


def test_copy_repeats_the_mask_of_the_last_key_frame(davis: Path) -> None:
    """`copy` scores each propagated frame by the last key frame's mask, which is exact since nothing moves."""
    assert run(davis, ["pair"], misses_first_on_odd)["copy"] == {"J": 100, "F": 100, "JF": 100}


def shrinks_on_odd(index: int, prompt: UInt8Array) -> tuple[UInt8Array, MaskSource]:
    """On odd frames, which are propagated, remove two rows per frame from the top; keep the rest exact."""
    labels = prompt.copy()
    if index % 2:
        labels[8 : 8 + 2 * index] = 0
    return labels, MaskSource.PROPAGATED if index % 2 else MaskSource.KEY


def test_score_correlation_ranks_propagated_masks_and_all_masks(davis: Path) -> None:
    """Scores that fall with J correlate fully; the exact key frames are ties and count in `all` only."""
    found = run(davis, ["single"], shrinks_on_odd, score=lambda index: 1 - index / 10)["score_correlation"]
    # Propagated: frames 1, 3, 5. All: frames 1 to 5 with score ranks 5, 4, 3, 2, 1 and J ranks 3, 4.5, 2, 4.5, 1.
    assert found == {"carried": 1, "all": pytest.approx(4 / (10 * 9.5) ** 0.5, abs=1e-3)}


def test_score_correlation_ignores_absent_objects(davis: Path) -> None:
    """Objects absent from truth and mask do not count; without two different values, the correlation is null."""
    for index in (1, 3):
        Image.new("L", (WIDTH, HEIGHT)).save(davis / "Annotations" / "480p" / "single" / f"{index:05d}.png")

    def guess(index: int, prompt: UInt8Array) -> tuple[UInt8Array, MaskSource]:
        labels, source = shrinks_on_odd(index, prompt)
        return labels * np.uint8(index not in {1, 3}), source

    summary = run(davis, ["single"], guess, score=lambda index: 0.0 if index in {1, 3} else 0.5 + index / 100)
    # Propagated: frame 5 alone. All: frames 2, 4, 5, the last of which has the highest score and the lowest J.
    assert summary["score_correlation"] == {"carried": None, "all": pytest.approx(-1.5 / 3**0.5, abs=1e-3)}


def test_loss_is_relative_to_the_network_on_every_frame(davis: Path) -> None:
    """Loss is the baseline's J&F minus the method's, in points; without a baseline it is null."""
    summary = run(davis, ["pair"], misses_first_on_odd, exact)
    assert summary["baseline"]["JF"] == 100
    assert summary["loss"] == 30
    alone = run(davis, ["pair"], misses_first_on_odd)
    assert (alone["baseline"], alone["loss"], alone["speedup"]) == (None, None, None)


def test_only_annotated_frames_count(tmp_path: Path) -> None:
    """If frames 0, 2, 3 and 6 have an annotation, frames 2 and 3 count."""
    save_sequence(tmp_path, "sparse", two_objects(), annotated=[0, 2, 3, 6])
    assert run(tmp_path, ["sparse"], misses_first_on_odd)["sequences"][0]["objects"]["1"]["J"] == 50


def test_void_pixels_are_background(tmp_path: Path) -> None:
    """If other labels exist, 255 is background in the prompt and in the truth."""
    labels = two_objects()
    labels[:4] = 255
    save_sequence(tmp_path, "void", labels)
    summary = run(tmp_path, ["void"], exact)
    assert list(summary["sequences"][0]["objects"]) == ["1", "2"]
    assert summary["J"] == 100


def test_time_between_masks_does_not_count(davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At one second per mask, fps is 1, however long the caller takes between masks."""
    now = 0.0

    def tick(seconds: float) -> None:
        nonlocal now
        now += seconds

    def guess(index: int, prompt: UInt8Array) -> tuple[UInt8Array, MaskSource]:
        tick(1)
        return exact(index, prompt)

    def slow_guess(index: int, prompt: UInt8Array) -> tuple[UInt8Array, MaskSource]:
        tick(4)
        return exact(index, prompt)

    monkeypatch.setattr("vos.runtime.stage_timer.perf_counter", lambda: now)
    summary = run(davis, ["pair", "single"], guess, slow_guess, progress=lambda _done: tick(100))
    assert (summary["fps"], summary["baseline"]["fps"], summary["speedup"]) == (1, 0.25, 4)


def test_progress_counts_every_mask(davis: Path) -> None:
    """The progress of a run with a baseline ends at twice the number of pictures."""
    seen: list[int] = []
    run(davis, ["pair"], exact, exact, progress=seen.append)
    assert seen == list(range(1, 2 * FRAMES + 1))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", ""),
        ("libx264", "bf=0,x264-params=keyint=3:ref=1"),
        ("libx265", ""),
        ("mpeg4", "bf=2"),
        ("mpeg2video", ""),
        ("mjpeg", ""),
    ],
)
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (97, 65)])
def test_clip_has_one_frame_per_picture(tmp_path: Path, encoder: str, options: str, size: tuple[int, int]) -> None:
    """Each encoder makes a clip with one frame per picture in the annotation's size, even or odd."""
    labels = np.zeros(size[::-1], np.uint8)
    labels[8:40, 8:40] = 1
    save_sequence(tmp_path, "clip", labels)
    result: SequenceResult
    (result,) = evaluate(
        find_sequences(tmp_path), Encoder(encoder, parse_options(options)), segment_with(FakeSegmenter(exact))
    )
    assert result.method.objects[1].jf == 1
    assert result.method.stats.total == FRAMES


def test_split_files_of_both_years_are_read(tmp_path: Path) -> None:
    """A split names one sequence per line, or picture and annotation paths as in DAVIS-2016; comments are skipped."""
    split = tmp_path / "split.txt"
    split.write_text("# dev\npair\n\nsingle\n")
    assert read_split(split) == ["pair", "single"]
    split.write_text(
        "".join(f"/JPEGImages/480p/pair/{i:05d}.jpg /Annotations/480p/pair/{i:05d}.png\n" for i in range(3))
    )
    assert read_split(split) == ["pair"]


def test_command_writes_the_json(davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON has the documented top-level keys and the settings of the run."""
    policies: list[str] = []

    def fake_model(choice: Any, options: Any, settings: Any) -> LoadedModel:
        policies.append(options.keyframes)
        return LoadedModel(
            FakeSegmenter(exact if options.keyframes == "every:1" else misses_first_on_odd), {"name": "fake"}
        )

    monkeypatch.setattr("service.run.model_loader.load_model", fake_model)
    file = tmp_path / "result.json"
    arguments = ["eval", str(davis), "--sequences", "pair", "--encoder", "mpeg4", "--encoder-options", "b=900k"]
    assert main([*arguments, "--keyframes", "codec", "--baseline", "--json", str(file)]) == 0
    value = json.loads(file.read_text())
    measured = {"J", "F", "JF", "fps", "key_share", "score_correlation", "copy", "loss", "speedup", "baseline"}
    assert set(value) == measured | {"sequences", "settings"}
    assert (value["JF"], value["loss"], set(value["baseline"])) == (70, 30, {"J", "F", "JF", "fps"})
    assert value["settings"]["encoder"] == {"name": "mpeg4", "options": {"b": "900k"}}
    assert policies == ["codec", "every:1"]


def test_command_runs_the_real_network(davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command runs with seeded weights; the table lists each sequence and the mean."""
    arguments = ["eval", str(davis), "--weights", "seeded", "--keyframes", "every:3", "--baseline", "--json", "-"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    assert value["key_share"] == pytest.approx(100 * 3 / 7, abs=0.01)
    assert value["loss"] == pytest.approx(value["baseline"]["JF"] - value["JF"], abs=0.011)
    assert [line.split()[0] for line in printed.err.splitlines() if line.strip()][-3:] == ["pair", "single", "mean"]


def _no_root(root: Path) -> None:
    (root / "JPEGImages" / "480p").rename(root / "JPEGImages" / "other")


def _no_first(root: Path) -> None:
    (root / "Annotations" / "480p" / "pair" / "00000.png").unlink()


def _only_first(root: Path) -> None:
    for file in sorted((root / "Annotations" / "480p" / "pair").glob("*.png"))[1:]:
        file.unlink()


def _other_size(root: Path) -> None:
    Image.new("L", (WIDTH, HEIGHT - 2)).save(root / "Annotations" / "480p" / "pair" / "00003.png")


def _empty_first(root: Path) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(root / "Annotations" / "480p" / "pair" / "00000.png")


def _no_picture(root: Path) -> None:
    (root / "JPEGImages" / "480p" / "pair" / "00002.jpg").write_bytes(b"not a picture")


def _two_frames(root: Path) -> None:
    for file in sorted((root / "JPEGImages" / "480p" / "pair").glob("*.jpg"))[2:]:
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (_no_root, [], "is not a DAVIS folder"),
        (None, ["--sequences", "pair,cow"], "no sequence 'cow' in .*; it has pair, single"),
        (None, ["--sequences", " , "], "expected names separated by commas"),
        (None, ["--sequences", "pair", "--split", "split.txt"], "give one of them"),
        (None, ["--split", "absent.txt"], "absent.txt cannot be read"),
        (_no_first, [], "pair: no annotation of the first frame; .*00000.png does not exist"),
        (_only_first, [], "between the first frame and the last"),
        (_other_size, [], "00003.png is 96x62 pixels, 00000.jpg is 96x64"),
        (_empty_first, [], "marks no object"),
        (_no_picture, [], "00002.jpg cannot be read as a picture"),
        (_two_frames, [], "holds 2 .jpg files; at least 3"),
        (
            None,
            ["--encoder", "h265"],
            "'h265' is not an available video encoder; available are, for example: .*libx264",
        ),
        (None, ["--encoder", "aac"], "'aac' is not an available video encoder"),
        (None, ["--encoder-options", "crf"], "contain 'crf'; expected key=value"),
        (None, ["--encoder-options", "bogus=1"], "encoder libx264 has no option bogus"),
        (None, ["--encoder-options", "crf=high"], "rejects the options 'preset=medium,crf=high'"),
        (None, ["--encoder", "gif"], "does not support 'gif'"),
        (None, ["--motion", "flow"], "motion is 'flow'; allowed: auto, bitstream, proxy"),
        (None, ["--keyframes", "often"], "keyframes is 'often'; allowed: adaptive, codec, every:N"),
        (None, ["--model", "huge"], "must be one of compact, stm, stcn"),
        (None, ["--encoder", "libx265", "--motion", "bitstream"], "hevc streams export no motion vectors"),
    ],
)
def test_bad_input_is_one_line(
    davis: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None] | None,
    arguments: list[str],
    message: str,
) -> None:
    """Bad input exits 2 with one line that describes the problem."""
    if spoil:
        spoil(davis)
    assert main(["eval", str(davis), "--weights", "seeded", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"keymask: error: .*{message}", line)
