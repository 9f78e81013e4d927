"""Questions of one's own inside a recipe: read, noted in the run folder whole, and read again."""

from __future__ import annotations

import dataclasses

import pytest
from scripted import Script, manifest

from rali.errors import InputError
from rali.runs.config import from_dict, read_yaml
from rali.teacher.answers import Comparison, Degradation, Failure, Score
from rali.teacher.claims import claim_run
from rali.teacher.completions import compose, format_reward, parse
from rali.teacher.examples import examples
from rali.teacher.grpo import GrpoConfig
from rali.teacher.harvest import harvest
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import find_prompt
from rali.teacher.sft import SftConfig, sft_examples
from rali.teacher.tasks import Example, TaskConfig

OWN = {
    "text": "Look at <image>. How sharp is it?", "system": "Be brief.", "low": 0, "high": 10,
    "answer": r"Sharpness:\s*([0-9.]+)",
}  # fmt: skip


def test_a_prompt_in_a_recipe_is_noted_whole_and_read_back(tmp_path):
    file = tmp_path / "sharp.yaml"
    file.write_text("question: How sharp is it?\nlow: 0\nhigh: 10\n")
    tasks = [{"manifests": ["a.csv"], "prompt": OWN}, {"prompt": str(file)}]
    config = from_dict(GrpoConfig, {"tasks": tasks})
    own, sharp = [task.resolve() for task in config.tasks]
    assert (own.name, own.system, own.pattern, own.high) == ("own", "Be brief.", OWN["answer"], 10)
    assert sharp.name == "sharp"
    drawn = [Example(0, (tmp_path / "a.png",), "a", score=2.0)]
    claim_run(config, drawn, tmp_path / "run")
    file.unlink()  # the run folder holds what the file held
    noted = from_dict(GrpoConfig, read_yaml(tmp_path / "run" / "config.yaml"))
    assert noted == config and [task.resolve() for task in noted.tasks] == [own, sharp]
    claim_run(noted, drawn, tmp_path / "run")
    for changed in ({"answer": ""}, {"system": "Be long."}):
        first = TaskConfig(["a.csv"], OWN | changed)
        other = dataclasses.replace(config, tasks=[first, config.tasks[1]])
        with pytest.raises(InputError, match=r"other settings \(tasks\)"):
            claim_run(other, drawn, tmp_path / "run")


def test_settings_of_others_count_whole_when_a_run_is_resumed(tmp_path):
    drawn = [Example(0, (tmp_path / "a.png",), "a", score=2.0)]
    config = GrpoConfig(tasks=[TaskConfig(["a.csv"])])
    claim_run(config, drawn, tmp_path)
    for trl in ({"loss_type": "dapo"}, {"epsilon_high": 0.28}):
        with pytest.raises(InputError, match=r"other settings \(trl\)"):
            claim_run(dataclasses.replace(config, trl=trl), drawn, tmp_path)


@pytest.mark.parametrize(
    ("text", "answer", "form"),
    [
        ("<think>Soft.</think>Sharpness: 3.5", 3.5, 1),
        ("<think>Sharpness: 9</think> Sharpness: 3", 3, 1),
        ("<think>a</think>Sharpness: 3, no, Sharpness: 4", 4, 0),
        ("Sharpness: 3", 3, 0),
        ("<think>a</think>Sharpness: 30", None, 1),
        ("<think>a</think><answer>3</answer>", None, 0),
    ],
)
def test_an_answer_in_a_pattern(text, answer, form):
    prompt = find_prompt(OWN)
    found = parse(text, prompt)
    assert isinstance(found, Failure) if answer is None else found.value == answer
    assert isinstance(found, Failure | Score)
    assert format_reward(text, prompt) == form
    with pytest.raises(InputError, match="no text can be composed"):
        compose(prompt, reasoning="Soft.", score=3.0)


