"""The parts of a reward by name: settings, functions of one's own, penalties, what they need."""

from __future__ import annotations

import pytest
from scripted import manifest

from rali.errors import InputError
from rali.recipes import recipes
from rali.runs.config import from_dict, read_yaml
from rali.teacher.examples import examples
from rali.teacher.grpo import GrpoConfig, ordered_examples
from rali.teacher.reward_functions import Prediction, Rewards, ranked_rewards
from rali.teacher.rewards import REWARDS, find_reward, is_ranked
from rali.teacher.tasks import TASKS, TEXT_REWARDS, RewardConfig, TaskConfig


def config(task: dict, **more) -> GrpoConfig:
    values = {"tasks": [task], "prompts_per_step": 2, "num_generations": 2, "micro_batch": 2}
    return from_dict(GrpoConfig, values | more)


def test_recipes_that_say_nothing_keep_their_rewards():
    for name, file in recipes().items():
        values = read_yaml(file)
        for task in values.get("tasks", []):
            if "rewards" in task:
                continue
            found = from_dict(TaskConfig, task)
            form, own = found.parts
            assert (form.name, form.weight) == ("format", task.get("format_weight", 1.0)), name
            kind = TASKS[found.resolve().task]
            assert own == RewardConfig(task.get("reward", kind.rewards[0]))
            assert is_ranked(found) == (own.name == "rl2r")
    assert {name for kind in TASKS.values() for name in kind.rewards} | {*TEXT_REWARDS} == {
        *REWARDS
    }


def test_parts_have_weights_and_names_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def short(completion, *, most=20):\n"
        "    assert completion.example.score is not None\n"
        "    return 1.0 if len(completion.text) <= most else 0.0\n"
    )
    monkeypatch.chdir(tmp_path)
    task = {
        "manifests": [manifest(tmp_path, "one", 4)],
        "rewards": [
            {"name": "rl2r"}, {"name": "format", "weight": 2},
            {"name": "my_rewards:short", "weight": 0.5, "options": {"most": 35}},
            {"name": "repetition"}, {"name": "overlong", "options": {"cache": 4}},
        ],
    }  # fmt: skip
    made = config(task)
    drawn = ordered_examples(made, made.plan())[:2]
    rewards = Rewards(made.tasks, drawn, limit=10)
    assert rewards.weights == [1, 2, 0.5, 1, 1]
    texts = [f"<think>x</think><answer>{value}</answer>" for value in ("1", "5.00")]
    logged: dict[str, float] = {}
    # 3-grams: 8 of which 2 are distinct; 5 of which all are. Lengths 10 and 7 of 10, cache 4.
    tokens = [[1, 1, 1, 1, 1, 1, 1, 1, 1, 2], [1, 2, 3, 4, 5, 6, 7]]
    found = {
        part.__name__: part(texts, [0, 1], completion_ids=tokens, log_metric=logged.__setitem__)
        for part in rewards.functions
    }
    assert found["format"] == [1, 1]
    assert found["my_rewards:short"] == [1, 0]
    assert found["repetition"] == pytest.approx([-(1 - 2 / 8), 0])
    assert found["overlong"] == pytest.approx([-1, -0.25])
    assert logged["reward/visualquality-r1/score/overlong"] == pytest.approx(-0.625)
    assert all(value is not None for value in found["rl2r"])


def test_one_name_with_two_weights_is_two_parts(tmp_path):
    tasks = [
        TaskConfig([manifest(tmp_path, name, 2)], rewards=[RewardConfig("format", weight)])
        for name, weight in (("one", 1.0), ("two", 3.0))
    ]
    drawn = [example for place, task in enumerate(tasks) for example in examples(task, place)]
    rewards = Rewards(tasks, drawn)
    text = ["<think>x</think><answer>2</answer>"] * 4
    found = {part.__name__: part(text, [0, 1, 2, 3]) for part in rewards.functions}
    assert found == {"format*1": [1, 1, None, None], "format*3": [None, None, 1, 1]}
    assert rewards.weights == [1, 3]
    logged_alone = Rewards([TaskConfig(format_weight=0)], [])
    assert [part.__name__ for part in logged_alone.functions] == ["format*0", "rl2r"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"rewards": [{"name": "rl2"}]}, "'rl2' is no reward of visualquality-r1/score; there are"),
        ({"rewards": [{"name": "rl2r"}], "reward": "threshold"}, "not both"),
        ({"rewards": [{"name": "rl2r"}, {"name": "rl2r"}]}, "stands there twice"),
        ({"rewards": [{"name": "rl2r", "weight": -1}]}, "weight is -1"),
        ({"rewards": [{"name": "gaussian", "options": {"sgima": 1}}]}, "sgima"),
        ({"rewards": [{"name": "gaussian", "options": {"sigma": 0}}]}, "give a number above 0"),
        ({"rewards": [{"name": "nowhere:at_all"}]}, "cannot be imported"),
        ({"rewards": [{"name": "math:pi"}]}, "is no function"),
        ({"rewards": [{"name": "comparison"}]}, "is no reward of visualquality-r1/score"),
        ({"reward": "gauss"}, "there are rl2r, threshold, gaussian"),
        ({"rewards": [{"name": "repetition", "options": {"ngram": 2.5}}]}, "give a whole number"),
        ({"rewards": [{"name": "overlong", "options": {"cache": 600}}]},
         "cache of overlong is 600; give 1 to max_completion_length, 512."),
        ({"reward": "gaussian", "prompt": "q-insight/compare"}, "'gaussian'; for q-insight/co"),
    ],
)  # fmt: skip
def test_what_is_no_reward_is_refused(task, message):
    with pytest.raises(InputError, match=message):
        config(task)


