"""A run that an older version began is found again, or refused for what has changed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.runs.config import read_yaml, write_yaml
from rali.runs.folder import write_json
from rali.teacher import completions, meanings, questions
from rali.teacher.adapter import LoraConfig
from rali.teacher.claims import EXAMPLES, claim_run
from rali.teacher.grpo import GrpoConfig, grpo_start, train
from rali.teacher.meanings import MEANINGS
from rali.teacher.prompts import PROMPTS
from rali.teacher.readings import Reading
from rali.teacher.sft import SftConfig, SftExample, SftSource
from rali.teacher.tasks import Example, TaskConfig

OWN = {"text": "How sharp is <image>?", "high": 10.0}
WORDS = dataclasses.replace(PROMPTS["visualquality-r1/score"], text="<image> Rate it.")
ANSWERS = Reading(True, True, {"score": r"\d"})
DRAWN = [Example(0, (Path("a.png"),), "a", score=2.0)]


def rewrite(run: Path, **changes) -> None:
    """Change settings that a run has noted."""
    write_yaml(read_yaml(run / "config.yaml") | changes, run / "config.yaml")


def test_examples_have_the_fingerprint_of_a_version_whose_prompts_had_no_reading(tmp_path):
    example = SftExample((Path("/data/a.png"),), PROMPTS["ract/description"], "Soft.")
    noted = {"count": 1, "fingerprint": "43988e708a7e15eb"}  # by the parent of a3165c4
    write_json(noted, tmp_path / EXAMPLES)
    claim_run(SftConfig(), [example], tmp_path)


def test_a_question_of_ones_own_is_known_by_what_is_asked(tmp_path):
    config = GrpoConfig(tasks=[TaskConfig(["a.csv"], OWN)])
    claim_run(config, DRAWN, tmp_path)
    task = read_yaml(tmp_path / "config.yaml")["tasks"][0]
    del task["prompt"]["classes"]  # as an older version noted it
    rewrite(tmp_path, tasks=[task])
    claim_run(config, DRAWN, tmp_path)
    for changed in ({"high": 9.0}, {"answer": "[(]([0-9])"}, {"text": "How good is <image>?"}):
        other = GrpoConfig(tasks=[TaskConfig(["a.csv"], OWN | changed)])
        with pytest.raises(InputError, match=r"other settings \(tasks\)"):
            claim_run(other, DRAWN, tmp_path)


def test_a_source_noted_by_the_name_of_its_file_is_the_same(tmp_path):
    file = tmp_path / "own.yaml"
    write_yaml(OWN, file)
    config = SftConfig(sources=[SftSource("texts", str(file))])
    claim_run(config, [], tmp_path / "run")
    sources = [{"triplets": "texts", "prompt": str(file)}]  # as an older version noted it
    rewrite(tmp_path / "run", sources=sources)
    claim_run(config, [], tmp_path / "run")
    rewrite(tmp_path / "run", sources=sources)
    write_yaml(OWN | {"high": 9.0}, file)
    with pytest.raises(InputError, match=r"other settings \(sources\)"):
        claim_run(config, [], tmp_path / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"trl": {"push_to_hub": True}},
        {"lora": LoraConfig(rank=4, targets=["q_proj", "absent"])},
    ],
)
def test_a_finished_run_is_found_with_what_is_refused_now(two, tmp_path, changes):
    run = tmp_path / "run"
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(two[:1])], prompts_per_step=4, micro_batch=6, **changes
    )
    claim_run(config, grpo_start(config, done=True).examples, run)
    with pytest.raises(InputError, match=r"hf upload|has no layer absent"):
        train(config, run)
    (run / "model").mkdir()
    assert train(config, run) == run / "model"


RELEASED = {"prompt": "visualquality-r1/released"}
VLLM = {"use_vllm": True, "vllm_max_model_length": 2048}


def noted_before(run: Path, config: GrpoConfig, *absent: str) -> None:
    """Claim a folder as a version would that noted no meanings, nor these settings of a task."""
    claim_run(config, DRAWN, run)
    (run / MEANINGS).unlink()
    tasks = read_yaml(run / "config.yaml")["tasks"]
    rewrite(run, tasks=[{k: v for k, v in task.items() if k not in absent} for task in tasks])


@pytest.mark.parametrize(
    ("task", "settings", "changed"),
    [
        ({}, {}, ""),
        ({"format": "strict"}, {"top_k": 50}, ""),
        ({}, {"trl": VLLM}, ""),
        (RELEASED, {}, "since when tasks.0.prompt visualquality-r1/released has other words; give"),
        ({"format": "q-insight"}, {}, "tasks.0.format q-insight wants another form; give"),
        (
            RELEASED | {"answer": "visualquality-r1"},
            {},
            "has other words and tasks.0.answer visualquality-r1 is found in another way; give",
        ),
        ({}, {"trl": VLLM, "top_k": 50}, "when trl.use_vllm weighs texts in another way; give"),
        ({}, {"trl": VLLM | {"vllm_importance_sampling_correction": True}, "top_k": 50}, ""),
    ],
)
def test_a_run_without_noted_meanings_resumes_where_none_has_changed(
    tmp_path, task, settings, changed
):
    config = GrpoConfig(tasks=[TaskConfig(["a.csv"], **task)], **settings)
    noted_before(tmp_path, config, "answer")
    if changed:
        with pytest.raises(InputError, match=re.escape(changed)):
            claim_run(config, DRAWN, tmp_path)
        assert not (tmp_path / MEANINGS).exists()
        (tmp_path / "model").mkdir()  # a finished run is found: nothing more is trained
        claim_run(config, DRAWN, tmp_path)
        assert not (tmp_path / MEANINGS).exists()
    else:
        claim_run(config, DRAWN, tmp_path)
        assert (tmp_path / MEANINGS).exists()


def test_a_format_is_known_to_be_the_new_one_where_an_answer_is_noted(tmp_path):
    config = GrpoConfig(tasks=[TaskConfig(["a.csv"], format="q-insight")])
    noted_before(tmp_path, config)
    claim_run(config, DRAWN, tmp_path)


@pytest.mark.parametrize(
    ("module", "table", "name", "meaning", "changed"),
    [
        (questions, "PROMPTS", "visualquality-r1/score", WORDS, "prompt visualquality-r1/score"),
        (completions, "FORMATS", "q-insight", "<think>.*", "format q-insight wants another form"),
        (meanings, "READINGS", "q-insight", ANSWERS, "answer q-insight is found"),
    ],
)
def test_a_name_that_means_another_thing_is_refused(
    tmp_path, monkeypatch, module, table, name, meaning, changed
):
    prompt = "q-insight/score" if "insight" in name else name
    answer = name if "insight" in name else "paper"
    form = "q-insight" if "insight" in name else "paper"
    config = GrpoConfig(tasks=[TaskConfig(["a.csv"], prompt, format=form, answer=answer)])
    claim_run(config, DRAWN, tmp_path)
    claim_run(config, DRAWN, tmp_path)
    monkeypatch.setitem(getattr(module, table), name, meaning)
    with pytest.raises(InputError, match=f"since when tasks.0.{changed}"):
        claim_run(config, DRAWN, tmp_path)