def test_a_comparison_of_ones_own():
    given = {"text": "<image_a> or <image_b>?", "choices": ["A", "B"], "reasons": False}
    prompt = find_prompt(given)
    assert prompt.task == "comparison" and prompt.images == ("image_a", "image_b")
    assert parse("<answer>Image B</answer>", prompt) == Comparison("B", "")
    assert isinstance(parse("<answer>Similar</answer>", prompt), Failure)
    prompt = find_prompt(given | {"answer": "better: (.*)"})
    assert parse("The better: Image A.", prompt) == Comparison("A", "")


DAMAGE = {
    "text": "What is wrong with <image>: blur, or blocks? Answer in JSON.", "system": "Be brief.",
    "classes": ["blur", "pixelation"],
}  # fmt: skip


def test_a_degradation_of_ones_own(tmp_path):
    file = tmp_path / "damage.yaml"
    file.write_text("\n".join(f"{name}: {value!r}" for name, value in DAMAGE.items()))
    prompt = find_prompt(str(file))
    assert (prompt.name, prompt.task, prompt.answer) == ("damage", "degradation", "json")
    assert prompt.classes == ("blur", "pixelate") and prompt.system == "Be brief."
    text = compose(prompt, reasoning="Soft.", distortion="blur", severity=3)
    assert parse(text, prompt) == Degradation("blur", 3, "Soft.")
    assert format_reward(text, prompt, form="strict") == 1
    table = manifest(tmp_path, "t", 2, distortion="blur", severity=3)
    config = from_dict(GrpoConfig, {"tasks": [{"prompt": DAMAGE, "manifests": [table]}]})
    assert [part.name for part in config.tasks[0].parts] == ["format", "degradation"]
    assert [(e.distortion, e.severity) for e in examples(config.tasks[0])] == [("blur", 3)] * 2
    answer = parse("<answer>blur</answer>", find_prompt(DAMAGE | {"answer": "q-insight"}))
    assert isinstance(answer, Failure)


def test_a_description_of_ones_own_is_fine_tuned_and_harvested(rows, tmp_path):
    own = {"text": "Describe <image> in a sentence.", "answer": "text"}
    prompt = find_prompt(own)
    assert (prompt.task, prompt.reasons) == ("description", False)
    harvest(Script(), rows, prompt, tmp_path / "t", seeds=1)
    config = from_dict(SftConfig, {"sources": [{"triplets": str(tmp_path / "t"), "prompt": own}]})
    assert {e.completion for e in sft_examples(config)} == {"seed 0"}
    assert from_dict(SftConfig, dataclasses.asdict(config)) == config
    with pytest.raises(InputError, match="no reward tells a good description"):
        TaskConfig(prompt=own)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (DAMAGE | {"choices": ["A", "B"]}, "classes beside null for a degradation"),
        (DAMAGE | {"classes": ["null"]}, "classes beside null for a degradation"),
        (DAMAGE | {"classes": ["rain"]}, "No distortion is called 'rain'"),
        (DAMAGE | {"answer": "number"}, "expected json, visualquality-r1"),
        ({"question": "Rate it.", "classes": ["blur"]}, "go with text"),
        ({"text": "<image> Rate it.", "answer": "[0-9]+"}, "expression with one group"),
        ({"text": "<image> Rate it.", "answer": "("}, "expression with one group"),
        ({"text": "<image> Rate it.", "choices": ["A", "B"]}, "write <image_a> and <image_b> once"),
        ({"text": "<image_a> <image_b>", "choices": ["A", "C"]}, "choices are"),
        ({"question": "Rate it.", "system": "Be brief."}, "go with text"),
        ({"txt": "<image>"}, "txt is not a setting"),
        (5, "prompt is 5"),
        ("no/such", "There is no prompt 'no/such'"),
    ],
)
def test_what_is_no_prompt_is_refused(prompt, message):
    with pytest.raises(InputError, match=message):
        TaskConfig(prompt=prompt)
    assert find_prompt("q-insight/score") is PROMPTS["q-insight/score"]
