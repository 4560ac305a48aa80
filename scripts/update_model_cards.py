"""Writes the training run of the shipped weights into their model cards, from the weights' metadata.

Run `python scripts/update_model_cards.py` after adding new weights to vos/pretrained.
"""

from __future__ import annotations

import json
from pathlib import Path

from vos.weights.catalog import PACKAGE_FOLDER, REFINER, read_record
from vos.weights.load import read_metadata

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- run: begin -->", "<!-- run: end -->"
CARDS = {REFINER.name: DOCS / "model_card_refiner.md"}


def card_with_run(name: str) -> str:
    """Return the card with current rows about the run."""
    text = CARDS[name].read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{_rows(name)}\n\n{END}{after}"


def _rows(name: str) -> str:
    """Return a table of the weights file's metadata."""
    path = PACKAGE_FOLDER / f"{name}.safetensors"
    about, record = read_metadata(path), read_record(path)
    recipe = json.loads(about["recipe"])
    done, wanted = int(about["steps"]), int(recipe["steps"])
    rows = {
        "file": f"{path.stat().st_size / 1e6:.2f} MB, SHA-256 `{record.sha256 if record else 'not recorded'}`",
        "started from": about["start"].replace(" ", ", SHA-256 `") + "`",
        "steps": f"{done}" if done == wanted else f"{done} of {wanted}: the run was not finished",
        "batch": f"{recipe['clips']} clips of {recipe['frames']} frames",
        "learning rate": f"{recipe['learning_rate']}, {recipe['backbone_rate']} of it in the backbone",
        "time": f"{about['hours']} hours on {about['hardware']}",
        "seed": about["seed"],
        "code": f"commit `{about['commit'][:12]}`, torch {about['torch']}",
    }
    run = ["| run | |", "| --- | --- |", *(f"| {label} | {value} |" for label, value in rows.items())]
    return "\n".join([*run, "", *_data(about)])


def _data(about: dict[str, str]) -> list[str]:
    """Return the data sets with their number of sequences or pictures and SHA-256 (see `TrainingData.digests`)."""
    counts, digests = json.loads(about["data"]), json.loads(about["data_sha256"])
    lines = [f"| {name} | {count} | `{digests[name]}` |" for name, count in counts.items()]
    return ["| set | items | SHA-256 of the list of its files' SHA-256 |", "| --- | --- | --- |", *lines]


if __name__ == "__main__":
    for model, card in CARDS.items():
        card.write_text(card_with_run(model), encoding="utf-8")
        print(card)
