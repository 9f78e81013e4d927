"""What a training will take, before a model is loaded: batch arithmetic and GPU memory.

In: the settings, the number of processes and the model's config. Out: sentences, or an error for
settings that cannot work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rali.errors import InputError

TILE = 4_096, 32_768  # tokens and words of which TRL holds the logits at once
GIB = 2**30


@dataclass(frozen=True)
class BatchPlan:
    """How one optimiser step is divided.

    Attributes:
        processes: number of processes.
        prompts: prompts per step, over all processes.
        generations: completions per prompt.
        micro_batch: completions in one forward pass of a process.
        compared: prompts among which a picture is compared with others; all of the step's where
            no reward compares.
        ranked: whether a reward compares pictures.
    """

    processes: int
    prompts: int
    generations: int
    micro_batch: int
    compared: int
    ranked: bool = True

    @property
    def local(self) -> int:
        """Completions per step on one process."""
        return self.prompts * self.generations // self.processes

    @property
    def accumulation(self) -> int:
        """Forward and backward passes per step on one process."""
        return self.local // self.micro_batch

    def words(self) -> str:
        """The arithmetic in words."""
        prompts, rest = divmod(self.local, self.generations)
        each = f" on each of {self.processes} GPUs" if self.processes > 1 else ""
        if rest:
            prompts, each = self.prompts, f" over {self.processes} GPUs, {self.local} on each,"
        scope = " compared" if self.ranked else ""
        if self.ranked and self.compared < self.prompts:
            scope += f", {self.compared} at a time"
        passes = f"{_many(self.accumulation, 'pass')} of {self.micro_batch} on a GPU"
        return (
            f"{_many(prompts, 'prompt')} × {self.generations} completions{each} = "
            f"{self.prompts} pictures{scope}; {self.prompts * self.generations} "
            f"completions per step, {passes}."
        )


def _many(count: int, what: str) -> str:
    plural = what if count == 1 else what + ("es" if what.endswith("s") else "s")
    return f"{count} {plural}"


def plan_batch(
    *,
    prompts_per_step: int,
    num_generations: int,
    micro_batch: int,
    pair_scope: str,
    processes: int = 1,
    ranked: bool = True,
    compare: int = 0,
) -> BatchPlan:
    """Check that the numbers divide and that there is something to compare.

    Args:
        ranked: whether a reward compares pictures, so that a step needs at least two.
        pair_scope, compare: as in `GrpoConfig`; without a reward that compares they count for
            nothing.

    Raises:
        InputError: a number that cannot work; the sentence says what to set.
    """
    completions = prompts_per_step * num_generations
    # What compares pictures needs all of a prompt's completions on one process.
    if (prompts_per_step if ranked else completions) % processes:
        raise InputError(
            f"prompts_per_step is {prompts_per_step}, which {processes} processes cannot share "
            f"equally; give a multiple of {processes}."
        )
    each = completions // processes
    if each % micro_batch:
        fitting = next(size for size in range(min(micro_batch, each), 0, -1) if each % size == 0)
        raise InputError(
            f"{prompts_per_step} prompts × {num_generations} completions on "
            f"{_many(processes, 'process')} are {each} on each, which micro_batch {micro_batch} "
            f"does not divide; type --set micro_batch={fitting}"
        )
    compared = prompts_per_step
    if ranked and pair_scope == "process":
        compared //= processes
    if ranked and compare:
        if compared % compare:
            wide = pair_scope == "process" and prompts_per_step % compare == 0
            raise InputError(
                f"compare is {compare}, which does not divide the {compared} pictures of "
                f"pair_scope {pair_scope}" + ("; type --set pair_scope=global" if wide else ".")
            )
        compared = compare
    if ranked and compared < 2:
        more = "" if pair_scope == "global" else ' or pair_scope: "global"'
        raise InputError(
            f"RL2R compares pictures, and a step would have only {compared} to compare; give a "
            f"prompts_per_step of {2 if pair_scope == 'global' else 2 * processes} or more{more}."
        )
    return BatchPlan(processes, prompts_per_step, num_generations, micro_batch, compared, ranked)


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB on one GPU, by what takes it."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def words(self) -> str:
        """The parts and their sum."""
        parts = ", ".join(f"{name} {size:.1f}" for name, size in self.parts.items())
        return f"about {self.total:.0f} GiB on a GPU ({parts})."


def estimate_memory(
    config: Any,
    parameters: int,
    *,
    trained: int,
    micro_batch: int,
    rollouts: int,
    prompt_tokens: int,
    completion_tokens: int,
    reference: bool,
    shards: int = 1,
    weights: int = 0,
) -> MemoryEstimate:
    """GPU memory of a GRPO step in bfloat16 with gradient checkpointing.

    A weight takes 2 bytes; one that is trained takes 2 more for its gradient and 12 for a float32
    copy and AdamW's two moments. Saved activations are one hidden state per layer and token; the
    rest is computed again layer by layer. Logits of completions and their gradients are float32, in
    TRL's tiles of at most 4,096 tokens and 32,768 words (TRL 1.16, `kernels.chunked_logprob`).

    Args:
        config: of the language model: hidden_size, num_hidden_layers, intermediate_size, kv (the
            width of a layer's keys), vocab_size; a `memory.Shape`.
        parameters: number of weights of the whole model.
        trained: number of weights (or of an adapter's) that learn.
        micro_batch: completions per forward pass. rollouts: completions generated at once, by
            the model itself.
        prompt_tokens: tokens of a prompt, with its pictures. completion_tokens: the most of a text.
        reference: whether a second copy of the weights is held for the KL term;
            it is whole on each GPU, as TRL wraps it as one piece, which FSDP2 gathers whole.
        shards: number of processes that share weights, gradients and optimiser (FSDP, ZeRO-3).
        weights: bytes of the weights, where they are not two for each.
    """
    tokens = micro_batch * (prompt_tokens + completion_tokens)
    cache = 2 * config.num_hidden_layers * config.kv * 2
    layer = 2 * (8 * config.hidden_size + 3 * config.intermediate_size)
    parts = {
        "weights": (weights or 2 * parameters) / shards,
        "reference": 2 * parameters if reference else 0,
        "gradients and optimiser": 14 * trained / shards,
        "activations": tokens * (2 * config.hidden_size * config.num_hidden_layers + layer),
        "logits": min(micro_batch * completion_tokens, TILE[0])
        * min(config.vocab_size, TILE[1])
        * 4
        * 3,
        "generation": rollouts * (prompt_tokens + completion_tokens) * cache,
    }
    # A layer is gathered from its shards before it is computed.
    if shards > 1:
        parts["gathered layers"] = 2 * (weights or 2 * parameters) / config.num_hidden_layers
    return MemoryEstimate({name: size / GIB for name, size in parts.items() if size})
