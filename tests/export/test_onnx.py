"""Exports: fused attention, fewer bits, the gate, and scores that never depend on their batch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import rali
from rali import Scorer, Student
from rali.cli import app, main
from rali.errors import InputError
from rali.export import compare, export_checked, export_onnx, export_ort
from rali.export.checked import Agreement, Gate
from rali.export.quantize import scoring_nodes
from rali.pictures.degrade import degrade
from rali.scoring.intervals import read_interval
from rali.student.encoders import image_tower
from rali.student.student import StudentConfig

PLAIN = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
TOWERS = {
    "open_clip": {"layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 64},
    "timm": {"timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False,
             "timm_pool": "avg", "timm_proj": None, "image_size": 224},
    "several branches": {"timm_model_name": "fastvit_t8", "timm_model_pretrained": False,
                         "timm_pool": "avg", "timm_proj": None, "image_size": 64},
}  # fmt: skip
WIDTHS = {"open_clip": 24, "timm": 192, "several branches": 768}


def tower_student(kind: str) -> Student:
    torch.manual_seed(0)
    width = WIDTHS[kind]
    spec = {"name": "x", "vision_cfg": TOWERS[kind], "embed_dim": width, "quick_gelu": False}
    tower = image_tower(spec)
    for module in tower.modules():  # equal ones would be merged
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
    size = {"size": TOWERS[kind]["image_size"], "resize_mode": "shortest"}
    config = StudentConfig(spec, PLAIN | size, width, 8, 6)
    student = Student(config, tower)
    for buffer in (student.components, student.basis_vectors):
        nn.init.normal_(buffer)
    student.basis_scores.copy_(torch.linspace(1, 5, 6))
    return student.eval()


@pytest.mark.parametrize(("kind", "attentions"), [("open_clip", 2), ("timm", 12)])
def test_attention_is_one_node_and_gives_the_same(kind, attentions, photographs, tmp_path):
    student = tower_student(kind)
    file = export_onnx(student, tmp_path / "model.onnx")
    kinds = [node.op_type for node in onnx.load(str(file)).graph.node]
    assert kinds.count("MultiHeadAttention") == attentions
    agreement = compare(student, file, list(photographs.values()))
    assert agreement.max_difference < 1e-4 and agreement.cosine > 0.99999


def test_plain_attention_is_of_onnxs_own_operators(photographs, tmp_path):
    student = tower_student("timm")
    file = export_onnx(student, tmp_path / "model.onnx", fused=False)
    assert {node.domain for node in onnx.load(str(file)).graph.node} <= {"", "ai.onnx"}
    assert compare(student, file, list(photographs.values())).max_difference < 1e-4


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_what_attention_gives_is_multiplied_in_8_bits_too(precision, pictures, tmp_path):
    file = tmp_path / "model.onnx"
    agreement = export_checked(tower_student("timm"), file, pictures, precision=precision)
    graph = onnx.load(str(file)).graph
    constants = {each.name for each in graph.initializer}
    layers = {
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants
    }
    scoring = {node for node in layers if node in scoring_nodes(graph)}
    assert layers == scoring | {name for name in layers if name in agreement.float_layers}
    assert agreement.cosine > 0.99 and not agreement.float_layers


def test_branches_become_one_convolution(photographs, tmp_path):
    student = tower_student("several branches")
    branches = sum(hasattr(module, "reparameterize") for module in student.encoder.modules())
    assert branches
    file = export_onnx(student, tmp_path / "model.onnx")
    assert compare(student, file, list(photographs.values())).max_difference < 1e-4
    convolutions = [node for node in onnx.load(str(file)).graph.node if node.op_type == "Conv"]
    assert len(convolutions) < sum(isinstance(m, nn.Conv2d) for m in student.encoder.modules())
    assert branches == sum(hasattr(m, "reparameterize") for m in student.encoder.modules()), (
        "the student itself must stay as it is"
    )


@pytest.fixture(scope="module")
def pictures(photographs):
    return [
        degrade(picture, name, level)
        for picture in photographs.values()
        for name in ("blur", "noise", "darken")
        for level in (1, 4)
    ]


@pytest.fixture(scope="module", params=["fp16", "int8", "int8-dynamic"])
def fewer(request, pictures, tmp_path_factory):
    file = tmp_path_factory.mktemp(request.param) / "model.onnx"
    student = Student.from_pretrained("builtin")
    return (
        request.param,
        file,
        export_checked(student, file, pictures, precision=request.param, strict=True),
    )


def test_fewer_bits_give_nearly_the_same_scores_from_a_smaller_file(fewer):
    precision, file, agreement = fewer
    assert agreement.passes(Gate()) and agreement.srcc > 0.995
    assert file.stat().st_size < {"fp16": 2.3e6, "int8": 2.6e6, "int8-dynamic": 2.9e6}[precision]
    told = Scorer(file).metadata
    assert told["precision"] == precision
    assert told["agreement"]["srcc"] == pytest.approx(agreement.srcc, abs=1e-4)
    assert told["float_layers"] == list(agreement.float_layers)


def test_layers_that_8_bits_hurt_stay_in_float_and_are_named(fewer):
    precision, file, agreement = fewer
    if precision != "int8":
        pytest.skip("only static integers leave layers out")
    graph = onnx.load(str(file)).graph
    integers = {
        node.name
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and "DequantizeLinear" in node.input[1]
    }
    named = {node.name for node in graph.node if node.name in agreement.float_layers}
    assert len(named) == len(agreement.float_layers) > 0
    assert integers and not integers & named


def test_a_file_names_no_operators_that_it_does_not_use(fewer):
    model = onnx.load(str(fewer[1]))
    assert {each.domain for each in model.opset_import} == {n.domain for n in model.graph.node}


def test_bases_are_scored_in_float32(fewer):
    _, file, _ = fewer
    graph = onnx.load(str(file)).graph
    scoring = set(scoring_nodes(graph))
    constants = {each.name: each.data_type for each in graph.initializer}
    used = [
        constants[name]
        for node in graph.node
        if node.name in scoring
        for name in node.input
        if name in constants
    ]
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    inputs = {name for node in graph.node if node.name in scoring for name in node.input}
    assert "DequantizeLinear" not in {made_by.get(name) for name in inputs}
    assert onnx.TensorProto.FLOAT in used
    assert not {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8} & set(used)


def test_a_score_does_not_depend_on_its_batch(fewer, pictures):
    _, file, _ = fewer
    alone = [Scorer(file)(picture) for picture in pictures[:6]]
    for batch_size in (2, 6):
        together = Scorer(file, batch_size=batch_size)(pictures[:6])
        assert together == pytest.approx(alone, abs=1e-5)


def test_below_the_gate_strict_keeps_nothing_and_otherwise_it_is_said(pictures, tmp_path):
    student = tower_student("open_clip")
    never = Gate(srcc=1.1)
    with pytest.raises(InputError, match="below the gate"):
        export_checked(
            student, tmp_path / "a.onnx", pictures, precision="fp16", gate=never, strict=True
        )
    assert not list(tmp_path.iterdir())
    agreement = export_checked(student, tmp_path / "b.onnx", pictures, precision="fp16", gate=never)
    assert not agreement.passes(never) and (tmp_path / "b.onnx").is_file()


def test_what_cannot_be_made_is_said(tmp_path):
    student = tower_student("open_clip")
    with pytest.raises(InputError, match="expected fp32, fp16, int8, int8-dynamic"):
        export_checked(student, tmp_path / "a.onnx", precision="int4")
    with pytest.raises(InputError, match="more pictures than 1"):
        export_checked(student, tmp_path / "a.onnx", ["one.jpg"], precision="int8")
    with pytest.raises(InputError, match="more pictures than 4"):  # 2 to check have no SRCC
        export_checked(student, tmp_path / "a.onnx", ["one.jpg"] * 4, precision="int8", strict=True)


def test_pictures_of_one_score_have_no_order_and_none_is_no_agreement():
    same = Agreement(np.full(4, 3.0), np.full(4, 3.0), 1.0)
    assert np.isnan(same.srcc) and same.passes(Gate()) and "SRCC" not in same.words()
    assert not Agreement(np.array([3.0]), np.array([np.nan]), 1.0).passes(Gate())


def test_what_explanations_and_intervals_come_from_goes_along(tmp_path, photograph_files):
    model = tmp_path / "model"
    shutil.copytree(Path(rali.__file__).parent / "builtin", model)
    out = tmp_path / "phone" / "model.onnx"
    done = CliRunner().invoke(app, ["export", str(model), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert Scorer(out).explain(photograph_files[0]) == Scorer(model).explain(photograph_files[0])
    assert read_interval(out) == read_interval(model)
    assert not (model / "onnx" / "phrases.npz").exists()
    CliRunner().invoke(app, ["export", str(model)])
    assert not (model / "onnx" / "phrases.npz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--web", "page", "--strict", "--image"], "leave out --strict, --image"),
        (["--onnxruntime-web", "."], "give both"),
        (["--format", "ort", "-o", "model.ort"], "comes beside it"),
    ],
)
def test_options_that_do_not_go_together(words, message):
    assert message in str(CliRunner().invoke(app, ["export", "builtin", *words]).exception)


def test_the_format_for_mobiles_gives_the_same_scores(fewer, pictures):
    precision, file, _ = fewer
    same = export_ort(file)
    assert same.suffix == ".ort" and Scorer(same).metadata == Scorer(file).metadata
    # Nodes are joined in another way: where sums are of integers a rounding may fall elsewhere.
    off = 0.005 if "int8" in precision else 1e-5
    assert Scorer(same)(pictures[:3]) == pytest.approx(Scorer(file)(pictures[:3]), abs=off)


def test_the_command_writes_a_file_of_each_precision_that_a_scorer_then_finds(
    tmp_path, photograph_files, capsys, monkeypatch
):
    model = tmp_path / "model"
    tower_student("open_clip").save_pretrained(model)
    words = ["rali", "export", str(model), "--precision", "int8", "--format", "ort"]
    monkeypatch.setattr("sys.argv", [*words, "--pictures", str(photograph_files[0].parent)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, capsys.readouterr().err
    assert "largest difference from torch" in capsys.readouterr().out
    assert {file.name for file in (model / "onnx").iterdir()} == {
        "model_int8.onnx",
        "model_int8.ort",
    }
    assert Scorer(model, precision="int8").metadata["precision"] == "int8"
    with pytest.raises(InputError, match=r"rali export .*model --precision fp16"):
        Scorer(model, precision="fp16")
