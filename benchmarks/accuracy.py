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


def row(result: dict[str, Any], name: str) -> Row:
    """Distance of one evaluation to the floor, on the mean over all objects."""
    worst = min(result["sequences"], key=lambda sequence: sequence["JF"] - sequence["copy"]["JF"])
    gain, least = (round(part["JF"] - part["copy"]["JF"], 2) for part in (result, worst))
    note = f"{name}: {least:+.1f} in the worst sequence, {worst['name']}"
    return Row(f"{name}: J&F above copying the last key frame's mask", Spread.of([gain], 2), "points", ">= 0", note)


def main() -> None:
    """Measure and write accuracy.json."""
    options = parser(__doc__)
    options.add_argument("--model", default="compact")
    options.add_argument("--weights", help="weights file or 'seeded'; the model's own by default")
    arguments: argparse.Namespace = options.parse_args()
    report = Report("accuracy", arguments)
    for keyframes in POLICIES[:1] if arguments.quick else POLICIES:
        report.details[keyframes] = evaluate(arguments.data, keyframes, arguments)
    multi = arguments.data.parent / "multi"
    if multi.is_dir() and not arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            root = as_davis(multi, Path(folder))
            report.details["adaptive, 7 and 8 objects at 240p"] = evaluate(root, "adaptive", arguments)
    report.rows = [row(result, f"{arguments.model}, {name}") for name, result in report.details.items()]
    report.write()


if __name__ == "__main__":
    main()
