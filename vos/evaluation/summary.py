"""Summarize an evaluation: as JSON in percent, and as a table.

As in DAVIS, means run over all objects of all sequences. Frames per second and key share run over all frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from vos.evaluation.evaluate import ConfidenceSample, MethodResult, SequenceResult
from vos.evaluation.metrics import Score, rank_correlation

_DIGITS = 2


def summarize(results: Sequence[SequenceResult]) -> dict[str, Any]:
    """Summarize all results as `keymask eval --json` writes them.

    Returns:
        J, F, JF and key_share in percent, fps, and `sequences` with the same per sequence. `score_correlation` is
        Spearman's correlation of score and true J, -1 to 1, over propagated masks (`carried`) and over `all`, null
        where it is undefined. `copy` is J, F, JF with copies of the last key frame's masks in place of propagated
        ones. `baseline` is J, F, JF, fps of the base network on every frame, with the `loss` in points and the
        `speedup` against it; all three are null if it did not run.
    """
    return {**_summary(results), "sequences": [_one(result) for result in results]}


def table(results: Sequence[SequenceResult]) -> Table:
    """Show all results as a table; the last row is the mean."""
    with_baseline = any(result.baseline for result in results)
    columns = ["sequence", "frames", "J", "F", "J&F", "fps", "keys %", "score rho", "copy J&F"]
    chart = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns + (["base J&F", "base fps", "loss", "speed-up"] if with_baseline else []):
        chart.add_column(column, justify="left" if column == "sequence" else "right", no_wrap=True)
    for result in results:
        chart.add_row(*_cells(result.name, result.frames, _summary([result])))
    chart.add_section()
    chart.add_row(*_cells("mean", sum(result.frames for result in results), _summary(results)), style="bold")
    return chart


def _cells(name: str, frames: int, values: dict[str, Any]) -> list[str]:
    cells = [name, str(frames), *(f"{values[key]:.1f}" for key in ("J", "F", "JF", "fps", "key_share"))]
    rho = values["score_correlation"]["carried"]
    cells += ["" if rho is None else f"{rho:.2f}", f"{values['copy']['JF']:.1f}"]
    if values["baseline"]:
        base = values["baseline"]
        cells += [f"{base['JF']:.1f}", f"{base['fps']:.1f}", f"{values['loss']:.1f}", f"{values['speedup']:.2f}x"]
    return cells


def _one(result: SequenceResult) -> dict[str, Any]:
    stats = result.method.stats
    return {
        "name": result.name,
        "frames": result.frames,
        "objects": {
            str(object_id): {"J": _percent(score.j), "F": _percent(score.f)}
            for object_id, score in result.method.objects.items()
        },
        **_summary([result]),
        "motion_source": result.motion_source.value,
        "clip_bytes": result.clip_bytes,
        "sources": {source.value: count for source, count in stats.frames.items()},
        "seconds": {stage: round(seconds, 3) for stage, seconds in stats.seconds.items()},
    }


def _summary(results: Sequence[SequenceResult]) -> dict[str, Any]:
    methods = [result.method for result in results]
    baselines = [result.baseline for result in results if result.baseline]
    frames = sum(result.frames for result in results)
    summary: dict[str, Any] = {
        **_quality(method.objects for method in methods),
        "fps": _fps(frames, methods),
        "key_share": _percent(sum(result.method.stats.key_share * result.frames for result in results) / frames),
        "score_correlation": _score_correlation([sample for method in methods for sample in method.confidence_samples]),
        "copy": _quality(method.copies for method in methods),
        "loss": None,
        "speedup": None,
        "baseline": None,
    }
    if baselines:
        base = {**_quality(baseline.objects for baseline in baselines), "fps": _fps(frames, baselines)}
        seconds = [sum(run.seconds for run in runs) for runs in (baselines, methods)]
        loss = round(base["JF"] - summary["JF"], _DIGITS)
        summary |= {"loss": loss, "speedup": round(seconds[0] / seconds[1], 3), "baseline": base}
    return summary


def _quality(sequences: Iterable[dict[int, Score]]) -> dict[str, float]:
    mean = Score.mean(score for objects in sequences for score in objects.values())
    return {"J": _percent(mean.j), "F": _percent(mean.f), "JF": _percent(mean.jf)}


def _score_correlation(confidence_samples: Sequence[ConfidenceSample]) -> dict[str, float | None]:
    """Spearman's correlation of score and J over the masks of all sequences together, one per frame and object."""
    parts = {"carried": [sample for sample in confidence_samples if sample.propagated], "all": confidence_samples}
    rho = {name: rank_correlation([s.score for s in part], [s.j for s in part]) for name, part in parts.items()}
    return {name: None if value is None else round(value, 3) for name, value in rho.items()}


def _fps(frames: int, runs: Sequence[MethodResult]) -> float:
    return round(frames / sum(run.seconds for run in runs), _DIGITS)


def _percent(share: float) -> float:
    return round(100 * share, _DIGITS)
