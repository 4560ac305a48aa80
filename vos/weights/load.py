"""Load, pull and save weights.

`compact` and the refiner ship inside the package. The other networks are published by their authors; `pull_weights`
converts their checkpoints once into a store folder. Every load checks the SHA-256 in the record beside the file.
"""

from __future__ import annotations

import hashlib
import json
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
from vos.keyframes.base_network import BaseNetwork
from vos.modeling.cpu import int8
from vos.modeling.cpu.packed_conv import can_pack, pack_convolutions
from vos.modeling.cpu.topk_read import compile_kernels
from vos.modeling.network import VOSNetwork
from vos.modeling.refiner import Refiner
from vos.modeling.seeded import seeded_state
from vos.runtime.device import INT8, resolve_device, resolve_precision, wants_int8
from vos.runtime.durable import make_folder, write_durably
from vos.weights.build import build_network
from vos.weights.catalog import (
    PACKAGE_FOLDER,
    REFINER,
    Record,
    find_model,
    find_weights,
    is_unchanged,
    read_record,
    weights_path,
)
from vos.weights.checkpoint import check_state, read_checkpoint

_AnyModule = TypeVar("_AnyModule", bound=nn.Module)
SEEDED = "seeded"
"""Value of `weights` for seeded weights, see `vos.modeling.seeded`."""


