"""Exports: fused attention, fewer bits, the gate, and scores that never depend on their batch."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import rali
from rali import Scorer, Student
from rali.cli import app, main
from rali.errors import InputError
from rali.export import compare, export_checked, export_ort
from rali.export.agreement import Agreement, Gate
from rali.export.quantize import WRITERS, scoring_nodes, worst_first
from rali.scoring.intervals import read_interval
from rali.scoring.model_folder import PRECISIONS
from small import tower_student

# Scores by random weights mean nothing: files of such students are compared by embeddings.
OPEN, CLOSED = Gate(srcc=-1.0, max_difference=math.inf), Gate(max_difference=0.0)


def test_each_precision_has_a_way_to_be_written():
    assert {"fp32", *WRITERS} == set(PRECISIONS)


@pytest.mark.parametrize(("kind", "attentions"), [("open_clip", 2), ("timm", 6)])
def test_attention_is_one_node_and_gives_the_same(
    kind, attentions, export_once, photographs, tmp_path
):
    student = tower_student(kind)
    file = export_once(student, tmp_path / "model.onnx")
    kinds = [node.op_type for node in onnx.load(str(file)).graph.node]
    assert kinds.count("MultiHeadAttention") == attentions
    agreement = compare(student, file, list(photographs.values()))
    assert agreement.max_difference < 1e-4 and agreement.cosine > 0.99999


def test_plain_attention_is_of_onnxs_own_operators(export_once, photographs, tmp_path):
    student = tower_student("open_clip")
    file = export_once(student, tmp_path / "model.onnx", fused=False)
    assert {node.domain for node in onnx.load(str(file)).graph.node} <= {"", "ai.onnx"}
    assert compare(student, file, list(photographs.values())).max_difference < 1e-4


def float_layers(graph: onnx.GraphProto) -> set[str]:
    """Names of the layers whose weights are constants in float, but for those of the score."""
    constants = {each.name for each in graph.initializer}
    return {
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm", "Conv") and node.input[1] in constants
    } - {*scoring_nodes(graph)}


def exact_cosine(student: Student, file: Path, pictures: list[np.ndarray]) -> float:
    """The least cosine of embeddings with torch's, by kernels that sum integers without loss.

    ONNX Runtime's fastest kernels saturate on processors that have AVX2 and no VNNI.
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pixels = [student.preprocess(picture)[None] for picture in pictures]
    found = [session.run(["embedding"], {"pixel_values": each})[0][0] for each in pixels]
    expected = student.embed(pictures)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(1) / lengths).min())


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_what_attention_gives_is_multiplied_in_8_bits_too(precision, pictures, tmp_path):
    student, file = tower_student("timm"), tmp_path / "model.onnx"
    agreement = export_checked(student, file, pictures, precision=precision, gate=OPEN)
    graph = onnx.load(str(file)).graph
    # Dynamic integers leave out convolutions, of which this tower has one.
    convolutions = {node.name for node in graph.node if node.op_type == "Conv"}
    assert float_layers(graph) == (convolutions if precision == "int8-dynamic" else set())
    assert not agreement.float_layers
    assert exact_cosine(student, file, pictures[:6]) > 0.999


def test_branches_become_one_convolution(export_once, photographs, tmp_path):
    student = tower_student("several branches")
    branches = sum(hasattr(module, "reparameterize") for module in student.encoder.modules())
    assert branches
    file = export_once(student, tmp_path / "model.onnx")
    assert compare(student, file, list(photographs.values())).max_difference < 1e-4
    convolutions = [node for node in onnx.load(str(file)).graph.node if node.op_type == "Conv"]
    assert len(convolutions) < sum(isinstance(m, nn.Conv2d) for m in student.encoder.modules())
    assert branches == sum(hasattr(m, "reparameterize") for m in student.encoder.modules()), (
        "the student itself must stay as it is"
    )


@pytest.fixture(scope="module")
def builtin() -> Student:
    return Student.from_pretrained("builtin")


@pytest.fixture(
    scope="module",
    # In 8 bits the built-in model needs a search for the layers that stay in float.
    params=["fp16", pytest.param("int8", marks=pytest.mark.slow), "int8-dynamic"],
)
def fewer(request, builtin, pictures, tmp_path_factory):
    file = tmp_path_factory.mktemp(request.param) / "model.onnx"
    agreement = export_checked(builtin, file, pictures, precision=request.param, strict=True)
    return request.param, file, agreement


def test_fewer_bits_give_nearly_the_same_scores_from_a_smaller_file(fewer):
    precision, file, agreement = fewer
    assert agreement.passes(Gate()) and agreement.srcc > 0.995
    assert file.stat().st_size < {"fp16": 7e6, "int8": 4.5e6, "int8-dynamic": 12.9e6}[precision]
    metadata = Scorer(file).metadata
    assert metadata["precision"] == precision
    assert metadata["agreement"]["srcc"] == pytest.approx(agreement.srcc, abs=1e-4)
    assert metadata["float_layers"] == list(agreement.float_layers)


@pytest.fixture(scope="module")
def outlier() -> tuple[Student, torch.Tensor]:
    """A student of which 8 bits ruin one layer, and that layer's weights.

    One of its inputs is near 1,000 and has weights of 0: the layer gives the same without it, but
    8 bits over such a range hold nothing of the other inputs.
    """
    student = tower_student("open_clip")
    mlp = student.encoder.transformer.resblocks[0].mlp
    with torch.no_grad():
        mlp.c_fc.bias[0] = 1000.0
        mlp.c_proj.weight[:, 0] = 0.0
    return student, mlp.c_proj.weight.detach()


