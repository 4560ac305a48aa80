"""Load the networks of a run. The run only knows the `LoadedModel`, so tests can put a fake in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from service.config import Settings
from service.run.options import RunOptions
from vos.runtime.protocol import SegmenterLike
from vos.types import Options

if TYPE_CHECKING:
    from vos.keyframes.base_network import BaseNetwork
    from vos.modeling.network import VOSNetwork
    from vos.modeling.refiner import Refiner


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which networks, and where and how they run.

    Attributes:
        name: Base network, a name that `keymask models list` shows.
        weights: Weights file of the base network, "seeded" for seeded values, or None for its own.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32", "bfloat16", "float16" or "int8".
        refine: Whether the refiner refines propagated masks.
    """

    name: str = "compact"
    weights: str | None = None
    device: str = "auto"
    precision: str = "auto"
    refine: bool = True


def choice_of(options: RunOptions) -> ModelChoice:
    """Return the networks that the options name."""
    return ModelChoice(options.model, options.weights, options.device, options.precision, options.refine)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A segmenter with loaded networks.

    Attributes:
        segmenter: Segments one video after another.
        description: The report's part on the networks.
        notes: What the user should know, in plain words.
    """

    segmenter: SegmenterLike
    description: dict[str, Any]
    notes: tuple[str, ...] = ()


_SLOW = "the networks run in float32; with OpenVINO (keymask-server[openvino]) this CPU runs them faster, in int8"

ModelLoader: TypeAlias = Callable[[ModelChoice, Options, Settings], LoadedModel]


def load_model(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Load the chosen networks; torch is imported here.

    Raises:
        OptionError: There is no such model, device, precision or key-frame policy.
        WeightsError: The weights are missing or damaged.
    """
    from vos.segmenter import Segmenter  # noqa: PLC0415 - torch takes seconds; `keymask --help` must not pay for it
    from vos.weights.load import lacks_openvino  # noqa: PLC0415

    network, description = _load_network(replace(choice, refine=True), settings.weights_dir)
    refiner = _load_refiner(choice.device, choice.precision) if choice.refine else None
    description = {**description, "refine": choice.refine}
    slow = choice.precision == "auto" and choice.weights is None and lacks_openvino(network)
    return LoadedModel(Segmenter(network, options, refiner), description, (_SLOW,) if slow else ())


@lru_cache(maxsize=1)
def _load_network(choice: ModelChoice, store: Path) -> tuple[VOSNetwork | BaseNetwork, dict[str, Any]]:
    """Load the base network. The latest one stays loaded, so that a worker starts its next job at once."""
    from vos.weights.catalog import weights_path  # noqa: PLC0415
    from vos.weights.load import SEEDED, load_network  # noqa: PLC0415

    network = load_network(
        choice.name, device=choice.device, precision=choice.precision, weights=choice.weights, store=store
    )
    own = weights_path(choice.name, store) if choice.weights is None else Path(choice.weights)
    parameter = next(network.parameters())
    description = {
        **asdict(choice),
        "weights_sha256": None if own is None or choice.weights == SEEDED else _sha256(own),
        "device": str(parameter.device),
        "precision": str(network.compute_dtype or parameter.dtype).removeprefix("torch."),
    }
    return network, description


@lru_cache(maxsize=1)
def _load_refiner(device: str, precision: str) -> Refiner:
    """Load the refiner; like the base network, it stays loaded."""
    from vos.weights.load import load_refiner  # noqa: PLC0415

    return load_refiner(device=device, precision=precision)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
