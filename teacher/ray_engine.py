"""A teacher on many GPUs and machines: Ray Data's own vLLM stage (`ray.data.llm`).

In: requests. Out: their texts, which are those of the `vllm` engine: the prompts, the pictures'
sizes and the seeds are the same. Ray Data keeps the GPUs fed and repeats what a lost worker had.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from rali.errors import InputError, PictureError, require

from .levels import refuse_levels
from .models import (
    load_processor,
    opened,
    pixels_of,
    teacher_mark,
    teacher_name,
    teacher_place,
    thought_opening,
)
from .requests import NoText, Request, Sampling, drawn_by_vllm, finished, prompt_text, vllm_mark

# Settings of `vLLMEngineProcessorConfig`; any other is vLLM's own.
OF_RAY = frozenset(
    ("concurrency", "batch_size", "accelerator_type", "placement_group_config", "runtime_env",
     "max_concurrent_batches", "max_pending_requests")
)  # fmt: skip


class RayEngine:
    """A teacher through `ray.data.llm`: data parallel by `concurrency`, tensor parallel by vLLM.

    Each call of `generate` or `stream` starts the workers, which load the model; so it is given
    thousands of requests at a time.

    Args:
        model: "nano", a teacher's folder or a Hub id, which every machine can read.
        name: the teacher's name in triplets; by default its own.
        min_pixels, max_pixels: bounds on a picture's pixels after the processor's resize.
        pictures: the most pictures that a prompt shows.
        revision: a branch, tag or commit of the model on the Hub; empty takes the newest.
        options: `concurrency` (replicas of the model, the most or [fewest, most]; 1 where it is not
            given), `batch_size`, `accelerator_type` and the others of `OF_RAY`; any other is an
            argument of vLLM's (tensor_parallel_size, pipeline_parallel_size, max_model_len, …).

    Raises:
        MissingExtraError: Ray or vLLM is not installed.
    """

    chunk = 16_384

    def __init__(
        self,
        model: str,
        *,
        name: str = "",
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        pictures: int = 3,
        revision: str = "",
        **options: Any,
    ) -> None:
        require("ray.data", "scale")
        self.name = name or teacher_name(model)
        self.mark = vllm_mark(teacher_mark(model), options, revision)
        self.processor = load_processor(
            model, min_pixels=min_pixels, max_pixels=max_pixels, revision=revision
        )
        self.opening = thought_opening(self.processor)
        of_ray = {key: value for key, value in options.items() if key in OF_RAY}
        if isinstance(of_ray.get("concurrency"), list):
            of_ray["concurrency"] = tuple(of_ray["concurrency"])
        of_vllm = {key: value for key, value in options.items() if key not in OF_RAY}
        inside = model.count("/") > 1  # a folder in a repository, which vLLM cannot name
        if revision and not inside:  # each machine downloads it
            of_vllm["revision"] = revision
        self.config: dict[str, Any] = {
            "model_source": str(teacher_place(model, revision if inside else "")),
            "engine_kwargs": {
                "limit_mm_per_prompt": {"image": pictures, "video": 0},
                # One size for both, or vLLM would see other pictures than transformers does.
                "mm_processor_kwargs": {"size": dict(self.processor.image_processor.size)},
                "seed": 0,
                **of_vllm,
            },
            # The prompt is written here, and vLLM itself finds its tokens.
            "chat_template_stage": False,
            "tokenize_stage": False,
            "detokenize_stage": False,
            "log_engine_metrics": False,
            **of_ray,
        }

    @property
    def pixels(self) -> tuple[int, int]:
        return pixels_of(self.processor)

    def rows(self, requests: Sequence[Request], sampling: Sampling) -> list[dict[str, Any]]:
        """What is sent to the workers, which open the pictures themselves."""
        return [
            {
                "place": place,
                "prompt": prompt_text(self.processor, request),
                "pictures": [os.path.abspath(path) for path in request.images],  # noqa: PTH100
                "sampling_params": drawn_by_vllm(request, sampling),
            }
            for place, request in enumerate(requests)
        ]

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str | NoText]:
        """One text per request, in order, or why its picture cannot be read.

        Raises:
            MissingExtraError: vLLM is not installed.
            InputError: vLLM or Ray does not know one of the options, or lost a request.
        """
        texts = dict(finished(self, requests, sampling))
        return [texts[place] for place in range(len(requests))]

    def stream(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[tuple[int, str | NoText]]:
        """Each request's place and text, in the order in which the workers finish them.

        Raises:
            MissingExtraError, InputError: as `generate`.
        """
        refuse_levels(requests, "ray")
        if not requests:
            return
        require("vllm", "vllm")
        ray = require("ray", "scale")
        llm = require("ray.data.llm", "scale")
        try:
            config = llm.vLLMEngineProcessorConfig(**self.config)
        except ValueError as error:  # pydantic's
            raise InputError(f"Ray Data does not take these settings: {error}") from error
        process = llm.build_processor(config, preprocess=with_pictures, postprocess=only_text)
        for row in process(ray.data.from_items(self.rows(requests, sampling))).iter_rows():
            unreadable = str(row["unreadable"])
            text = NoText(unreadable) if unreadable else self.opening + str(row["text"])
            yield int(row["place"]), text


def with_pictures(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its pictures opened, in a worker; a grey one where any cannot be read."""
    unreadable = ""
    try:
        pictures = [opened(Path(path)) for path in row["pictures"]]
    except PictureError as error:  # one picture must not end the others' batch
        unreadable = str(error).removeprefix(f"{row['pictures'][0]}: ")
        pictures = [Image.new("RGB", (64, 64), "grey") for _ in row["pictures"]]
    return {**row, "multimodal_data": {"image": pictures}, "unreadable": unreadable}


def only_text(row: dict[str, Any]) -> dict[str, Any]:
    """What is sent back."""
    names = ("place", "unreadable")
    return {name: row[name] for name in names} | {"text": row["generated_text"]}
