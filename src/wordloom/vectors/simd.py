"""Sixteen float32 at a time inside Numba: a vector type and the few operations the Word2Vec kernels need.

Numba offers no vector type and LLVM does not vectorise the shape of these loops well (several rows in registers while a
block of columns passes by); the gain over plain loops is in ``docs/BENCHMARKS.md``. The operations are
LLVM's own ``<16 x float>``: one register with AVX-512, two with AVX2, four with NEON or SSE; LLVM splits them.

Arrays are flat float32; an offset counts floats. Nothing is checked: an offset outside the array is undefined.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


class Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__("float32x16")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    data = cgutils.create_struct_proxy(kind)(context, builder, value=array).data
    return builder.gep(data, [offset])


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _whole(value: int) -> Any:
    return ir.Constant(_INTS, [value] * LANES)


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """array[offset : offset + 16]."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], *args)
        value = builder.load(builder.bitcast(place, _VECTOR.as_pointer()))
        value.align = 4
        return value

    return lanes(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """array[offset : offset + 16] = value."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], builder.bitcast(place, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), build


@intrinsic
def splat(typing: Any, x: Any) -> Any:
    """The same number in every lane."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], _INT(0))
        return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), _whole(0))

    return lanes(types.float32), build


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        call = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
        return builder.call(call, args)

    return lanes(lanes, lanes, lanes), build


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    """a + b."""
    return lanes(lanes, lanes), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def totals(typing: Any, parts: Any) -> Any:
    """Lane k: the sum of the lanes of parts[k], a tuple of at most 16; 0 in the lanes left."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = [builder.extract_value(args[0], k) for k in range(len(signature.args[0]))]
        rows += [_constant(0.0)] * (LANES - len(rows))
        width = LANES  # lanes that a sum is spread over: halved while two vectors become one
        while width > 1:
            width //= 2
            first = [at + k for at in range(0, 2 * LANES, 2 * width) for k in range(width)]
            low, high = (ir.Constant(_INTS, [k + by for k in first]) for by in (0, width))
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [
                builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)) for a, b in pairs
            ]
        return rows[0]

    return lanes(parts), build


@intrinsic
def lane(typing: Any, x: Any, k: Any) -> Any:
    """x in lane k, 0 in the others."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.insert_element(_constant(0.0), args[0], args[1])

    return lanes(types.float32, types.intp), build


@intrinsic
def prefetch(typing: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line of array[offset]; a hint without effect on values."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        place = builder.bitcast(_pointer(context, builder, signature.args[0], *args), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(call, [place, _INT(1), _INT(3), _INT(1)])  # for writing, keep in all levels, data
        return context.get_dummy_value()

    return types.void(array, types.intp), build


# exp(r) on |r| <= ln(2) / 2 as a polynomial; the coefficients of Cephes expf (S. Moshier), relative error 2e-7.
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4


@intrinsic
def sigmoid(typing: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)) in every lane; absolute error below 2e-7, x clamped to [-80, 80]; NaN stays NaN."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def call(name: str, *values: Any) -> Any:
            kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
            return builder.call(function, values)

        x = builder.fneg(args[0])
        high = builder.fcmp_ordered(">", x, _constant(80.0))
        x = builder.select(high, _constant(80.0), x)
        low = builder.fcmp_ordered("<", x, _constant(-80.0))
        x = builder.select(low, _constant(-80.0), x)
        power = call("nearbyint", builder.fmul(x, _constant(_LOG2E)))  # exp(x) = 2^power exp(r)
        r = call("fma", power, _constant(-_LN2_HIGH), x)
        r = call("fma", power, _constant(-_LN2_LOW), r)
        p = _constant(_EXP[0])
        for coefficient in _EXP[1:]:
            p = call("fma", p, r, _constant(coefficient))
        p = call("fma", builder.fmul(p, r), r, builder.fadd(r, _constant(1.0)))
        finite = builder.select(builder.fcmp_ordered("ord", power, power), power, _constant(0.0))
        exponent = builder.shl(builder.add(builder.fptosi(finite, _INTS), _whole(127)), _whole(23))
        exp = builder.fmul(p, builder.bitcast(exponent, _VECTOR))
        return builder.fdiv(_constant(1.0), builder.fadd(exp, _constant(1.0)))

    return lanes(lanes), build
