"""A teacher behind a server: vLLM, SGLang, llama.cpp, Ollama or a hosted model.

In: requests. Out: a text for each, or why there is none; the prompts, the parser and the seeds are
those of every engine. `server` does the asking.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .data_urls import data_url, token_side
from .levels import refuse_levels
from .requests import NoText, Request, Sampling, request_seed
from .server import Server, ServerConfig

SEED_CHECK = 8  # from this many texts on, one is drawn twice, to see whether seeds hold

# By `owned_by` in a server's list of models: its own parameters that switch off what narrows the
# draw beside temperature and top_p, as a model's files or the server would otherwise set it.
PLAIN_DRAW: dict[str, dict[str, Any]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}


class OpenaiEngine:
    """A teacher through a server that speaks OpenAI's protocol.

    Args:
        model: the model's name on the server, and the teacher's in triplets.
        config: where the server is and how it is asked.
        concurrency: the most requests that are under way at once.
        min_pixels, max_pixels: bounds on a picture's pixels, kept before it is sent; None leaves
            them to the server. In `pixels` they are then 0.

    Raises:
        InputError: the server does not answer, refuses the key, or has no such model.
        MissingExtraError: the `openai` package is not installed.
    """

    def __init__(
        self,
        model: str,
        config: ServerConfig,
        *,
        concurrency: int = 16,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        self.server = Server(model, config, concurrency)
        self.name, self.together = model, config.texts_per_request
        self.chunk = 2 * concurrency * self.together  # a kill pays these twice
        root = self.server.entry.get("root")
        self.mark = f"openai {model}" + (f" {root}" if root and root != model else "")
        if config.extra_body:
            self.mark += f" {json.dumps(config.extra_body, sort_keys=True)}"
        self._extra = PLAIN_DRAW.get(str(self.server.entry.get("owned_by")), {})
        self._bounds = min_pixels, max_pixels
        self._seeds = ""  # held, not held, or not looked at yet

    @property
    def pixels(self) -> tuple[int, int]:
        return self._bounds[0] or 0, self._bounds[1] or 0

    @property
    def stopped(self) -> str:
        return self.server.stopped

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str | NoText]:
        """One text per request, in order, or why there is none.

        Raises:
            PictureError: a picture cannot be read; nothing was sent.
            InputError: the prompt is a judge's.
        """
        refuse_levels(requests, "openai")
        paths = dict.fromkeys(path for request in requests for path in request.images)
        side = token_side(self.name)
        urls = {path: data_url(path, *self._bounds, side) for path in paths}
        groups = list(_grouped(requests, self.together))
        check = sampling.temperature > 0 and not self._seeds and len(requests) >= SEED_CHECK
        asked = [*groups, groups[0]] if check else groups
        found = self.server.run(self._ask_all(asked, urls, sampling))
        if check:
            twice = found.pop(), found[0]
            if not any(isinstance(text, NoText) for texts in twice for text in texts):
                held = self.server.seeds and twice[0] == twice[1]
                self._seeds = "held" if held else "not held"
        return [text for texts in found for text in texts]

    def usage(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """What was asked of the server since the last call, added to what that returned.

        `input_tokens` and `output_tokens` are the server's own counts, and `uncounted` answers came
        without. `cost` is these tokens at the config's prices, where there are any. `seeds` says
        whether a text that was drawn twice was the same: `held`, `not held` or `not checked`.
        """
        counts = {name: n + int(before.get(name, 0)) for name, n in self.server.counts.items()}
        self.server.counts = dict.fromkeys(counts, 0)
        seen = {self._seeds, before.get("seeds")}
        seeds = next((word for word in ("not held", "held") if word in seen), "not checked")
        found: dict[str, Any] = counts | {"seeds": seeds}
        price_in, price_out = self.server.config.price_in, self.server.config.price_out
        if price_in or price_out:
            paid = counts["input_tokens"] * price_in + counts["output_tokens"] * price_out
            found |= {"price_in": price_in, "price_out": price_out, "cost": round(paid / 1e6, 6)}
        return found

    async def _ask_all(
        self, groups: Sequence[Sequence[Request]], urls: Mapping[Path, str], sampling: Sampling
    ) -> list[list[str | NoText]]:
        return await asyncio.gather(*(self._ask(group, urls, sampling) for group in groups))

    async def _ask(
        self, group: Sequence[Request], urls: Mapping[Path, str], sampling: Sampling
    ) -> list[str | NoText]:
        """Texts for requests in one go; those that the server left out are asked for alone."""

        def body() -> dict[str, Any]:
            return request_body(
                self.name, group[0], len(group), urls, sampling, self.server.config,
                extra=self._extra, limit=self.server.limit, seeds=self.server.seeds,
            )  # fmt: skip

        texts = await self.server.complete(body, len(group), reasons=group[0].prompt.reasons)
        rest = [self._ask([request], urls, sampling) for request in group[len(texts) :]]
        return [*texts, *(text for one in await asyncio.gather(*rest) for text in one)]


def request_body(
    model: str, request: Request, count: int, urls: Mapping[Path, str], sampling: Sampling,
    config: ServerConfig, *, extra: Mapping[str, Any], limit: str = "max_tokens",
    seeds: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What is sent for `count` texts of one request, as arguments of openai's client.

    Args:
        urls: the pictures as data URLs.
        extra: parameters of this kind of server, of `PLAIN_DRAW`.
        limit: the name of the longest text's parameter. seeds: whether a seed is sent.
    """
    narrowed = {"top_k": sampling.top_k} if sampling.top_k else {}
    body: dict[str, Any] = {
        "model": model,
        "messages": _messages(request, urls),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        limit: sampling.max_new_tokens,
        "extra_body": {**extra, **narrowed, **config.extra_body},
    }
    if seeds:
        body["seed"] = request_seed(request)
    return body | ({"n": count} if count > 1 else {})


