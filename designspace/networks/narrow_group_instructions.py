"""LLVM instructions of 3x3 convolutions of narrow groups, for loops that numba compiles.

Each works on whole vectors, and holds sums in registers over several loads: numba's own loops would
use shorter vectors, or scalars where LLVM can't rule out that arrays overlap. Addresses and strides
are bytes.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.types import intp

from designspace.networks.numba_loops import LANES

TAPS = 9
BYTES = 4
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _instructions(function: Any) -> Any:
    """Let compiled loops call a function of numba's types that returns what emits instructions."""
    return extending.intrinsic(prefer_literal=True)(function)


def _load(builder: Any, address: Any, kind: Any = _VECTOR) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = BYTES
    return value


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = BYTES


def _offset(builder: Any, address: Any, times: int, stride: Any) -> Any:
    return builder.add(address, builder.mul(stride, ir.Constant(stride.type, times)))


def _each_product(
    builder: Any, stride: int, rows: int, image: Any, image_row: Any, columns: Any
) -> Any:
    """Load each input of some rows of outputs once; yield it with output's row and tap."""
    for i in range(stride * (rows - 1) + 3):
        for dx in range(3):
            start = image if dx == 0 else builder.add(image, columns[dx - 1])
            value = _load(builder, _offset(builder, start, i, image_row))
            for dy in range(3):
                row, between = divmod(i - dy, stride)
                if between == 0 and 0 <= row < rows:
                    yield value, row, 3 * dy + dx


def _totals(builder: Any, start: Any) -> tuple[Any, ...]:
    """Return variables with some values; LLVM keeps them in registers."""
    variables = tuple(cgutils.alloca_once(builder, _VECTOR) for _ in start)
    for variable, value in zip(variables, start, strict=True):
        builder.store(value, variable)
    return variables


def _accumulate(builder: Any, variable: Any, first: Any, second: Any) -> None:
    product = builder.fmul(first, second, flags=["contract"])
    total = builder.fadd(product, builder.load(variable), flags=["contract"])
    builder.store(total, variable)


@_instructions
def write_outputs(
    context: Any,
    stride: Any,
    rows: Any,
    offsets: Any,
    image: Any,
    image_row: Any,
    second: Any,
    third: Any,
    weights: Any,
    tap: Any,
    output: Any,
    output_row: Any,
) -> Any:
    """Write `LANES` outputs in some rows: sums over all offsets and taps.

    Args:
        context: Of numba's typing.
        stride: 1 or 2, a literal.
        rows: Of outputs, a literal; each loaded input serves up to three.
        offsets: Of a band of weights.
        image: Address of the first input, at the first offset.
        image_row: Bytes between rows of the frame.
        second: Bytes from an input to the one of the next column.
        third: Bytes from an input to the one of the column after.
        weights: Address of the first weight.
        tap: Bytes between weights of neighboring taps.
        output: Address of the first output.
        output_row: Bytes between rows of outputs.
    """
    steps, lines = stride.literal_value, rows.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        offsets, image, image_row, second, third, weights, tap, output, output_row = arguments[2:]
        totals = _totals(builder, [ir.Constant(_VECTOR, [0.0] * LANES)] * lines)
        with cgutils.for_range(builder, offsets) as loop:
            image_at = _offset(builder, image, BYTES, loop.index)
            band = _offset(builder, weights, TAPS, builder.mul(loop.index, tap))
            loaded = [_load(builder, _offset(builder, band, k, tap)) for k in range(TAPS)]
            products = _each_product(builder, steps, lines, image_at, image_row, (second, third))
            for value, row, k in products:
                _accumulate(builder, totals[row], loaded[k], value)
        for row, total in enumerate(totals):
            _store(builder, builder.load(total), _offset(builder, output, row, output_row))
        return context.get_dummy_value()

    return types.void(stride, rows, *[intp] * 9), generate


