"""Smaller and faster files: a float32 ONNX file in, one in half precision or in 8-bit integers out.

Only the encoder gets cheaper; the bases and the score stay in float32. There are two kinds of
integers: *static* ranges are calibrated on pictures, so that a score never depends on its batch;
*dynamic* ranges are measured in each run, which therefore has to be of one picture. `WRITERS` says
how each precision is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rali.runs.progress import Progress, silent
from rali.scoring.session import open_session

QUANTIZED = ("MatMul", "Gemm", "Conv")
DYNAMIC = ("MatMul", "Gemm")  # ONNX Runtime has no fast dynamic convolution
RANKED_BY = 4  # pictures


def to_half(source: Path, target: Path) -> None:
    """Weights and activations of the encoder in float16; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(source))
    half = onnx.utils.Extractor(model).extract_model(["pixel_values"], ["embedding"])
    encoder = {node.name for node in half.graph.node}
    half = convert_float_to_float16(half, keep_io_types=True)
    scoring = [node for node in model.graph.node if node.name not in encoder]
    used = {name for node in scoring for name in node.input}
    for constant in model.graph.initializer:
        if constant.name in used:  # the encoder's own of the same name is in float16 now
            half.graph.initializer.add().CopyFrom(constant)
            half.graph.initializer[-1].name = f"scoring/{constant.name}"
            for node in scoring:
                names = [f"scoring/{n}" if n == constant.name else n for n in node.input]
                node.input[:] = names
    half.graph.node.extend(scoring)
    OnnxModel(half).topological_sort()
    half.graph.output.insert(0, model.graph.output[0])
    half.metadata_props.extend(model.metadata_props)
    onnx.checker.check_model(half)
    onnx.save(half, str(target))


def quantize_dynamic(source: Path, target: Path) -> None:
    """Matrix products in 8 bits: weights per channel, activations by the range of each run."""
    from onnxruntime import quantization

    with _folded(source) as folded:
        quantization.quantize_dynamic(
            folded,
            target,
            op_types_to_quantize=list(DYNAMIC),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_scoring(folded),
            extra_options={"MatMulConstBOnly": True},
        )


def quantize_static(
    source: Path,
    target: Path,
    pixels: Sequence[np.ndarray],
    keep: Sequence[str] = (),
    *,
    symmetric: bool = False,
) -> None:
    """Matrix products and convolutions in 8 bits (QDQ), weights per channel.

    Args:
        pixels: float32 [3, S, S] each; they set the ranges of activations.
        keep: nodes that stay in float.
        symmetric: activations have no zero points either, as TensorRT wants it.
    """
    with _folded(source) as folded:
        _quantize_folded(folded, target, pixels, keep=keep, symmetric=symmetric)


# How each precision is written: from the float32 file, to a file, calibrated on pixels, with some
# nodes left in float. fp32 is the exported file itself.
WRITERS: dict[str, Callable[[Path, Path, Sequence[np.ndarray], Sequence[str]], None]] = {
    "fp16": lambda source, target, pixels, keep: to_half(source, target),
    "int8": quantize_static,
    "int8-dynamic": lambda source, target, pixels, keep: quantize_dynamic(source, target),
}


def _quantize_folded(
    folded: Path,
    target: Path,
    pixels: Sequence[np.ndarray],
    *,
    keep: Sequence[str] = (),
    only: Sequence[str] = (),
    symmetric: bool = False,
) -> None:
    """As `quantize_static`; where `only` is given, all other nodes stay in float."""
    from onnxruntime import quantization

    kinds = quantization.QuantType

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(pixels)

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self.rest, None)
            return None if one is None else {"pixel_values": one[None]}

    quantization.quantize_static(
        folded,
        target,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZED),
        per_channel=True,
        activation_type=kinds.QInt8 if symmetric else kinds.QUInt8,
        weight_type=kinds.QInt8,
        nodes_to_quantize=list(only),
        nodes_to_exclude=[*_scoring(folded), *keep],
        # Products feed LayerNorm, GELU and sums, which are in float.
        extra_options={
            "OpTypesToExcludeOutputQuantization": list(DYNAMIC),
            "ActivationSymmetric": symmetric,
        },
    )


def worst_first(
    source: Path, pixels: Sequence[np.ndarray], progress: Progress = silent
) -> list[str]:
    """The layers that can be in 8 bits, those first that alone move the embeddings most.

    It takes a second or more for each layer.
    """
    import onnx

    with _folded(source) as folded, tempfile.TemporaryDirectory() as folder:
        graph = onnx.load(str(folded), load_external_data=False).graph
        constants = {each.name for each in graph.initializer}
        scoring = set(scoring_nodes(graph))
        layers = [
            node.name
            for node in graph.node
            if node.op_type in QUANTIZED and node.input[1] in constants and node.name not in scoring
        ]
        some = pixels[:RANKED_BY]
        exact = embeddings(folded, some)
        moved = {}
        for done, layer in enumerate(layers, 1):
            file = Path(folder) / "one_layer.onnx"
            _quantize_folded(folded, file, some, only=[layer])
            moved[layer] = float(np.linalg.norm(embeddings(file, some) - exact))
            progress("layers that 8 bits hurt", done, len(layers))
    return sorted(layers, key=lambda layer: -moved[layer])


def embeddings(file: Path, pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings [n, D] of pixels, by a file, picture by picture."""
    session = open_session(file, None, threads=0)
    rows = [session.run(["embedding"], {"pixel_values": one[None]})[0][0] for one in pixels]
    return np.stack(rows)


def scoring_nodes(graph: Any) -> list[str]:
    """The nodes between the embedding and the score."""
    reached, found = {"embedding"}, []
    for node in graph.node:  # in topological order, as ONNX wants it
        if reached & set(node.input):
            reached.update(node.output)
            found.append(node.name)
    return found


def _scoring(file: Path) -> list[str]:
    import onnx

    return scoring_nodes(onnx.load(str(file), load_external_data=False).graph)


@contextmanager
def _folded(source: Path) -> Iterator[Path]:
    """The file with constants and batch normalisations folded, as the quantizers expect it."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import quant_utils

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(source), options, ["CPUExecutionProvider"])
        model = onnx.load(str(file))
        del model.graph.value_info[:]  # of weights that folding has transposed
        for node in model.graph.node:  # quantizers leave in float what ONNX cannot infer
            if node.domain == "com.microsoft":
                for name in node.output:
                    info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                    model.graph.value_info.append(info)
        used = {node.domain for node in model.graph.node}
        opsets = [each for each in model.opset_import if each.domain in used]
        del model.opset_import[:]  # ONNX Runtime lists all operator sets that it knows
        model.opset_import.extend(opsets)
        quant_utils.add_pre_process_metadata(model)
        onnx.save(model, str(file))
        yield file
