"""A server that speaks OpenAI's protocol, asked until it answers.

In: a request's body. Out: its texts. What a server does wrong (429, 500, silence, a cut connection,
a page instead of JSON, another model's answer) is asked again after a growing pause, or after the
server's own Retry-After. What stays without a text is a `NoText` with its reason.
"""

from __future__ import annotations

import asyncio
import difflib
import email.utils
import json
import os
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from rali.errors import InputError, require
from rali.runs.config import check_numbers

from .requests import NoText
from .server_bodies import (
    BadBodyError,
    error_text,
    is_refusal,
    read_choices,
    read_models,
    read_usage,
)

T = TypeVar("T")
MAX_PAUSE = 60.0  # seconds that a pause grows to
MAX_RETRY_AFTER = 600.0  # seconds; a server that asks for more is left alone
IN_A_ROW = 8  # requests that fail one after another mean that the server is gone


@dataclass
class ServerConfig:
    """How a server is asked.

    Attributes:
        base_url: the server's address, such as http://localhost:8000/v1; by default the
            environment variable OPENAI_BASE_URL.
        api_key_env: name of the environment variable that holds the key; a server without keys
            needs none.
        timeout: seconds until a request is given up and made again.
        retries: how often a request is made again at most.
        backoff: seconds of the first pause; each further one is twice as long, up to a minute.
        texts_per_request: texts of one picture that are asked for at once (the parameter `n`): the
            picture is sent and paid for once, and only the first text's seed is sent.
        price_in, price_out: price of a million tokens, for the summary.
        served_as: the name that the server answers with, where it is not the model's; the server's
            list of models is then not looked at.
        extra_body: further parameters of the server's own, sent with each request.
    """

    base_url: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    retries: int = 8
    backoff: float = 1.0
    texts_per_request: int = 1
    price_in: float = 0.0
    price_out: float = 0.0
    served_as: str = ""
    extra_body: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_numbers(
            "", self, retries=0, price_in=0, price_out=0, texts_per_request=1,
            positive=["timeout", "backoff"],
        )  # fmt: skip
        self.base_url = self.base_url or os.environ.get("OPENAI_BASE_URL", "")
        try:
            parts = urlsplit(self.base_url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname)
            secret = bool(parts.username or parts.password or parts.query)
        except ValueError:
            known, secret = False, False
        if secret:
            raise InputError(
                "A server's address must hold no user, password or query. Put the key into the "
                f"environment variable {self.api_key_env}."
            )
        if not known:
            given = f"{self.base_url!r} is none" if self.base_url else "none was given"
            raise InputError(
                f"The openai engine needs the address of a server, and {given}. Type, for "
                "instance: --base-url http://localhost:8000/v1"
            )


@dataclass(frozen=True)
class Fault:
    """Why a request got no answer, and what follows: `again`, `refused`, `failed` or `stop`."""

    reason: str
    then: Literal["again", "refused", "failed", "stop"] = "again"
    pause: float | None = None  # seconds, where the server names them


