"""Parts of a network in int8 on a CPU, run by OpenVINO (extra `openvino`).

A network names its parts in `int8_parts`: methods that take and return nothing but tensors. `scripts/make_int8.py`
makes the int8 form of its weights, a ZIP file with one OpenVINO model per part; `run_in_int8` puts the compiled models
in the place of the methods. Everything else, such as memory reads, stays in torch.

OpenVINO runs without Python's interpreter lock, and fuses what torch runs layer by layer.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SUFFIX = "-int8.zip"
"""How the name of an int8 form ends, after the name of the network."""


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def run_in_int8(network: nn.Module, parts: tuple[str, ...], path: Path) -> None:
    """Let OpenVINO run the parts of a network, in place; its parameters stay, and no longer matter to these parts.

    Args:
        network: Network on a CPU, folded, in eval mode.
        parts: Methods, with the module that they belong to: "decoder.forward".
        path: Int8 form of the network's weights.
    """
    with ZipFile(path) as archive:
        for part in parts:
            module, _, method = part.rpartition(".")
            compiled = CompiledPart(archive.read(f"{part}.xml"), archive.read(f"{part}.bin"))
            setattr(network.get_submodule(module), method, compiled)


class CompiledPart:
    """A part of a network that OpenVINO runs, with as many threads as torch may use in the calling thread.

    Several threads may call it at once. The results depend neither on that nor on the number of threads.

    Args:
        model: OpenVINO's XML; inputs and outputs are float32 [1, H, W, C] of any H and W; the 1 is made free.
        weights: The constants of the XML.
    """

    def __init__(self, model: bytes, weights: bytes) -> None:
        self._model = _core().read_model(model, weights)
        self._model.reshape({x: [-1, -1, -1, x.partial_shape[3].get_length()] for x in self._model.inputs})
        self._cores = torch.get_num_threads()
        self._compiled: dict[int, Any] = {}
        self._compiling = threading.Lock()
        self._own = threading.local()

    def __call__(self, *inputs: Tensor | Mapping[int, Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Run the part on a picture [1, C, H, W] and its K objects [K, C, H, W], or on as many of each.

        Args:
            inputs: Tensors, or mappings of several, float32, best channels last.

        Returns:
            The output, or a tuple of several: float32 [K, C, H, W], or [1, C, H, W] without objects, channels last.
        """
        tensors = [x for group in inputs for x in (group.values() if isinstance(group, Mapping) else (group,))]
        arrays = [x.permute(0, 2, 3, 1).contiguous().numpy() for x in tensors]
        request = self._request(torch.get_num_threads())
        counts = {len(x) for x in arrays}
        if len(counts) == 1:
            maps = _run(request, arrays)
        else:
            # One by one: where OpenVINO fuses sums into convolutions, it cannot broadcast the picture to its objects.
            runs = [_run(request, [x[k : k + 1] if len(x) > 1 else x for x in arrays]) for k in range(max(counts))]
            maps = [np.concatenate(one) for one in zip(*runs, strict=True)]
        outputs = tuple(torch.from_numpy(one).permute(0, 3, 1, 2) for one in maps)
        return outputs[0] if len(outputs) == 1 else outputs

    def _request(self, threads: int) -> Any:
        """Return the calling thread's own request for this number of threads."""
        requests: dict[int, Any] = vars(self._own).setdefault("requests", {})
        if threads not in requests:
            with self._compiling:
                if threads not in self._compiled:
                    self._compiled[threads] = self._compile(threads)
            requests[threads] = self._compiled[threads].create_infer_request()
        return requests[threads]

    def _compile(self, threads: int) -> Any:
        streams = max(1, self._cores // threads)
        options = {
            "INFERENCE_NUM_THREADS": streams * threads,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return _core().compile_model(self._model, "CPU", options)


def _run(request: Any, arrays: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Run one request, which reads the arrays' own memory, and copy its outputs."""
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, _openvino().Tensor(array, shared_memory=True))
    request.infer()
    return [tensor.data.copy() for tensor in request.output_tensors]


@lru_cache(maxsize=1)
def _core() -> Any:
    return _openvino().Core()


@lru_cache(maxsize=1)
def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which would write into the home folder; workers may not read it even."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes importing it fail
    import openvino  # noqa: PLC0415 - an extra

    return openvino
