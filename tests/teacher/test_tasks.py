"""The table of tasks: examples from manifests, and answers that are written and read back."""

from __future__ import annotations

import pytest
from scripted import manifest

from rali.errors import InputError
from rali.teacher.completions import compose, parse
from rali.teacher.examples import examples
from rali.teacher.prompts import PROMPTS
from rali.teacher.tasks import TASKS, TaskConfig
from rali.teacher.watch_config import WatchConfig


def test_pictures_without_a_degradation_are_examples_with_or_without_a_severity(tmp_path):
    plain = manifest(tmp_path, "null", 3, distortion="null", severity=None)
    weak = manifest(tmp_path, "weak", 2, distortion="noise", severity=0)
    found = examples(TaskConfig(prompt="q-insight/degradation", manifests=[plain, weak]))
    assert [(e.distortion, e.severity) for e in found] == [("null", 0)] * 5
    some = TaskConfig(prompt="q-insight/degradation", manifests=[plain], count=2)
    assert len(examples(some)) == 2 and examples(some) == examples(some)


def test_manifests_of_one_name_are_not_compared(tmp_path):
    """Their scores may be on different scales, so their names keep what tells them apart."""
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    paths = [manifest(folder, "train", 2, dataset="") for folder in folders[:2]]
    alone = examples(TaskConfig(paths[:1]))
    assert {each.dataset for each in alone} == {"train"}
    both = [each.dataset for each in examples(TaskConfig(paths))]
    assert both == ["a/train.csv"] * 2 + ["b/train.csv"] * 2
    twice = examples(TaskConfig([paths[0], str(folders[1] / ".." / "a" / "train.csv")]))
    assert {each.dataset for each in twice} == {"train"}, "one file under two paths"
    named = manifest(folders[2], "other", 2, dataset="train")
    assert {each.dataset for each in examples(TaskConfig([paths[0], named]))} == {
        "train.csv", "train"
    }  # fmt: skip
    rows = WatchConfig(manifests=paths, split="train").rows()
    assert [row.dataset for row in rows] == both
    (row, *_) = WatchConfig(manifests=paths[:1], split="train").rows()
    assert row.dataset == "train"


def test_tasks_that_cannot_be_rewarded_are_refused():
    with pytest.raises(InputError, match="no reward tells a good description"):
        TaskConfig(prompt="ract/description")
    with pytest.raises(InputError, match="q-insight/score does not list its classes"):
        TaskConfig(prompt="q-insight/score", classes=["blur"])


def test_other_classes_leave_the_questions_other_words_as_they_are():
    named = "q-insight/degradation-trained"
    trained = TaskConfig(prompt=named, classes=["pixelate", "JPEG", "blur"]).resolve()
    assert (trained.name, trained.system) == (f"{named}-3", PROMPTS[named].system)
    assert trained.classes == ("pixelate", "compression", "blur")
    listed = '"noise", "compression", "blur", or "darken"'
    assert trained.text == PROMPTS[named].text.replace(
        listed, '"pixelate", "compression", or "blur"'
    )
    same = TaskConfig(prompt=named, classes=["noise", "JPEG", "blur", "darken"]).resolve()
    assert same is PROMPTS[named]
    with pytest.raises(InputError, match="at least one class"):
        TaskConfig(prompt=named, classes=["null"])


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=lambda prompt: prompt.name)
def test_what_is_composed_is_parsed_back(prompt):
    text = compose(
        prompt, reasoning="Sharp, but dark.", score=3.25, distortion="noise", severity=4, choice="B"
    )
    answer = parse(text, prompt)
    wanted = {
        "score": {"value": 3.25}, "degradation": {"distortion": "noise", "severity": 4},
        "comparison": {"choice": "B"}, "description": {},
    }  # fmt: skip
    for name, value in wanted[prompt.task].items():
        assert getattr(answer, name) == value
    assert isinstance(answer, TASKS[prompt.task].answer)
    if prompt.reasons or prompt.task == "description":
        assert answer.reasoning == "Sharp, but dark."
    with pytest.raises(InputError, match="nothing to answer"):
        compose(prompt)