def test_layers_that_8_bits_hurt_stay_in_float_and_are_named(outlier, pictures, tmp_path):
    student, weights = outlier
    file = tmp_path / "model.onnx"
    agreement = export_checked(student, file, pictures, precision="int8", gate=CLOSED)
    graph = onnx.load(str(file)).graph
    assert float_layers(graph) == set(agreement.float_layers)
    # Never enough for the gate, so that it is twice as many in each turn, up to the half of all.
    every = [n for n in graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    count = len(every) - len({*scoring_nodes(graph)} & {node.name for node in every})
    assert count / 4 < len(agreement.float_layers) <= count / 2
    (worst,) = (node for node in graph.node if node.name == agreement.float_layers[0])
    (held,) = (each for each in graph.initializer if each.name == worst.input[1])
    values = onnx.numpy_helper.to_array(held)
    assert values.shape in {tuple(weights.shape), tuple(weights.T.shape)}
    oriented = values if values.shape == tuple(weights.shape) else values.T
    np.testing.assert_allclose(oriented, weights.numpy())
    assert exact_cosine(student, file, pictures[:6]) > 0.999
    assert Scorer(file).metadata["float_layers"] == list(agreement.float_layers)


def test_progress_counts_the_layers(outlier, pictures, export_once, tmp_path):
    student, _ = outlier
    full = export_once(student, tmp_path / "model.onnx")
    steps: list[tuple[str, int, int]] = []
    pixels = [student.preprocess(picture) for picture in pictures[:1]]
    layers = worst_first(full, pixels, lambda *step: steps.append(step))
    assert [(done, total) for _, done, total in steps] == [
        (done + 1, len(layers)) for done in range(len(layers))
    ]


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


def test_below_the_gate_strict_keeps_nothing_and_otherwise_the_file_stays(pictures, tmp_path):
    student = tower_student("open_clip")
    with pytest.raises(InputError, match="below the gate"):
        export_checked(
            student, tmp_path / "a.onnx", pictures, precision="fp16", gate=CLOSED, strict=True
        )
    assert not list(tmp_path.iterdir())
    agreement = export_checked(
        student, tmp_path / "b.onnx", pictures, precision="fp16", gate=CLOSED
    )
    assert not agreement.passes(CLOSED) and (tmp_path / "b.onnx").is_file()


def test_what_cannot_be_made_is_refused(tmp_path):
    student = tower_student("open_clip")
    with pytest.raises(InputError, match="expected fp32, fp16, int8, int8-dynamic"):
        export_checked(student, tmp_path / "a.onnx", precision="int4")
    with pytest.raises(InputError, match="more pictures than the 1 given"):
        export_checked(student, tmp_path / "a.onnx", ["one.jpg"], precision="int8")
    with pytest.raises(InputError, match="more pictures than the 4"):  # two have no SRCC
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
    assert read_interval(out).errors == read_interval(model).errors
    other = tmp_path / "phone" / "other.onnx"
    onnx_model = onnx.load(out)
    next(p for p in onnx_model.metadata_props if p.key == "weights_sha256").value = '"others"'
    onnx.save(onnx_model, other)
    for name in ("phrases.npz", "interval.json"):  # as exports of earlier versions named them
        shutil.copyfile(out.with_name(f"model.{name}"), out.with_name(name))
    assert Scorer(out).interval.errors == read_interval(model).errors
    with pytest.raises(InputError, match=r"interval\.json is another model's, not that of"):
        Scorer(other).interval.radius(0.9)
    with pytest.raises(InputError, match=r"phrases\.npz is another model's, not that of"):
        Scorer(other).explain(photograph_files[0])
    shown = CliRunner().invoke(
        app, ["score", str(photograph_files[0]), "-m", str(other), "--interval", "0.9"]
    )
    assert shown.exit_code and "another model's" in str(shown.exception)
    assert not (model / "onnx" / "phrases.npz").exists()
    CliRunner().invoke(app, ["export", str(model)])
    assert not (model / "onnx" / "phrases.npz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--web", "page", "--strict", "--image"], "leave out --strict, --image"),
        (["--onnxruntime-web", "."], "give both"),
        (["--format", "ort", "-o", "model.ort"], "comes beside it"),
        (["-o", "."], "is a folder; give the file to write, such as model.onnx"),
    ],
)
def test_options_that_do_not_go_together(words, message):
    assert message in str(CliRunner().invoke(app, ["export", "builtin", *words]).exception)


def test_the_format_for_mobiles_gives_the_same_scores(fewer, builtin, pictures):
    """The same graph; it may differ from the file as run here, where kernels are a processor's own.

    Kernels of integers give up precision on processors without VNNI (their sums of products of
    uint8 and int8 saturate), and the mobile file, which holds no joined nodes, never runs them.
    """
    _, file, _ = fewer
    same = export_ort(file)
    assert same.suffix == ".ort" and Scorer(same).metadata == Scorer(file).metadata
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    plain = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pixels = [builtin.preprocess(picture)[None] for picture in pictures[:3]]
    expected = [plain.run(["score"], {"pixel_values": each})[0][0] for each in pixels]
    assert Scorer(same)(pictures[:3]) == pytest.approx(expected, abs=1e-5)
    assert compare(builtin, same, pictures).passes(Gate())


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
