"""A distillation from end to end: what is redone, what is refused, the paper's ablations."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rali import Student
from rali.distill.align import AlignConfig
from rali.distill.finetune import FinetuneConfig
from rali.distill.fit import FitConfig
from rali.distill.learn_phrases import PhrasesConfig
from rali.distill.pipeline import DistillConfig, distill
from rali.errors import InputError
from rali.export import compare, export_onnx
from rali.runs.config import from_dict, with_overrides
from rali.runs.folder import write_json
from rali.scoring.intervals import calibrate, write_interval
from rali.scoring.model_folder import (
    INTERVAL_FILE,
    PHRASES_FILE,
    PRECISIONS,
    image_file,
    onnx_file,
)
from rali.student.student import weights_sha256
from small import SmallRun, small_encoder


def again(run: SmallRun, config: DistillConfig, folder: Path) -> tuple[set[str], Student]:
    """The stages that were worked on, and the student, of a distillation of the same data."""
    stages: set[str] = set()
    student = distill(
        config, run.rows, run.triplets, folder, encoder=small_encoder(),
        progress=lambda stage, *_: stages.add(stage),
    )  # fmt: skip
    assert student is not None
    return stages, student


def test_a_finished_run_redoes_nothing(small_run, tmp_path):
    stages, student = again(small_run, small_run.config, small_run.copy_to(tmp_path / "run"))
    assert "align" not in stages and "embed" not in stages
    assert torch.equal(student.basis_vectors, small_run.student.basis_vectors)


def test_a_changed_fit_keeps_the_alignment(small_run, tmp_path):
    changed = dataclasses.replace(small_run.config, fit=FitConfig(enabled=False, temperature=0.5))
    stages, student = again(small_run, changed, small_run.copy_to(tmp_path / "run"))
    assert "align" not in stages and "embed" not in stages
    assert student.config.temperature == 0.5 != small_run.student.config.temperature


def test_same_seed_same_student(small_run, tmp_path):
    stages, student = again(small_run, small_run.config, tmp_path)
    assert "align" in stages and "embed" in stages
    expected = small_run.student.basis_vectors
    assert torch.allclose(student.basis_vectors, expected, atol=1e-5)


def test_finetuning_runs_in_a_distillation_and_never_makes_val_worse(small_run, tmp_path):
    finetune = FinetuneConfig(epochs=20, batch_size=12, lr=3e-3)
    config = dataclasses.replace(small_run.config, finetune=finetune)
    run = small_run.copy_to(tmp_path / "run")
    stages, tuned = again(small_run, config, run)
    assert "finetune" in stages
    val = [row for row in small_run.rows if row.split == "val"]
    wanted = np.array([row.score for row in val])

    def error(model: Student) -> float:
        return float(((model.score([row.image for row in val]) - wanted) ** 2).mean())

    assert error(tuned) <= error(small_run.student) + 1e-3, "the start is kept where it is the best"
    loaded = Student.from_pretrained(run / "model")
    assert error(loaded) == pytest.approx(error(tuned), abs=1e-4)


@pytest.mark.parametrize(
    "switch",
    [
        ["align.enabled=false"],
        ["compress.enabled=false"],
        ["bases.bucketed=false", "bases.count=10"],
        ["align.seeds_used=1", "align.epochs=1", "align.batch_size=8"],
        ["fit.enabled=false"],
    ],
    ids=["no align", "no pca", "plain k-means", "one seed", "no fit"],
)
def test_every_ablation_switch_runs(switch, small_run, tmp_path, photographs):
    values = with_overrides(dataclasses.asdict(small_run.config), ["fit.steps=10", *switch])
    config = from_dict(DistillConfig, values)
    _, student = again(small_run, config, small_run.copy_to(tmp_path / "run"))
    assert np.isfinite(student.score(list(photographs.values()))).all()


def test_a_new_student_removes_the_old_export(small_run, tmp_path):
    run = small_run.copy_to(tmp_path / "run")
    exports = [onnx_file(run / "model", precision) for precision in PRECISIONS]
    exports += [image_file(exports[0]), exports[0].with_suffix(".ort")]
    exports[0].parent.mkdir(parents=True)
    for old in exports:
        old.write_bytes(b"of another student")
    again(small_run, small_run.config, run)
    assert all(old.exists() for old in exports), "it is the same student"
    again(small_run, dataclasses.replace(small_run.config, fit=FitConfig(enabled=False)), run)
    assert [old for old in exports if old.exists()] == []


def test_the_same_distillation_keeps_the_calibrated_interval(small_run, tmp_path):
    run = small_run.copy_to(tmp_path / "run")
    write_interval(calibrate([3.0] * 20, [3.5] * 20, source="here"), run / "model")
    again(small_run, small_run.config, run)
    assert (run / "model" / INTERVAL_FILE).is_file()
    changed = dataclasses.replace(small_run.config, fit=FitConfig(enabled=False, temperature=0.5))
    again(small_run, changed, run)
    assert not (run / "model" / INTERVAL_FILE).exists()


def test_another_temperature_is_finetuned_anew(small_run, tmp_path):
    config = dataclasses.replace(
        small_run.config, fit=FitConfig(enabled=False), finetune=FinetuneConfig(epochs=2)
    )
    warmer = dataclasses.replace(config, fit=FitConfig(enabled=False, temperature=1.0))
    run = small_run.copy_to(tmp_path / "run")
    again(small_run, config, run)
    _, resumed = again(small_run, warmer, run)
    _, fresh = again(small_run, warmer, small_run.copy_to(tmp_path / "fresh"))
    assert torch.equal(resumed.basis_vectors, fresh.basis_vectors)


@pytest.mark.parametrize("change", ["activation", "text tower"])
def test_another_encoder_with_the_same_weights_is_noticed(change, small_run, tmp_path):
    run = small_run.copy_to(tmp_path / "run")
    encoder = small_encoder()
    if change == "activation":
        encoder = dataclasses.replace(encoder, spec={**encoder.spec, "quick_gelu": True})
    else:
        with torch.no_grad():
            next(encoder.text.model.parameters()).add_(1.0)
    stages: set[str] = set()
    distill(
        small_run.config, small_run.rows, small_run.triplets, run, encoder=encoder,
        progress=lambda stage, *_: stages.add(stage),
    )  # fmt: skip
    assert {"align", "embed"} <= stages


def test_a_text_of_another_picture_is_refused_wherever_it_stands(small_run, tmp_path):
    first = small_run.triplets[0]
    other = dataclasses.replace(first, seed=1_000, image_sha256="0" * 64)
    with pytest.raises(InputError, match="has changed since its rationales"):
        distill(small_run.config, small_run.rows, [*small_run.triplets, other], tmp_path)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def tuned_run(small_run, tmp_path_factory) -> SmallRun:
    """A finished run in which every stage has left a file."""
    config = dataclasses.replace(
        small_run.config,
        finetune=FinetuneConfig(epochs=1, batch_size=12),
        phrases=PhrasesConfig(photographs=4, pictures=48),
    )
    rows = [dataclasses.replace(row, content="") for row in small_run.rows]
    folder = small_run.copy_to(tmp_path_factory.mktemp("tuned") / "run")
    run = dataclasses.replace(small_run, config=config, rows=rows, folder=folder)
    return dataclasses.replace(run, student=again(run, config, folder)[1])


@pytest.mark.parametrize("stage", ["texts", "align", "embed", "finetune", "phrases"])
def test_a_kill_before_a_stage_is_noted_leaves_nothing_to_another_setting(
    stage, tuned_run, tmp_path, monkeypatch
):
    """Settings A to the end, B killed between a stage's file and its note, and A again."""
    config, before = tuned_run.config, tuned_run.folder
    folder = tuned_run.copy_to(tmp_path / "run")
    noted = json.loads((folder / "stages.json").read_text())

    def write_or_die(values, path):
        entry = values.get(stage, noted[stage])
        if path.name == "stages.json" and entry["done"] and entry != noted[stage]:
            raise Killed
        write_json(values, path)

    changed = dataclasses.replace(
        config,
        align=dataclasses.replace(config.align, lr=0.01),
        finetune=dataclasses.replace(config.finetune, lr=0.01),
    )
    shorter = [dataclasses.replace(t, reasoning=t.reasoning[:40]) for t in tuned_run.triplets]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("rali.runs.folder.write_json", write_or_die)
        distill(changed, tuned_run.rows, shorter, folder, encoder=small_encoder())
    _, student = again(tuned_run, config, folder)
    wanted = tuned_run.student.state_dict()
    for name, value in student.state_dict().items():
        assert torch.allclose(value, wanted[name], atol=1e-3), name  # B moves them by 0.01
    found, expected = (np.load(place / "model" / PHRASES_FILE) for place in (folder, before))
    assert found["texts"].tolist() == expected["texts"].tolist()
    assert str(found["weights_sha256"]) == weights_sha256(student)


