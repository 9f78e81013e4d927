"""Generation: pictures and prompts in, texts out; one seed gives one text, whatever the batch.

One small interface: `transformers` runs anywhere, `vllm` is fast, `openai` asks a server, and `ray`
runs vLLM on many GPUs and machines. What is not `transformers` or `vllm` needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rali.errors import InputError, require
from rali.runs.config import from_dict
from rali.runs.halving import Halving

from .levels import level_ids, levels_text
from .models import (
    load_processor,
    load_teacher,
    opened,
    pixels_of,
    teacher_mark,
    teacher_name,
    teacher_place,
    thought_opening,
)
from .requests import Engine, Request, Sampling, drawn_by_vllm, prompt_text, request_seed, vllm_mark

if TYPE_CHECKING:
    import torch


class SeededSampling:
    """A logits processor that draws each row's next token with the row's own generator.

    Adding Gumbel noise and taking the greatest logit is sampling from the softmax. So a text
    depends neither on its place in a batch nor on the batch's other texts.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        import torch

        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.sampling = sampling

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        if self.sampling.temperature == 0:
            return scores
        scores = scores.float() / self.sampling.temperature
        if 0 < self.sampling.top_k < scores.shape[-1]:
            least = scores.topk(self.sampling.top_k).values[..., -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        if self.sampling.top_p < 1:
            ordered, places = scores.sort(dim=-1, descending=True)
            before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
            ordered = ordered.masked_fill(before >= self.sampling.top_p, -torch.inf)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, places, ordered)
        noise = torch.stack(
            [torch.empty(scores.shape[-1]).exponential_(generator=g) for g in self.generators]
        )
        return scores - noise.log().to(scores.device)