def preview(
    model: str, requests: Sequence[Request], sampling: Sampling, config: ServerConfig,
    *, min_pixels: int | None = None, max_pixels: int | None = None,
) -> str:  # fmt: skip
    """What `OpenaiEngine` would send, in words and one request's body; no request is made.

    Pictures are left out of the body, which names their files and how long their data URLs are.

    Raises:
        InputError: there is no request, or the prompt is a judge's.
        PictureError: the first request's picture cannot be read.
    """
    refuse_levels(requests, "openai")
    groups = list(_grouped(requests, config.texts_per_request))
    first = groups[0]
    urls = {path: data_url(path, min_pixels, max_pixels) for path in first[0].images}
    shown = {path: f"{url[:22]}… ({path}, {len(url):,} characters)" for path, url in urls.items()}
    body = request_body(model, first[0], len(first), shown, sampling, config, extra={})
    body |= body.pop("extra_body")  # the client sends these beside the others
    key = "is set" if os.environ.get(config.api_key_env, "").strip() else "is not set"
    return "\n".join(
        [
            f"POST {config.base_url.rstrip('/')}/chat/completions",
            json.dumps(body, indent=2, ensure_ascii=False),
            f"{len(groups):,} requests for {len(requests):,} texts, and one for the server's list "
            f"of models. The key in {config.api_key_env} {key}.",
            "A vLLM, SGLang or llama.cpp server is also told to leave off what narrows the draw "
            "beside top_p and top_k. No request was made.",
        ]
    )


def _grouped(requests: Sequence[Request], most: int) -> Iterator[list[Request]]:
    """Requests in a row for the same pictures and prompt, at most `most` at a time."""
    group: list[Request] = []
    for request in requests:
        same = group and (group[0].images, group[0].prompt) == (request.images, request.prompt)
        if group and not (same and len(group) < most):
            yield group
            group = []
        group.append(request)
    if group:
        yield group


def _messages(request: Request, urls: Mapping[Path, str]) -> list[dict[str, Any]]:
    """The prompt's chat messages in OpenAI's form, the pictures as data URLs in their places."""
    pictures = iter(request.images)
    found = []
    for message in request.prompt.messages():
        parts = [
            {"type": "image_url", "image_url": {"url": urls[next(pictures)]}}
            if part["type"] == "image"
            else part
            for part in message["content"]
        ]
        plain = message["role"] == "system"  # some servers take a list only from the user
        found.append({**message, "content": parts[0]["text"] if plain else parts})
    return found
