"""A teacher that was trained here is asked the question that it learned."""

from __future__ import annotations

import json
import warnings

import pytest

from rali.errors import InputError
from rali.recipes import find_recipe
from rali.runs.config import from_dict, read_yaml
from rali.teacher.answers import Score
from rali.teacher.completions import parse
from rali.teacher.decoding import DEFAULT, decoding_of
from rali.teacher.grpo import GrpoConfig
from rali.teacher.learned import LEARNED, learned, note_prompts, noted
from rali.teacher.predictor import TeacherPredictor
from rali.teacher.prompts import JUDGES, PROMPTS, degradation_prompt, with_classes
from rali.teacher.questions import answered, find_prompt, spelling_of

OWN = {"text": "How sharp is <image>?", "answer": "Sharpness: ([0-9.]+)", "high": 10.0}
OWNS = [
    *PROMPTS.values(),
    *JUDGES.values(),
    degradation_prompt(("pixelate", "JPEG")),
    find_prompt(OWN),
    find_prompt({"question": "How sharp is it?", "low": 0}),
    find_prompt({"text": "<image> Describe it.", "answer": "text"}),
    find_prompt({"text": "<image_a> <image_b>", "choices": ["A", "B"], "reasons": False}),
]


@pytest.mark.parametrize("prompt", OWNS, ids=lambda prompt: prompt.name)
def test_a_prompt_is_spelt_so_that_it_is_found_again(prompt):
    spelt = json.loads(json.dumps(spelling_of(prompt)))
    assert find_prompt(spelt) == prompt
    assert isinstance(spelt, str) == (prompt in (PROMPTS | JUDGES).values())


@pytest.fixture(autouse=True)
def hub(empty_hub):
    return empty_hub


@pytest.fixture
def model(tmp_path):
    """What a training by the recipe q-insight-authors leaves, without the weights."""
    config = from_dict(GrpoConfig, read_yaml(find_recipe("q-insight-authors")))
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    note_prompts(learned(config.model, [task.resolve() for task in config.tasks]), folder)
    return folder


def test_a_trained_teacher_is_asked_what_it_was_trained_on(model, tmp_path):
    assert decoding_of(str(model)).words() == (
        "q-insight/score-trained: 5 texts a picture, temperature 1, top_p 1, top_k off, at most "
        "512 tokens (the question that it was trained on)."
    )
    assert decoding_of(str(model), "degradation").prompt == "q-insight/degradation-trained"
    assert decoding_of(str(model), "comparison").prompt == "q-insight/compare", "it learned none"
    moved = model.rename(tmp_path / "handed on")
    assert decoding_of(str(moved)).prompt == "q-insight/score-trained"
    harvested = decoding_of(str(moved), samples=8)
    assert "8 texts a picture" in harvested.words() and "trained on" in harvested.words()
    stated = decoding_of(str(moved), prompt="direct/score")
    assert stated.prompt == "direct/score" and not stated.source
    assert decoding_of("nano") == DEFAULT


def test_what_was_learned_before_stays_noted(model):
    """A teacher that is fine-tuned on descriptions keeps its scale, as RACT's does."""
    own = find_prompt(OWN)
    assert learned(str(model), [PROMPTS["ract/description"], PROMPTS["direct/score"]]) == {
        "score": "direct/score",
        "degradation": "q-insight/degradation-trained",
        "description": "ract/description",
    }
    note_prompts(learned(str(model), [own, PROMPTS["direct/score"]]), model)
    assert decoding_of(str(model)).find_prompt() == own, "the first of two, whole"
    assert noted("nano") == noted("nowhere/teacher", served=True) == {}
    read = learned("nano", [answered(PROMPTS["direct/score"], "visualquality-r1")])
    assert read == {"score": "direct/score"}


def test_a_question_of_your_own_keeps_how_its_answer_is_found(tmp_path):
    """Its texts need not have answer tags; those of rali's questions do, whatever is rewarded."""
    own = find_prompt({"text": "<image> Rate it.", "answer": "visualquality-r1"})
    note_prompts(learned("nano", [own]), tmp_path)
    asked = decoding_of(str(tmp_path)).find_prompt()
    assert parse("I give it 4 of 5.", asked) == Score(4, "")
    few = with_classes(PROMPTS["q-insight/degradation-trained"], ["blur", "noise"])
    note_prompts(learned("nano", [answered(few, "q-insight")]), tmp_path)
    assert decoding_of(str(tmp_path), "degradation").find_prompt() == few


@pytest.mark.parametrize("again", [False, True])
def test_what_a_published_teacher_had_learned_is_asked_as_by_its_authors(tmp_path, again):
    """RACT from VisualQuality-R1: descriptions are learned, scores are asked as its README does."""
    start, rationales = "TianheWu/VisualQuality-R1-7B", [PROMPTS["ract/description"]]
    note_prompts(learned(start, rationales), tmp_path)
    if again:  # a second training, which starts from the folder of the first
        note_prompts(learned(str(tmp_path), rationales), tmp_path)
    assert decoding_of(str(tmp_path)) == decoding_of(start)
    assert "released: 1 text" in decoding_of(str(tmp_path)).words()
    assert decoding_of(str(tmp_path), "description").prompt == "ract/description"
    compared = "ByteDance/Q-Insight/comparison"
    note_prompts(learned(compared, rationales), tmp_path)
    for reference in (False, True):
        kept = decoding_of(str(tmp_path), "comparison", reference=reference)
        assert kept == decoding_of(compared, "comparison", reference=reference)
    assert "score" not in noted(str(tmp_path))


def test_a_predictor_asks_what_was_learned(model):
    from scripted import Script

    predictor = TeacherPredictor(str(model), engine=Script())
    assert predictor.prompt.name == "q-insight/score-trained"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"score": {"as": "no/such"}}',
        '{"score": {"as": ["x"]}}',
        '{"score": "no/such"}',
        '{"score": 5}',
        '{"score": "q-insight/compare"}',
    ],
)
def test_a_damaged_note_is_told(model, text):
    (model / LEARNED).write_text(text)
    with pytest.raises(InputError, match=r"rali_prompts\.json is damaged.*Copy the teacher"):
        decoding_of(str(model))


def test_a_teacher_of_the_hub_is_asked_what_its_repository_notes(hub, model):
    """Through the real client, from its cache; a 404 that it remembers is a teacher without."""
    for repository in ("trained", "base"):
        place = hub / f"models--me--{repository}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0a1b")
    snapshot = hub / "models--me--trained" / "snapshots" / "0a1b"
    (snapshot / "small").mkdir(parents=True)
    for folder in (snapshot, snapshot / "small"):
        (folder / LEARNED).write_bytes((model / LEARNED).read_bytes())
    lacks = hub / "models--me--base" / ".no_exist" / "0a1b"
    lacks.mkdir(parents=True)
    (lacks / LEARNED).touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("me/trained", "me/trained/small"):
            assert decoding_of(name) == decoding_of(str(model)) != DEFAULT
        assert decoding_of("me/unknown", prompt="direct/score").prompt == "direct/score"
        assert decoding_of("me/trained", served=True) == decoding_of("me/base") == DEFAULT
        assert learned("me/trained", [PROMPTS["ract/description"]]).keys() == {
            "score", "degradation", "description"
        }  # fmt: skip
    with pytest.warns(UserWarning, match="not known whether it has rali_prompts.json; if it was"):
        assert decoding_of("me/unknown") == DEFAULT