class TransformersEngine:
    """A teacher through transformers.

    Args:
        model, processor: as `load_teacher` returns them.
        name: the teacher's name in triplets.
        batch_size: texts generated side by side; fewer, with a warning, where the memory is short.
        mark: what identifies the weights; see `models.teacher_mark`.
    """

    def __init__(
        self, model: Any, processor: Any, name: str, batch_size: int = 16, mark: str = ""
    ) -> None:
        self.model, self.processor = model, processor
        self.name, self.batch_size, self.chunk = name, batch_size, 2 * batch_size
        self._halving = Halving("write texts")
        self.mark = f"transformers {mark}"
        self.opening = thought_opening(processor)

    @property
    def pixels(self) -> tuple[int, int]:
        return pixels_of(self.processor)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str]:
        import torch

        texts: list[str] = []
        with torch.inference_mode():
            for judged, group in groupby(requests, lambda request: bool(request.prompt.levels)):
                work = self._levels if judged else partial(self._batch, sampling=sampling)
                alike = list(group)
                for start in range(0, len(alike), self.batch_size):
                    batch = alike[start : start + self.batch_size]
                    for some in self._halving.run(work, batch):
                        texts += some
        return texts

    def _levels(self, requests: Sequence[Request]) -> list[str]:
        """For each request the log-probabilities of its levels, as `levels` writes them."""
        ids = [level_ids(self.processor.tokenizer, request.prompt) for request in requests]
        inputs = self.processor(
            text=[prompt_text(self.processor, request) for request in requests],
            images=[opened(path) for request in requests for path in request.images],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self.model.device)
        logprobs = self.model(**inputs, logits_to_keep=1).logits[:, -1].float().log_softmax(-1)
        return [
            levels_text(request.prompt, row[own].tolist())
            for request, row, own in zip(requests, logprobs, ids, strict=True)
        ]

    def _batch(self, requests: Sequence[Request], sampling: Sampling) -> list[str]:
        from transformers import LogitsProcessorList

        inputs = self.processor.apply_chat_template(
            [filled(request) for request in requests],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        ).to(self.model.device)
        seeds = [request_seed(request) for request in requests]
        written = self.model.generate(
            **inputs,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,  # as vLLM and TRL draw, whatever the model's own default
            max_new_tokens=sampling.max_new_tokens,
            logits_processor=LogitsProcessorList([SeededSampling(seeds, sampling)]),
        )
        new = written[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        return [self.opening + text for text in texts]


class VllmEngine:
    """A teacher through vLLM's offline engine: many texts at once, pages of attention memory.

    Every request has a seed of its own, so a text does not depend on how many are asked for. On
    one machine and version the same requests give the same texts.

    Args:
        model: "nano", a teacher's folder or a Hub id.
        name: the teacher's name in triplets; by default its own.
        min_pixels, max_pixels: bounds on a picture's pixels after the processor's resize.
        pictures: the most pictures that a prompt shows.
        revision: a branch, tag or commit of the model on the Hub; empty takes the newest.
        options: any other argument of vLLM's LLM (tensor_parallel_size, max_model_len, …).
    """

    chunk = 256  # as many as vLLM keeps under way; their pictures are all in memory

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
        vllm = require("vllm", "vllm")
        self.name = name or teacher_name(model)
        self.mark = vllm_mark(teacher_mark(model), options, revision)
        self.processor = load_processor(
            model, min_pixels=min_pixels, max_pixels=max_pixels, revision=revision
        )
        self.opening = thought_opening(self.processor)
        # One size for both, or vLLM would see other pictures than transformers does.
        look = {"size": dict(self.processor.image_processor.size)}
        self.llm = vllm.LLM(
            **{
                "model": teacher_place(model, revision),
                "limit_mm_per_prompt": {"image": pictures, "video": 0},
                "mm_processor_kwargs": look,
                "seed": 0,
                **options,
            }
        )

    @property
    def pixels(self) -> tuple[int, int]:
        return pixels_of(self.processor)

    def inputs(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """What vLLM takes: each picture has one placeholder, which vLLM itself expands."""
        pictures = {path: opened(path) for request in requests for path in request.images}
        return [
            {
                "prompt": prompt_text(self.processor, request),
                "multi_modal_data": {"image": [pictures[path] for path in request.images]},
            }
            for request in requests
        ]

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str]:
        outputs = self.llm.generate(
            self.inputs(requests),
            [self._drawn(request, sampling) for request in requests],
            use_tqdm=False,
        )
        return [
            self._levels(request, output.outputs[0])
            if request.prompt.levels
            else self.opening + output.outputs[0].text
            for request, output in zip(requests, outputs, strict=True)
        ]

    def _drawn(self, request: Request, sampling: Sampling) -> Any:
        params = require("vllm", "vllm").SamplingParams
        if request.prompt.levels:
            ids = level_ids(self.processor.tokenizer, request.prompt)
            return params(temperature=0, max_tokens=1, logprob_token_ids=ids)
        return params(**drawn_by_vllm(request, sampling))

    def _levels(self, request: Request, output: Any) -> str:
        found = output.logprobs[0]
        ids = level_ids(self.processor.tokenizer, request.prompt)
        return levels_text(request.prompt, [found[token].logprob for token in ids])


ENGINES = ("transformers", "vllm", "openai", "ray")
OF_TRANSFORMERS = ("attn_implementation", "quantization")  # what load_teacher takes beside


def load_engine(
    engine: str,
    model: str,
    *,
    dtype: str = "auto",
    batch_size: int = 16,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    options: dict[str, Any] | None = None,
) -> Engine:
    """An engine by its name.

    Args:
        engine: one of `ENGINES`.
        model: "nano", a teacher's folder or a Hub id; for openai, its name on the server.
        dtype: the weights' type; "auto" keeps their own, but makes float32 bfloat16 on a GPU, as
            vLLM does.
        batch_size: texts side by side, for transformers; requests side by side, for openai.
        min_pixels, max_pixels: bounds on a picture's pixels; by default the processor's own.
        options: `dtype` and `revision` for any local engine; for transformers also those of
            `load_teacher` in `OF_TRANSFORMERS`; for vllm and ray further arguments of vLLM's LLM,
            and for ray of its processor (`ray_engine`); for openai, the fields of
            `server.ServerConfig`.

    Raises:
        InputError: no such engine or model, or options that it does not take.
        MissingExtraError: the engine's package is not installed.
    """
    options = dict(options or {})
    if engine == "openai":
        from .openai_engine import OpenaiEngine
        from .server import ServerConfig

        config = from_dict(ServerConfig, options)
        return OpenaiEngine(
            model, config, concurrency=batch_size, min_pixels=min_pixels, max_pixels=max_pixels
        )
    if "base_url" in options:
        raise InputError(f"--base-url is for --engine openai, not for {engine}.")
    dtype = str(options.pop("dtype", dtype))
    for name in ("revision", *OF_TRANSFORMERS):
        if name in options:
            options[name] = str(options[name] or "")  # YAML reads the hash 1234567 as a number
    if engine == "transformers" and (unknown := options.keys() - {"revision", *OF_TRANSFORMERS}):
        raise InputError(
            f"{', '.join(sorted(unknown))}: the transformers engine takes dtype, revision, "
            f"{' and '.join(OF_TRANSFORMERS)}."
        )
    if set(options) & {"min_pixels", "max_pixels", "model", "name"}:
        raise InputError(f"{', '.join(options)}: pixels and the model have their own options.")
    if engine == "transformers":
        torch = require("torch", "teach")
        loaded = load_teacher(
            model, dtype=dtype, min_pixels=min_pixels, max_pixels=max_pixels, **options
        )
        bits = options.get("quantization", "")
        if torch.cuda.is_available() and not bits:  # 4-bit weights are where they are used
            halve = dtype == "auto" and loaded[0].dtype == torch.float32
            loaded[0].to("cuda", torch.bfloat16 if halve else loaded[0].dtype)
        loaded[0].eval()
        told = [teacher_mark(model, options.get("revision", "")), dtype.removeprefix("auto"), bits]
        mark = " ".join(filter(None, told))
        return TransformersEngine(
            *loaded, name=teacher_name(model), batch_size=batch_size, mark=mark
        )
    if engine == "vllm":
        return VllmEngine(
            model, min_pixels=min_pixels, max_pixels=max_pixels, dtype=dtype, **options
        )
    if engine == "ray":
        from .ray_engine import RayEngine

        return RayEngine(
            model, min_pixels=min_pixels, max_pixels=max_pixels, dtype=dtype, **options
        )
    raise InputError(f"There is no engine {engine!r}; there are {', '.join(ENGINES)}.")


def filled(request: Request) -> list[dict[str, Any]]:
    """The prompt's chat messages with the pictures in their places."""
    pictures = iter([opened(path) for path in request.images])
    return [
        {
            **message,
            "content": [
                {**part, "image": next(pictures)} if part["type"] == "image" else part
                for part in message["content"]
            ],
        }
        for message in request.prompt.messages()
    ]
