"""The node by ComfyUI's contract. ComfyUI itself is in no package registry, so this is not it.

What is done here is what its `nodes.load_custom_node` and `execution` do with a file of
custom_nodes/: import it, take `NODE_CLASS_MAPPINGS`, call `FUNCTION` with the inputs that
`INPUT_TYPES` names, and hand each output on by `RETURN_TYPES` and `OUTPUT_IS_LIST`, unless it is an
`ExecutionBlocker`.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from rali.errors import InputError


class ExecutionBlocker:
    def __init__(self, message: str | None) -> None:
        self.message = message


@pytest.fixture(scope="module")
def node(integration):
    graph = ModuleType("comfy_execution.graph")
    graph.ExecutionBlocker = ExecutionBlocker
    sys.modules |= {"comfy_execution": ModuleType("comfy_execution"), graph.__name__: graph}
    yield integration("comfyui_rali").NODE_CLASS_MAPPINGS["RaliSort"]
    del sys.modules["comfy_execution"], sys.modules[graph.__name__]


@pytest.fixture(scope="module")
def images(files) -> torch.Tensor:
    """What LoadImage gives: float32 [6, h, w, 3] from 0 to 1."""
    pictures = [Image.open(path).convert("RGB").resize((160, 120)) for path in files[:-1]]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]) / 255).float()


def run(node, images, **given) -> dict:
    """The outputs by name, of the defaults and what is given."""
    inputs = node.INPUT_TYPES()["required"]
    values = {name: kind[1]["default"] for name, kind in inputs.items() if len(kind) > 1}
    outputs = getattr(node(), node.FUNCTION)(images=images, **values | given)
    assert len(outputs) == len(node.RETURN_TYPES) == len(node.OUTPUT_IS_LIST)
    for value, kind, several in zip(outputs, node.RETURN_TYPES, node.OUTPUT_IS_LIST, strict=True):
        if kind == "IMAGE":
            assert isinstance(value, ExecutionBlocker) or (value.ndim == 4 and len(value))
        else:
            assert several and all(isinstance(each, float) for each in value)
    return dict(zip(node.RETURN_NAMES, outputs, strict=True))


def test_every_picture_goes_one_way(node, images):
    from rali import Scorer

    outputs = run(node, images, at_least=2.5, certainty=0.5)
    array = (images * 255).round().byte().numpy()
    assert outputs["scores"] == pytest.approx(list(Scorer()(array)), abs=1e-4)
    interval = Scorer().interval
    for name in ("keep", "maybe", "drop"):
        parted = outputs[name]
        for picture in [] if isinstance(parted, ExecutionBlocker) else parted:
            at = next(n for n, image in enumerate(images) if torch.equal(image, picture))
            low, high = interval.around(outputs["scores"][at], 0.5)
            assert name == ("keep" if low >= 2.5 else "drop" if high < 2.5 else "maybe")
    parts = [outputs[name] for name in ("keep", "maybe", "drop")]
    assert sum(len(part) for part in parts if not isinstance(part, ExecutionBlocker)) == 6


def test_nothing_runs_behind_an_output_without_pictures(node, images):
    outputs = run(node, images, at_least=1.0)
    assert len(outputs["keep"]) == 6
    assert outputs["drop"].message is None, "silent: this is no error"


def test_what_is_no_picture_is_refused(node, images):
    with pytest.raises(InputError, match="no numbers"):
        run(node, images * float("nan"))
