"""A run that an older version began is found again, or refused for what has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rali.errors import InputError
from rali.runs.config import read_yaml, write_yaml
from rali.runs.folder import write_json
from rali.teacher.adapter import LoraConfig
from rali.teacher.claims import EXAMPLES, claim_run
from rali.teacher.grpo import GrpoConfig, grpo_start, train
from rali.teacher.prompts import PROMPTS
from rali.teacher.sft import SftConfig, SftExample, SftSource
from rali.teacher.tasks import Example, TaskConfig

OWN = {"text": "How sharp is <image>?", "high": 10.0}
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
