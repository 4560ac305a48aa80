"""SIMD operations on rows of 16, 8 or 4 pixels, as LLVM vectors of 16-bit integers.

LLVM does not vectorize such loops by itself, because it cannot know that input and output do not overlap. With explicit
vectors it selects the best instructions of any processor.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model


class UInt16Vector(types.Type):
    """numba type of `width` unsigned 16-bit integers. It exists in compiled code only."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"UInt16Vector({width})")


@register_model(UInt16Vector)
class _UInt16VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: UInt16Vector) -> None:
        super().__init__(manager, vector, _llvm_vector(vector.width, 16))


_intrinsic: Any = intrinsic(prefer_literal=True)
"""Decorator for functions that return a signature and a generator of LLVM code."""


def _llvm_vector(width: int, bits: int) -> Any:
    return ir.VectorType(ir.IntType(bits), width)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@_intrinsic
def load(typing, pixels, index, width):  # noqa: ARG001
    """Load `width` (a literal) pixels of uint8 [n] starting at `index`, without a bounds check."""
    elements = width.literal_value

    def generate(context, builder, signature, values):
        address = _address(context, builder, signature.args[0], values[0], values[1], _llvm_vector(elements, 8))
        return builder.zext(builder.load(address, align=1), _llvm_vector(elements, 16))

    return UInt16Vector(elements)(pixels, types.uint64, width), generate


@_intrinsic
def store(typing, out, index, vector):  # noqa: ARG001
    """Store a vector into int16 [n] starting at `index`, without a bounds check."""

    def generate(context, builder, signature, values):
        address = _address(context, builder, signature.args[0], values[0], values[1], _llvm_vector(vector.width, 16))
        builder.store(values[2], address, align=1)
        return context.get_dummy_value()

    return types.void(out, types.uint64, vector), generate


@_intrinsic
def splat(typing, value, width):  # noqa: ARG001
    """A vector of `width` (a literal) equal values."""
    elements = width.literal_value

    def generate(context, builder, signature, values):  # noqa: ARG001
        undefined = ir.Constant(_llvm_vector(elements, 16), ir.Undefined)
        first = builder.insert_element(undefined, values[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, undefined, ir.Constant(_llvm_vector(elements, 32), [0] * elements))

    return UInt16Vector(elements)(types.uint16, width), generate


def _binary(instruction: str) -> Any:
    """An LLVM instruction on two vectors."""

    @_intrinsic
    def apply(typing, one, other):  # noqa: ARG001
        def generate(context, builder, signature, values):  # noqa: ARG001
            return getattr(builder, instruction)(*values)

        return one(one, other), generate

    return apply


add, subtract, multiply, shift_right = map(_binary, ("add", "sub", "mul", "lshr"))


@_intrinsic
def abs_diff(typing, one, other):  # noqa: ARG001
    """Absolute difference of each pair of elements."""

    def generate(context, builder, signature, values):  # noqa: ARG001
        larger = builder.icmp_unsigned(">", *values)
        return builder.select(larger, builder.sub(*values), builder.sub(*reversed(values)))

    return one(one, other), generate


@_intrinsic
def reduce_add(typing, vector):  # noqa: ARG001
    """Sum of all elements, uint32."""

    def generate(context, builder, signature, values):  # noqa: ARG001
        wide = _llvm_vector(vector.width, 32)
        kind = ir.FunctionType(ir.IntType(32), [wide])
        add_all = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{vector.width}i32")
        return builder.call(add_all, [builder.zext(values[0], wide)])

    return types.uint32(vector), generate
