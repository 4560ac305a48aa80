"""A device "virtual:0" that computes on the CPU, to find mixed devices and count transfers where there is no GPU.

Tensors on it are wrappers. As on CUDA, an operation on tensors of both devices is an error, and NumPy cannot read them.
Results are those of the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("virtual")
torch.virtual.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined] # autocast asks for it
VIRTUAL = torch.device("virtual:0")
_Module = TypeVar("_Module", bound=nn.Module)
_aten = torch.ops.aten
_READS = (_aten._local_scalar_dense, _aten.is_nonzero, _aten.nonzero, _aten.masked_select)
"""Operations whose result the CPU needs, so that it waits for the device."""
_COPIES = (_aten._to_copy, _aten.copy_)
_TAKES_INDICES = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)
"""Operations whose indices may be on the CPU; they are copied to the device."""


class _OnDevice(Tensor):
    """A tensor on the virtual device."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> _OnDevice:
        wrapper = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=VIRTUAL,
        )  # fmt: skip
        wrapper.inner = inner
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of `virtual_device`")


class VirtualDevice(TorchDispatchMode):
    """Runs what is on the virtual device.

    Attributes:
        transfers: Number of copies "to device" and "to host", and of "reads" for which the host waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transfers: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        tensors = [item for item in tree_flatten((args, named))[0] if isinstance(item, Tensor)]
        inside = [item for item in tensors if isinstance(item, _OnDevice)]
        target = named.get("device") or next((item for item in args if isinstance(item, torch.device)), None)
        if target is None and not inside:
            return func(*args, **named)
        with self:  # inference mode shows composite operations; what they consist of counts
            result = func.decompose(*args, **named)
        if result is not NotImplemented:
            return result
        packet = func.overloadpacket
        if target is not None:
            named["device"] = torch.device("cpu")
            on_device = torch.device(target).type == "virtual"
        else:
            on_device = bool(inside) if packet is not _aten.copy_ else isinstance(args[0], _OnDevice)
        self._count(packet, args, inside, on_device)
        self._check(func, packet, args, tensors, inside)
        known = {id(item.inner): item for item in inside}
        result = func(*_unwrapped(args), **_unwrapped(named))
        return tree_map(lambda item: _wrapped(item, known) if on_device else item, result)

    def _count(self, packet: Any, args: Sequence[Any], inside: list[_OnDevice], on_device: bool) -> None:
        if packet in _COPIES:
            source = args[1] if packet is _aten.copy_ else args[0]
            if isinstance(source, _OnDevice) != on_device:
                self.transfers["to device" if on_device else "to host"] += 1
        elif packet in _READS and inside:
            self.transfers["reads"] += 1

    @staticmethod
    def _check(func: Any, packet: Any, args: Sequence[Any], tensors: list[Tensor], inside: list[_OnDevice]) -> None:
        if not inside or packet in _COPIES:
            return
        checked = tree_flatten((args[0], args[2:]))[0] if packet in _TAKES_INDICES else tensors
        outside = [
            item for item in checked if isinstance(item, Tensor) and not isinstance(item, _OnDevice) and item.dim()
        ]
        if outside:
            raise RuntimeError(f"{func}: tensors are on the device and on the cpu, {[tuple(t.shape) for t in outside]}")


class _TensorFirst(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU, and copies them to the device: dispatch modes do not see this."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if func is torch.tensor and torch.device(named.get("device") or "cpu").type == "virtual":
            return func(*args, **{**named, "device": "cpu"}).to(named["device"])
        if func is Tensor.__getitem__ and isinstance(args[1], tuple):
            args = args[0], tuple(torch.tensor(i) if isinstance(i, list) else i for i in args[1])
        return func(*args, **named)


def _unwrapped(value: Any) -> Any:
    return tree_map(lambda item: item.inner if isinstance(item, _OnDevice) else item, value)


def _wrapped(item: Any, known: Mapping[int, _OnDevice]) -> Any:
    if not isinstance(item, Tensor) or isinstance(item, _OnDevice):
        return item
    given = known.get(id(item))  # an operation in place returns the tensor that it was given
    return _OnDevice(item) if given is None else given


@torch.inference_mode()
def to_virtual(module: _Module) -> _Module:
    """Move the parameters and buffers of a module to the virtual device."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                part._parameters[name] = nn.Parameter(_OnDevice(parameter.clone()), requires_grad=False)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = _OnDevice(buffer.clone())
    return module


@contextmanager
def virtual_device() -> Iterator[VirtualDevice]:
    """Let tensors be on the device while the block runs."""
    with _TensorFirst(), VirtualDevice() as device:
        yield device
