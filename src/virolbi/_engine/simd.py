"""Sixteen numbers at once in compiled code: what `_kernels` says about one pixel, it says about sixteen neighbours.

Numba leaves vector instructions to LLVM's guesswork, which gives up on stencils over several arrays. Here they are spelled
out: a `Vector` is a value of Numba code like any number, with + - * / and >= of its own, and LLVM maps it to whatever the
processor has. Masks, vectors of booleans, pack into the 16 bits of a word, so that an array of them costs next to nothing.

Every function here exists only inside compiled code, and none checks its bounds.
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
    """The type of 16 numbers, or of a mask of 16 booleans."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(_LLVM[kind.dtype], LANES))


MASK = Vector(types.boolean)
_MASK = ir.VectorType(ir.IntType(1), LANES)


@intrinsic
def pointer(typing, array):
    """Where the numbers of a contiguous array are: one word to hand around, while its owner keeps the array alive."""

    def emit(context, builder, signature, args):
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), emit


@intrinsic
def load(typing, numbers, index):
    """The 16 numbers from a pointer's `index` on."""
    kind = Vector(numbers.dtype)

    def emit(context, builder, signature, args):
        target = context.get_value_type(kind).as_pointer()
        return builder.load(
            builder.bitcast(builder.gep(args[0], [args[1]]), target),
            align=numbers.dtype.bitwidth // 8,
        )

    return kind(numbers, types.int64), emit


@intrinsic
def store(typing, numbers, index, vector):
    """Write 16 numbers from a pointer's `index` on."""

    def emit(context, builder, signature, args):
        target = builder.bitcast(builder.gep(args[0], [args[1]]), args[2].type.as_pointer())
        builder.store(args[2], target, align=numbers.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, vector), emit


@intrinsic
def splat(typing, like, number):
    """A number, 16 times, in the type that the pointer `like` points at."""
    kind = Vector(like.dtype)

    def emit(context, builder, signature, args):
        empty = ir.Constant(context.get_value_type(kind), ir.Undefined)
        value = context.cast(builder, args[1], signature.args[1], like.dtype)
        first = builder.insert_element(empty, value, ir.IntType(32)(0))
        return builder.shuffle_vector(
            first, empty, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )

    return kind(like, number), emit


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


def _suffix(kind):
    return f"v{LANES}" + {ir.FloatType: "f32", ir.DoubleType: "f64"}[type(kind.element)]


def _function(name):
    @intrinsic
    def emit(typing, vector):
        def code(context, builder, signature, args):
            kind = args[0].type
            function = builder.module.declare_intrinsic(
                f"llvm.{name}.{_suffix(kind)}", (), ir.FunctionType(kind, [kind])
            )
            return builder.call(function, args)

        return vector(vector), code

    return emit


sqrt, magnitude = _function("sqrt"), _function("fabs")


@intrinsic
def larger(typing, a, b):
    """The larger one of each pair."""
    return a(a, b), lambda context, builder, signature, args: builder.select(
        builder.fcmp_ordered(">", *args), *args
    )


@intrinsic
def smaller(typing, a, b):
    """The smaller one of each pair."""
    return a(a, b), lambda context, builder, signature, args: builder.select(
        builder.fcmp_ordered("<", *args), *args
    )


@intrinsic
def lower(typing, a, b):
    """The lower one of each pair of whole numbers."""
    return a(a, b), lambda context, builder, signature, args: builder.select(
        builder.icmp_signed("<", *args), *args
    )


@intrinsic
def unequal(typing, a, b):
    """Where two vectors of whole numbers differ."""
    return MASK(a, b), lambda context, builder, signature, args: builder.icmp_signed("!=", *args)


@intrinsic
def numbered(typing, like, start):
    """The 16 whole numbers from `start` on, in the type that the pointer `like` points at."""
    kind = Vector(like.dtype)

    def emit(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], like.dtype)
        vector = context.get_value_type(kind)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.add(
            builder.shuffle_vector(first, first, zeros), ir.Constant(vector, list(range(LANES)))
        )

    return kind(like, start), emit


@intrinsic
def lowest_along(typing, vector, joined):
    """For every lane, the lowest whole number of its run: bit l of `joined` says that lanes l and l + 1 are of one run."""

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
    """A mask as a whole number, lane 0 its lowest bit."""
    return types.int64(mask), lambda context, builder, signature, args: builder.zext(
        builder.bitcast(args[0], _SHORT), _INDEX
    )


@intrinsic
def mask_of(typing, number):
    """The mask of the lowest 16 bits of a whole number."""
    return MASK(number), lambda context, builder, signature, args: builder.bitcast(
        builder.trunc(args[0], _SHORT), _MASK
    )


@intrinsic
def select(typing, mask, a, b):
    """Numbers of `a` where the mask is true, else of `b`."""
    return a(mask, a, b), lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def largest(typing, vector):
    """The largest of 16 numbers."""

    def emit(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.vector.reduce.fmax.{_suffix(kind)}"
        return builder.call(
            builder.module.declare_intrinsic(name, (), ir.FunctionType(kind.element, [kind])), args
        )

    return vector.dtype(vector), emit


@intrinsic
def count(typing, booleans):
    """How many booleans are true, of a mask or of the bits of a 64-bit word."""

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
    """The mask whose lane 0 is bit `position` of the bits at a pointer; the 16 bits behind it must exist too."""

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
    """Write 16 bits from bit `position`, a multiple of 16, on."""

    def emit(context, builder, signature, args):
        builder.store(builder.bitcast(args[2], _SHORT), _mask_address(builder, *args[:2]), align=2)
        return context.get_dummy_value()

    return types.void(words, types.int64, MASK), emit


@intrinsic
def load_word(typing, flags, index):
    """The 8 bytes from a pointer's `index` on, as one 64-bit word: flags that are looked at together."""

    def emit(context, builder, signature, args):
        return builder.load(
            builder.bitcast(builder.gep(args[0], [args[1]]), _INDEX.as_pointer()), align=1
        )

    return types.int64(flags, types.int64), emit


@intrinsic
def store_word(typing, flags, index, word):
    """Write 8 bytes from a pointer's `index` on."""

    def emit(context, builder, signature, args):
        builder.store(
            args[2], builder.bitcast(builder.gep(args[0], [args[1]]), _INDEX.as_pointer()), align=1
        )
        return context.get_dummy_value()

    return types.void(flags, types.int64, types.int64), emit


@intrinsic
def lowest_bit(typing, number):
    """The position of the lowest bit that is 1, of a whole number other than 0."""

    def emit(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), emit


@intrinsic
def highest_bit(typing, number):
    """The position of the highest bit that is 1, of a whole number other than 0."""

    def emit(context, builder, signature, args):
        return builder.sub(_INDEX(63), builder.ctlz(args[0], ir.IntType(1)(1)))

    return types.int64(types.int64), emit