def load_network(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    weights: str | Path | None = None,
    store: Path | None = None,
) -> VOSNetwork | BaseNetwork:
    """Load a network ready to run: eval mode, no gradients, layers folded, weights in the fastest layout.

    Args:
        name: Key of `vos.weights.catalog.MODELS`.
        device: See `vos.runtime.device.resolve_device`.
        precision: See `vos.runtime.device.resolve_precision`. "auto" is int8 on a CPU without bfloat16 if OpenVINO is
            installed and the weights have an int8 form.
        weights: Weights file, "seeded" for seeded weights, or None for the model's own.
        store: Folder of pulled weights.

    Raises:
        OptionError: There is no such model, device or precision.
        WeightsError: The weights are missing, damaged, changed since they were recorded, or of another network.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    network = build_network(name)
    model = parameters_of(network)
    path = None
    if weights == SEEDED:
        model.load_state_dict(seeded_state(model.state_dict()))
    else:
        path = _own_weights(name, store) if weights is None else Path(weights)
        state = read_weights(model, path, name)
        if isinstance(model, VOSNetwork):
            for part in model.missing_optional(state):
                setattr(model, part, None)
        model.load_state_dict(state)
    network.eval()
    int8_form = _int8_form(name, path, precision, where)
    if isinstance(network, BaseNetwork):
        network.requires_grad_(False).to(where)
        network.set_precision(dtype)
        return network
    network.fold()
    return _place(network, where, dtype, int8_form)


def parameters_of(network: VOSNetwork | BaseNetwork) -> nn.Module:
    """Return the module whose parameters are published."""
    model: nn.Module = network.model if isinstance(network, BaseNetwork) else network
    return model


def load_refiner(*, device: str = "auto", precision: str = "auto", weights: Path | None = None) -> Refiner:
    """Load the refiner ready to run, as `load_network` does.

    Args:
        device: See `load_network`.
        precision: See `load_network`.
        weights: Weights file; None for the refiner in this package.
    """
    where = resolve_device(device)
    refiner, path = Refiner().eval(), weights or PACKAGE_FOLDER / REFINER.file
    refiner.load_state_dict(read_weights(refiner, path, REFINER.name))
    refiner.fold()
    return _place(refiner, where, resolve_precision(precision, where), _int8_form(REFINER.name, path, precision, where))


def _int8_form(name: str, weights: Path | None, precision: str, device: torch.device) -> Path | None:
    """Return the int8 form of weights, or None if it is not wanted, or missing and not asked for by name.

    Raises:
        OptionError: int8 is asked for by name, and these weights, this device or this installation lack it.
        WeightsError: The int8 form has changed since it was recorded.
    """
    if not wants_int8(precision, device):
        return None
    path = None if weights is None else weights.with_name(name + int8.SUFFIX)
    record = None if path is None or not path.is_file() else read_record(path)
    source = None if weights is None else read_record(weights)
    if path is None or record is None or source is None or record.origin_sha256 != source.sha256:
        reason = f"these weights of {name} have no int8 form"
    elif not int8.is_available():
        reason = "OpenVINO is not installed; install keymask-server[openvino]"
    elif not is_unchanged(path, record):
        raise WeightsError(f"{path} has changed since it was recorded: its SHA-256 must be {record.sha256}")
    else:
        return path
    if precision == INT8:
        raise OptionError(f"precision is {INT8!r}, but {reason}; use auto or float32")
    return None


def lacks_openvino(network: VOSNetwork | BaseNetwork) -> bool:
    """Whether a network loaded with precision "auto" would run in int8 if OpenVINO were installed."""
    if not isinstance(network, VOSNetwork) or not network.int8_parts or int8.is_available():
        return False
    return wants_int8("auto", next(network.parameters()).device)


def _place(network: _AnyModule, device: torch.device, dtype: torch.dtype, int8_form: Path | None) -> _AnyModule:
    """Move a network to its device, with weights in the fastest layout there, or run by OpenVINO."""
    network = network.requires_grad_(False).to(device, dtype)
    if int8_form is not None and isinstance(network, VOSNetwork | Refiner):
        int8.run_in_int8(network, network.int8_parts, int8_form)
        network.compute_dtype = INT8
    if device.type == "cpu":
        compile_kernels()
    if device.type == "cpu" and can_pack(dtype):
        pack_convolutions(network)
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
    """Write weights and their record into `folder`, each file atomically and durably.

    Args:
        name: Name of the network.
        state: State dict; tensors keep their dtype.
        folder: Target folder, created if missing.
        origin: Origin of the weights, for the record.
        origin_sha256: SHA-256 of the file that they were converted from, if any.
        metadata: Metadata inside the weights file, such as recipe, data and commit.
    """
    model = find_weights(name)
    content = save({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, dict(metadata or {}))
    digest = hashlib.sha256(content).hexdigest()
    record = Record(name, digest, len(content), model.license, origin, origin_sha256)
    make_folder(folder)
    path = folder / model.file
    write_durably(path, content)
    write_durably(path.with_suffix(".json"), (json.dumps(asdict(record), indent=2) + "\n").encode())
    return record


def pull_weights(name: str, source: Path, store: Path, *, origin: str | None = None) -> Record:
    """Convert a published checkpoint into the store.

    Args:
        name: Name of the network.
        source: A .pth, .pt or .safetensors file with the published tensor names.
        store: Folder of pulled weights.
        origin: Address of the file; its name by default.

    Raises:
        OptionError: There is no such model, or it is part of the package.
        WeightsError: The file does not hold the weights; the message names the differences.
    """
    if find_model(name).embedded:
        raise OptionError(f"{name} is part of this package; there is nothing to pull")
    network = build_network(name)
    state = read_checkpoint(source)
    if isinstance(network, BaseNetwork):
        state = network.convert(state)
    expected = parameters_of(network).state_dict()
    check_state(state, expected, name, source.name)
    with source.open("rb") as file:
        source_digest = hashlib.file_digest(file, "sha256").hexdigest()
    converted = {key: state[key].to(tensor.dtype).clone() for key, tensor in expected.items()}
    return save_weights(name, converted, store, origin=origin or source.name, origin_sha256=source_digest)


def read_weights(network: nn.Module, path: Path, name: str) -> dict[str, Tensor]:
    """Read the state dict of a weights file; check names, shapes and, if there is a record, the SHA-256.

    Args:
        network: Network of the weights; these may lack its optional modules.
        path: Weights file.
        name: Name of the network, for messages.

    Raises:
        WeightsError: The file is missing, damaged, changed since it was recorded, or of another network.
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
    missing = network.missing_optional(state) if isinstance(network, VOSNetwork) else ()
    expected = {key: x for key, x in network.state_dict().items() if key.partition(".")[0] not in missing}
    check_state(state, expected, name, path.name)
    return state


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a weights file, such as recipe, data and commit.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is missing or damaged: {error}") from error


def _own_weights(name: str, store: Path | None) -> Path:
    """Path of the model's own weights; file and record must exist."""
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
