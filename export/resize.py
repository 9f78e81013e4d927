"""`Preprocess.pixels` as an ONNX graph: Pillow's resize, the crop or the mirroring, bit for bit.

Pillow resizes along one axis, rounds to uint8, then resizes along the other. A value is a weighted
sum of the pixels under a filter that widens with the scale. The weights are computed in double
precision and rounded to 22 bits: all processors give the same sums of integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    """Append the nodes that make uint8 [S, S, 3] from the input `image`, uint8 [H, W, 3].

    Which axis comes first depends on the picture. There is no `If`, which OpenVINO gets wrong: the
    picture is turned where its columns come first, and both axes always pass.
    """
    image, size = Value(graph, IMAGE.name), preprocess.size
    shape = graph.Shape(image).to(TensorProto.DOUBLE)
    height, width = graph.Gather(shape, 0), graph.Gather(shape, 1)
    shorter, longer = graph.Min(height, width), graph.Max(height, width)

    def unit(length: Value) -> Value:
        return {"shortest": shorter, "squash": length, "mirror": longer}[preprocess.resize_mode]

    less = [
        length - _edge(graph, preprocess, length, unit(length)).output for length in (height, width)
    ]
    down_first = graph.And(graph.Greater(less[0], 0.0), graph.Greater(less[0], less[1] * 2.0))
    first = graph.Where(down_first, height, width)
    second = graph.Where(down_first, width, height)
    one, other = (_axis(graph, preprocess, length, unit(length)) for length in (first, second))

    begin, end = (
        graph.Where(down_first, graph.Concat(a, b, axis=0), graph.Concat(b, a, axis=0))
        for a, b in ((one.begin, other.begin), (one.end, other.end))
    )
    picture = graph.Slice(image, begin, end, [0, 1])

    def turned(pixels: Value, lines: Any) -> Value:
        """The transpose of a matrix of this many lines; of a single line, the same in order."""
        return graph.Transpose(
            graph.Reshape(pixels, graph.Concat(lines, [-1], axis=0)), perm=[1, 0]
        )

    # Rows first: [h, 3w] → [S, 3w] → [w, 3S] → [S, 3S], which is [w, 3, h]. Columns first the
    # picture is turned before, instead of after: [w, 3h] → [S, 3h] → [h, 3S] → [S, 3S].
    lines = graph.Where(down_first, np.array([1]), graph.Slice(graph.Shape(picture), [0], [1]))
    by_first = graph.Concat(one.end - one.begin, [-1], axis=0)
    by_second = graph.Concat(other.end - other.begin, [-1], axis=0)
    pixels = _pass(graph, one, graph.Reshape(turned(picture, lines), by_first))
    columns = graph.Where(down_first, np.array([size]), np.array([size * 3]))
    pixels = _pass(graph, other, graph.Reshape(turned(pixels, columns), by_second))
    lines = graph.Where(down_first, np.array([size * 3]), np.array([1]))
    return graph.Reshape(turned(pixels, lines), [size, size, 3])


@dataclass(frozen=True)
class _Edge:
    """How long one edge becomes, all float64 scalars (`boxed` bool).

    Attributes:
        resized: its length afterwards. offset: the first of the S pixels that the crop keeps.
        boxed: whether only the part that the crop keeps is resized.
        output: the pixels that Pillow is asked for.
    """

    resized: Value
    offset: Value
    boxed: Value
    output: Value


def _edge(graph: Graph, preprocess: Preprocess, length: Value, unit: Value) -> _Edge:
    """The edge of `length` that is scaled as `unit` is to S; both are float64 scalars."""
    size = float(preprocess.size)
    if preprocess.resize_mode == "mirror":
        resized = graph.Max(graph.Floor(length * size / unit + 0.5), 1.0)
        offset = graph.Identity(0.0)
    else:
        resized = graph.Floor(length * size / unit)
        offset = graph.Round((resized - size) / 2.0)
    boxed = graph.GreaterOrEqual(length, unit * float(LONG))
    return _Edge(resized, offset, boxed, graph.Where(boxed, size, resized))


@dataclass(frozen=True)
class _Axis:
    """How one axis becomes S pixels.

    Attributes:
        begin, end: the part of the source that is needed, int64 [1].
        taps: for each block of positions the pixels in its window, counted from `begin`,
            int64 [blocks, taps].
        digits: the weights of these pixels, highest digits first, uint8 [blocks, 3 × block, taps].
    """

    begin: Value
    end: Value
    taps: Value
    digits: Value


def _axis(graph: Graph, preprocess: Preprocess, length: Value, unit: Value) -> _Axis:
    """The axis of `length` that is scaled as `unit` is to S; both are float64 scalars."""
    size, edge = float(preprocess.size), _edge(graph, preprocess, length, unit)
    resized, offset = edge.resized, edge.offset
    # Pillow is asked for `output` pixels of the source from `box_begin` to `box_end`, which it
    # holds in float32; those from `first` on are kept.
    first = graph.Where(edge.boxed, 0.0, offset)
    box_begin = graph.Where(edge.boxed, offset * length / resized, 0.0).to(TensorProto.FLOAT)
    box_end = graph.Where(edge.boxed, (offset + size) * length / resized, length)
    box_end = box_end.to(TensorProto.FLOAT)
    scale = (box_end - box_begin).to(TensorProto.DOUBLE) / edge.output

    # Float64 throughout, and each operation in the order in which Pillow does it.
    radius, values = _FILTERS[preprocess.interpolation]
    widened = graph.Max(scale, 1.0)
    support = widened * radius
    block = max(n for n in range(1, BLOCK + 1) if preprocess.size % n == 0)
    kept = first + np.arange(size).reshape(-1, block, 1)
    if preprocess.resize_mode == "mirror":
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

    begin, end = graph.ReduceMin(low, keepdims=0), graph.ReduceMax(high, keepdims=0)
    taps = graph.Squeeze(graph.Min(taps, end - 1.0) - begin, [1])
    return _Axis(
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
    # Providers that shift in float32 round the last levels of 255 up to 256, which wraps to black.
    total = graph.Clip(total, np.int32(0), np.int32(255 << PRECISION_BITS))
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
