"""Vectors of 16 numbers in compiled code, with one operation for 16 neighbouring pixels.

Numba leaves vector instructions to the heuristics of LLVM, which give up on stencils over several
arrays. Here they are explicit: a `Vector` is a value of Numba code like any number, with + - * /
and >= of its own, and LLVM maps it to the registers of the processor. Masks, vectors of booleans,
are packed into 16 bits, so an array of them takes little memory.

All functions exist only in compiled code, and none checks bounds.
"""

import operator

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16  # numbers in a vector, bits in a word of a mask

_INDEX, _SHORT = ir.IntType(64), ir.IntType(LANES)
_LLVM = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.boolean: ir.IntType(1),
}


class Vector(types.Type):
    """Type of 16 numbers, or of a mask of 16 booleans."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector_type):
        super().__init__(manager, vector_type, ir.VectorType(_LLVM[vector_type.dtype], LANES))


MASK = Vector(types.boolean)
_MASK = ir.VectorType(ir.IntType(1), LANES)


@intrinsic
def pointer(typing, array):
    """Return the address of the first number of a contiguous array.

    The caller keeps the array alive.
    """

    def emit(context, builder, signature, args):
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), emit


@intrinsic
def load(typing, numbers, index):
    """Return the 16 numbers at `index` and behind it."""
    vector_type = Vector(numbers.dtype)

    def emit(context, builder, signature, args):
        target = context.get_value_type(vector_type).as_pointer()
        return builder.load(
            builder.bitcast(builder.gep(args[0], [args[1]]), target),
            align=numbers.dtype.bitwidth // 8,
        )

    return vector_type(numbers, types.int64), emit


@intrinsic
def store(typing, numbers, index, vector):
    """Write 16 numbers at `index` and behind it."""

    def emit(context, builder, signature, args):
        target = builder.bitcast(builder.gep(args[0], [args[1]]), args[2].type.as_pointer())
        builder.store(args[2], target, align=numbers.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, vector), emit


@intrinsic
def splat(typing, like, number):
    """Return a number 16 times, in the type that the pointer `like` points at."""
    vector_type = Vector(like.dtype)

    def emit(context, builder, signature, args):
        empty = ir.Constant(context.get_value_type(vector_type), ir.Undefined)
        value = context.cast(builder, args[1], signature.args[1], like.dtype)
        first = builder.insert_element(empty, value, ir.IntType(32)(0))
        return builder.shuffle_vector(
            first, empty, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )

    return vector_type(like, number), emit


def _operator(function, method, *comparison):
    @type_callable(function)
    def typing(context):
        def result(a, b):
            if (
                isinstance(a, Vector)
                and a == b
                and (method == "and_" or isinstance(a.dtype, types.Float))
            ):
                return MASK if comparison else a

        return result

    @lower_builtin(function, Vector, Vector)
    def emit(context, builder, signature, args):
        return getattr(builder, method)(*comparison, *args)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")
_operator(operator.ge, "fcmp_ordered", ">=")
_operator(operator.and_, "and_")


def _suffix(vector_type):
    return f"v{LANES}" + {ir.FloatType: "f32", ir.DoubleType: "f64"}[type(vector_type.element)]


def _function(name):
    @intrinsic
    def emit(typing, vector):
        def code(context, builder, signature, args):
            vector_type = args[0].type
            function = builder.module.declare_intrinsic(
                f"llvm.{name}.{_suffix(vector_type)}",
                (),
                ir.FunctionType(vector_type, [vector_type]),
            )
            return builder.call(function, args)

        return vector(vector), code

    return emit


sqrt, magnitude = _function("sqrt"), _function("fabs")


@intrinsic
def larger(typing, a, b):
    """Return the larger number of each pair."""
    return a(a, b), lambda context, builder, signature, args: builder.select(
        builder.fcmp_ordered(">", *args), *args
    )


@intrinsic
def smaller(typing, a, b):
    """Return the smaller number of each pair."""
    return a(a, b), lambda context, builder, signature, args: builder.select(
        builder.fcmp_ordered("<", *args), *args
    )


@intrinsic
def lower(typing, a, b):
    """Return the smaller one of each pair of whole numbers."""
    return a(a, b), lambda context, builder, signature, args: builder.select(
        builder.icmp_signed("<", *args), *args
    )


@intrinsic
def unequal(typing, a, b):
    """Return a mask of the lanes in which two vectors of whole numbers differ."""
    return MASK(a, b), lambda context, builder, signature, args: builder.icmp_signed("!=", *args)


@intrinsic
def numbered(typing, like, start):
    """Return the 16 whole numbers from `start` on, in the type that `like` points at."""
    vector_type = Vector(like.dtype)

    def emit(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], like.dtype)
        vector = context.get_value_type(vector_type)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.add(
            builder.shuffle_vector(first, first, zeros), ir.Constant(vector, list(range(LANES)))
        )

    return vector_type(like, start), emit


@intrinsic
def lowest_along(typing, vector, joined):
    """Return for every lane the lowest whole number of its run.

    Bit l of `joined` is 1 where lanes l and l + 1 belong to one run.
    """

    def emit(context, builder, signature, args):
        mark, later = (
            args[0],
            builder.trunc(args[1], _SHORT),
        )  # `later`: lanes in one run with the lane so many steps further
        earlier = builder.shl(later, _SHORT(1))
        for steps in (1, 2, 4, 8):
            before = mark
            for runs, way in ((later, steps), (earlier, -steps)):
                lanes = [min(max(lane + way, 0), LANES - 1) for lane in range(LANES)]
                other = builder.shuffle_vector(
                    before, before, ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
                )
                nearer = builder.and_(
                    builder.bitcast(runs, _MASK), builder.icmp_signed("<", other, mark)
                )
                mark = builder.select(nearer, other, mark)
            later = builder.and_(later, builder.lshr(later, _SHORT(steps)))
            earlier = builder.and_(earlier, builder.shl(earlier, _SHORT(steps)))
        return mark

    return vector(vector, types.int64), emit


@intrinsic
def bits(typing, mask):
    """Return a mask as a whole number, with lane 0 as its lowest bit."""
    return types.int64(mask), lambda context, builder, signature, args: builder.zext(
        builder.bitcast(args[0], _SHORT), _INDEX
    )


@intrinsic
def mask_of(typing, number):
    """Return the mask of the lowest 16 bits of a whole number."""
    return MASK(number), lambda context, builder, signature, args: builder.bitcast(
        builder.trunc(args[0], _SHORT), _MASK
    )


@intrinsic
def select(typing, mask, a, b):
    """Return numbers of `a` where the mask is true, and of `b` elsewhere."""
    return a(mask, a, b), lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def largest(typing, vector):
    """Return the largest of 16 numbers."""

    def emit(context, builder, signature, args):
        vector_type = args[0].type
        name = f"llvm.vector.reduce.fmax.{_suffix(vector_type)}"
        return builder.call(
            builder.module.declare_intrinsic(
                name, (), ir.FunctionType(vector_type.element, [vector_type])
            ),
            args,
        )

    return vector.dtype(vector), emit


@intrinsic
def count(typing, booleans):
    """Return the number of true values of a mask, or of ones in a 64-bit word."""

    def emit(context, builder, signature, args):
        word = builder.bitcast(args[0], _SHORT) if booleans == MASK else args[0]
        ones = builder.ctpop(word)
        return builder.zext(ones, _INDEX) if booleans == MASK else ones

    return types.int64(booleans), emit


def _mask_address(builder, words, position):
    short = builder.bitcast(words, _SHORT.as_pointer())
    return builder.gep(short, [builder.ashr(position, _INDEX(4))])


@intrinsic
def load_mask(typing, words, position):
    """Return the mask whose lane 0 is bit `position` of the words at a pointer.

    The 16 bits behind the mask must exist too.
    """

    def emit(context, builder, signature, args):
        pair = ir.IntType(2 * LANES)
        both = builder.load(
            builder.bitcast(_mask_address(builder, *args), pair.as_pointer()), align=2
        )
        shift = builder.trunc(builder.and_(args[1], _INDEX(LANES - 1)), pair)
        return builder.bitcast(builder.trunc(builder.lshr(both, shift), _SHORT), _MASK)

    return MASK(words, types.int64), emit


@intrinsic
def store_mask(typing, words, position, mask):
    """Write a mask to the 16 bits from `position` on, a multiple of 16."""

    def emit(context, builder, signature, args):
        builder.store(builder.bitcast(args[2], _SHORT), _mask_address(builder, *args[:2]), align=2)
        return context.get_dummy_value()

    return types.void(words, types.int64, MASK), emit


@intrinsic
def load_word(typing, flags, index):
    """Return the 8 bytes at `index` and behind it as one word, to test 8 flags together."""

    def emit(context, builder, signature, args):
        return builder.load(
            builder.bitcast(builder.gep(args[0], [args[1]]), _INDEX.as_pointer()), align=1
        )

    return types.int64(flags, types.int64), emit


@intrinsic
def store_word(typing, flags, index, word):
    """Write 8 bytes at `index` and behind it."""

    def emit(context, builder, signature, args):
        builder.store(
            args[2], builder.bitcast(builder.gep(args[0], [args[1]]), _INDEX.as_pointer()), align=1
        )
        return context.get_dummy_value()

    return types.void(flags, types.int64, types.int64), emit


@intrinsic
def lowest_bit(typing, number):
    """Return the position of the lowest 1 of a whole number other than 0."""

    def emit(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), emit


@intrinsic
def highest_bit(typing, number):
    """Return the position of the highest 1 of a whole number other than 0."""

    def emit(context, builder, signature, args):
        return builder.sub(_INDEX(63), builder.ctlz(args[0], ir.IntType(1)(1)))

    return types.int64(types.int64), emit
