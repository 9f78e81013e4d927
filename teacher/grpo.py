"""Reinforcement learning of a teacher: TRL's GRPO with this project's prompts, rewards and order.

In come a model that takes pictures in a chat and tasks with labelled pictures; out comes a folder
that transformers loads, beside checkpoints from which a stopped training goes on. TRL trains,
generates and logs; what is here is what it lacks: rewards that compare pictures over all processes,
several tasks and data sets in one training, and an order of examples in which partners meet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.config import check_numbers
from rali.errors import InputError, require
from rali.run_folder import RunFolder

from .answers import Answer, Failure, Score, format_reward, parse
from .models import load_teacher, opened, vision_tower
from .plan import BatchPlan, plan_batch
from .prompts import PROMPTS, Prompt
from .resume import claim, finished, go_on
from .rewards import comparison_reward, degradation_reward, score_reward
from .rl2r import rl2r_rewards
from .sampling import DRAWS, sample_order
from .tasks import Example, TaskConfig, examples
from .watch import Watch, WatchConfig


@dataclass
class LoraConfig:
    """A low-rank adapter instead of training all weights.

    Attributes:
        rank: 0 trains all weights. alpha: the adapter counts alpha / rank. dropout: of its input.
        targets: names of the layers that get one.
    """

    rank: int = 0
    alpha: int = 128
    dropout: float = 0.05
    targets: list[str] = field(
        default_factory=lambda: [
            "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
        ]
    )  # fmt: skip


@dataclass
class GrpoConfig:
    """A training by group relative policy optimisation.

    Attributes:
        model: a folder or hub id of a chat model that sees pictures; "nano" is the packaged one.
        tasks: what is asked, of which pictures, with which reward.
        split: part of the manifests that is trained on.
        seed: of the order, the sampling and an adapter's weights.
        epochs: passes over all examples.
        prompts_per_step: over all processes. num_generations: completions per prompt (K, N).
        micro_batch: completions that one process takes through the model at once.
        pair_scope: "global" compares a picture with all of its data set in the step, "process"
            with those on its process only.
        group: examples of one task and data set drawn together; 0 takes all that are compared.
        draw: "size" passes over each example once an epoch, "uniform" draws data sets equally.
        lr: peak rate of AdamW. lr_end: last rate, reached by lr_schedule "linear" or
            "polynomial" (linear to lr_end), or "constant".
        beta: weight of the KL divergence from the start.
        temperature: of the rollouts. max_completion_length: in tokens.
        min_pixels, max_pixels: of a picture, after the processor's resize; None keeps its own.
        vision: whether the vision tower learns. lora: an adapter.
        dtype: of the weights. gradient_checkpointing: saves memory for time.
        save_every: steps between checkpoints. log_every: between logged lines.
        report_to: "tensorboard", "trackio", "wandb", …
        watch: what to look at on the way.
        trl: any other field of TRL's GRPOConfig (use_vllm, vllm_mode, deepspeed, …).
    """

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    tasks: list[TaskConfig] = field(default_factory=list)
    split: str = "train"
    seed: int = 0
    epochs: float = 10.0
    prompts_per_step: int = 8
    num_generations: int = 6
    micro_batch: int = 6
    pair_scope: str = "global"
    group: int = 0
    draw: str = "size"
    lr: float = 1e-6
    lr_end: float = 0.0
    lr_schedule: str = "linear"
    beta: float = 0.04
    temperature: float = 1.0
    max_completion_length: int = 512
    min_pixels: int | None = None
    max_pixels: int | None = None
    vision: bool = True
    lora: LoraConfig = field(default_factory=LoraConfig)
    dtype: str = "bfloat16"
    gradient_checkpointing: bool = True
    save_every: int = 100
    log_every: int = 1
    report_to: list[str] = field(default_factory=list)
    watch: WatchConfig = field(default_factory=WatchConfig)
    trl: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_numbers("", self, lr_end=0, beta=0, group=0, positive=["epochs", "lr", "temperature"])
        if self.draw not in DRAWS:
            raise InputError(f"draw is {self.draw!r}; there are {', '.join(DRAWS)}.")
        if self.lr_schedule not in ("linear", "polynomial", "constant"):
            raise InputError(
                f"lr_schedule is {self.lr_schedule!r}; there are linear, polynomial, constant."
            )

    def plan(self, processes: int = 1) -> BatchPlan:
        """The batch arithmetic for so many processes."""
        if not self.tasks:
            raise InputError("there are no tasks; give `tasks:` with a prompt and manifests each.")
        return plan_batch(
            prompts_per_step=self.prompts_per_step,
            num_generations=self.num_generations,
            micro_batch=self.micro_batch,
            pair_scope=self.pair_scope,
            processes=processes,
            ranked=any(_is_ranked(task) for task in self.tasks),
        )


def _is_ranked(task: TaskConfig) -> bool:
    return task.resolve().task == "score" and task.reward == "rl2r"


def ordered_examples(config: GrpoConfig, plan: BatchPlan) -> list[Example]:
    """All that will be drawn, in order: `plan.prompts` of them are a step."""
    found = [
        example
        for place, task in enumerate(config.tasks)
        for example in examples(task, place, config.split)
    ]
    group = config.group or plan.compared
    if plan.compared % group:
        raise InputError(
            f"group is {group}, which does not divide the {plan.compared} prompts that are "
            "compared."
        )
    keys = [f"{config.tasks[e.task].resolve().name} on {e.dataset}" for e in found]
    order = sample_order(keys, group, config.epochs, draw=config.draw, seed=config.seed)
    steps = len(order) // plan.prompts
    if not steps:
        raise InputError(
            f"{len(found)} examples in {config.epochs:g} epochs do not fill a step of "
            f"{plan.prompts} prompts."
        )
    return [found[index] for index in order[: steps * plan.prompts]]


@dataclass(frozen=True)
class Prediction:
    """One completion's score, with what RL2R needs to compare it: see `ranked_rewards`."""

    task: int
    dataset: str
    image: str
    mos: float
    score: float


