"""Comparison of methods, on tiny clips with a fake segmenter and on hand-made results."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy import methods
from benchmarks.accuracy.methods import Method
from codec.encode import Encoder
from codec.types import CompressedFrame, MotionSource, VideoInfo
from tests.support.still_engine import segment_with
from vos.evaluation.davis import find_sequences
from vos.evaluation.evaluate import ConfidenceSample, MethodResult, SequenceResult
from vos.evaluation.metrics import Score
from vos.types import FrameMask, MaskSource, Prompt, Stats

FRAMES, HEIGHT, WIDTH = 6, 64, 96


class FakeSegmenter:
    """Exact on every frame as the baseline; otherwise every second frame is propagated and loses the object."""

    def __init__(self, method: Method) -> None:
        self._exact = method.keyframes == "every:1"
        self.stats = Stats({}, {})
        self.state = None

    def run(
        self,
        frames: Iterable[CompressedFrame],
        info: VideoInfo,  # noqa: ARG002
        prompt: Prompt,
        _state: object = None,
    ) -> Iterator[FrameMask]:
        """Yield masks in presentation order, with half a second of refinement in total."""
        counts = dict.fromkeys(MaskSource, 0)
        for frame in sorted(frames, key=lambda frame: frame.index):
            lost = frame.index % 2 == 1 and not self._exact
            source = MaskSource.PROPAGATED if lost else MaskSource.KEY if frame.index else MaskSource.PROMPT
            counts[source] += 1
            self.stats = Stats(dict(counts), {"correct": 0.5})
            labels = prompt.labels * np.uint8(not lost)
            scores = {1: 0.2 if lost else 1.0}
            yield FrameMask(frame.index, frame.pts, frame.time, frame.type, source, labels, scores)


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """Two sequences of six grey pictures with a still object."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[20:40, 20:50] = 255
    for name in ("cow", "dog"):
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            folder = tmp_path / kind / "480p" / name
            folder.mkdir(parents=True)
            for index in range(FRAMES):
                Image.fromarray(labels).save(folder / f"{index:05d}.{suffix}")
    return tmp_path


