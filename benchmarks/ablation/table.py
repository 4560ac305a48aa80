"""Print ablation.json as a Markdown table for the model card: `python -m benchmarks.ablation.table [FOLDER]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.paths import RESULTS

RECIPE, SECOND_SEED = "recipe", "recipe, seed 2"
_DIFFERENCE = "against the recipe"


def page(folder: Path = RESULTS) -> str:
    """Format the ablation in a results folder."""
    file = folder / "ablation.json"
    details = json.loads(file.read_text(encoding="utf-8"))["details"] if file.exists() else {"variants": {}}
    done = {name: found for name, found in details["variants"].items() if found is not None}
    if not done:
        return "Not measured yet; run `python -m benchmarks.ablation.train_variants`.\n"
    missing = [name for name, found in details["variants"].items() if found is None]
    lines = [
        f"Runs of {details['steps']} steps each. J&F in percent: the network on every frame of the development "
        f"sequences ({_frames(done, 'one')} frames), `{details['carrying']}` with the shipped refiner, and the network "
        f"on every frame of two sequences with 7 and 8 objects ({_frames(done, 'several')} frames).",
        "",
        f"| change | J&F | {_DIFFERENCE} | `{details['carrying']}` | several objects | {_DIFFERENCE} |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_line(name, found, done.get(RECIPE)) for name, found in done.items()),
        "",
        _noise(done),
        "",
    ]
    if missing:
        lines += [f"Not measured yet: {'; '.join(missing)}.", ""]
    return "\n".join([*lines, *_machines(done)]) + "\n"


def _line(name: str, found: Mapping[str, Any], recipe: Mapping[str, Any] | None) -> str:
    cells = [name]
    for part in ("one", "several"):
        cells += [f"{_score(found, part):.1f}", "" if recipe is None or found is recipe else _gain(found, recipe, part)]
        cells += [f"{found[part]['carrying']['JF']:.1f}"] if part == "one" else []
    return f"| {' | '.join(cells)} |"


def _gain(found: Mapping[str, Any], recipe: Mapping[str, Any], part: str) -> str:
    # Adding 0 turns -0.0 into +0.0.
    return f"{round(_score(found, part) - _score(recipe, part), 1) + 0:+.1f}"


def _noise(done: Mapping[str, Any]) -> str:
    """Estimate the noise of a mean from the differences of two seeds per sequence."""
    if RECIPE not in done or SECOND_SEED not in done:
        return "The effect of the seed is not measured yet, so no difference can be told from chance."
    one, several = (_standard_error(done[RECIPE], done[SECOND_SEED], part) for part in ("one", "several"))
    return (
        "Noise: by the differences of two seeds of the recipe per sequence, the difference of two means has a "
        f"standard error of {one:.1f} points, {several:.1f} with several objects. Smaller differences mean nothing."
    )


def _standard_error(first: Mapping[str, Any], second: Mapping[str, Any], part: str) -> float:
    """Standard error of the difference of two means over n sequences: RMS of the differences over sqrt(n)."""
    scores = [run[part]["every_frame"]["by_sequence"] for run in (first, second)]
    squares = [(scores[0][name]["JF"] - scores[1][name]["JF"]) ** 2 for name in scores[0]]
    return float(sum(squares) ** 0.5 / len(squares))


def _score(found: Mapping[str, Any], part: str) -> float:
    return float(found[part]["every_frame"]["JF"])


def _frames(done: Mapping[str, Any], part: str) -> int:
    return int(next(iter(done.values()))[part]["frames"])


def _machines(done: Mapping[str, Any]) -> list[str]:
    about = {
        f"Trained and judged on {found['environment']['cpu']}, {found['environment']['cores']} cores, by the code of "
        f"commit {found['commit'][:12]}{' and changes' if found['environment']['dirty'] else ''}."
        for found in done.values()
    }
    return sorted(about)


if __name__ == "__main__":
    print(page(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS), end="")
