"""STM and STCN against the numbers of another implementation, by `scripts/verify_golden.py`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.paths import ROOT
from tests.support.scripts import load_script
from vos.modeling.seeded import seeded_state
from vos.weights.build import build_network

FILES = {"stm": "stm_topk", "stcn": "stcn"}


@pytest.fixture(scope="module")
def verify() -> Callable[[list[str]], int]:
    """The script's `main`."""
    script = load_script(ROOT / "scripts" / "verify_golden.py")
    return script.main  # type: ignore[no-any-return]


@pytest.mark.shared
@pytest.mark.parametrize("model", FILES)
def test_names_and_shapes_are_those_published(model: str, shared_dir: Path) -> None:
    """A network's state dict has the published checkpoint's names, shapes and order."""
    published = json.loads((shared_dir / "golden" / f"{FILES[model]}_state_dict.json").read_text())
    ours = {name: list(tensor.shape) for name, tensor in build_network(model).state_dict().items()}
    assert list(ours.items()) == list(published.items())


@pytest.mark.shared
def test_seeded_weights_follow_the_reference(shared_dir: Path) -> None:
    """Seeded tensors equal those of the reference implementation, bit for bit."""
    reference = load_script(shared_dir / "golden" / "seeded_state.py")
    state = build_network("stcn").state_dict()
    expected = reference.fill({name: tuple(tensor.shape) for name, tensor in state.items()})
    ours = seeded_state(state)
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    assert ours.keys() == expected.keys()


@pytest.mark.shared
@pytest.mark.parametrize("model", FILES)
def test_networks_match_their_golden(
    model: str, shared_dir: Path, verify: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """With seeded weights, every array matches the golden within 1e-4."""
    assert verify([model, str(shared_dir / "golden" / f"{FILES[model]}.npz")]) == 0
    assert "all within 0.0001" in capsys.readouterr().out


@pytest.mark.shared
@pytest.mark.parametrize(
    ("array", "value"),
    [("prob2", 2e-4), ("memory_value0", -2e-4), ("prob1", float("nan"))],
    ids=str,
)
def test_a_changed_golden_is_refused(  # noqa: PLR0917
    array: str,
    value: float,
    shared_dir: Path,
    tmp_path: Path,
    verify: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One number that is NaN or differs by more than 1e-4 gives exit code 1."""
    content = dict(np.load(shared_dir / "golden" / "stcn.npz"))
    content[array].flat[17] += value
    np.savez(tmp_path / "changed.npz", **content)
    assert verify(["stcn", str(tmp_path / "changed.npz")]) == 1
    assert "NOT all within" in capsys.readouterr().out


GOOD = {"meta": np.array([96, 160, 2, 7]), "prob1": np.zeros((2, 1, 96, 160), np.float32)}
BAD_GOLDENS = {
    "no meta": ({"prob1": GOOD["prob1"]}, "holds meta and some of"),
    "nothing to compare": ({"meta": GOOD["meta"]}, "holds nothing else"),
    "another network's array": (GOOD | {"query_key1": np.zeros(1)}, "a golden of stcn"),
    "three numbers in meta": (GOOD | {"meta": np.array([96, 160, 2])}, "must be 4 integers"),
    "fractions in meta": (GOOD | {"meta": np.array([96.0, 160, 2, 7])}, "must be 4 integers"),
    "a side of 100": (GOOD | {"meta": np.array([100, 160, 2, 7])}, "multiples of 16"),
    "no object": (GOOD | {"meta": np.array([96, 160, 0, 7])}, "1 to 255 objects"),
    "a negative seed": (GOOD | {"meta": np.array([96, 160, 2, -7])}, "a seed from 0"),
    "pickled objects": (GOOD | {"prob2": np.array([{}], dtype=object)}, "not a readable .npz"),
}


@pytest.mark.parametrize("kind", BAD_GOLDENS)
def test_a_file_of_another_form_is_refused(
    kind: str, tmp_path: Path, verify: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not a golden of the network gives exit code 2 and one line with the reason."""
    content, message = BAD_GOLDENS[kind]
    np.savez(tmp_path / "bad.npz", **content)
    assert verify(["stcn", str(tmp_path / "bad.npz")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


NPY = io.BytesIO()
np.save(NPY, np.zeros(3))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"\x93NUMPY no zip", NPY.getvalue()])
def test_a_file_that_is_no_npz_is_refused(
    content: bytes | None, tmp_path: Path, verify: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing, empty, truncated or foreign file gives exit code 2."""
    path = tmp_path / "file.npz"
    if content is not None:
        path.write_bytes(content)
    assert verify(["stm", str(path)]) == 2
    assert "not a readable .npz" in capsys.readouterr().err