def ranked_rewards(
    predictions: Sequence[Prediction], tasks: Sequence[TaskConfig]
) -> list[float | None]:
    """RL2R's reward of every completion; None for a picture that has no partner.

    Completions of one picture may stand anywhere in the list; pictures are compared inside one task
    and data set.
    """
    rows: dict[tuple[int, str, str], list[int]] = {}
    for index, prediction in enumerate(predictions):
        key = (prediction.task, prediction.dataset, prediction.image)
        rows.setdefault(key, []).append(index)
    found: list[float | None] = [None] * len(predictions)
    for place, task in enumerate(tasks):
        own = [(key, members) for key, members in rows.items() if key[0] == place]
        if not own:
            continue
        scores = np.full((len(own), max(len(members) for _, members in own)), np.nan)
        for row, (_, members) in enumerate(own):
            scores[row, : len(members)] = [predictions[index].score for index in members]
        rewards = rl2r_rewards(
            scores,
            np.array([predictions[members[0]].mos for _, members in own]),
            [key[1] for key, _ in own],
            variant=task.variant,  # type: ignore[arg-type]
            eps=task.fidelity_eps,
        )
        for row, (_, members) in enumerate(own):
            for column, index in enumerate(members):
                reward = float(rewards[row, column])
                found[index] = None if np.isnan(reward) else reward
    return found


