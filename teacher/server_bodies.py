"""What an OpenAI-compatible server says: texts, refusals, errors, tokens, the models it has.

In: the decoded body of a response, which may hold anything. Out: values that were checked, or the
reason why there are none. Nothing here talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rali.errors import shortened

from .requests import NoText

_REFUSED = ("content_filter", "content_policy", "moderation", "flagged", "safety")
_DATED = re.compile(r"[-@]\d{4}-?\d\d-?\d\d")


class BadBodyError(Exception):
    """A body that is no answer to the request; `str(error)` says why."""


def read_choices(body: Any, model: str, count: int, *, reasons: bool) -> list[str | NoText]:
    """The texts of a chat completion, in the order of their `index`, at most `count`.

    A text that was cut off at its longest is returned as far as it goes, as other engines do. A
    server that keeps a model's reasoning apart has taken it out of `<think>`, where it is put back.

    Args:
        model: the name that was asked for.
        reasons: whether the prompt asks for `<think>`.

    Raises:
        BadBodyError: this is an error, or no completion, or one of another model.
    """
    if not isinstance(body, Mapping):
        raise BadBodyError("The body is no JSON object.")
    if body.get("error"):
        raise BadBodyError(error_text(body))
    answered = body.get("model")
    if isinstance(answered, str) and answered and not same_model(model, answered):
        raise BadBodyError(
            f"The server answered as {shortened(answered)!r} instead of {model!r}. If both are "
            f"one model, type: --engine-set served_as={shortened(answered)}"
        )
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadBodyError("The answer holds no choices.")
    found: dict[int, str | NoText] = {}
    for place, choice in enumerate(choices):
        index = choice.get("index", place) if isinstance(choice, Mapping) else None
        if not isinstance(index, int) or index in found or index < 0:
            raise BadBodyError("The choices of the answer are malformed.")
        found[index] = _text(choice, reasons)
    return [found[index] for index in sorted(found)][:count]


def _text(choice: Mapping[str, Any], reasons: bool) -> str | NoText:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise BadBodyError("A choice of the answer holds no message.")
    if message.get("refusal"):
        return NoText(f"The teacher refused: {shortened(message['refusal'])}", refused=True)
    if choice.get("finish_reason") == "content_filter":
        return NoText("A content filter stopped the answer.", refused=True)
    content = message.get("content")
    thought = message.get("reasoning_content") or message.get("reasoning")
    if content is None:
        content = ""  # all tokens went into the reasoning, or the first one ended the text
    if not isinstance(content, str):
        raise BadBodyError("The message of the answer is no text.")
    if "</think>" in content and "<think>" not in content:
        # A Thinking model's template ends with the opening tag; this server parses no reasoning.
        content = f"<think>{content}"
    if reasons and isinstance(thought, str) and "<think>" not in content:
        end = "</think>" if content else ""
        return f"<think>{thought}{end}{content}"
    return content


def same_model(asked: str, answered: str) -> bool:
    """Whether two names mean one model: a tag, a router's ending or a snapshot's date may differ.

    `qwen2.5vl` is `qwen2.5vl:latest`, and `gpt-4o` may answer as `gpt-4o-2024-08-06`, but not as
    `gpt-4o-mini`.
    """
    a, b = (n.removeprefix("models/").removesuffix(":latest").lower() for n in (asked, answered))
    routed = "/" in a and a.partition(":")[0] == b  # OWNER/NAME:PROVIDER
    return a == b or routed or (b.startswith(a) and bool(_DATED.fullmatch(b[len(a) :])))


def is_refusal(body: Any, text: str) -> bool:
    """Whether an error is a content filter's, not the request's."""
    error = body.get("error", body) if isinstance(body, Mapping) else {}
    code = error.get("code") if isinstance(error, Mapping) else None
    return any(word in f"{code} {text}".lower() for word in _REFUSED)


def error_text(body: Any) -> str:
    """A server's own words about an error, shortened; its first words where it sent a page."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error
    text = re.sub(r"<[^>]*>", " ", str(error or "")) if isinstance(error, str) else str(error)
    return shortened(" ".join(text.split()).rstrip(".")) or "no reason"


def read_usage(body: Any) -> tuple[int, int] | None:
    """Tokens in and out, as the server counts them for its bill; None where it does not say."""
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    return counts[0], counts[1]  # type: ignore[return-value]


def read_models(body: Any) -> dict[str, Mapping[str, Any]]:
    """What `/models` lists, by name; empty where it lists nothing."""
    listed = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(listed, list):
        return {}
    return {
        entry["id"]: entry
        for entry in listed
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)
    }
