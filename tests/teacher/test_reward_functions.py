"""The rewards as TRL calls them: over tasks, data sets and processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scripted import manifest

from rali.data.manifest import PairRow, write_pairs
from rali.teacher.completions import compose
from rali.teacher.grpo import GrpoConfig, ordered_examples
from rali.teacher.reward_functions import Prediction, Rewards, ranked_rewards
from rali.teacher.rl2r import rl2r_rewards
from rali.teacher.tasks import TaskConfig


def test_rewards_do_not_depend_on_who_holds_which_completion():
    generator = np.random.default_rng(0)
    scores = generator.uniform(1, 5, (6, 4))
    scores[2, 1] = np.nan
    mos, sets = generator.uniform(1, 5, 6), ["a", "a", "a", "b", "b", "c"]
    flat = [
        Prediction(0, sets[i], f"{i}.png", mos[i], scores[i, k]) for i in range(6) for k in range(4)
    ]
    expected = rl2r_rewards(scores, mos, sets)
    for order in (np.arange(24), generator.permutation(24)):
        found = ranked_rewards([flat[place] for place in order], [TaskConfig()])
        for place, reward in zip(order, found, strict=True):
            wanted = expected[place // 4, place % 4]
            assert (reward is None) == math.isnan(wanted)
            if reward is not None:
                assert reward == pytest.approx(wanted)


def test_each_task_has_its_own_reward(tmp_path):
    scored = manifest(tmp_path, "scored", 4)
    degraded = manifest(tmp_path, "degraded", 3, distortion="blur", severity=3)
    images = [tmp_path / f"scored-{i}.png" for i in range(2)]
    write_pairs([PairRow(images[0], images[1], result="A", split="train")], tmp_path / "pairs.csv")
    config = GrpoConfig(
        tasks=[
            TaskConfig(prompt="q-insight/score", manifests=[scored], reward="threshold"),
            TaskConfig(prompt="q-insight/degradation", manifests=[degraded], format="strict"),
            TaskConfig(prompt="q-insight/compare", manifests=[str(tmp_path / "pairs.csv")]),
        ],
        group=1, epochs=1, prompts_per_step=8, num_generations=2, micro_batch=2,
    )  # fmt: skip
    drawn = ordered_examples(config, config.plan())
    rewards, completions, wanted = Rewards(config.tasks, drawn), [], []
    for example in drawn:
        prompt = config.tasks[example.task].resolve()
        text = compose(
            prompt, reasoning="seen", score=example.score, distortion="blur", severity=2,
            choice="A",
        )  # fmt: skip
        completions.append([{"role": "assistant", "content": text}])
        wanted.append({0: 1.0, 1: 0.25, 2: 1.0}[example.task])  # class right, level wrong
    logged: dict[str, float] = {}
    places = list(range(len(drawn)))
    found = {
        part.__name__: part(completions, places, log_metric=logged.__setitem__)
        for part in rewards.functions
    }
    assert found.pop("format") == [1.0] * len(drawn) and rewards.weights == [1.0] * 4
    assert list(found) == ["threshold", "degradation", "comparison"]
    for values, row in zip(zip(*found.values(), strict=True), wanted, strict=True):
        assert [value for value in values if value is not None] == [row]
    assert logged["reward/q-insight/degradation/degradation"] == 0.25
    assert logged["reward/q-insight/score/format"] == logged["parsed/q-insight/score"] == 1.0


def test_only_a_format_reward_is_left_to_a_lone_picture(two):
    config = GrpoConfig(
        tasks=[TaskConfig(manifests=two)], prompts_per_step=2, num_generations=2, micro_batch=2
    )
    drawn = [next(e for e in ordered_examples(config, config.plan()) if e.dataset == name)
             for name in ("one", "two")]  # fmt: skip
    texts = [f"<think>x</think><answer>{value}</answer>" for value in (2, 3)]
    form, order = Rewards(config.tasks, drawn).functions
    assert order(texts, [0, 1]) == [None, None]
    assert form(texts, [0, 1]) == [1.0, 1.0]
