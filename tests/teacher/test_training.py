"""What a training learns from and how it is divided, before any model is loaded."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from rali.data.manifest import PairRow, Row, write_manifest, write_pairs
from rali.data.triplets import Triplet, write_triplets
from rali.errors import InputError
from rali.runs.config import from_dict, read_yaml
from rali.runs.folder import RunFolder
from rali.teacher.answers import Failure, compose, parse
from rali.teacher.grpo import GrpoConfig, ordered_examples
from rali.teacher.memory import SHAPES, describe_memory, memory_of, model_config, on_meta
from rali.teacher.plan import plan_batch
from rali.teacher.prompts import PROMPTS
from rali.teacher.report import training_curves
from rali.teacher.reward_functions import Prediction, Rewards, ranked_rewards
from rali.teacher.rl2r import rl2r_rewards
from rali.teacher.sft import SftConfig, SftSource, sft_examples
from rali.teacher.tasks import Example, TaskConfig, examples
from rali.teacher.training import check_pictures, claim, last_checkpoint
from rali.teacher.watch import Watch, WatchConfig

RECIPES = Path(__file__).parents[2] / "recipes"


def manifest(folder: Path, name: str, count: int, **more) -> str:
    rows = []
    for index in range(count):
        path = folder / f"{name}-{index}.png"
        Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(path)
        values = {"score": 1 + index % 5, "dataset": name, "split": "train"} | more
        rows.append(Row(path, **values))
    write_manifest(rows, folder / f"{name}.csv")
    return str(folder / f"{name}.csv")


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    return [manifest(tmp_path, "one", 12), manifest(tmp_path, "two", 5)]


# --- the batch ------------------------------------------------------------------------------------


def test_the_arithmetic_in_words():
    plan = plan_batch(
        prompts_per_step=16, num_generations=6, micro_batch=6, pair_scope="global", processes=2
    )
    assert plan.words().startswith(
        "8 prompts × 6 completions on each of 2 processes = 16 pictures compared"
    )
    assert (plan.local_prompts, plan.accumulation, plan.compared) == (8, 8, 16)
    alone = dataclasses.replace(plan, compared=8)
    assert "16 pictures compared, 8 at a time" in alone.words()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts_per_step": 1}, "only 1 would meet"),
        ({"prompts_per_step": 2, "pair_scope": "process", "processes": 2}, "or pair_scope: "),
        ({"prompts_per_step": 5, "processes": 2}, "cannot share"),
        ({"micro_batch": 5}, "does not divide"),
        ({"num_generations": 1}, "num_generations is 1"),
        ({"pair_scope": "world"}, "global, process"),
    ],
)
def test_what_cannot_work_is_said(values, message):
    settings = {
        "prompts_per_step": 4, "num_generations": 4, "micro_batch": 4, "pair_scope": "global"
    } | values  # fmt: skip
    with pytest.raises(InputError, match=message):
        plan_batch(**settings)


def test_groups_are_of_one_data_set_and_every_example_comes_once_an_epoch(two):
    config = GrpoConfig(
        tasks=[TaskConfig(manifests=two)], epochs=2, prompts_per_step=4, num_generations=2,
        micro_batch=2, group=2,
    )  # fmt: skip
    drawn = ordered_examples(config, config.plan())
    assert len(drawn) % 4 == 0
    pairs = [drawn[i : i + 2] for i in range(0, len(drawn), 2)]
    assert all(a.dataset == b.dataset for a, b in pairs)
    assert max(Counter(example.images for example in drawn).values()) <= 2
    assert drawn == ordered_examples(config, config.plan())
    other = dataclasses.replace(config, seed=1)
    assert drawn != ordered_examples(other, other.plan())


def test_uniform_draws_data_sets_alike(two):
    config = GrpoConfig(
        tasks=[TaskConfig(manifests=two)], epochs=4, prompts_per_step=4, num_generations=2,
        micro_batch=2, group=4, draw="uniform",
    )  # fmt: skip
    counts = Counter(example.dataset for example in ordered_examples(config, config.plan()))
    assert counts["one"] == counts["two"]


def test_too_small_a_data_set_is_named(two):
    config = GrpoConfig(
        tasks=[TaskConfig(manifests=two)], prompts_per_step=8, num_generations=2, micro_batch=2
    )
    with pytest.raises(InputError, match="two has 5 examples; 8 are drawn together"):
        ordered_examples(config, config.plan())


# --- rewards --------------------------------------------------------------------------------------


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
            TaskConfig(prompt="q-insight/degradation", manifests=[degraded], strict_format=True),
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
    assert rewards.quality(completions, places, log_metric=logged.__setitem__) == wanted
    assert rewards.format(completions, places) == [1.0] * len(drawn)
    assert logged["reward/q-insight/degradation"] == 0.25
    assert logged["parsed/q-insight/score"] == 1.0


def test_pictures_without_a_degradation_are_learned_from_with_or_without_a_level(tmp_path):
    known = manifest(tmp_path, "null", 3, distortion="null", severity=None)
    weak = manifest(tmp_path, "weak", 2, distortion="noise", severity=0)
    found = examples(TaskConfig(prompt="q-insight/degradation", manifests=[known, weak]))
    assert [(e.distortion, e.severity) for e in found] == [("null", 0)] * 5
    some = TaskConfig(prompt="q-insight/degradation", manifests=[known], count=2)
    assert len(examples(some)) == 2 and examples(some) == examples(some)


def test_tasks_that_cannot_be_rewarded_are_refused():
    with pytest.raises(InputError, match="no reward tells a good description"):
        TaskConfig(prompt="ract/description")
    with pytest.raises(InputError, match="classes are for q-insight/degradation"):
        TaskConfig(prompt="q-insight/score", classes=["blur"])


def test_only_a_format_reward_is_left_to_a_lone_picture(two):
    config = GrpoConfig(
        tasks=[TaskConfig(manifests=two)], prompts_per_step=2, num_generations=2, micro_batch=2
    )
    drawn = [next(e for e in ordered_examples(config, config.plan()) if e.dataset == name)
             for name in ("one", "two")]  # fmt: skip
    texts = [f"<think>x</think><answer>{value}</answer>" for value in (2, 3)]
    rewards = Rewards(config.tasks, drawn)
    assert rewards.quality(texts, [0, 1]) == [None, None]
    assert rewards.format(texts, [0, 1]) == [1.0, 1.0]


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
    assert not isinstance(answer, Failure)
    if prompt.reasons or prompt.task == "description":
        assert answer.reasoning == "Sharp, but dark."
    with pytest.raises(InputError, match="nothing to answer"):
        compose(prompt)


# --- fine-tuning ----------------------------------------------------------------------------------


def test_triplets_answer_the_prompt_of_their_source(tmp_path):
    image = tmp_path / "a.png"
    write_triplets(
        tmp_path / "t",
        [
            Triplet(image, "0", 4.0, "Clear.", "raw", 3.9, "vq", "?", 0, True),
            Triplet(image, "0", 4.0, "", "raw", None, "vq", "?", 1, False),
        ],
    )
    sources = [
        SftSource(str(tmp_path / "t"), name)
        for name in ("ract/description", "visualquality-r1/score", "direct/score")
    ]
    assert [example.completion for example in sft_examples(SftConfig(sources=sources))] == [
        "Clear.",
        "<think>Clear.</think><answer>4.00</answer>",
        "<answer>4.00</answer>",
    ]
    with pytest.raises(InputError, match="do not answer 'q-insight/compare'"):
        sft_examples(SftConfig(sources=[SftSource(str(tmp_path / "t"), "q-insight/compare")]))
    with pytest.raises(InputError, match="give `sources:`"):
        sft_examples(SftConfig())


# --- watching ------------------------------------------------------------------------------------


def test_every_process_asks_for_as_many_texts(two, tmp_path):
    """Sharded weights need all processes in every step of every text."""
    asked: dict[int, int] = {0: 0, 1: 0}

    class Counting(Watch):
        @contextmanager
        def _engine(self):
            yield self

        def generate(self, requests, sampling):
            asked[self.trainer.accelerator.process_index] += len(requests)
            return [f"<think>x</think><answer>{1 + len(asked)}</answer>" for _ in requests]

    config = WatchConfig(manifests=two[:1], split="train", pictures=7, samples=3)
    for rank in asked:
        watch = Counting(
            config, config.rows(), RunFolder(tmp_path / str(rank)),
            PROMPTS["visualquality-r1/score"], None, max_new_tokens=9,
        )  # fmt: skip
        watch.config = dataclasses.replace(config, probes=[str(watch.rows[0].image)])
        accelerator = SimpleNamespace(process_index=rank, num_processes=2)
        watch.trainer = SimpleNamespace(accelerator=accelerator)
        watch.look(5)
    assert asked == {0: 4 * 3 + 1, 1: 4 * 3 + 1}
    (row,) = RunFolder(tmp_path / "0").metrics()
    assert (row["stage"], row["n"]) == ("validate/one", 4)


def test_validation_on_what_is_trained_on_is_refused(two):
    config = WatchConfig(manifests=two[:1], split="train")
    pictures = [row.image for row in config.rows()]
    assert config.rows(trained=[Path("/elsewhere.png")])
    with pytest.raises(InputError, match="are trained on"):
        config.rows(trained=pictures[:1])


def test_validation_asks_as_the_training_does():
    prompts = [PROMPTS["q-insight/degradation"], PROMPTS["q-insight/score"]]
    assert WatchConfig().scoring(prompts).name == "q-insight/score"
    assert WatchConfig().scoring(prompts[:1]).name == "visualquality-r1/score"
    assert WatchConfig(prompt="direct/score").scoring(prompts).name == "direct/score"


def test_validation_of_several_data_sets_is_kept(tmp_path):
    run = RunFolder(tmp_path)
    for step in (0, 10):
        for name in ("one", "two"):
            run.log(stage=f"validate/{name}", step=step, srcc=0.5, spread=0.1)
    assert training_curves(run.metrics())["validation SRCC"] == {
        "one": [(0.0, 0.5), (10.0, 0.5)], "two": [(0.0, 0.5), (10.0, 0.5)],
    }  # fmt: skip


# --- going on -------------------------------------------------------------------------------------


def test_a_checkpoint_that_was_cut_off_is_not_gone_on_from(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, text in ((100, json.dumps({"global_step": 100})), (200, '{"global_st'), (300, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


def test_a_run_with_other_settings_is_refused(tmp_path):
    config, run = GrpoConfig(lr=1e-5, tasks=[TaskConfig(manifests=["one.csv"])]), tmp_path / "run"
    drawn = [Example(0, (tmp_path / f"{i}.png",), "one", score=2.0 + i) for i in range(3)]
    claim(config, drawn, run)
    moved = [dataclasses.replace(e, images=(Path("/mnt") / e.images[0].name,)) for e in drawn]
    task = TaskConfig(manifests=["/mnt/one.csv"])
    claim(dataclasses.replace(config, save_every=7, tasks=[task]), moved, run)
    with pytest.raises(InputError, match=r"other settings \(lr, lora\)"):
        lora = dataclasses.replace(config.lora, rank=8)
        claim(dataclasses.replace(config, lr=2e-5, lora=lora), drawn, run)
    noted = read_yaml(run / "config.yaml")
    del noted["tasks"][0]["count"]  # by a version that did not know it
    (run / "config.yaml").write_text(yaml.safe_dump(noted))
    claim(config, drawn, run)
    with pytest.raises(InputError, match="pictures are missing or empty"):
        check_pictures(drawn)
    with pytest.raises(InputError, match="other examples"):
        claim(config, [*drawn[:2], dataclasses.replace(drawn[2], score=1.0)], run)


# --- recipes and memory ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("visualquality-r1-kadid", GrpoConfig, {"num_generations": 6, "beta": 0.04, "epochs": 10,
                                                "lr": 1e-6, "pair_scope": "process"}),
        ("visualquality-r1-kadid-spaq", GrpoConfig, {"num_generations": 6, "beta": 0.04}),
        ("q-insight", GrpoConfig, {"num_generations": 8, "beta": 1e-3, "lr_end": 1e-9,
                                   "epochs": 10}),
        ("q-insight-compare", GrpoConfig, {"epochs": 8, "beta": 1e-3}),
        ("ract-rl", GrpoConfig, {"num_generations": 8, "beta": 1e-3}),
        ("ract-sft", SftConfig, {"parts": "all"}),
    ],
)  # fmt: skip
def test_recipes_hold_the_papers_numbers(name, kind, expected):
    config = from_dict(kind, read_yaml(RECIPES / f"{name}.yaml"))
    for field, value in expected.items():
        assert getattr(config, field) == value
    if kind is GrpoConfig:
        told = re.search(r"--num_processes (\d+)", (RECIPES / f"{name}.yaml").read_text())
        plan = config.plan(int(told[1]) if told else 8)  # fsdp2.yaml's
        assert plan.prompts * plan.generations == {"visualquality-r1": 768, "q-insight-compare": 32
            }.get(name.removesuffix("-kadid-spaq").removesuffix("-kadid"), 128)  # fmt: skip
        for task in config.tasks:
            assert (task.threshold, task.class_weight, task.level_weight) == (0.35, 0.25, 0.75)
            assert task.fidelity_eps == 1e-6


def test_a_7b_teacher_fits_where_the_recipes_say(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    from transformers import Qwen2_5_VLConfig

    config = Qwen2_5_VLConfig(**SHAPES[name])
    count = sum(p.numel() for p in on_meta(config).parameters())
    assert count == pytest.approx(8.29e9, rel=0.01)  # what Qwen publishes
    settings = GrpoConfig(tasks=[TaskConfig()], prompts_per_step=8, micro_batch=2)
    full = memory_of(settings, settings.plan(1), config)
    shared = memory_of(settings, settings.plan(8), config)
    settings = dataclasses.replace(settings, lora=dataclasses.replace(settings.lora, rank=64))
    small = memory_of(settings, settings.plan(1), config)
    assert small.total < 80 < full.total and shared.total < 80
    assert "reference" not in small.parts and full.parts["reference"] > 14
    assert describe_memory(settings, settings.plan(1)).startswith("GPU memory: about ")
    assert model_config("nobody/nothing") is None
