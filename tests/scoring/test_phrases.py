"""A table of phrases: ranking by hand, its file, and real faults that the built-in model names."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from rali import Scorer
from rali.distill.phrase_list import FOCUS
from rali.errors import InputError
from rali.pictures.degrade import DISTORTIONS, degrade
from rali.scoring.model_folder import PHRASES_FILE
from rali.scoring.phrases import Phrases, Reason, read_phrases, write_phrases
from tiny_onnx import write_model

# For the embedding (1, 0) the phrases stand 4 : 2 : 1 : 1.
TABLE = Phrases(
    texts=("strong blur", "grain", "soft", "excellent"),
    meanings=("blur", "noise", "blur", "good"),
    vectors=np.array([[np.log(4), 9], [0, 9], [0, -9], [-1, 0]], np.float32),
    offsets=np.array([0, np.log(2), 0, 1], np.float32),
    weights_sha256="of the student",
)


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


def test_wrong_embeddings_and_counts_are_refused():
    with pytest.raises(InputError, match="top is 0"):
        TABLE.rank(np.zeros(2), top=0)
    with pytest.raises(InputError, match=r"embeddings \[2\]; this one has \[3\]"):
        TABLE.rank(np.zeros(3))


def test_a_table_is_read_as_written_also_from_the_onnx_file(tmp_path):
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
def test_a_damaged_table_is_refused(tmp_path, damage):
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
    with pytest.raises(InputError, match="not a table of phrases"):
        read_phrases(tmp_path)


def test_the_phrases_of_another_model_are_refused(tmp_path):
    model = write_model(tmp_path / "onnx" / "model.onnx", weights_sha256="of another").parent.parent
    write_phrases(TABLE, model)
    with pytest.raises(InputError, match="another model's"):
        Scorer(model).explain(np.zeros((20, 30, 3), np.uint8))


def test_explanations_and_maps_need_no_torch():
    code = (
        "import sys, rali.scoring.phrases, rali.scoring.heatmap; "
        "from rali import Scorer; Scorer().phrases;"
        "assert not {'torch', 'scipy', 'rali.distill.learn_phrases'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_built_in_table_fits_its_model_and_is_small():
    assert set(Scorer().phrases.meanings) == {*DISTORTIONS, *FOCUS, "good"}
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