@_instructions
def add_weight_gradients(
    context: Any,
    stride: Any,
    rows: Any,
    image: Any,
    image_row: Any,
    second: Any,
    third: Any,
    gradient: Any,
    gradient_row: Any,
    sums: Any,
    tap: Any,
    row_groups: Any,
    columns: Any,
) -> Any:
    """Add the products of inputs and gradients of `LANES` outputs to the sums of nine taps.

    Arguments as of `write_outputs`; gradients lie as outputs do, and sums as weights. The products
    are those of all row groups, of `rows` each, and columns, `tap` bytes apart.
    """
    steps, lines = stride.literal_value, rows.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        image, image_row, second, third, gradient, gradient_row, sums, tap = arguments[2:10]
        addresses = [_offset(builder, sums, k, tap) for k in range(TAPS)]
        totals = _totals(builder, [_load(builder, address) for address in addresses])
        with cgutils.for_range(builder, arguments[10]) as group:
            inputs = _offset(builder, image, steps * lines, builder.mul(group.index, image_row))
            outputs = _offset(builder, gradient, lines, builder.mul(group.index, gradient_row))
            with cgutils.for_range(builder, arguments[11]) as column:
                image_at = _offset(builder, inputs, 1, builder.mul(column.index, tap))
                output_at = _offset(builder, outputs, 1, builder.mul(column.index, tap))
                loaded = [
                    _load(builder, _offset(builder, output_at, r, gradient_row))
                    for r in range(lines)
                ]
                products = _each_product(
                    builder, steps, lines, image_at, image_row, (second, third)
                )
                for value, row, k in products:
                    _accumulate(builder, totals[k], loaded[row], value)
        for total, address in zip(totals, addresses, strict=True):
            _store(builder, builder.load(total), address)
        return context.get_dummy_value()

    return types.void(stride, rows, *[intp] * 10), generate


@_instructions
def write_strided_gradients(
    context: Any,
    offsets: Any,
    gradient: Any,
    gradient_row: Any,
    pixel: Any,
    weights: Any,
    tap: Any,
    output: Any,
    plane: Any,
) -> Any:
    """Write what `LANES` gradients of a stride of 2 give to images, by parity of row and column.

    An even row has its gradient from the middle tap of one row of outputs, an odd one from the last
    tap of this row and the first of the next; columns likewise.

    Args:
        context: Of numba's typing.
        offsets: Of a band of weights.
        gradient: Address of the first gradient, at the first offset, in a frame of zeros.
        gradient_row: Bytes between rows of the frame.
        pixel: Bytes between neighboring columns.
        weights: Address of the first weight.
        tap: Bytes between weights of neighboring taps.
        output: Address of the result for even rows and columns.
        plane: Bytes from there to even rows and odd columns, and on to odd rows.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        offsets, gradient, gradient_row, pixel, weights, tap, output, plane = arguments
        # Parity, and by it pairs of tap and row or column.
        pairs = {0: ((1, 0),), 1: ((2, 0), (0, 1))}
        totals = _totals(builder, [ir.Constant(_VECTOR, [0.0] * LANES)] * 4)
        with cgutils.for_range(builder, offsets) as loop:
            gradient_at = _offset(builder, gradient, BYTES, loop.index)
            band = _offset(builder, weights, TAPS, builder.mul(loop.index, tap))
            rows = [_offset(builder, gradient_at, y, gradient_row) for y in range(2)]
            values = [
                [_load(builder, _offset(builder, r, x, pixel)) for x in range(2)] for r in rows
            ]
            for total, odd_row, odd_column in zip(totals, (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
                for dy, y in pairs[odd_row]:
                    for dx, x in pairs[odd_column]:
                        weight = _load(builder, _offset(builder, band, 3 * dy + dx, tap))
                        _accumulate(builder, total, weight, values[y][x])
        for number, total in enumerate(totals):
            _store(builder, builder.load(total), _offset(builder, output, number, plane))
        return context.get_dummy_value()

    return types.void(*[intp] * 8), generate


@_instructions
def copy(context: Any, lanes: Any, source: Any, target: Any) -> Any:
    """Copy values, whose number is a literal, from one address to another."""
    kind = ir.VectorType(ir.FloatType(), lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _store(builder, _load(builder, arguments[1], kind), arguments[2])
        return context.get_dummy_value()

    return types.void(lanes, intp, intp), generate
