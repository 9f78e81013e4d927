"""Learning a table of phrases: which are true of a picture, the map to words, and the whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rali import Scorer
from rali.data.manifest import Row
from rali.distill.align import AlignConfig
from rali.distill.bases import BasesConfig
from rali.distill.fit import FitConfig
from rali.distill.learn_phrases import Example, PhrasesConfig, align_phrases, best_photographs
from rali.distill.phrase_list import Phrase, own_phrases, teachers_phrases
from rali.distill.pipeline import DistillConfig, distill
from rali.export import export_onnx
from rali.pictures.degrade import DISTORTIONS
from rali.scoring.model_folder import PHRASES_FILE, onnx_file
from rali.scoring.phrases import Phrases, read_phrases
from small import small_encoder


class Words:
    """A text tower whose embeddings are chosen."""

    def __init__(self, **embeddings: tuple[float, ...]) -> None:
        self.embeddings = embeddings

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([next(v for k, v in self.embeddings.items() if k in t) for t in texts])


def test_phrases_are_true_of_their_fault_at_about_their_severity():
    phrase = Phrase("serious blur", "blur", "…", severity=4)
    assert [phrase.is_true("blur", s) for s in range(1, 6)] == [False, False, True, True, True]
    assert not phrase.is_true("noise", 4) and not phrase.is_true("null", 0)
    assert Phrase("sharp", "good", "…").is_true("null", 0)
    assert not Phrase("sharp", "good", "…").is_true("blur", 1)


def test_every_distortion_has_words_and_composition_only_if_the_teacher_names_it():
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


def test_the_map_to_words_separates_the_pictures():
    phrases = [Phrase("blurry", "blur", "blurry", 0), Phrase("sharp", "good", "sharp", 0)]
    draw = np.random.default_rng(0)
    pictures = [
        Example(number // 2, *state, np.array([10 + sign, *draw.normal(0, 5, 3)]))
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


@pytest.mark.slow
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
            progress=lambda stage, done, total, loss=None: stages.append(stage),
        )  # fmt: skip

    student = run()
    model = tmp_path / "model"
    assert "phrases" in stages
    first = read_phrases(model)
    export_onnx(student, onnx_file(model))
    assert len(Scorer(model).explain(photograph_files[0], top=5)) == 5
    run()
    assert "phrases" not in stages, "resumed, it is not made again"
    run(seed=1)
    assert not np.array_equal(read_phrases(model).vectors, first.vectors)
    run(phrases=PhrasesConfig(photographs=0))
    assert not (model / PHRASES_FILE).exists(), "of another student"
