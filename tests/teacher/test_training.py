"""A training before any model is loaded: the order of examples, its texts, watching, resuming."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from rali.data.triplets import Triplet, write_triplets
from rali.errors import InputError
from rali.runs.config import from_dict, read_yaml
from rali.runs.folder import RunFolder
from rali.teacher.answers import Failure, Score
from rali.teacher.claims import check_pictures, claim_run
from rali.teacher.completions import parse
from rali.teacher.grpo import GrpoConfig, ordered_examples
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import find_prompt
from rali.teacher.report import training_curves
from rali.teacher.saving import Sums, last_checkpoint
from rali.teacher.sft import SftConfig, SftSource, sft_examples
from rali.teacher.tasks import Example, TaskConfig
from rali.teacher.vllm_rollouts import check_rollouts
from rali.teacher.watch import Watch
from rali.teacher.watch_config import WatchConfig

RECIPES = Path(__file__).parents[2] / "recipes"


# --- the order of examples ------------------------------------------------------------------------


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


def test_two_tasks_of_one_prompt_are_not_drawn_together(two):
    """They would meet in a step where no reward compares them."""
    config = GrpoConfig(
        tasks=[TaskConfig(two[:1]), TaskConfig(two[:1], reward="rank_score")],
        epochs=1, prompts_per_step=4, num_generations=2, micro_batch=2,
    )  # fmt: skip
    drawn = ordered_examples(config, config.plan())
    assert all(len({each.task for each in drawn[i : i + 4]}) == 1 for i in range(0, len(drawn), 4))
    config.tasks[1].manifests = two[1:]
    config.prompts_per_step = 8
    with pytest.raises(InputError, match=r"tasks\.1 \(visualquality-r1/score\) on two has 5 ex"):
        ordered_examples(config, config.plan())


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
        chunk = 64

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


def test_validation_on_training_pictures_is_refused(two):
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


def test_validation_reads_by_ralis_own_rules():
    """The README's code takes any number; one of 1080 would be all that a correlation sees."""
    asked = TaskConfig(prompt="visualquality-r1/released", answer="visualquality-r1").resolve()
    text = "<think>In this 1080p photograph the"
    assert parse(text, asked) == Score(1080, "")
    assert isinstance(parse(text, WatchConfig().scoring([asked])), Failure)
    own = find_prompt({"text": "<image> Rate it.", "answer": "visualquality-r1"})
    assert WatchConfig().scoring([own]) == own, "as its answers have no tags"


def test_validation_of_several_data_sets_is_kept(tmp_path):
    run = RunFolder(tmp_path)
    for step in (0, 10):
        for name in ("one", "two"):
            run.log(stage=f"validate/{name}", step=step, srcc=0.5, spread=0.1)
    assert training_curves(run.metrics())["validation SRCC"] == {
        "one": [(0.0, 0.5), (10.0, 0.5)], "two": [(0.0, 0.5), (10.0, 0.5)],
    }  # fmt: skip


# --- resuming -------------------------------------------------------------------------------------


def test_a_training_does_not_resume_from_a_checkpoint_that_was_cut_off(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, text in ((100, json.dumps({"global_step": 100})), (200, '{"global_st'), (300, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


def test_a_training_does_not_resume_from_a_damaged_checkpoint(tmp_path):
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        (folder / "optimizer.pt").write_bytes(bytes(1000))
        state = SimpleNamespace(global_step=step, is_world_process_zero=True)
        Sums().on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-2" / "optimizer.pt").write_bytes(bytes(999) + b"\1")
    with pytest.warns(UserWarning, match=r"checkpoint-2.optimizer\.pt is damaged; the training"):
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
    (tmp_path / "checkpoint-1" / "optimizer.pt").unlink()
    with pytest.warns(UserWarning, match="damaged"):
        assert last_checkpoint(tmp_path) is None


def test_a_run_with_other_settings_is_refused(tmp_path):
    config, run = GrpoConfig(lr=1e-5, tasks=[TaskConfig(manifests=["one.csv"])]), tmp_path / "run"
    drawn = [Example(0, (tmp_path / f"{i}.png",), "one", score=2.0 + i) for i in range(3)]
    claim_run(config, drawn, run)
    moved = [dataclasses.replace(e, images=(Path("/mnt") / e.images[0].name,)) for e in drawn]
    task = TaskConfig(manifests=["/mnt/one.csv"])
    claim_run(dataclasses.replace(config, save_every=7, tasks=[task]), moved, run)
    with pytest.raises(InputError, match=r"other settings \(lr, lora\)"):
        lora = dataclasses.replace(config.lora, rank=8)
        claim_run(dataclasses.replace(config, lr=2e-5, lora=lora), drawn, run)
    noted = read_yaml(run / "config.yaml")
    del noted["tasks"][0]["count"]  # as an older version wrote it
    (run / "config.yaml").write_text(yaml.safe_dump(noted))
    claim_run(config, drawn, run)
    with pytest.raises(InputError, match="pictures are missing or empty"):
        check_pictures(path for example in drawn for path in example.images)
    with pytest.raises(InputError, match="other examples"):
        claim_run(config, [*drawn[:2], dataclasses.replace(drawn[2], score=1.0)], run)


# --- recipes --------------------------------------------------------------------------------------


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
        launched = re.search(r"--num_processes (\d+)", (RECIPES / f"{name}.yaml").read_text())
        plan = config.plan(config.gpus)
        assert not launched or int(launched[1]) == config.gpus
        assert plan.prompts * plan.generations == {"visualquality-r1": 768, "q-insight-compare": 32
            }.get(name.removesuffix("-kadid-spaq").removesuffix("-kadid"), 128)  # fmt: skip
        for task in config.tasks:
            assert (task.threshold, task.class_weight, task.level_weight) == (0.35, 0.25, 0.75)
            assert task.fidelity_eps == 1e-6


def test_what_trl_would_do_wrong_is_refused():
    with pytest.raises(InputError, match=r"TRL 1\.17\.0 .* tried is TRL 1\.16 with vLLM 0\.32"):
        check_rollouts({}, "1.17.0")
    with pytest.raises(InputError, match=r"vllm_mode is 'server': TRL 1\.16 cannot read"):
        check_rollouts({"vllm_mode": "server"}, "1.16.2")
    for other in ("0.31.0", "0.33.0", "1.0"):
        with pytest.raises(
            InputError, match=r"whether vLLM .* reads what .* tried is vLLM 0\.32 wi"
        ):
            check_rollouts({"use_vllm": True}, "1.16.0", other)
    check_rollouts({"use_vllm": True}, "1.16.0", "0.32.1+cu129")
