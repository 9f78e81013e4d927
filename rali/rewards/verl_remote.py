"""A reward for verl and verl-omni from a server: rali serve builtin --port 8000. In the config:

reward.custom_reward_function.path=pkg://rali.rewards.verl_remote
reward.custom_reward_function.name=compute_score
+reward.custom_reward_function.reward_kwargs.server_url=http://reward:8000

It is a coroutine, so verl asks for many pictures at once; no model is loaded beside the trainer.
RALI_TOKEN is sent if it is set.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from typing import Any

import numpy as np
from PIL import Image

from rali.errors import InputError, PictureError, require, shortened
from rali.files import from_json

from .pictures import pictures_of
from .verl import OPTIONS, picture_of, refuse_misspelt

HERE = {*OPTIONS, "scaling", "model", "device"}
LONGEST_WAIT = 30.0  # seconds before a full server is asked again


async def compute_score(
    data_source: Any = None,
    solution_str: Any = None,
    ground_truth: Any = None,
    extra_info: dict[str, Any] | None = None,
    *,
    solution_image: Any = None,
    server_url: str = "http://127.0.0.1:8000",
    timeout: float = 120.0,
    **options: Any,
) -> dict[str, float]:
    """The score of one picture, 1–5, or the mean score of several frames, from `rali serve`.

    Args:
        solution_image: as `rali.rewards.verl.compute_score` takes it.
        server_url: the server, without a path.
        timeout: seconds in which there must be an answer; a server that is full or that does not
            listen yet is asked again until then.

    Returns:
        "score", and "rali_raw": the same, under the name that the trainer logs.

    Raises:
        InputError: there is no picture, a keyword is misspelt or not for a server, or the server
            refuses, does not answer, or is no `rali serve`.
        PictureError: the server cannot read a picture.
    """
    if here := sorted(HERE.intersection(options)):
        raise InputError(
            f"A server gives plain scores: {', '.join(here)} takes pkg://rali.rewards.verl, which "
            "loads the model beside the trainer."
        )
    refuse_misspelt(options, ("server_url", "timeout"))
    pictures = pictures_of(picture_of(solution_image, extra_info))
    images = [_as_png(picture) for picture in pictures]
    address = f"{server_url.rstrip('/')}/score"
    reply = await _ask(address, {"images": images}, timeout)
    try:
        errors = [each["error"] for each in reply["results"]]
        scores = [float(each["score"]) for each in reply["results"] if not each["error"]]
    except (TypeError, KeyError, ValueError):
        errors, scores = [], []
    if wrong := [error for error in errors if error]:
        raise PictureError(f"A picture could not be scored: {wrong[0]}")
    if len(scores) != len(images):
        raise InputError(f"{address} answers as no `rali serve` does: {shortened(repr(reply))}.")
    mean = sum(scores) / len(scores)
    return {"score": mean, "rali_raw": mean}


async def _ask(address: str, body: Any, timeout: float) -> Any:
    aiohttp = require("aiohttp", "remote")
    token = os.environ.get("RALI_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    reason: object = ""
    try:
        async with asyncio.timeout(timeout), aiohttp.ClientSession(headers=headers) as session:
            while True:
                wait = 1.0
                try:
                    async with session.post(address, json=body) as reply:
                        if reply.status == 200:
                            return from_json(await reply.read())
                        reason = f"{reply.status} {(await reply.text())[:300]}"
                        if reply.status not in (429, 503):
                            raise InputError(f"{address} refuses the pictures: {reason}")
                        wait = _seconds(reply.headers.get("Retry-After", ""))
                except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                    reason = error
                await asyncio.sleep(wait)
    except TimeoutError:
        raise InputError(
            f"{address} gave no scores within {timeout:g} seconds: {reason or 'no answer'}."
        ) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise InputError(
            f"{address} cannot be asked: {shortened(str(error))}. server_url is the address of a "
            "`rali serve`, such as http://127.0.0.1:8000."
        ) from error


def _seconds(given: str) -> float:
    """How long a server asks to wait; a second where it gives no number, such as a date."""
    try:
        seconds = float(given)
    except ValueError:
        return 1.0
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 1.0


def _as_png(picture: Any) -> str:
    """Lossless, as a JPEG's artefacts would be scored too: base64 of float [3, H, W], 0–1."""
    from .reward import check_range

    check_range(picture.detach(), 0, 1)
    levels = (picture.detach().clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()
