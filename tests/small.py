"""Small models and pictures that several tests share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rali.pictures.preprocess import Preprocess
from rali.student.encoders import Encoder, TextTower, nano_preprocess
from rali.student.nano import NanoConfig, NanoImageEncoder, NanoTextEncoder

PREPROCESS = Preprocess(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


WEIGHTS = np.array([0.5, 1.0, 2.0], np.float32)


def write_model(path: Path, *, input_name: str = "pixel_values", **metadata: Any) -> Path:
    """embedding = mean colour [batch, 3]; score = 1 + embedding · (0.5, 1, 2)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: np.ndarray) -> Any:
        return numpy_helper.from_array(value, name)

    nodes = [
        helper.make_node("ReduceMean", [input_name, "axes"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "w", "b"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"], ["score"]),
    ]
    shape: list[str | int | None] = ["batch", 3, PREPROCESS.size, PREPROCESS.size]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            constant("axes", np.array([2, 3])),
            constant("one", np.array([1])),
            constant("w", WEIGHTS[:, None]),
            constant("b", np.array([1.0], np.float32)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    known = {"model_type": "rali", "score_range": [1, 5], **PREPROCESS.to_dict(), **metadata}
    props = {key: json.dumps(value) for key, value in known.items() if value is not None}
    helper.set_model_props(model, props)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


SMALL = NanoConfig(
    size=64,
    embed_dim=24,
    widths=(4, 8, 8),
    shrink=2,
    spectra=(("luma", 1, 8, 8), ("chroma", 2, 4, 4)),
    spectrum_width=8,
    text_width=16,
    text_heads=2,
    text_layers=1,
    buckets=256,
)


def small_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    text = NanoTextEncoder(SMALL)
    return Encoder(
        spec={"name": "nano", "config": SMALL.to_dict()},
        image=NanoImageEncoder(SMALL).eval(),
        text=TextTower(text, text.tokenize, SMALL.context),
        preprocess=nano_preprocess(SMALL),
        dim=SMALL.embed_dim,
    )


class Pixels:
    """Six fixed pictures with the surface of PictureBatches."""

    def __init__(self, count: int = 6) -> None:
        self.data = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.data)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def pixels(self, indices, *, flip=False):
        batch = self.data[torch.as_tensor(np.asarray(indices))]
        mirrored = torch.as_tensor(np.broadcast_to(flip, len(batch)).copy())
        return torch.where(mirrored[:, None, None, None], batch.flip(3), batch)


def tower(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.Linear(16, 4))
