"""Weights of the networks: where they come from, under which licence, in which file, and that the file is unchanged.

`compact` ships inside the package. `stm` and `stcn` are published by others; `pull_weights` converts their checkpoints
once into a store folder. Beside every weights file lies a JSON record with its SHA-256, which each load checks.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from vos.errors import OptionError, WeightsError
from vos.modeling.cpu.packed_conv import can_pack, pack_convolutions
from vos.modeling.cpu.topk_read import compile_kernels
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.modeling.seeded import seeded_state
from vos.runtime.device import resolve_device, resolve_precision
from vos.weights.build import build_network
from vos.weights.catalog import PACKAGE_FOLDER, REFINER, Record, find_model, find_weights, read_record, weights_path
from vos.weights.checkpoint import check_state, read_checkpoint

_AnyModule = TypeVar("_AnyModule", bound=nn.Module)
SEEDED = "seeded"
"""As `weights`: values that are a function of the tensors' names, to measure speed or numbers without a checkpoint."""


def load_network(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    weights: str | Path | None = None,
    store: Path | None = None,
) -> VOSNetwork:
    """Network ready to run: eval mode, no gradients, batch norms folded, channels last in memory.

    Args:
        name: One of `vos.catalog.MODELS`.
        device: See `vos.precision.resolve_device`.
        precision: See `vos.precision.resolve_precision`.
        weights: A weights file, "seeded" for seeded weights, or None for the model's own.
        store: Folder of pulled weights; the caller's configuration knows it.

    Raises:
        OptionError: No such model, device or precision.
        WeightsError: The weights are missing, damaged, changed since they were recorded, or another network's.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    network = build_network(name)
    if weights == SEEDED:
        network.load_state_dict(seeded_state(network.state_dict()))
    else:
        path = _existing(name, store) if weights is None else Path(weights)
        state = read_weights(network, path, name)
        for part in network.lacking(state):
            setattr(network, part, None)
        network.load_state_dict(state)
    network.eval().fold()
    return _settle(network, where, dtype)


def load_refiner(*, device: str = "auto", precision: str = "auto", weights: Path | None = None) -> Refiner:
    """The refiner, ready to run like a network of `load_network`.

    Args:
        device: As there.
        precision: As there.
        weights: A weights file; None for the refiner that is part of this package.
    """
    where = resolve_device(device)
    refiner = Refiner().eval()
    refiner.load_state_dict(read_weights(refiner, weights or PACKAGE_FOLDER / REFINER.file, REFINER.name))
    refiner.fold()
    return _settle(refiner, where, resolve_precision(precision, where))


def _settle(network: _AnyModule, device: torch.device, dtype: torch.dtype) -> _AnyModule:
    """Bring a network to where it runs, its weights in the order that is fastest there."""
    network = network.requires_grad_(False).to(device, dtype)
    if device.type == "cpu" and dtype == torch.bfloat16:
        compile_kernels()
    if device.type == "cpu" and can_pack(dtype):
        pack_convolutions(network)
        return network
    return convert_conv2d_weight_memory_format(network, torch.channels_last)


def save_weights(
    name: str,
    state: Mapping[str, Tensor],
    folder: Path,
    *,
    origin: str,
    origin_sha256: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Record:
    """Write weights and their record into `folder`, each file whole or not at all.

    Args:
        name: The network.
        state: Its state dict; floating-point tensors keep their type.
        folder: Made if absent.
        origin: Where the weights come from.
        origin_sha256: Of the file that they come from, if any.
        metadata: Kept inside the weights file, such as recipe, data and commit.
    """
    model = find_weights(name)
    content = save({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, dict(metadata or {}))
    digest = hashlib.sha256(content).hexdigest()
    record = Record(name, digest, len(content), model.license, origin, origin_sha256)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / model.file
    _write_whole(path, content)
    _write_whole(path.with_suffix(".json"), (json.dumps(asdict(record), indent=2) + "\n").encode())
    return record


def pull_weights(name: str, source: Path, store: Path, *, origin: str | None = None) -> Record:
    """Convert a published checkpoint into the store.

    Args:
        name: The network.
        source: A .pth, .pt or .safetensors file whose names are the published ones.
        store: Folder of pulled weights.
        origin: Where the file was fetched from, if not just this path.

    Raises:
        OptionError: No such model, or one that needs no pulling.
        WeightsError: The file is not what it should be; the message names what differs.
    """
    if find_model(name).embedded:
        raise OptionError(f"{name} is part of this package; there is nothing to pull")
    state = read_checkpoint(source)
    expected = build_network(name).state_dict()
    check_state(state, expected, name, source.name)
    with source.open("rb") as file:
        source_digest = hashlib.file_digest(file, "sha256").hexdigest()
    converted = {key: state[key].to(tensor.dtype).clone() for key, tensor in expected.items()}
    return save_weights(name, converted, store, origin=origin or source.name, origin_sha256=source_digest)


def read_weights(network: nn.Module, path: Path, name: str) -> dict[str, Tensor]:
    """State dict of a weights file, checked against its record if there is one, and in names and shapes.

    Args:
        network: That the weights are for; its optional modules may be missing in them.
        path: The file; it is read once.
        name: The network's.

    Raises:
        WeightsError: It is missing, damaged, changed since it was recorded, or another network's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    record = read_record(path)
    if record is not None and hashlib.sha256(content).hexdigest() != record.sha256:
        raise WeightsError(f"{path} has changed since it was recorded: its SHA-256 must be {record.sha256}")
    try:
        state = load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file, or is damaged: {error}") from error
    lacking = network.lacking(state) if isinstance(network, VOSNetwork) else ()
    expected = {key: x for key, x in network.state_dict().items() if key.partition(".")[0] not in lacking}
    check_state(state, expected, name, path.name)
    return state


def read_metadata(path: Path) -> dict[str, str]:
    """What the weights file says of itself, such as recipe, data and commit.

    Raises:
        WeightsError: The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is missing or damaged: {error}") from error


def _existing(name: str, store: Path | None) -> Path:
    """The model's own weights, which must be there, with their record."""
    path = weights_path(name, store)
    if path is not None and path.is_file():
        if read_record(path) is None:
            raise WeightsError(f"{path} has no record {path.with_suffix('.json').name} of its SHA-256; pull it again")
        return path
    if find_model(name).embedded:
        raise WeightsError(f"{name}'s weights are missing from this installation ({path}); install keymask again")
    raise WeightsError(
        f"{name}'s weights are not here ({path or 'no weights folder is set'}); "
        f"fetch them with `keymask models pull {name}`, or convert a downloaded file with `--from FILE`"
    )


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