@pytest.mark.parametrize("damage", ["cut off", "a flipped bit"])
def test_a_stage_whose_file_is_damaged_is_done_again(damage, small_run, tmp_path):
    run = small_run.copy_to(tmp_path / "run")
    for name in ("aligned", "embeddings"):
        file = run / f"{name}.safetensors"
        data = bytearray(file.read_bytes())
        data[-50] ^= 64
        file.write_bytes(data if damage == "a flipped bit" else data[:500])
    stages, student = again(small_run, small_run.config, run)
    assert {"align", "embed"} <= stages
    assert torch.allclose(student.mean, small_run.student.mean, atol=1e-5)


def test_replaced_pictures_are_noticed(small_run, tmp_path):
    rows, triplets = small_run.rows, small_run.triplets
    moved = []
    for row in rows:
        image = tmp_path / row.image.name
        shutil.copy(row.image, image)
        moved.append(dataclasses.replace(row, image=image))
    config = dataclasses.replace(small_run.config, align=AlignConfig(enabled=False))
    before = distill(config, moved, [], tmp_path / "run", encoder=small_encoder())
    for row in moved:
        Image.fromarray(255 - np.asarray(Image.open(row.image))).save(row.image)
    after = distill(config, moved, [], tmp_path / "run", encoder=small_encoder())
    assert not torch.allclose(before.mean, after.mean)
    about = {row.image.name: row.image for row in moved}
    stale = [dataclasses.replace(t, image=about[t.image.name]) for t in triplets]
    with pytest.raises(InputError, match="has changed since its rationales were written"):
        distill(small_run.config, moved, stale, tmp_path / "run2", encoder=small_encoder())