def test_the_soft_end_of_a_length_fits_into_the_length():
    task = {"rewards": [{"name": "overlong"}]}
    assert config(task, max_completion_length=128)
    with pytest.raises(InputError, match="cache of overlong is 128; give 1 to max_completion_leng"):
        config(task, max_completion_length=100)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"reward": "threshold", "variant": "binary"},
         "reward of visualquality-r1/score, format \\+ threshold; leave it out, or add rl2r."),
        ({"reward": "threshold", "fidelity_eps": 0}, "or add rl2r or soft or voted."),
        ({"threshold": 0.5}, "threshold is 0.5, which changes nothing"),
        ({"threshold": 0.5, "prompt": "q-insight/compare"}, "reward of q-insight/compare, format"),
        ({"class_weight": 0.5}, "class_weight is 0.5"),
        ({"rewards": [{"name": "rl2r"}], "format": "strict"}, "format is 'strict', which changes"),
    ],
)  # fmt: skip
def test_settings_that_no_part_takes_are_refused(task, message):
    with pytest.raises(InputError, match=message):
        config(task)


def test_settings_that_a_part_takes_are_taken():
    config({"reward": "soft", "fidelity_eps": 1e-3})
    config({"prompt": "q-insight/degradation", "class_weight": 0.5})
    config({"format": "strict", "format_weight": 0})  # it is logged
    own = {"name": "reprlib:repr"}
    config({"rewards": [own], "threshold": 0.5})  # a function of one's own may look at it
    written = {"threshold": 0.35, "variant": "fidelity", "reward": "rl2r", "format": "paper"}
    config({"prompt": "q-insight/compare"} | written)  # as a run notes all settings


def test_votes_are_for_the_reward_that_takes_them():
    with pytest.raises(InputError, match="votes: no task has the reward voted"):
        config({}, votes={"count": 3})
    config({"reward": "voted"}, votes={"count": 3})


def test_a_reward_of_ones_own_gives_a_number(tmp_path):
    task = TaskConfig([manifest(tmp_path, "one", 2)], rewards=[RewardConfig("reprlib:repr")])
    (part,) = Rewards([task], examples(task)).functions
    with pytest.raises(InputError, match=r"reprlib:repr gave .*expected a number"):
        part(["a"], [0])


def test_soft_preferences_need_deviations(tmp_path):
    with_std = manifest(tmp_path, "with", 3, std=0.5)
    (soft, low), wanted = examples(TaskConfig([with_std], reward="soft"))[:2], 0.5
    assert soft.std == low.std == wanted
    percent = {"question": "Rate it.", "low": 0, "high": 100}
    assert examples(TaskConfig([with_std], percent, reward="soft"))[0].std == 12.5
    assert examples(TaskConfig([with_std]))[0].std is None, "as an older version noted it"
    with pytest.raises(InputError, match=r"needs the column `std`.* 3 of 3 pictures have none"):
        examples(TaskConfig([manifest(tmp_path, "bare", 3)], reward="soft"))
    assert find_reward(RewardConfig("soft")).needs == ("score", "std")
    # Φ(1/√0.5) for the second picture over the first; its mean is above the other's.
    scores = [(1.0, 2.0), (3.0, 3.0)]
    rows = [
        Prediction(0, "d", str(place), 2.0 + place, score, std=0.5)
        for place, own in enumerate(scores)
        for score in own
    ]
    task = [TaskConfig(reward="soft")]
    soft_values = ranked_rewards(rows, task, {0: RewardConfig("soft")})
    assert soft_values != ranked_rewards(rows, task)
    assert all(0 < value <= 1.01 for value in soft_values)
