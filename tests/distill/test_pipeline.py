"""A small student from end to end: distil, save, load, export, score, resume."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rali import Scorer, Student
from rali.data.degraded import degrade_folder
from rali.data.reference_rationales import build_reference_triplets
from rali.data.triplets import read_triplets
from rali.distill.align import AlignConfig
from rali.distill.bases import BasesConfig
from rali.distill.finetune import FinetuneConfig
from rali.distill.fit import FitConfig
from rali.distill.pipeline import DistillConfig, distill
from rali.distill.pretrain_nano import PretrainConfig, _grouped, _some_sentences, pretrain
from rali.errors import InputError
from rali.export import compare, export_checked, export_onnx
from rali.runs.config import from_dict, with_overrides
from rali.runs.folder import RunFolder
from rali.student.encoders import (
    _default_weights,
    load_encoder,
)
from rali.student.nano import _cosines, tokenize
from small import SMALL, small_encoder

CONFIG = DistillConfig(
    encoder="nano",
    align=AlignConfig(epochs=3, batch_size=12, micro_batch=12, lr=1e-3),
    bases=BasesConfig(count=20),
    fit=FitConfig(steps=50),
)


@pytest.fixture(scope="module")
def data(photograph_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("degraded")
    rows = degrade_folder(
        photograph_files, folder, distortions=("blur", "noise"), severities=(1, 3, 5), size=96
    )
    contents = sorted({row.content for row in rows})
    splits = dict(zip(contents, ["train", "train", "train", "val", "test"], strict=True))
    rows = [dataclasses.replace(row, split=splits[row.content]) for row in rows]
    build_reference_triplets(rows, folder / "triplets", count=3, workers=1)
    return rows, read_triplets(folder / "triplets")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rows, triplets = data
    student = distill(CONFIG, rows, triplets, folder, encoder=small_encoder())
    onnx = export_onnx(student, folder / "model" / "onnx" / "model.onnx")
    return folder, student, onnx


def test_distill_leaves_a_model_that_loads_and_scores_alike(trained, photographs):
    folder, student, _ = trained
    loaded = Student.from_pretrained(folder / "model")
    pictures = list(photographs.values())
    assert loaded.score(pictures) == pytest.approx(student.score(pictures), abs=1e-5)
    assert ((loaded.score(pictures) >= 1) & (loaded.score(pictures) <= 5)).all()
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["model_type"] == "rali" and config["pca_dim"] == 16
    assert "not evaluated" in (folder / "model" / "README.md").read_text().lower()


def test_replaced_pictures_are_noticed(data, tmp_path):
    rows, triplets = data
    moved = []
    for row in rows:
        image = tmp_path / row.image.name
        shutil.copy(row.image, image)
        moved.append(dataclasses.replace(row, image=image))
    config = dataclasses.replace(CONFIG, align=AlignConfig(enabled=False))
    before = distill(config, moved, [], tmp_path / "run", encoder=small_encoder())
    for row in moved:
        Image.fromarray(255 - np.asarray(Image.open(row.image))).save(row.image)
    after = distill(config, moved, [], tmp_path / "run", encoder=small_encoder())
    assert not torch.allclose(before.mean, after.mean)
    about = {row.image.name: row.image for row in moved}
    stale = [dataclasses.replace(t, image=about[t.image.name]) for t in triplets]
    with pytest.raises(InputError, match="has changed since its rationales were written"):
        distill(CONFIG, moved, stale, tmp_path / "run2", encoder=small_encoder())


def test_default_weights_fit_the_activation():
    open_clip = pytest.importorskip("open_clip")
    assert _default_weights(open_clip, "ViT-L-14-336-quickgelu") == "openai"
    assert _default_weights(open_clip, "ViT-L-14") == "laion400m_e31"
    with pytest.raises(InputError, match="ViT-L-14-336-quickgelu"):
        _default_weights(open_clip, "ViT-L-14-336")


def test_onnx_agrees_with_torch_on_non_square_pictures(trained, photographs):
    _, student, onnx = trained
    agreement = compare(student, onnx, list(photographs.values()))
    assert agreement.max_difference <= 1e-4
    assert np.ptp(agreement.torch_scores) > 0, "a constant would agree trivially"


def test_a_file_that_disagrees_is_not_kept(trained, photographs, tmp_path, monkeypatch):
    _, student, _ = trained
    target = tmp_path / "model.onnx"
    target.write_bytes(b"the last good one")
    monkeypatch.setattr("rali.export.checked.TOLERANCE", -1.0)
    with pytest.raises(InputError, match="differs from torch"):
        export_checked(student, target, [photographs["coffee"]])
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_bytes() == b"the last good one"


def test_onnx_file_follows_the_contract(trained):
    _, _, onnx = trained
    session = onnxruntime.InferenceSession(onnx)
    assert [(i.name, i.type) for i in session.get_inputs()] == [("pixel_values", "tensor(float)")]
    assert [o.name for o in session.get_outputs()] == ["score", "embedding"]
    for batch in (1, 3):
        score, embedding = session.run(
            None, {"pixel_values": np.zeros((batch, 3, 64, 64), np.float32)}
        )
        assert score.shape == (batch,) and embedding.shape == (batch, 24)
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["size"]) == 64
    assert json.loads(properties["score_range"]) == [1.0, 5.0]
    assert {p.name for p in onnx.parent.iterdir()} == {"model.onnx"}, "weights inside the file"


def test_scorer_reads_the_model_folder(trained, photographs):
    folder, student, _ = trained
    picture = photographs["coffee"]
    assert Scorer(folder / "model")(picture) == pytest.approx(student.score([picture])[0], abs=1e-4)


def test_started_again_nothing_is_redone(trained, data):
    folder, student, _ = trained
    rows, triplets = data
    stages: list[str] = []
    again = distill(
        CONFIG, rows, triplets, folder, encoder=small_encoder(),
        report=lambda stage, step, steps, loss: stages.append(stage),
    )  # fmt: skip
    assert "align" not in stages and "embed" not in stages
    assert torch.equal(again.basis_vectors, student.basis_vectors)


def test_a_changed_fit_keeps_the_alignment(trained, data, tmp_path):
    rows, triplets = data
    distill(CONFIG, rows, triplets, tmp_path, encoder=small_encoder())
    before = (tmp_path / "aligned.safetensors").stat().st_mtime_ns
    changed = dataclasses.replace(CONFIG, fit=FitConfig(enabled=False))
    distill(changed, rows, triplets, tmp_path, encoder=small_encoder())
    assert (tmp_path / "aligned.safetensors").stat().st_mtime_ns == before


def test_same_seed_same_student(trained, data, tmp_path):
    _, student, _ = trained
    rows, triplets = data
    again = distill(CONFIG, rows, triplets, tmp_path, encoder=small_encoder())
    assert torch.allclose(again.basis_vectors, student.basis_vectors, atol=1e-5)


def test_test_rows_are_never_read(data, tmp_path):
    rows, triplets = data
    poisoned = [
        dataclasses.replace(row, image=tmp_path / "missing.png") if row.split == "test" else row
        for row in rows
    ]
    config = dataclasses.replace(CONFIG, align=AlignConfig(enabled=False))
    distill(config, poisoned, triplets, tmp_path / "run", encoder=small_encoder())


@pytest.mark.parametrize(
    "switch",
    [
        {"align": {"enabled": False}},
        {"compress": {"enabled": False}},
        {"bases": {"bucketed": False, "count": 10}},
        {"align": {"seeds_used": 1, "epochs": 1.0, "batch_size": 8}},
        {"fit": {"enabled": False}},
    ],
    ids=["no align", "no pca", "plain k-means", "one seed", "no fit"],
)
def test_every_ablation_switch_runs(switch, data, tmp_path, photographs):
    rows, triplets = data
    config = from_dict(DistillConfig, {"encoder": "nano", **switch})
    config.align.epochs = min(config.align.epochs, 1.0)
    config.fit.steps = 10
    student = distill(config, rows, triplets, tmp_path, encoder=small_encoder())
    assert np.isfinite(student.score(list(photographs.values()))).all()


def test_missing_rationales_are_named(data, tmp_path):
    rows, triplets = data
    gone = [t for t in triplets if t.image != rows[0].image]
    with pytest.raises(InputError, match=r"have no rationale.*rali data rationales"):
        distill(CONFIG, rows, gone, tmp_path, encoder=small_encoder())


def test_metrics_survive_a_cut_line(tmp_path):
    run = RunFolder(tmp_path)
    run.log(stage="align", step=1, loss=2.0)
    run.log(stage="align", step=2, loss=1.8)
    run.log(stage="align", step=1, loss=1.5)  # started again with another setting
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "ali')
    assert run.metrics() == [{"stage": "align", "step": 1, "loss": 1.5}]


def test_seconds_of_stopped_tries_count_and_finished_work_keeps_its_own(tmp_path, monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(
        "rali.runs.folder.time", SimpleNamespace(monotonic=lambda: float(next(clock)))
    )
    run = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), run.timed("align", "a"):
        raise KeyboardInterrupt
    assert not run.done("align", "a")
    with run.timed("align", "a"):
        pass
    assert run.done("align", "a") and run.seconds() == {"align": 20}
    with run.timed("align", "a"):  # looks what is there
        pass
    assert run.seconds() == {"align": 20}
    with run.timed("align", "b"):  # another setting, other work
        pass
    assert run.seconds() == {"align": 10} and not run.done("align", "a")


def test_a_new_student_takes_the_old_export_away(data, tmp_path):
    rows, triplets = data
    old = tmp_path / "model" / "onnx" / "model.onnx"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of another student")
    distill(CONFIG, rows, triplets, tmp_path, encoder=small_encoder())
    assert not old.exists()


def test_pictures_of_another_split_are_not_trained_on(data, tmp_path):
    rows, triplets = data
    train = next(row for row in rows if row.split == "train")
    for other in (
        dataclasses.replace(train, split="test", dataset="the same under another name", content=""),
        dataclasses.replace(train, split="val", image=tmp_path / "sibling.png"),
    ):
        with pytest.raises(InputError, match=r"in 'train' too.*rali data split"):
            distill(CONFIG, [*rows, other], triplets, tmp_path, encoder=small_encoder())


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("bases.count=0", r"bases\.count is 0"),
        ("align.temperature=0", r"align\.temperature is 0"),
        ("align.texts_per_picture=0", r"align\.texts_per_picture"),
        ("align.precision=half", r"align\.precision is 'half'"),
        ("align.lr=.nan", r"align\.lr is nan"),
        ("finetune.batch_size=0", r"finetune\.batch_size"),
        ("fit.temperature=-1", r"fit\.temperature is -1"),
        ("views=3", "views is 3"),
        ("align.lr=[1", "not YAML"),
    ],
)
def test_settings_that_cannot_work_are_named_before_any_work(setting, named):
    with pytest.raises(InputError, match=named):
        from_dict(DistillConfig, with_overrides({}, [setting]))


def test_a_setting_is_not_a_group():
    with pytest.raises(InputError, match=r"align is 5, not a group"):
        with_overrides({}, ["align=5", "align.lr=1"])


def test_an_item_of_a_list_is_set_by_its_place():
    values = {"tasks": [{"reward": "rl2r"}, {"reward": "threshold"}]}
    with_overrides(values, ["tasks.1.threshold=0.25"])
    assert values["tasks"][1] == {"reward": "threshold", "threshold": 0.25}
    for wrong in ("tasks.2.threshold=1", "tasks.x.threshold=1"):
        with pytest.raises(InputError, match="no place of a list of 2"):
            with_overrides(values, [wrong])
    with pytest.raises(InputError, match="replace an item"):
        with_overrides(values, ["tasks.0=1"])


def test_wrong_folders_are_sentences(tmp_path):
    with pytest.raises(InputError, match="not a model folder"):
        Student.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="expected 'rali'"):
        Student.from_pretrained(tmp_path)


def test_damaged_weights_are_a_sentence(trained, tmp_path):
    folder, _, _ = trained
    (tmp_path / "config.json").write_bytes((folder / "model" / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="does not fit"):
        Student.from_pretrained(tmp_path)


def test_unknown_encoder_is_a_sentence():
    with pytest.raises(InputError, match="no encoder is called 'ViT-Q'"):
        load_encoder("ViT-Q")


def test_finetuning_runs_in_a_distillation_and_never_makes_val_worse(trained, data, tmp_path):
    rows, triplets = data
    _, student, _ = trained
    config = dataclasses.replace(CONFIG, finetune=FinetuneConfig(epochs=20, batch_size=12, lr=3e-3))
    stages: list[str] = []
    tuned = distill(
        config, rows, triplets, tmp_path, encoder=small_encoder(),
        report=lambda stage, step, steps, loss: stages.append(stage),
    )  # fmt: skip
    assert "finetune" in stages
    val = [row for row in rows if row.split == "val"]
    wanted = np.array([row.score for row in val])

    def error(model: Student) -> float:
        return float(((model.score([row.image for row in val]) - wanted) ** 2).mean())

    assert error(tuned) <= error(student) + 1e-3, "the start is kept where it is the best"
    loaded = Student.from_pretrained(tmp_path / "model")
    assert error(loaded) == pytest.approx(error(tuned), abs=1e-4)


def test_pretraining_learns_resumes_and_loads(photograph_files, tmp_path, saved_every_step):
    texts = [[f"picture number {i} is {w}" for w in ("fine", "good")] for i in range(5)]
    contents = [path.stem for path in photograph_files]
    config = PretrainConfig(epochs=8, batch_size=5, lr=5e-3, nano=SMALL)
    losses: list[float] = []
    whole = pretrain(
        photograph_files, texts, contents, config, tmp_path / "whole",
        report=lambda step, steps, loss: losses.append(loss),
    )  # fmt: skip
    assert losses[-1] < losses[0]

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        pretrain(photograph_files, texts, contents, config, folder, report=stop)
    first: list[int] = []
    pretrain(
        photograph_files, texts, contents, config, folder,
        report=lambda step, steps, loss: first.append(step),
    )  # fmt: skip
    assert first[0] == 6 and not (folder / "pretrain.pt").exists()
    weights, same = (load_file(f / "image.safetensors") for f in (folder, whole))
    for name, value in weights.items():
        torch.testing.assert_close(value, same[name])
    encoder = load_encoder("nano", str(folder))
    assert encoder.dim == SMALL.embed_dim and encoder.text is not None
    assert encoder.text.encode(["a", ""]).isfinite().all()


def test_the_block_spectrum_is_scipys_cosine_transform():
    from scipy.fft import dctn

    blocks = torch.randn(5, 1, 8, 8)
    found = torch.nn.functional.conv2d(blocks, _cosines(8)).reshape(5, 8, 8)
    assert found.numpy() == pytest.approx(
        dctn(blocks[:, 0].numpy(), axes=(1, 2), norm="ortho"), abs=1e-5
    )


def test_shortened_texts_keep_whole_sentences_in_order():
    text = "Here is a blur. I would rate it around 1.9 out of 5. Overall, it is poor."
    sentences = ["Here is a blur.", "I would rate it around 1.9 out of 5.", "Overall, it is poor."]
    possible = {
        " ".join(chosen) for n in (1, 2, 3) for chosen in itertools.combinations(sentences, n)
    }
    draw = np.random.default_rng(0)
    assert {_some_sentences(text, draw) for _ in range(200)} == possible


def test_versions_of_one_photograph_meet_in_a_batch():
    contents = [f"photograph {i // 6}" for i in range(60)]
    order = _grouped(contents, 4, np.random.default_rng(0))
    assert sorted(order) == list(range(60))
    runs = [len(list(run)) for _, run in itertools.groupby(contents[i] for i in order)]
    assert max(runs) >= 4 and set(runs) <= {2, 4, 6, 8}, "groups of 4 and 2, some side by side"
    assert not np.array_equal(order, _grouped(contents, 4, np.random.default_rng(1)))


def test_too_few_pictures_to_pretrain_is_a_sentence(photograph_files, tmp_path):
    with pytest.raises(InputError, match="at least one batch of 96"):
        pretrain(photograph_files, [["x"]] * 5, ["c"] * 5, PretrainConfig(), tmp_path)


def test_unknown_settings_are_named():
    with pytest.raises(InputError, match=r"align\.epoch is not a setting"):
        from_dict(DistillConfig, {"align": {"epoch": 3}})
    with pytest.raises(InputError, match=r"fit\.steps is 'many'"):
        from_dict(DistillConfig, {"fit": {"steps": "many"}})
    values = with_overrides({}, ["align.lr=1e-4", "encoder=nano"])
    assert from_dict(DistillConfig, values).align.lr == 1e-4


def test_tokens_are_stable_and_cut():
    ids = tokenize(["Sharp, 3.4!", ""], context=3, buckets=8192)
    assert ids.shape == (2, 3) and ids[1].tolist() == [0, 0, 0]
    again = tokenize(["sharp , 3.4 !"], context=3, buckets=8192)
    assert torch.equal(ids[0], again[0])


def test_packaged_nano_loads_and_its_text_tower_tells_faults_apart():
    encoder = load_encoder("nano")
    assert encoder.text is not None
    blur, blurring, noise, grain = torch.nn.functional.normalize(
        encoder.text.encode(
            [
                "The main problem is a serious blur that softens edges.",
                "It suffers from catastrophic blurring of the whole frame.",
                "It suffers from serious random noise over all surfaces.",
                "The main problem is catastrophic colour noise.",
            ]
        ),
        dim=-1,
    )
    assert min(blur @ blurring, noise @ grain) > max(blur @ noise, blurring @ grain) + 0.2


@pytest.mark.slow
def test_an_open_clip_model_goes_the_same_way(data, tmp_path, photographs):
    rows, triplets = data
    config = DistillConfig(
        encoder="RN50",
        pretrained="random",
        align=AlignConfig(epochs=0.5, batch_size=4, micro_batch=2),
        fit=FitConfig(steps=10),
    )
    student = distill(config, rows, triplets, tmp_path)
    onnx = export_onnx(student, tmp_path / "model.onnx")
    assert compare(student, onnx, [photographs["coffee"]]).max_difference <= 1e-4
