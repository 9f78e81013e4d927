"""TRL's rollouts by vLLM, mended: vLLM reads the prompt that is trained on, each picture once.

In: a trainer that TRL built with `use_vllm`. TRL 1.16 hands a colocated vLLM the prompt with each
picture already written out in tokens, beside the picture, which vLLM writes out again, in its own
processor's size (TRL's issue 6294). Here each run of a picture's tokens becomes the one placeholder
that vLLM expects, and the training's bounds on pixels go with it. Behind a server TRL does place
the pictures right, but the server's processor may have other bounds. In both ways, what vLLM read
is compared with what is trained on, prompt by prompt, and a training stops where they differ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rali.errors import InputError

TRL = "1.16"  # whose calls are known; tried with vLLM 0.32, colocated and as a server


def check_rollouts(installed: str | None = None) -> None:
    """Refuse rollouts by vLLM with a TRL whose way of sending pictures is not known.

    Args:
        installed: TRL's version; by default the installed one's.

    Raises:
        InputError: it is not one of 1.16.
    """
    installed = installed or version("trl")
    if installed.split(".")[:2] != TRL.split("."):
        raise InputError(
            f"trl.use_vllm: how TRL {installed} sends pictures to vLLM is not known here; tried is "
            f"TRL {TRL} with vLLM 0.32. Type: pip install 'rali[rollouts]'. Or leave use_vllm out: "
            "transformers generates."
        )


def mend(generation: Any, processor: Any) -> None:
    """Make a `VLLMGeneration` of TRL's send pictures right, and check what vLLM read.

    Args:
        generation: a trainer's `vllm_generation`.
        processor: the trainer's, whose bounds on pixels hold.

    Raises:
        InputError: it has not the parts that are to be replaced.
    """
    if hasattr(generation, "llm"):
        generation.llm = OncePerPicture(generation.llm, processor)
    elif hasattr(generation, "vllm_client"):
        generation.vllm_client = SameSizes(generation.vllm_client, processor)
    elif generation.accelerator.is_main_process:  # the others ask no server
        raise InputError(f"trl.use_vllm: TRL {version('trl')} has no LLM or client to be mended.")


class _Beside:
    """An object whose other attributes are those of the one that it stands for."""

    def __init__(self, whole: Any, processor: Any) -> None:
        self._whole, self._processor = whole, processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


class OncePerPicture(_Beside):
    """A `vllm.LLM` that takes TRL's prompts, with the pictures written out in tokens."""

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
        outputs = self._whole.generate(asked, **rest)
        for prompt, output in zip(prompts, outputs, strict=True):
            trained, read = list(prompt["prompt_token_ids"]), list(output.prompt_token_ids)
            if trained != read:
                raise InputError(
                    f"vLLM read a prompt of {len(read)} tokens where one of {len(trained)} is "
                    "trained on; its texts would answer another prompt. Leave trl.use_vllm out."
                )
        return outputs


class SameSizes(_Beside):
    """A `VLLMClient` of TRL's whose server must resize pictures as the training does."""

    _read: Sequence[Any] = ()

    def image_features(self, images: Any, *rest: Any, **more: Any) -> Any:
        """The server's features of pictures; how many tokens each has is noted for `generate`."""
        features = self._whole.image_features(images, *rest, **more)
        self._read = [_lengths(own) for own in features]
        return features

    def generate(self, prompts: Any, features: Any = None, **rest: Any) -> Any:
        """The server's texts.

        Raises:
            InputError: a picture has another number of tokens there than in the training.
        """
        for read, placed in zip(self._read, features or (), strict=False):
            if read != _lengths(placed):
                look = json.dumps({"size": dict(self._processor.image_processor.size)})
                raise InputError(
                    f"The vLLM server makes {read} tokens of pictures that have {_lengths(placed)} "
                    "in the training, so its texts would answer another prompt. Start it with: "
                    f"--mm-processor-kwargs '{look}'"
                )
        return self._whole.generate(prompts=prompts, features=features, **rest)


def _lengths(features: Any) -> list[int]:
    """Tokens of each picture of a prompt."""
    return [place["length"] for place in features["mm_placeholders"]["image"]] if features else []
