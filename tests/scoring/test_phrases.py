"""Why and where: ranking by hand, the table's file, real faults that are named, maps."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.data.manifest import Row
from rali.distill.align import AlignConfig
from rali.distill.bases import BasesConfig
from rali.distill.fit import FitConfig
from rali.distill.learn_phrases import (
    Degraded,
    Phrase,
    PhrasesConfig,
    align_phrases,
    best_photographs,
    own_phrases,
    teachers_phrases,
)
from rali.distill.pipeline import DistillConfig, distill
from rali.errors import InputError
from rali.export import export_onnx
from rali.pictures.degrade import DISTORTIONS, degrade
from rali.pictures.preprocess import Preprocess
from rali.scoring.heatmap import Heatmap, colour_scale, windows
from rali.scoring.model_folder import PHRASES_FILE
from rali.scoring.phrases import Phrases, Reason, read_phrases, write_phrases
from small import small_encoder, write_model

# For the embedding (1, 0) the phrases stand 4 : 2 : 1 : 1.
TABLE = Phrases(
    texts=("strong blur", "grain", "soft", "excellent"),
    meanings=("blur", "noise", "blur", "good"),
    vectors=np.array([[np.log(4), 9], [0, 9], [0, -9], [-1, 0]], np.float32),
    offsets=np.array([0, np.log(2), 0, 1], np.float32),
    weights_sha256="of the student",
)


# --- ranking -------------------------------------------------------------------------------------


def test_a_meaning_is_as_likely_as_all_its_phrases_by_hand():
    reasons = TABLE.rank(np.array([1.0, 0.0]))
    assert [(r.phrase, r.meaning) for r in reasons] == [
        ("strong blur", "blur"),
        ("grain", "noise"),
        ("excellent", "good"),
    ]
    assert [r.probability for r in reasons] == pytest.approx([5 / 8, 2 / 8, 1 / 8])
    assert TABLE.rank(np.array([1.0, 0.0]), top=1) == reasons[:1]


def test_large_logits_stay_probabilities():
    chances = TABLE.probabilities(np.array([[1e4, 0.0], [-1e4, 3.0]], np.float32))
    assert np.isfinite(chances).all() and chances.sum(1) == pytest.approx([1, 1])


def test_what_cannot_be_ranked_is_a_sentence():
    with pytest.raises(InputError, match="top is 0"):
        TABLE.rank(np.zeros(2), top=0)
    with pytest.raises(InputError, match=r"embeddings \[2\]; this one has \[3\]"):
        TABLE.rank(np.zeros(3))


# --- the file ------------------------------------------------------------------------------------


def test_a_table_goes_out_and_back_and_is_found_from_the_onnx_file(tmp_path):
    write_phrases(TABLE, tmp_path)
    onnx = write_model(tmp_path / "onnx" / "model.onnx")
    for model in (tmp_path, onnx):
        found = read_phrases(model)
        assert found.texts == TABLE.texts and found.meanings == TABLE.meanings
        assert found.weights_sha256 == TABLE.weights_sha256
        np.testing.assert_array_equal(found.vectors, TABLE.vectors)
        np.testing.assert_array_equal(found.offsets, TABLE.offsets)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(onnx, moved / "small.onnx")
    shutil.copy(tmp_path / PHRASES_FILE, moved / PHRASES_FILE)
    assert read_phrases(moved / "small.onnx").texts == TABLE.texts


def test_a_model_without_phrases_says_what_to_type(tmp_path):
    model = write_model(tmp_path / "onnx" / "model.onnx").parent.parent
    picture = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(picture)
    with pytest.raises(InputError, match=r"has no phrases.npz.*Type: rali distill"):
        Scorer(model).explain(picture)
    done = subprocess.run(
        [sys.executable, "-m", "rali", "score", picture, "-m", model, "--explain"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "Type: rali distill" in done.stderr and not done.stdout


@pytest.mark.parametrize("damage", ["text", "cut", "plain array", "other arrays", "short"])
def test_a_damaged_table_is_a_sentence(tmp_path, damage):
    path = write_phrases(TABLE, tmp_path)
    if damage == "text":
        path.write_text("no zip")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "short":
        write_phrases(dataclasses.replace(TABLE, offsets=TABLE.offsets[:2]), tmp_path)
    else:
        with path.open("wb") as file:
            np.save(file, np.zeros(3)) if damage == "plain array" else np.savez(file, a=np.zeros(3))
    with pytest.raises(InputError, match="no table of phrases"):
        read_phrases(tmp_path)


def test_the_phrases_of_another_model_are_refused(tmp_path):
    model = write_model(tmp_path / "onnx" / "model.onnx", weights_sha256="of another").parent.parent
    write_phrases(TABLE, model)
    with pytest.raises(InputError, match="another model's"):
        Scorer(model).explain(np.zeros((20, 30, 3), np.uint8))


def test_reading_and_drawing_need_no_torch():
    code = (
        "import sys, rali.scoring.phrases, rali.scoring.heatmap; "
        "from rali import Scorer; Scorer().phrases;"
        "assert not {'torch', 'scipy', 'rali.distill.learn_phrases'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the built-in model --------------------------------------------------------------------------


def test_the_built_in_table_is_the_built_in_models_and_small():
    assert set(Scorer().phrases.meanings) == {*DISTORTIONS, "good"}
    assert (files("rali") / "builtin" / PHRASES_FILE).stat().st_size < 300_000


@pytest.mark.parametrize("fault", ["blur", "noise", "compression", "saturate weaken"])
def test_a_fault_of_a_real_photograph_is_named(photographs, fault):
    scorer = Scorer()
    named = 0
    for rgb in photographs.values():
        reasons = scorer.explain(degrade(rgb, fault, 5))
        assert len({reason.meaning for reason in reasons}) == 3
        assert all(isinstance(reason, Reason) for reason in reasons)
        named += fault in [reason.meaning for reason in reasons]
    assert named >= 4, f"{fault} of {len(photographs)} photographs"


def test_the_command_says_why_and_draws_where(photographs, tmp_path):
    blurred, noisy = tmp_path / "a.png", tmp_path / "a.bmp"  # maps must not overwrite each other
    Image.fromarray(degrade(photographs["coffee"], "blur", 5)).save(blurred)
    Image.fromarray(degrade(photographs["coffee"], "noise", 5)).save(noisy)
    (tmp_path / "b.png").write_text("no picture")
    pictures = [str(blurred), str(noisy), str(tmp_path / "b.png")]
    maps = tmp_path / "maps"
    arguments = ["score", *pictures, "--explain", "--map", str(maps), "--interval", "0.9"]
    done = CliRunner().invoke(app, [*arguments, "--format", "csv"])
    assert done.exit_code == 1, "one is no picture"
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["image", "score", "low", "high", "why", "error"]
    assert "blur" in rows[0]["why"] and rows[0]["why"].count("%") == 3
    assert rows[1]["why"].startswith("noise ")
    assert rows[2]["why"] == "" and rows[2]["error"]
    assert sorted(path.name for path in maps.iterdir()) == ["a-2.png", "a.png"]
    assert Image.open(maps / "a.png").width == photographs["coffee"].shape[1]
    table = CliRunner().invoke(app, ["score", str(blurred), "--explain"]).stdout
    assert "why" in table.splitlines()[0] and "blur" in table


def test_a_map_is_lower_where_the_picture_was_degraded(photographs):
    scorer, lower = Scorer(), 0
    for rgb in photographs.values():
        half = rgb.shape[1] // 2
        damaged = rgb.copy()
        damaged[:, :half] = degrade(rgb, "blur", 5)[:, :half]
        before, after = scorer.map(rgb), scorer.map(damaged)
        change = after.scores - before.scores
        assert change.shape == (len(before.centres[0]), len(before.centres[1]))
        edge = min(rgb.shape[:2]) / 6
        left = after.centres[1] + edge <= half
        right = after.centres[1] - edge >= half
        lower += change[:, left].mean() < change[:, right].mean() - 0.3
        assert np.abs(change[:, right]).max() < 1e-3, "what was left alone keeps its scores"
    assert lower >= 4, "half of one is night sky, which has nothing to blur"


# --- maps ----------------------------------------------------------------------------------------


def test_windows_overlap_by_half_and_are_mirrored_until_they_fill_the_input():
    preprocess = Preprocess(size=30, mean=(0.0,) * 3, std=(1.0,) * 3)
    rgb = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    (down, right), each = windows(rgb, preprocess)
    assert down.tolist() == [5, 10, 15, 20, 25]
    assert right.tolist() == list(range(5, 56, 5))
    first = next(each)
    assert first.shape == (3, 30, 30)
    expected = rgb[:10, :10].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(first[:, :10, :10], expected, atol=1e-6)
    np.testing.assert_allclose(first[:, :10, 10:20], expected[:, :, ::-1], atol=1e-6)
    assert len(list(each)) == 5 * 11 - 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2, 2)])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_odd_pictures_have_maps(shape, mode, tmp_path):
    model = write_model(tmp_path / "model.onnx", resize_mode=mode)
    found = Scorer(model).map(np.full((*shape, 3), 255, np.uint8))
    assert found.scores == pytest.approx(1 + 3.5, abs=1e-4)
    assert found.scores.size <= 24 * 5
    assert found.overlay().size[1] > min(shape[0], 1024 * shape[0] // max(shape))


def test_colours_grow_lighter_with_the_score_and_differ_in_blue_for_the_colour_blind():
    colours = colour_scale(np.linspace(0, 1, 101)).astype(float)
    luminance = (colours / 255) ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all() and luminance[-1] > 10 * luminance[0]
    assert colours[0, 2] > colours[0, 0] and colours[-1, 2] < colours[-1, 0] - 50


def test_an_overlay_shows_each_score_where_its_window_is():
    centres = (np.array([20.0, 60.0]), np.array([30.0, 150.0]))
    scores = np.array([[1.0, 5.0], [3.0, 3.0]])
    drawn = Heatmap(scores, centres, np.full((80, 180, 3), 128, np.uint8)).overlay()
    grey, pixels = 0.4 * 128, np.asarray(drawn).astype(float)
    for (row, column), value in (((20, 30), 0.0), ((20, 150), 1.0), ((60, 90), 0.5)):
        expected = grey + 0.6 * colour_scale(np.array(value))
        np.testing.assert_allclose(pixels[row, column], expected, atol=4)


# --- making a table ------------------------------------------------------------------------------


class Words:
    """A text tower whose embeddings are chosen."""

    def __init__(self, **known: tuple[float, ...]) -> None:
        self.known = known

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([next(v for k, v in self.known.items() if k in t) for t in texts])


def test_phrases_are_true_of_their_fault_at_about_their_severity():
    phrase = Phrase("serious blur", "blur", "…", severity=4)
    assert [phrase.is_true("blur", s) for s in range(1, 6)] == [False, False, True, True, True]
    assert not phrase.is_true("noise", 4) and not phrase.is_true("null", 0)
    assert Phrase("sharp", "good", "…").is_true("null", 0)
    assert not Phrase("sharp", "good", "…").is_true("blur", 1)


def test_every_distortion_has_words_and_composition_only_if_the_teacher_speaks_of_it():
    own = own_phrases()
    for name in DISTORTIONS:
        assert {p.severity for p in own if p.meaning == name} >= {1, 2, 3, 4, 5}
    assert len({p.text for p in own}) == len(own)
    assert "composition" not in {p.meaning for p in own}
    assert "composition" in {p.meaning for p in own_phrases(["Its Composition is calm."])}


def test_the_teachers_sentence_must_be_near_and_share_a_word():
    own = [Phrase("very blurry", "blur", "It is blurry."), Phrase("sharp", "good", "It is sharp.")]
    tower = Words(blurry=(1.0, 0.1), sharp=(-1.0, 0.0), fair=(-1.0, 0.0), grey=(0.0, 1.0))
    rationales = ["All is so blurry! It is fair. It is grey.", "Blurry, 2 of 5. Sharp and blurry."]
    found = teachers_phrases(rationales, own, tower)
    assert [(p.text, p.meaning) for p in found] == [("All is so blurry", "blur")]


def test_the_map_to_words_finds_what_tells_the_pictures_apart():
    phrases = [Phrase("blurry", "blur", "blurry", 0), Phrase("sharp", "good", "sharp", 0)]
    draw = np.random.default_rng(0)
    pictures = [
        Degraded(number // 2, *state, np.array([10 + sign, *draw.normal(0, 5, 3)]))
        for number in range(200)
        for state, sign in [((("blur", 3), 1.0), (("null", 0), -1.0))[number % 2]]
    ]
    tower = Words(blurry=(1.0, 0.0), sharp=(0.0, 1.0))
    vectors, offsets = align_phrases(phrases, pictures, tower, 3e-4)
    table = Phrases(("blurry", "sharp"), ("blur", "good"), vectors, offsets)
    chances = table.probabilities(np.stack([p.embedding for p in pictures]))
    assert (chances.argmax(1) == np.tile([0, 1], 100)).mean() > 0.99


def test_the_best_photograph_of_each_content_is_taken():
    rows = [
        Row(Path("a"), 4.0, content="one", severity=2),
        Row(Path("b"), 3.0, content="one"),
        Row(Path("c"), 2.0, content="two"),
        Row(Path("d"), None, content="three"),
        Row(Path("e"), 5.0, content="four"),
    ]
    assert best_photographs(rows, 2) == [Path("e"), Path("b")]
    assert best_photographs(rows, 9) == [Path("e"), Path("b"), Path("c")]


def test_a_distillation_leaves_a_table_that_explains_its_model(photograph_files, tmp_path):
    config = DistillConfig(
        encoder="nano",
        align=AlignConfig(enabled=False),
        bases=BasesConfig(count=4),
        fit=FitConfig(steps=5),
        phrases=PhrasesConfig(pictures=60),
    )
    rows = [Row(path, 2.0 + i / 2, content=path.stem) for i, path in enumerate(photograph_files)]
    stages: list[str] = []

    def run(**changed: object) -> object:
        stages.clear()
        return distill(
            dataclasses.replace(config, **changed), rows, [], tmp_path, encoder=small_encoder(),
            report=lambda stage, step, steps, loss: stages.append(stage),
        )  # fmt: skip

    student = run()
    model = tmp_path / "model"
    assert "phrases" in stages
    first = read_phrases(model)
    export_onnx(student, model / "onnx" / "model.onnx")
    assert len(Scorer(model).explain(photograph_files[0], top=5)) == 5
    run()
    assert "phrases" not in stages, "started again, it is not made again"
    run(seed=1)
    assert not np.array_equal(read_phrases(model).vectors, first.vectors)
    run(phrases=PhrasesConfig(photographs=0))
    assert not (model / PHRASES_FILE).exists(), "of another student"
