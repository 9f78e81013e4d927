"""What is asked of a teacher, how texts are drawn, and what an engine is that draws them.

Needs no torch, as an engine may be a server elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rali.errors import InputError

from .prompts import Prompt


@dataclass(frozen=True)
class Request:
    """A request for one text.

    Attributes:
        images: as many as the prompt shows, in its order.
        seed: chooses one of the possible texts; `request_seed` mixes it with the pictures' names.
    """

    images: tuple[Path, ...]
    prompt: Prompt
    seed: int = 0


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn.

    Attributes:
        temperature: 0 takes the likeliest token each time.
        top_p: only the likeliest tokens are drawn that together have this probability, 0–1.
        max_new_tokens: a text is cut off after this many.
        top_k: only so many of the likeliest tokens are drawn, before top_p; 0 takes all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    top_k: int = 0

    def __post_init__(self) -> None:
        if (
            self.temperature < 0
            or not 0 < self.top_p <= 1
            or self.max_new_tokens < 1
            or self.top_k < 0
        ):
            raise InputError(
                f"temperature is {self.temperature} (expected 0 or more), top_p {self.top_p} "
                f"(expected above 0, at most 1), top_k {self.top_k} (expected 0 or more), "
                f"max_new_tokens {self.max_new_tokens} (expected 1 or more)."
            )


@dataclass(frozen=True)
class NoText:
    """What an engine returns for a request that got no text.

    Attributes:
        reason: a sentence.
        refused: the teacher, or a filter before it, declined to answer. Otherwise the request
            failed, and may be made again.
    """

    reason: str
    refused: bool = False


class Engine(Protocol):
    """What harvesting and asking need of a teacher.

    Attributes:
        name: the teacher's name in triplets.
        mark: what the texts depend on besides the request: the engine's kind and the weights.
        chunk: requests that it is best given at a time; what a stop may lose, unless the engine
            is `Streaming`.
    """

    name: str
    mark: str
    chunk: int

    @property
    def pixels(self) -> tuple[int, int]:
        """The fewest and the most pixels of a picture after its resize."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Sequence[str | NoText]:
        """One text per request, in order, without special tokens; or why there is none."""
        ...


@runtime_checkable
class Metered(Protocol):
    """What an engine that asks a server has beside: its meter, and its end.

    Attributes:
        together: texts of one picture that are best asked for in a row.
        stopped: why nothing is sent any more; empty while the server answers.
    """

    together: int
    stopped: str

    def usage(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """What was used since the last call, for a summary, added to what that returned."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What an engine has beside whose `chunk` is more than a stop may lose."""

    def stream(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[tuple[int, str | NoText]]:
        """Each request's place and what `generate` returns for it, as they are finished."""
        ...


def finished(
    engine: Engine, requests: Sequence[Request], sampling: Sampling
) -> Iterator[tuple[int, str | NoText]]:
    """Each request's place and text, as soon as the engine hands them out.

    Raises:
        InputError: at the end, a request got no text, or several.
    """
    handed = (
        engine.stream(requests, sampling)
        if isinstance(engine, Streaming)
        else enumerate(engine.generate(requests, sampling))
    )
    missing = set(range(len(requests)))
    for place, text in handed:
        if place not in missing:
            raise InputError(
                f"{engine.name} returned a text for request {place} of {len(requests):,} twice, or "
                "for none; an engine returns one for each."
            )
        missing.remove(place)
        yield place, text
    if missing:
        raise InputError(
            f"{engine.name} returned no text for {len(missing):,} of {len(requests):,} requests, "
            f"such as request {min(missing)}; an engine returns one for each, or why there is none."
        )


def different(prompt: Prompt, sampling: Sampling, samples: int) -> int:
    """How many of so many texts about a picture can differ: one of a judge, or without chance."""
    return 1 if sampling.temperature == 0 or prompt.levels else samples


def request_seed(request: Request) -> int:
    """The seed of a request's random number generator, 0 to 2³¹ − 1.

    It also depends on the pictures' names and the prompt, so that pictures with one `seed` do not
    share their random numbers.
    """
    key = "\0".join([request.prompt.name, str(request.seed), *(p.name for p in request.images)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) >> 1


def prompt_text(processor: Any, request: Request) -> str:
    """The prompt in the chat template's words, one placeholder for each picture."""
    text = processor.apply_chat_template(
        request.prompt.messages(), add_generation_prompt=True, tokenize=False
    )
    return f"{text}{request.prompt.stem}"


def drawn_by_vllm(request: Request, sampling: Sampling) -> dict[str, Any]:
    """vLLM's sampling parameters of a request."""
    return {
        "temperature": float(sampling.temperature),
        "top_p": float(sampling.top_p),
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_new_tokens,
        "seed": request_seed(request),
    }


# Of vLLM's arguments those that change what it writes; the others change speed and memory.
OF_TEXTS = ("dtype", "quantization", "kv_cache_dtype", "hf_overrides", "revision")


def vllm_mark(weights: str, options: Mapping[str, Any], revision: str = "") -> str:
    """What identifies the texts of these weights, which vLLM runs with these arguments.

    Args:
        revision: of the weights on the Hub. It stands last, as in the marks of older harvests.
    """
    options = {**options, "revision": revision or "auto"}
    told = [f" {name} {options[name]}" for name in OF_TEXTS if options.get(name, "auto") != "auto"]
    return f"vllm {weights}{''.join(told)}"
