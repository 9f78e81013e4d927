"""A teacher's votes on unlabelled pairs, and the reward that follows them."""

from __future__ import annotations

import json

import pytest
from scripted import manifest

from rali.errors import InputError
from rali.teacher.grpo import GrpoConfig, ordered_examples, voted_pairs
from rali.teacher.reward_functions import Prediction, ranked_rewards
from rali.teacher.rl2r import rl2r_rewards
from rali.teacher.tasks import RewardConfig, TaskConfig
from rali.teacher.votes import VoteConfig, majority, pairs_that_meet, vote

VOTED = [RewardConfig("voted"), RewardConfig("format")]


class Voter:
    """Prefers the picture with the greater number in its name; the picture "-2" is never seen."""

    chunk = 6

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def generate(self, requests, sampling):
        names = [tuple(path.stem for path in request.images) for request in requests]
        self.asked += names
        return [self.answer([int(name[-1]) for name in own]) for own in names]

    def answer(self, numbers):
        if 2 in numbers:
            return "no idea"
        if len(numbers) == 1:
            return f"<answer>{1 + numbers[0]}</answer>"
        return f"<answer>Image {'AB'[numbers[1] > numbers[0]]}</answer>"


def test_the_majority_by_hand():
    assert majority([1, 1, 0]) == 1 and majority([0, 0.5, 0.5]) == 0
    assert majority([1, 0]) == majority([0.5]) == 0.5


@pytest.mark.parametrize("prompt", ["q-insight/compare", "direct/score"])
def test_votes_on_pictures_without_scores(tmp_path, prompt):
    task = TaskConfig([manifest(tmp_path, "one", 4, score=None)], rewards=VOTED)
    config = GrpoConfig(
        tasks=[task], epochs=1, prompts_per_step=4, num_generations=2, micro_batch=2,
        votes=VoteConfig(count=3, prompt=prompt),
    )  # fmt: skip
    drawn = ordered_examples(config, config.plan())
    assert drawn[0].score is None
    pairs = pairs_that_meet(drawn, config.tasks, config.plan().compared)
    assert len(pairs) == 6 and all(a < b for a, b in pairs)
    voter = Voter()
    found = vote(lambda: voter, pairs, config.votes, tmp_path)
    name = {str(tmp_path / f"one-{i}.png"): i for i in range(4)}
    known = {(name[a], name[b]): value for (a, b), value in found.items()}
    assert known == {(0, 1): 0, (0, 3): 0, (1, 3): 0, (1, 0): 1, (3, 0): 1, (3, 1): 1}
    if prompt == "q-insight/compare":
        assert voter.asked.count(("one-0", "one-1")) == 2  # and once in the other order
    asked = len(voter.asked)
    assert vote(lambda: voter, pairs, config.votes, tmp_path) == found
    assert len(voter.asked) == asked, "noted votes are not asked for again"
    file = tmp_path / "votes-0.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:9])  # a kill cut the last one short
    assert vote(lambda: voter, pairs, config.votes, tmp_path) == found
    assert len(voter.asked) == asked + 3
    assert json.loads(lines[0])["votes"]


def test_pairs_beyond_the_last_step_are_not_voted_on(tmp_path):
    task = TaskConfig([manifest(tmp_path, "one", 8, score=None)], rewards=VOTED)
    config = GrpoConfig(
        tasks=[task], epochs=3, prompts_per_step=2, num_generations=2, micro_batch=2,
        trl={"max_steps": 5, "num_iterations": 2},
    )  # fmt: skip
    drawn = ordered_examples(config, config.plan())
    assert len(drawn) == 24, "twelve steps"
    assert len(voted_pairs(config, config.plan(), drawn)) <= 3, "five steps on three batches"


def test_a_training_without_a_vote_is_refused_and_noted_votes_need_no_model(tmp_path):
    voter, pairs = Voter(), [("a-2", "b-1")]
    with pytest.raises(InputError, match="none of its answers can be read"):
        vote(lambda: voter, pairs, VoteConfig(count=2), tmp_path)
    vote(lambda: voter, [("a-0", "b-1")], VoteConfig(count=2), tmp_path)
    loaded = []
    vote(lambda: loaded.append(1), [("a-0", "b-1")], VoteConfig(count=2), tmp_path)
    assert not loaded


def test_the_reward_is_the_fidelity_to_the_votes(tmp_path):
    scores = [(1.0, 2.0), (3.0, 3.5), (2.0, 2.5)]
    rows = [
        Prediction(0, "d", name, float("nan"), score)
        for name, own in zip("abc", scores, strict=True)
        for score in own
    ]
    votes = {("a", "b"): 0.0, ("b", "a"): 1.0}
    found = ranked_rewards(rows, [TaskConfig(rewards=VOTED)], {0: RewardConfig("voted")}, votes)
    assert found[4:] == [None, None], "nobody voted on c"
    wanted = rl2r_rewards([scores[0], scores[1]], [1.0, 2.0]).ravel()
    assert found[:4] == pytest.approx(wanted)


def test_what_cannot_vote_is_refused():
    with pytest.raises(InputError, match=r"votes\.prompt: give a prompt for a score"):
        VoteConfig(prompt="q-insight/compare-reference")
    with pytest.raises(InputError, match=r"votes\.count is 0"):
        VoteConfig(count=0)