def test_test_rows_are_never_read(small_run, tmp_path):
    rows, triplets = small_run.rows, small_run.triplets
    poisoned = [
        dataclasses.replace(row, image=tmp_path / "missing.png") if row.split == "test" else row
        for row in rows
    ]
    config = dataclasses.replace(small_run.config, align=AlignConfig(enabled=False))
    distill(config, poisoned, triplets, tmp_path / "run", encoder=small_encoder())


def test_missing_rationales_are_named(small_run, tmp_path):
    rows, triplets = small_run.rows, small_run.triplets
    gone = [t for t in triplets if t.image != rows[0].image]
    with pytest.raises(InputError, match=r"have no rationale.*rali data rationales"):
        distill(small_run.config, rows, gone, tmp_path, encoder=small_encoder())


def test_pictures_of_another_split_are_not_trained_on(small_run, tmp_path):
    rows, triplets = small_run.rows, small_run.triplets
    train = next(row for row in rows if row.split == "train")
    for other in (
        dataclasses.replace(train, split="test", dataset="the same under another name", content=""),
        dataclasses.replace(train, split="val", image=tmp_path / "sibling.png"),
    ):
        with pytest.raises(InputError, match=r"in 'train' too.*rali data split"):
            distill(small_run.config, [*rows, other], triplets, tmp_path, encoder=small_encoder())


@pytest.mark.slow
def test_an_open_clip_model_is_distilled_the_same_way(small_run, tmp_path, photographs):
    config = DistillConfig(
        encoder="RN50",
        pretrained="random",
        align=AlignConfig(epochs=0.5, batch_size=4, micro_batch=2),
        fit=FitConfig(steps=10),
    )
    student = distill(config, small_run.rows, small_run.triplets, tmp_path)
    onnx = export_onnx(student, tmp_path / "model.onnx")
    assert compare(student, onnx, [photographs["coffee"]]).max_difference <= 1e-4
