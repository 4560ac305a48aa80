"""How much quality does propagation cost, and what does it win?

`keymask eval --baseline` on sequences that no network was trained on, once a key-frame policy. The floor is what every
policy must beat: its own key frames, and between them a copy of the last key frame's mask.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from harness import Report, Row, Spread, parser

from service.cli import main as keymask

POLICIES = ("adaptive", "codec", "every:5")
MULTI = ("schoolgirls", "tabletop")


def evaluate(root: Path, keyframes: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The JSON of `keymask eval --baseline`.

    Raises:
        RuntimeError: It failed.
    """
    command = ["eval", str(root), "--keyframes", keyframes, "--model", arguments.model, "--baseline"]
    command += ["--weights", arguments.weights] if arguments.weights else []
    command += ["--sequences", "soccerball"] if arguments.quick and root == arguments.data else []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        code = keymask([*command, "--json", str(file)])
        if code:
            raise RuntimeError(f"keymask {' '.join(command)} ended with exit code {code}")
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def as_davis(multi: Path, root: Path) -> Path:
    """Link sequences of frames/ and masks/ into the layout of DAVIS."""
    for kind, folder in (("JPEGImages", "frames"), ("Annotations", "masks")):
        (root / kind / "480p").mkdir(parents=True)
        for name in MULTI:
            (root / kind / "480p" / name).symlink_to((multi / name / folder).resolve())
    return root


def rows(result: dict[str, Any], what: str) -> list[Row]:
    """Quality, loss, speed-up and distance to the floor of one evaluation."""
    beaten = min(s["JF"] - s["copy"]["JF"] for s in result["sequences"])
    share = f"{result['key_share']:.0f} % key frames, {result['fps']:.1f} frames/s"
    return [
        Row(f"{what}: J&F", _one(result["JF"]), "%", note=share),
        Row(f"{what}: loss to every frame", _one(result["loss"]), "points"),
        Row(f"{what}: speed-up over every frame", _one(result["speedup"]), "x"),
        Row(
            f"{what}: J&F above copying the last key frame's mask",
            _one(result["JF"] - result["copy"]["JF"]),
            "points",
            ">= 0",
        ),
        Row(f"{what}: the same in the worst sequence", _one(beaten), "points"),
    ]


def _one(value: float) -> Spread:
    return Spread.of([value], 2)


def main() -> None:
    """Measure and write accuracy.json."""
    options = parser(__doc__)
    options.add_argument("--model", default="compact")
    options.add_argument("--weights", help="weights file or 'seeded'; the model's own by default")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("accuracy", arguments)
    policies = POLICIES[:1] if arguments.quick else POLICIES
    for keyframes in policies:
        result = evaluate(arguments.data, keyframes, arguments)
        report.details[keyframes] = result
        if keyframes == policies[0]:
            base = result["baseline"]
            note = f"J {base['J']:.1f}, F {base['F']:.1f}, {base['fps']:.1f} frames/s"
            report.rows.append(Row(f"{arguments.model} on every frame: J&F", _one(base["JF"]), "%", note=note))
        report.rows += rows(result, f"{arguments.model}, {keyframes}")
    multi = arguments.data.parent / "multi"
    if multi.is_dir() and not arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            result = evaluate(as_davis(multi, Path(folder)), "adaptive", arguments)
        report.details["adaptive, 7 and 8 objects at 240p"] = result
        report.rows += rows(result, f"{arguments.model}, adaptive, 7 and 8 objects at 240p")
    report.write()


if __name__ == "__main__":
    main()