def test_methods_are_compared_with_the_network_on_every_frame(davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All methods share one baseline per clip, and refinement is counted per propagated frame."""
    monkeypatch.setattr(
        methods, "load", lambda method, _arguments: (segment_with(FakeSegmenter(method)), {"name": "fake"})
    )
    chosen = (Method("every:2"), Method("every:2", refine=False))
    found = methods.compare(find_sequences(davis), [Encoder("mpeg4")], chosen, argparse.Namespace())
    assert (found["sequences"], found["frames"], found["model"]) == (["cow", "dog"], 2 * FRAMES, {"name": "fake"})
    assert found["baseline"]["by_sequence"]["dog"]["JF"] == 100
    refined, plain = found["runs"].values()
    assert list(found["runs"]) == ["every:2", "every:2, not refined"]
    # Frames 1 to 4 are scored, two of them propagated; three of all six frames are propagated.
    assert (refined["JF"], refined["loss"], refined["key_share"]) == (50, 50, 50)
    assert (refined["correct_ms"], plain["correct_ms"]) == (pytest.approx(1000 * 2 * 0.5 / 6, abs=0.01), None)
    assert set(refined["by_sequence"]) == {"cow", "dog"}
    # The object is still, so a copy of the key frame's mask is exact.
    assert [one["copy"]["JF"] for one in refined["by_sequence"].values()] == [100, 100]
    assert refined["score_correlation"] == {"carried": None, "all": 1}


def test_every_sequence_is_segmented_in_every_encoding(davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sequences and two encoders make four clips; both encoders are named, and frames count all clips."""
    seen: list[str] = []

    class Watched(FakeSegmenter):
        def run(
            self, frames: Iterable[CompressedFrame], info: VideoInfo, prompt: Prompt, _state: object = None
        ) -> Iterator[FrameMask]:
            seen.append(info.codec)
            return super().run(frames, info, prompt)

    monkeypatch.setattr(methods, "load", lambda method, _arguments: (segment_with(Watched(method)), {"name": "fake"}))
    encoders = [Encoder("mpeg4", {"b": "2M"}), Encoder("mpeg2video")]
    found = methods.compare(find_sequences(davis), encoders, [Method("every:2")], argparse.Namespace())
    assert found["encoders"] == [
        {"name": "mpeg4", "options": {"b": "2M"}},
        {"name": "mpeg2video", "options": {"b": "4M", "bf": "2"}},
    ]
    assert (found["sequences"], found["frames"]) == (["cow", "dog"], 2 * 2 * FRAMES)
    assert set(found["runs"]["every:2"]["by_sequence"]) == {"cow", "dog"}
    warming, both = ["mpeg4"] * 2, ["mpeg4", "mpeg4", "mpeg2video", "mpeg2video"]
    assert seen == [*warming, *both, *both]  # the network on every frame and one method


def outcome(j: float, seconds: float, keys: int, propagated: int, correct: float = 0.0) -> MethodResult:
    """Build an outcome of one object with F 0.1 above J, and copies 0.2 worse."""
    stats = Stats(
        {MaskSource.PROMPT: 1, MaskSource.KEY: keys - 1, MaskSource.PROPAGATED: propagated}, {"correct": correct}
    )
    copies = {1: Score(j - 0.2, j - 0.1)}
    return MethodResult(
        {1: Score(j, j + 0.1)}, copies, (ConfidenceSample(True, j, j),), seconds, stats, MotionSource.BITSTREAM
    )


def encodings() -> list[SequenceResult]:
    """Build results of a cow of ten frames in two encodings, and of a dog of thirty frames in one."""

    def result(name: str, method: MethodResult, base: MethodResult) -> SequenceResult:
        return SequenceResult(name, method.stats.total, 1000, MotionSource.BITSTREAM, method, base)

    return [
        result("cow", outcome(0.7, 1.0, 2, 8, correct=0.4), outcome(0.8, 10.0, 10, 0)),
        result("dog", outcome(0.3, 5.0, 3, 27, correct=2.0), outcome(0.6, 30.0, 30, 0)),
        result("cow", outcome(0.5, 4.0, 4, 6, correct=1.0), outcome(0.9, 10.0, 10, 0)),
    ]


def test_the_encodings_of_a_sequence_are_pooled() -> None:
    """Quality is the mean over clips, but time is summed: speed-ups of 10 and 2.5 make 4, not their mean."""
    single = methods.summary(Method("every:5"), encodings())["by_sequence"]
    assert list(single) == ["cow", "dog"]
    cow = single["cow"]
    assert [cow[key] for key in ("J", "F", "JF")] == pytest.approx([60, 70, 65])
    assert cow["copy"] == pytest.approx({"J": 40, "F": 50, "JF": 45})
    assert (cow["loss"], cow["key_share"]) == pytest.approx((85 - 60, 30))
    assert (cow["fps"], cow["speedup"]) == pytest.approx((20 / 5, 20 / 5))
    dog = single["dog"]
    assert [dog[key] for key in ("JF", "loss", "key_share", "fps", "speedup")] == pytest.approx([35, 30, 10, 6, 6])


def test_the_summary_is_over_all_clips() -> None:
    """A sequence in two encodings counts twice, and refinement is averaged over the propagated frames of all clips."""
    found = methods.summary(Method("every:5"), encodings())
    assert (found["J"], found["loss"], found["speedup"]) == pytest.approx((50, 80 / 3, 5), abs=0.01)
    assert (found["key_share"], found["fps"]) == pytest.approx((100 * 9 / 50, 50 / 10))
    assert found["correct_ms"] == pytest.approx(1000 * 3.4 / 41, abs=0.01)
    base = methods.baseline(encodings())
    assert (base["J"], base["fps"]) == pytest.approx((230 / 3, 50 / 50), abs=0.01)
    assert base["by_sequence"]["cow"] == pytest.approx({"J": 85, "F": 95, "JF": 90, "fps": 1})
    assert base["by_sequence"]["dog"]["JF"] == pytest.approx(65)


def test_a_sequence_is_cut_with_its_annotations(davis: Path) -> None:
    """The first N pictures and their annotations stay."""
    sequence = find_sequences(davis, ["cow"])[0]
    cut = methods.first_frames(sequence, 4)
    assert [file.name for file in cut.pictures] == [f"{index:05d}.jpg" for index in range(4)]
    assert sorted(cut.annotations) == [0, 1, 2, 3]
    assert methods.first_frames(sequence, None) is sequence