class Rewards:
    """The reward functions of a training, as TRL calls them: on the completions of one process.

    Beside each completion stands the column `place`: its example's place in `drawn`.
    """

    def __init__(self, config: GrpoConfig, drawn: Sequence[Example]) -> None:
        self.config, self.drawn = config, drawn
        self.prompts = [task.resolve() for task in config.tasks]

    def format(
        self, completions: Sequence[Any], place: Sequence[int], **_: Any
    ) -> list[float | None]:
        """The format reward times its weight."""
        found: list[float | None] = []
        for completion, index in zip(completions, place, strict=True):
            task = self.config.tasks[self.drawn[index].task]
            prompt = self.prompts[self.drawn[index].task]
            reward = format_reward(_text(completion), prompt, strict=task.strict_format)
            found.append(task.format_weight * reward)
        return found

    def quality(
        self,
        completions: Sequence[Any],
        place: Sequence[int],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """The task's own reward, in lockstep on all processes: RL2R gathers from all of them.

        Args:
            log_metric: TRL's; gets each data set's mean spread of scores (VisualQuality-R1,
                Fig. 3) and each task's mean reward and share of parsed answers.
        """
        from accelerate.utils import gather_object

        answers = [
            parse(_text(completion), self.prompts[self.drawn[index].task])
            for completion, index in zip(completions, place, strict=True)
        ]
        own = [self.drawn[index] for index in place]
        found = [
            self._single(example, answer) for example, answer in zip(own, answers, strict=True)
        ]
        ranked = [
            row for row, example in enumerate(own) if _is_ranked(self.config.tasks[example.task])
        ]
        mine = [
            Prediction(
                task=own[row].task,
                dataset=own[row].dataset,
                image=str(own[row].images[0]),
                mos=own[row].score or 0.0,
                score=_value(answers[row]),
            )
            for row in ranked
        ]
        if self.config.pair_scope == "global":
            rank = int(os.environ.get("RANK", 0))
            everyone = gather_object([(rank, prediction) for prediction in mine])
            rewards = ranked_rewards([prediction for _, prediction in everyone], self.config.tasks)
            rewards = [r for (of, _), r in zip(everyone, rewards, strict=True) if of == rank]
        else:
            rewards = ranked_rewards(mine, self.config.tasks)
        for row, reward in zip(ranked, rewards, strict=True):
            found[row] = reward
        if log_metric:
            for name, value in self._metrics(own, answers, found).items():
                log_metric(name, value)
        return found

    def _metrics(
        self, own: list[Example], answers: list[Answer], rewards: list[float | None]
    ) -> dict[str, float]:
        scores: dict[tuple[str, tuple[Path, ...]], list[float]] = {}
        tasks: dict[str, list[tuple[float | None, bool]]] = {}
        for example, answer, reward in zip(own, answers, rewards, strict=True):
            if isinstance(answer, Score):
                scores.setdefault((example.dataset, example.images), []).append(answer.value)
            parsed = not isinstance(answer, Failure)
            tasks.setdefault(self.prompts[example.task].name, []).append((reward, parsed))
        found: dict[str, list[float]] = {}
        for (dataset, _), values in scores.items():
            if len(values) > 1:
                found.setdefault(f"spread/{dataset}", []).append(float(np.std(values, ddof=1)))
        for name, rows in tasks.items():
            found[f"reward/{name}"] = [reward for reward, _ in rows if reward is not None]
            found[f"parsed/{name}"] = [float(parsed) for _, parsed in rows]
        return {name: float(np.mean(values)) for name, values in found.items() if values}

    def _single(self, example: Example, answer: Answer) -> float | None:
        """The reward of an answer by itself; None where RL2R will say it."""
        task, prompt = self.config.tasks[example.task], self.prompts[example.task]
        if prompt.task == "comparison":
            return comparison_reward(answer, example.result)
        if prompt.task == "degradation":
            weights = task.class_weight, task.level_weight
            return degradation_reward(answer, example.distortion, example.severity, *weights)
        if task.reward == "threshold":
            return score_reward(answer, example.score or 0.0, task.threshold)
        return None


def _value(answer: Answer) -> float:
    return answer.value if isinstance(answer, Score) else float("nan")


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]


def train(
    config: GrpoConfig,
    output: str | Path,
    *,
    callbacks: Sequence[Any] = (),
    report: Callable[[str, int, int, float | None], None] | None = None,
) -> Path:
    """Train a teacher; returns the folder `output/model`, which transformers loads.

    Started by `accelerate launch` it trains on all processes. A stopped call goes on from the last
    checkpoint in `output/checkpoints`, to the same trajectory.

    Args:
        callbacks: transformers' TrainerCallbacks.
        report: called with (stage, step, steps, reward).

    Raises:
        InputError: settings that cannot work, before a model is loaded.
    """
    output = Path(output)
    if finished(output):
        claim(config, output)
        return output / "model"
    trainer = build_trainer(config, output, callbacks=callbacks, report=report)
    go_on(trainer, output / "checkpoints")
    trainer.save_model(str(output / ("adapter" if config.lora.rank else "model")))
    if trainer.is_world_process_zero():
        if config.lora.rank:
            _merge(config.model, output)
        trainer.processing_class.save_pretrained(output / "model")
    return output / "model"


