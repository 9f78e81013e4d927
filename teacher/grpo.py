"""Reinforcement learning of a teacher: TRL's GRPO with this project's prompts, rewards and order.

In: a model that takes pictures in a chat, and tasks with labelled pictures. Out: a folder that
transformers loads, beside checkpoints from which a stopped training resumes. TRL trains, generates
and logs. This module adds what TRL lacks: several tasks and data sets in one training, and an order
of examples in which pictures that are compared meet in one step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rali.data.manifest import Row
from rali.errors import InputError
from rali.runs.config import check_numbers, check_seed
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, silent

from .adapter import lora_config
from .checks import Start, start_of
from .claims import claim_run, finished
from .completions import format_pattern
from .examples import examples
from .learned import learned
from .models import opened, teacher_name, thought_opening, vision_weights
from .plan import BatchPlan, plan_batch
from .prompts import Prompt
from .reward_functions import Rewards, Votes
from .rewards import check_task, is_ranked
from .sampling import DRAWS, sample_order
from .tasks import Example, TaskConfig
from .training import TrainingConfig
from .vllm_rollouts import check_sizes, mend, vllm_ratio
from .votes import VoteConfig, is_voted, pairs_that_meet, vote


@dataclass
class GrpoConfig(TrainingConfig):
    """A training by group relative policy optimisation.

    Attributes:
        tasks: what is asked, of which pictures, with which reward.
        split: the split of the manifests to train on.
        prompts_per_step: prompts in a step, over all processes.
        num_generations: completions per prompt (K in VisualQuality-R1, N in Q-Insight).
        pair_scope: "global" compares a picture with all of its data set in the step, "process"
            only with those on its process.
        compare: pictures that are compared at a time, whatever the number of processes (8 in
            VisualQuality-R1); 0 compares all of pair_scope.
        group: examples of one task and data set that are drawn together; 0 takes as many as are
            compared.
        draw: "size" draws each example once an epoch, "uniform" draws from each data set equally,
            "exhaust" picks a data set uniformly until all are exhausted (VisualQuality-R1's code).
        data_seed: seed of the order of examples; None takes seed.
        lr_end: the last rate of the polynomial schedule.
        lr_schedule: "linear" to 0, "polynomial" (linear to lr_end), or "constant".
        beta: weight of the KL divergence from the model at the start.
        temperature: sampling temperature of the rollouts. top_k: they are drawn from so many likely
            tokens; 0 takes all. top_p: or from this much probability.
        max_completion_length: a completion is cut off after this many tokens.
        vision: whether the vision tower learns.
        votes: how the model votes on pairs before the training, for the reward "voted".
    """

    tasks: list[TaskConfig] = field(default_factory=list)
    split: str = "train"
    epochs: float = 10.0
    prompts_per_step: int = 8
    num_generations: int = 6
    micro_batch: int = 6
    pair_scope: str = "global"
    compare: int = 0
    group: int = 0
    draw: str = "size"
    data_seed: int | None = None
    lr: float = 1e-6
    lr_end: float = 0.0
    lr_schedule: str = "linear"
    beta: float = 0.04
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_completion_length: int = 512
    vision: bool = True
    votes: VoteConfig = field(default_factory=VoteConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(
            "",
            self,
            lr_end=0,
            beta=0,
            group=0,
            compare=0,
            prompts_per_step=1,
            num_generations=2,
            top_k=0,
            max_completion_length=1,
            positive=["temperature", "top_p"],
        )
        if self.data_seed is not None:
            check_seed("data_seed", self.data_seed)
        for task in self.tasks:
            format_pattern(task.format)
            check_task(task, self.max_completion_length)
        if self.votes != VoteConfig() and not any(map(is_voted, self.tasks)):
            raise InputError("votes: no task has the reward voted; add it, or leave votes out.")
        if self.top_p > 1:
            raise InputError(f"top_p is {self.top_p:g}; give 1 or less.")
        if self.draw not in DRAWS:
            raise InputError(f"draw is {self.draw!r}; there are {', '.join(DRAWS)}.")
        if self.pair_scope not in ("global", "process"):
            raise InputError(f"pair_scope is {self.pair_scope!r}; there are global, process.")
        if self.lr_schedule not in ("linear", "polynomial", "constant"):
            raise InputError(
                f"lr_schedule is {self.lr_schedule!r}; there are linear, polynomial, constant."
            )
        if self.lr_end and self.lr_schedule != "polynomial":
            raise InputError(f"lr_end needs lr_schedule: polynomial, not {self.lr_schedule}.")
        if self.lr_end >= self.lr:
            raise InputError(f"lr_end is {self.lr_end:g}; give less than lr, {self.lr:g}.")
        if off := self.save_every % self.iterations:
            raise InputError(
                f"save_every is {self.save_every}, but each text is trained on {self.iterations} "
                "times (trl.num_iterations), and a training resumes only where new ones are drawn; "
                f"give a multiple, such as {self.save_every + self.iterations - off}."
            )

    @property
    def asked(self) -> list[Prompt]:
        """The prompts of the tasks, in their order."""
        return [task.resolve() for task in self.tasks]

    def plan(self, processes: int = 1) -> BatchPlan:
        """The batch arithmetic for this many processes."""
        if not self.tasks:
            raise InputError("There are no tasks; give `tasks:` with a prompt and manifests each.")
        return plan_batch(
            prompts_per_step=self.prompts_per_step,
            num_generations=self.num_generations,
            micro_batch=self.micro_batch,
            pair_scope=self.pair_scope,
            processes=processes,
            ranked=any(map(is_ranked, self.tasks)),
            compare=self.compare,
        )


def ordered_examples(config: GrpoConfig, plan: BatchPlan) -> list[Example]:
    """All examples in the order in which they are drawn, `plan.prompts` of them in a step."""
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
    prompts = [prompt.name for prompt in config.asked]
    names = [
        name if prompts.count(name) == 1 else f"tasks.{place} ({name})"
        for place, name in enumerate(prompts)
    ]
    keys = [f"{names[e.task]} on {e.dataset}" for e in found]
    seed = config.seed if config.data_seed is None else config.data_seed
    order = sample_order(keys, group, config.epochs, draw=config.draw, seed=seed)
    steps = len(order) // plan.prompts
    if not steps:
        raise InputError(
            f"{len(found)} examples in {config.epochs:g} epochs do not fill a step of "
            f"{plan.prompts} prompts."
        )
    return [found[index] for index in order[: steps * plan.prompts]]


def grpo_start(config: GrpoConfig, processes: int = 1, *, done: bool = False) -> Start[Example]:
    """What `train` starts with on this many processes, and what would stop it; see `checks`."""
    return start_of(
        config,
        "GRPOConfig",
        [
            (path, partial(examples, replace(task, manifests=[path]), place, config.split))
            for place, task in enumerate(config.tasks)
            for path in task.manifests
        ],
        lambda plan: ordered_examples(config, plan) if plan else [],
        plan=lambda: config.plan(processes),
        more=[
            lambda: check_sizes(config.trl, config.asked, config.max_completion_length, processes)
        ],
        done=done,
    )


def train(config: GrpoConfig, output: str | Path, *, progress: Progress = silent) -> Path:
    """Train a teacher; returns the folder `output/model`, which transformers loads.

    Under `accelerate launch` it trains on all processes. A stopped call resumes from the last
    checkpoint in `output/checkpoints` and takes the same steps as a call that was not stopped.

    Raises:
        InputError: settings that cannot work, before a model is loaded, or a folder of another
            training.
    """
    output = Path(output)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    start = grpo_start(config, processes, done=finished(output))
    start.check()
    plan, drawn = start.plan, start.examples
    claim_run(config, drawn, output)
    if finished(output):
        return output / "model"
    assert plan, "or there was a problem"
    from .saving import train_to  # imports torch

    votes = cast_votes(config, plan, drawn, output, progress)
    trainer = build_trainer(config, plan, drawn, output, start.validation, progress, votes)
    asked = learned(config.model, config.asked)
    return train_to(output, trainer, config.dtype, asked)


def cast_votes(
    config: GrpoConfig,
    plan: BatchPlan,
    drawn: Sequence[Example],
    output: Path,
    progress: Progress = silent,
) -> Votes:
    """The model's votes on the pairs that will meet, where a reward needs them; see `votes`."""
    pairs = voted_pairs(config, plan, drawn)
    if not pairs:
        return {}
    from accelerate import PartialState

    from .engines import TransformersEngine

    state = PartialState()

    def load() -> TransformersEngine:
        model, processor = config.load()
        if not config.quantization:  # 4-bit weights are where they are used
            model.to(state.device)
        size = config.votes.batch_size
        return TransformersEngine(model.eval(), processor, teacher_name(config.model), size)

    rank, world = state.process_index, state.num_processes
    return vote(load, pairs, config.votes, output, rank=rank, world=world, progress=progress)


def voted_pairs(
    config: GrpoConfig, plan: BatchPlan, drawn: Sequence[Example]
) -> list[tuple[str, str]]:
    """The pairs that the model votes on: those that meet in the steps that will be taken."""
    steps = config.steps(len(drawn) // plan.prompts)
    batches = -(-steps // config.iterations)
    return pairs_that_meet(drawn[: batches * plan.prompts], config.tasks, plan.compared)


def build_trainer(
    config: GrpoConfig,
    plan: BatchPlan,
    drawn: Sequence[Example],
    output: Path,
    validation: list[Row],
    progress: Progress = silent,
    votes: Votes | None = None,
) -> Any:
    """TRL's GRPOTrainer with its model, rewards, data and a `Watch` on the validation rows."""
    from trl import GRPOConfig as TrlConfig
    from trl import GRPOTrainer

    from .watch import Watch

    model, processor = config.load()
    rewards = Rewards(
        config.tasks, drawn, config.pair_scope, config.compare,
        opening=thought_opening(processor), limit=config.max_completion_length, votes=votes,
    )  # fmt: skip
    if not config.vision:
        for weights in vision_weights(model):
            weights.requires_grad_(False)
    watch = Watch(
        config.watch,
        validation,
        RunFolder(output),
        config.watch.scoring(rewards.prompts),
        processor,
        max_new_tokens=config.max_completion_length,
        progress=progress,
    )
    polynomial = config.lr_schedule == "polynomial"
    settings = config.trl_settings(
        output,
        gradient_accumulation_steps=plan.accumulation,
        num_generations=plan.generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        lr_scheduler_type=config.lr_schedule,
        lr_scheduler_kwargs={"lr_end": config.lr_end, "power": 1.0} if polynomial else {},
        beta=config.beta,
        reward_weights=rewards.weights,
        num_iterations=1,
        loss_type="grpo",
        scale_rewards="group",  # VisualQuality-R1's Eq. 4
        use_bias_correction_kl=False,  # Eq. 6 has no importance ratio; TRL's default does
        **vllm_ratio(config.trl, top_k=config.top_k, top_p=config.top_p),
    )
    trainer = GRPOTrainer(
        model=model,
        processing_class=processor,
        reward_funcs=rewards.functions,
        args=TrlConfig(**settings),
        train_dataset=prompt_dataset(drawn, rewards.prompts),
        peft_config=lora_config(config.lora, vision=config.vision),
        callbacks=[watch],
    )
    if config.trl.get("use_vllm"):
        mend(trainer.vllm_generation, processor)
    watch.follow(trainer)
    return trainer


def prompt_dataset(drawn: Sequence[Example], prompts: Sequence[Prompt]) -> Any:
    """A data set for TRL, row i for `drawn[i]`; pictures are opened when a row is read."""
    from datasets import Dataset

    picture = lru_cache(maxsize=64)(opened)  # a prompt's completions read it in a row

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        own = [drawn[place] for place in batch["place"]]
        return {
            "place": batch["place"],
            "prompt": [prompts[example.task].messages() for example in own],
            "images": [[picture(path) for path in example.images] for example in own],
        }

    return Dataset.from_dict({"place": list(range(len(drawn)))}).with_transform(rows)