class Server:
    """One server, asked for many texts side by side from a thread of its own.

    Args:
        model: the model's name on the server.
        concurrency: the most requests that are under way at once.

    Attributes:
        entry: what the server's list says of the model.
        stopped: why nothing is sent any more; empty while the server answers.
        counts: requests made, how many of them again, and tokens.
        limit, seeds: how the longest text is named, and whether seeds are sent; both change where a
            server says that it does not know them.

    Raises:
        InputError: the server does not answer, refuses the key, or has no such model.
        MissingExtraError: the `openai` package is not installed.
    """

    def __init__(self, model: str, config: ServerConfig, concurrency: int) -> None:
        self._openai = require("openai", "openai")
        self.model, self.config, self.stopped = model, config, ""
        self.limit, self.seeds = "max_tokens", True
        names = ("requests", "retries", "input_tokens", "output_tokens", "uncounted")
        self.counts = dict.fromkeys(names, 0)
        self._answers = self._failures = 0
        self._key = os.environ.get(config.api_key_env, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise InputError(f"{config.api_key_env} holds characters that no key has.")
        self._client = self._openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=config.timeout,
        )
        self._slots = asyncio.Semaphore(concurrency)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="rali-openai", daemon=True).start()
        self.entry = {} if config.served_as else self.run(self._find_model())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result. It runs beside this thread, so also in a notebook's own loop."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def complete(
        self, body: Callable[[], dict[str, Any]], count: int, *, reasons: bool
    ) -> list[str | NoText]:
        """From one to `count` texts, or `count` times why there is none.

        Args:
            body: makes the request's body, anew for each try.
            reasons: whether the prompt asks for `<think>`.
        """
        fault = Fault("")
        async with self._slots:
            for attempt in range(self.config.retries + 1):
                if self.stopped:
                    return [NoText(self.stopped)] * count
                self.counts["requests"] += 1
                self.counts["retries"] += attempt > 0
                sent = body()
                found = await self._guarded(self._texts(sent, count, reasons))
                if not isinstance(found, Fault):
                    self._answers, self._failures = self._answers + 1, 0
                    return found
                fault = found
                if fault.then == "failed" and self._adapted(fault.reason, sent):
                    continue
                if fault.then == "stop":
                    self.stopped = fault.reason
                if fault.then != "again" or attempt == self.config.retries:
                    break
                await asyncio.sleep(self._pause(attempt, fault.pause))
        if fault.then != "refused" and not (fault.then == "failed" and self._answers):
            self._failures += 1
        if self._failures >= IN_A_ROW and not self.stopped:
            self.stopped = f"{self._failures} requests in a row failed. The last: {fault.reason}"
        return [NoText(fault.reason, refused=fault.then == "refused")] * count

    async def _texts(self, body: dict[str, Any], count: int, reasons: bool) -> list[str | NoText]:
        answer = await self._client.chat.completions.with_raw_response.create(**body)
        decoded = _decoded(answer.http_response.content)
        used = read_usage(decoded)
        self.counts["uncounted"] += used is None
        for name, tokens in zip(("input_tokens", "output_tokens"), used or (0, 0), strict=True):
            self.counts[name] += tokens
        asked = self.config.served_as or self.model
        return read_choices(decoded, asked, count, reasons=reasons)

    async def _guarded(self, work: Awaitable[T]) -> T | Fault:
        """The work's result, or what went wrong."""
        openai = self._openai
        try:
            return await asyncio.wait_for(work, self.config.timeout)
        except BadBodyError as error:
            return Fault(self._clean(str(error)))
        except (TimeoutError, openai.APITimeoutError):
            return Fault(f"The server did not answer within {self.config.timeout:g} seconds.")
        except openai.APIConnectionError as error:
            return Fault(f"The connection failed ({self._clean(error.__cause__ or error)}).")
        except openai.APIStatusError as error:
            return self._status(error)
        except openai.OpenAIError as error:
            return Fault(f"The request failed ({self._clean(error)}).")

    def _status(self, error: Any) -> Fault:
        code, body = error.status_code, error.body
        words = self._clean(error_text(body or error.response.text))
        reason = f"The server answered {code}: {words}."
        if code in (400, 403, 422, 451) and is_refusal(body, words):
            return Fault(reason, "refused")
        if code in (401, 403):
            held = "is wrong" if self._key else "is not set"
            return Fault(f"{reason} Perhaps the key in {self.config.api_key_env} {held}.", "stop")
        if code in (402, 404) or error.code == "insufficient_quota":
            return Fault(reason, "stop")
        if code in (408, 409, 425, 429) or code >= 500:
            pause = _retry_after(error.response.headers)
            if pause is not None and pause > MAX_RETRY_AFTER:
                return Fault(f"{reason} It asks to wait for {pause:,.0f} seconds.", "stop")
            return Fault(reason, pause=pause)
        return Fault(reason, "failed")

    def _adapted(self, reason: str, sent: Mapping[str, Any]) -> bool:
        """Whether a parameter that the server does not know is now left out or named anew."""
        if "max_completion_tokens" in reason:
            self.limit = "max_completion_tokens"
        elif re.search(r"\bseed\b", reason):
            self.seeds = False
        return self.limit not in sent or (not self.seeds and "seed" in sent)

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds until the next try; drawn, so that requests that failed together part."""
        if asked is not None:
            return asked + random.uniform(0, self.config.backoff)
        return random.uniform(0.5, 1) * min(MAX_PAUSE, self.config.backoff * 2**attempt)

    def _clean(self, text: Any) -> str:
        """A message without the key, which a server may repeat."""
        return str(text).replace(self._key, "…") if self._key else str(text)

    async def _find_model(self) -> Mapping[str, Any]:
        """What the server's list says of the model."""
        place = self.config.base_url

        async def listed() -> dict[str, Mapping[str, Any]]:
            answer = await self._client.models.with_raw_response.list()
            return read_models(_decoded(answer.http_response.content))

        for attempt in range(min(3, self.config.retries + 1)):
            if attempt:
                await asyncio.sleep(self._pause(attempt - 1, None))
            found = await self._guarded(listed())
            if not isinstance(found, Fault) or found.then != "again":
                break
        if isinstance(found, Fault):
            raise InputError(
                f"The server at {place} does not list its models. {found.reason} Start it, or "
                "correct --base-url, which mostly ends in /v1. A server without a list is asked "
                "with: --engine-set served_as=MODEL"
            )
        for name in (self.model, self.model.partition(":")[0], f"{self.model}:latest"):
            if name in found or f"models/{name}" in found:
                return found.get(name, {})
        near = difflib.get_close_matches(self.model, found, 5, 0.4)
        names = ", ".join([*near, *(name for name in found if name not in near)][:10]) or "none"
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        raise InputError(
            f"The server at {place} has no model {self.model!r}; it has {names}{more}. Give one of "
            "them with --model, or after teacher:"
        )


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        text = error_text(content[:2000].decode("utf-8", "replace"))
        raise BadBodyError(f"The server sent no JSON, but: {text}.") from None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait (RFC 9110: a number or a date); None where it does not."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(given).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if seconds == seconds else None
