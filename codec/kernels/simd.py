"""Rows of 16, 8 or 4 pixels as one LLVM vector of 16-bit numbers.

Left to itself, LLVM turns a loop over 16 pixels into 16 times the same scalar code, since it cannot know that input and
output do not overlap. Here the vectors are spelled out; LLVM makes the best instructions of any processor of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model


class Lanes(types.Type):
    """`count` unsigned 16-bit numbers, in compiled code only."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Lanes({count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes.count, 16))


_emitted: Any = intrinsic(prefer_literal=True)
"""Makes a function that returns a signature and an emitter of LLVM code callable in compiled ones."""


def _vector(count: int, bits: int) -> Any:
    return ir.VectorType(ir.IntType(bits), count)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@_emitted
def load(typing, pixels, index, count):  # noqa: ARG001
    """`count` (a literal) numbers of uint8 [n] from `index` on. No bounds are checked."""
    lanes = count.literal_value

    def generate(context, builder, signature, values):
        address = _address(context, builder, signature.args[0], values[0], values[1], _vector(lanes, 8))
        return builder.zext(builder.load(address, align=1), _vector(lanes, 16))

    return Lanes(lanes)(pixels, types.uint64, count), generate


@_emitted
def store(typing, numbers, index, lanes):  # noqa: ARG001
    """Write lanes into int16 [n] from `index` on. No bounds are checked."""

    def generate(context, builder, signature, values):
        address = _address(context, builder, signature.args[0], values[0], values[1], _vector(lanes.count, 16))
        builder.store(values[2], address, align=1)
        return context.get_dummy_value()

    return types.void(numbers, types.uint64, lanes), generate


@_emitted
def spread(typing, number, count):  # noqa: ARG001
    """`count` (a literal) times the same number."""
    lanes = count.literal_value

    def generate(context, builder, signature, values):  # noqa: ARG001
        nothing = ir.Constant(_vector(lanes, 16), ir.Undefined)
        first = builder.insert_element(nothing, values[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_vector(lanes, 32), [0] * lanes))

    return Lanes(lanes)(types.uint16, count), generate


def _of_two(instruction: str) -> Any:
    """An LLVM instruction on two vectors."""

    @_emitted
    def apply(typing, one, other):  # noqa: ARG001
        def generate(context, builder, signature, values):  # noqa: ARG001
            return getattr(builder, instruction)(*values)

        return one(one, other), generate

    return apply


add, subtract, multiply, shift_right = map(_of_two, ("add", "sub", "mul", "lshr"))


@_emitted
def distance(typing, one, other):  # noqa: ARG001
    """Absolute differences."""

    def generate(context, builder, signature, values):  # noqa: ARG001
        larger = builder.icmp_unsigned(">", *values)
        return builder.select(larger, builder.sub(*values), builder.sub(*reversed(values)))

    return one(one, other), generate


@_emitted
def total(typing, lanes):  # noqa: ARG001
    """Sum of all lanes, uint32."""

    def generate(context, builder, signature, values):  # noqa: ARG001
        wide = _vector(lanes.count, 32)
        kind = ir.FunctionType(ir.IntType(32), [wide])
        add_all = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{lanes.count}i32")
        return builder.call(add_all, [builder.zext(values[0], wide)])

    return types.uint32(lanes), generate
