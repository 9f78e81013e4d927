"""A judge that does not reason: its score is read off the probabilities of five words.

In: the log-probabilities of "excellent", "good", "fair", "poor" and "bad" as the next word after
"The quality of the image is". Out: the expected level, from 1 to 5 (Q-Align, Wu et al. 2024, §3.3;
Q-ReAlign's models are asked like this). An engine hands the log-probabilities on as a text, a JSON
object, so that a judge is asked, harvested and evaluated like any other teacher.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rali.errors import InputError
from rali.files import from_json

from .answer_text import UnreadableError
from .prompts import Prompt
from .requests import Request


def refuse_levels(requests: Sequence[Request], engine: str) -> None:
    """Raise an InputError where a request is for a judge and the engine gives no probabilities."""
    for request in requests:
        if request.prompt.levels:
            raise InputError(
                f"{request.prompt.name} reads a score off probabilities, which the {engine} engine "
                "does not give; type: --engine transformers, or vllm"
            )


def level_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """The first token of each of the prompt's levels, as it stands within a sentence.

    Raises:
        InputError: two levels begin with the same token, so that their probabilities are one.
    """
    ids = [
        tokenizer(f" {level}", add_special_tokens=False)["input_ids"][0] for level in prompt.levels
    ]
    if len(set(ids)) < len(ids):
        raise InputError(
            f"{prompt.name} tells {', '.join(prompt.levels)} apart by their first tokens, and this "
            "teacher's tokenizer begins two of them with the same one. Give another --prompt."
        )
    return ids


def levels_text(prompt: Prompt, logprobs: Sequence[float]) -> str:
    """The levels' natural log-probabilities as the text that `levels_score` reads."""
    return json.dumps(dict(zip(prompt.levels, (float(value) for value in logprobs), strict=True)))


def levels_score(text: str, prompt: Prompt) -> float:
    """The expected level, Σ pᵢ lᵢ, on the prompt's scale.

    p is the softmax over the levels' log-probabilities alone; l falls in equal steps from the
    prompt's `high` for the first level to its `low` for the last.

    Raises:
        UnreadableError: the text is not what `levels_text` writes.
    """
    try:
        logprobs = [float(from_json(text)[level]) for level in prompt.levels]
    except (ValueError, LookupError, TypeError):
        raise UnreadableError("The text holds no log-probabilities of the levels.") from None
    most = max(logprobs)
    if not math.isfinite(most):
        raise UnreadableError("No level has a probability.")
    weights = [math.exp(value - most) for value in logprobs]
    step = (prompt.high - prompt.low) / (len(weights) - 1)
    expected = sum(weight * place for place, weight in enumerate(weights)) / sum(weights)
    return prompt.high - step * expected