def _merge(model: str, output: Path) -> None:
    """Write `output/adapter` into the weights it adapts: `output/model`, which any engine loads."""
    from peft import PeftModel

    base, _ = load_teacher(model)
    merged = PeftModel.from_pretrained(base, str(output / "adapter")).merge_and_unload()
    merged.save_pretrained(output / "model")


def build_trainer(
    config: GrpoConfig,
    output: Path,
    *,
    callbacks: Sequence[Any] = (),
    report: Callable[[str, int, int, float | None], None] | None = None,
) -> Any:
    """TRL's GRPOTrainer with everything in its place, for `train` and for what it does not do."""
    require("trl", "teach")
    from trl import GRPOTrainer

    plan = config.plan(int(os.environ.get("WORLD_SIZE", 1)))
    drawn = ordered_examples(config, plan)
    claim(config, output)
    rewards = Rewards(config, drawn)
    model, processor = load_teacher(
        config.model,
        dtype=config.dtype,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    if not config.vision:
        vision_tower(model).requires_grad_(False)
    scoring = [prompt for prompt in rewards.prompts if prompt.task == "score"]
    watch = Watch(
        config.watch,
        RunFolder(output),
        scoring[0] if scoring else PROMPTS["visualquality-r1/score"],
        processor,
        max_new_tokens=config.max_completion_length,
        report=report,
    )
    trainer = GRPOTrainer(
        model=model,
        processing_class=processor,
        reward_funcs=[rewards.format, rewards.quality],
        args=trl_config(config, plan, output / "checkpoints"),
        train_dataset=prompt_dataset(drawn, rewards.prompts),
        callbacks=[watch, *callbacks],
        peft_config=lora_config(config.lora, vision=config.vision),
    )
    watch.follow(trainer)
    return trainer


def trl_config(config: GrpoConfig, plan: BatchPlan, output: Path) -> Any:
    """TRL's settings; those that the papers' equations need are set, whatever TRL's defaults."""
    from trl import GRPOConfig as TrlConfig

    polynomial = config.lr_schedule == "polynomial"
    settings: dict[str, Any] = {
        "output_dir": str(output),
        "seed": config.seed,
        "num_train_epochs": 1,  # the order of examples holds all epochs
        "shuffle_dataset": False,
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "num_generations": plan.generations,
        "max_completion_length": config.max_completion_length,
        "temperature": config.temperature,
        "learning_rate": config.lr,
        "lr_scheduler_type": config.lr_schedule,
        "lr_scheduler_kwargs": {"lr_end": config.lr_end, "power": 1.0} if polynomial else {},
        "beta": config.beta,
        "num_iterations": 1,
        "loss_type": "grpo",
        "scale_rewards": "group",  # VisualQuality-R1's Eq. 4
        "gradient_checkpointing": config.gradient_checkpointing,
        "bf16": config.dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "save_steps": config.save_every,
        "save_total_limit": 2,
        "logging_steps": config.log_every,
        "report_to": config.report_to or "none",
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    return TrlConfig(**(settings | config.trl))


def prompt_dataset(drawn: Sequence[Example], prompts: Sequence[Prompt]) -> Any:
    """A data set for TRL, row i for `drawn[i]`; pictures are opened when they are drawn."""
    from datasets import Dataset

    picture = lru_cache(maxsize=64)(opened)  # drawn once per completion, one after the other

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        own = [drawn[place] for place in batch["place"]]
        return {
            "place": batch["place"],
            "prompt": [prompts[example.task].messages() for example in own],
            "images": [[picture(path) for path in example.images] for example in own],
        }

    return Dataset.from_dict({"place": list(range(len(drawn)))}).with_transform(rows)


def lora_config(config: LoraConfig, *, vision: bool = True) -> Any:
    """peft's settings of an adapter, or None where all weights learn.

    Args:
        vision: whether the vision tower's layers of these names get one too.
    """
    if not config.rank:
        return None
    from peft import LoraConfig as PeftConfig

    return PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.targets,
        exclude_modules=None if vision else r".*visual.*",
        task_type="CAUSAL_LM",
    )
