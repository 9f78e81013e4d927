"""`Preprocess.pixels` as an ONNX graph: Pillow's resize, the crop or the mirroring, bit for bit.

Pillow resizes along one axis, rounds to uint8, then resizes along the other. A value is a weighted
sum of the pixels under a filter that widens with the scale. The weights are computed in double
precision and rounded to 22 bits: all processors give the same sums of integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from rali.pictures.preprocess import LONG, Preprocess

from .graph import Graph, Value

OPSET = 18  # the first that has every operator
PRECISION_BITS = 22
# A weight is written as three digits of base 256, −128 to 127, each with 128 added: matrices of
# uint8 are what ONNX Runtime multiplies fastest, and without error on every processor.
BASE, ZERO_POINT = 256, 128
# At most this many neighbouring positions share one window of the source and one matrix product.
BLOCK = 8

IMAGE = helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])


def pixels_model(preprocess: Preprocess) -> ModelProto:
    """A model from `image` uint8 [H, W, 3], of any size, to `pixels` uint8 [S, S, 3].

    They equal `preprocess.pixels(image)`.
    """
    graph = Graph("pixels")
    graph.node("Identity", resize(graph, preprocess), output="pixels")
    size = preprocess.size
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [size, size, 3])
    return graph.model([IMAGE], [pixels], OPSET)


def resize(graph: Graph, preprocess: Preprocess) -> Value:
    """Append the nodes that make uint8 [S, S, 3] from the input `image`, uint8 [H, W, 3]."""
    image, size = Value(graph, IMAGE.name), preprocess.size
    shape = graph.Shape(image).to(TensorProto.DOUBLE)
    height, width = graph.Gather(shape, 0), graph.Gather(shape, 1)
    shorter, longer = graph.Min(height, width), graph.Max(height, width)

    def axis(length: Value) -> _Axis:
        to_size = {"shortest": shorter, "squash": length, "mirror": longer}
        return _axis(graph, preprocess, length, to_size[preprocess.resize_mode])

    rows, columns = axis(height), axis(width)
    down_first = graph.And(
        graph.Greater(rows.shrinks_by, 0.0),
        graph.Greater(rows.shrinks_by, columns.shrinks_by * 2.0),
    )

    def crop() -> Value:
        begin = graph.Concat(rows.begin, columns.begin, axis=0)
        end = graph.Concat(rows.end, columns.end, axis=0)
        return graph.Slice(image, begin, end, [0, 1])

    def down(pixels: Value) -> Value:  # [h, w, 3] → [S, w, 3]
        resized = _pass(graph, rows, graph.Reshape(pixels, [0, -1]))
        return graph.Reshape(resized, [size, -1, 3])

    def across(pixels: Value) -> Value:  # [h, w, 3] → [h, S, 3], by way of [w, 3h]
        turned = graph.Transpose(graph.Reshape(pixels, [0, -1]), perm=[1, 0])
        by_column = graph.Concat(columns.end - columns.begin, [-1], axis=0)
        resized = _pass(graph, columns, graph.Reshape(turned, by_column))
        turned = graph.Transpose(graph.Reshape(resized, [size * 3, -1]), perm=[1, 0])
        return graph.Reshape(turned, [0, size, 3])

    def step(condition: Value, then: Callable[[], Value], otherwise: Callable[[], Value]) -> Value:
        return graph.choose(TensorProto.UINT8, condition, then, otherwise)

    first = step(down_first, lambda: down(crop()), crop)
    second = step(columns.changes, lambda: across(first), lambda: graph.Identity(first))
    down_last = graph.And(rows.changes, graph.Not(down_first))
    return step(down_last, lambda: down(second), lambda: graph.Identity(second))


@dataclass(frozen=True)
class _Axis:
    """How one axis becomes S pixels.

    Attributes:
        shrinks_by: pixels, float64; negative where the axis grows.
        changes: bool; false where cropping is enough.
        begin, end: the part of the source that is needed, int64 [1].
        taps: for each block of positions the pixels in its window, counted from `begin`,
            int64 [blocks, taps].
        digits: the weights of these pixels, highest digits first, uint8 [blocks, 3 × block, taps].
    """

    shrinks_by: Value
    changes: Value
    begin: Value
    end: Value
    taps: Value
    digits: Value


def _axis(graph: Graph, preprocess: Preprocess, length: Value, unit: Value) -> _Axis:
    """The axis of `length` that is scaled as `unit` is to S; both are float64 scalars."""
    size, mirrored = float(preprocess.size), preprocess.resize_mode == "mirror"
    if mirrored:
        resized = graph.Max(graph.Floor(length * size / unit + 0.5), 1.0)
        offset = graph.Identity(0.0)
    else:
        resized = graph.Floor(length * size / unit)
        offset = graph.Round((resized - size) / 2.0)
    # Pillow is asked for `output` pixels of the source from `box_begin` to `box_end`, which it
    # holds in float32; those from `first` on are kept.
    boxed = graph.GreaterOrEqual(length, unit * float(LONG))
    output, first = graph.Where(boxed, size, resized), graph.Where(boxed, 0.0, offset)
    box_begin = graph.Where(boxed, offset * length / resized, 0.0).to(TensorProto.FLOAT)
    box_end = graph.Where(boxed, (offset + size) * length / resized, length).to(TensorProto.FLOAT)
    scale = (box_end - box_begin).to(TensorProto.DOUBLE) / output

    # Float64 throughout, and each operation in the order in which Pillow does it.
    radius, values = _FILTERS[preprocess.interpolation]
    widened = graph.Max(scale, 1.0)
    support = widened * radius
    block = max(n for n in range(1, BLOCK + 1) if preprocess.size % n == 0)
    kept = first + np.arange(size).reshape(-1, block, 1)
    if mirrored:
        kept = graph.Mod(kept, resized * 2.0, fmod=1)
        kept = graph.Min(kept, resized * 2.0 - 1.0 - kept)
    centers = (kept + 0.5) * scale + box_begin.to(TensorProto.DOUBLE)
    low = graph.Max(graph.Floor(centers - support + 0.5), 0.0)
    high = graph.Min(graph.Floor(centers + support + 0.5), length)
    starts, ends = graph.ReduceMin(low, [1]), graph.ReduceMax(high, [1])
    taps = starts + graph.Range(0.0, graph.ReduceMax(ends - starts, keepdims=0), 1.0)
    distances = graph.Abs((taps - centers + 0.5) * graph.Div(1.0, widened))
    inside = graph.And(graph.GreaterOrEqual(taps, low), graph.Less(taps, high))
    weights = graph.Where(inside, values(graph, graph.Min(distances, radius)), 0.0)
    totals = graph.Gather(graph.CumSum(weights, 2), [-1], axis=2)  # added up from left to right
    weights = weights / totals * float(1 << PRECISION_BITS)
    weights = (weights + graph.Sign(weights) * 0.5).to(TensorProto.INT32)

    same = graph.Equal(resized, length)
    if mirrored:  # what is shorter than S is filled, even if it keeps its size
        same = graph.And(same, graph.Equal(length, size))
    changes = graph.Not(same)
    begin = graph.Where(changes, graph.ReduceMin(low, keepdims=0), offset)
    end = graph.Where(changes, graph.ReduceMax(high, keepdims=0), offset + size)
    taps = graph.Squeeze(graph.Min(taps, end - 1.0) - begin, [1])
    return _Axis(
        shrinks_by=length - output,
        changes=changes,
        begin=graph.Unsqueeze(begin.to(TensorProto.INT64), [0]),
        end=graph.Unsqueeze(end.to(TensorProto.INT64), [0]),
        taps=taps.to(TensorProto.INT64),
        digits=graph.Reshape(_digits(graph, weights), [0, 3 * block, -1]),
    )


def _digits(graph: Graph, weights: Value) -> Value:
    """int32 [blocks, block, taps] → uint8 [blocks, 3, block, taps]."""
    zero = np.int32(ZERO_POINT * (BASE * BASE + BASE + 1))
    positive = graph.Unsqueeze((weights + zero).to(TensorProto.UINT32), [1])
    shifts = np.array([16, 8, 0], np.uint32).reshape(3, 1, 1)
    shifted = graph.BitShift(positive, shifts, direction="RIGHT")
    return graph.BitwiseAnd(shifted, np.uint32(BASE - 1)).to(TensorProto.UINT8)


def _pass(graph: Graph, axis: _Axis, pixels: Value) -> Value:
    """Resize the first axis: uint8 [length, n] → [blocks, block × n], which is [S, n]."""
    windows = graph.Gather(pixels, axis.taps)
    sums = graph.MatMulInteger(axis.digits, windows, np.uint8(ZERO_POINT))
    sums = graph.Reshape(sums, [0, 3, -1])
    high, middle, low = (graph.Gather(sums, digit, axis=1) for digit in range(3))
    total = (high * np.int32(BASE) + middle) * np.int32(BASE) + low
    total = total + np.int32(1 << (PRECISION_BITS - 1))  # to round, not to truncate
    total = graph.Clip(total, np.int32(0), np.int32((256 << PRECISION_BITS) - 1))
    bits = np.uint32(PRECISION_BITS)
    levels = graph.BitShift(total.to(TensorProto.UINT32), bits, direction="RIGHT")
    return levels.to(TensorProto.UINT8)


def _bicubic(graph: Graph, x: Value) -> Value:
    """Keys' cubic convolution with a = −1/2, at distances from 0 to 2."""
    near = (x * 1.5 - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return graph.Where(graph.Less(x, 1.0), near, far)


def _bilinear(graph: Graph, x: Value) -> Value:
    """The triangle, at distances from 0 to 1."""
    return graph.Sub(1.0, x)


# By interpolation: the filter's radius at scale 1, and its values.
_FILTERS: dict[str, tuple[float, Callable[[Graph, Value], Value]]] = {
    "bicubic": (2.0, _bicubic),
    "bilinear": (1.0, _bilinear),
}
