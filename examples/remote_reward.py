"""A reward for Flow-GRPO and its kin, from a server: rali serve builtin --port 8000

In flow_grpo/rewards.py, inside `multi_score`: `score_functions = {"rali": remote_reward, …}`.
Needs httpx and Pillow; the trainer needs no rali.
"""

from __future__ import annotations

import base64
import io
import os
import time

import httpx
import numpy as np
from PIL import Image

PART = 8  # pictures per request: at most the server's --queue


def as_png(image: np.ndarray) -> bytes:
    """The bytes of a PNG file: lossless, as a JPEG's artefacts would be scored too."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def remote_reward(device: object = None, address: str = "http://127.0.0.1:8000/score"):
    """A function from (images, prompts, metadata) to (scores, {}); it sends RALI_TOKEN if set."""
    token = os.environ.get("RALI_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    client = httpx.Client(headers=headers, timeout=120)

    def ask(part: np.ndarray) -> list[float]:
        images = [base64.b64encode(as_png(image)).decode() for image in part]
        while (reply := client.post(address, json={"images": images})).status_code in (429, 503):
            time.sleep(float(reply.headers.get("Retry-After", 1)))  # the server has no room now
        reply.raise_for_status()
        results = reply.json()["results"]
        if wrong := [each["error"] for each in results if each["error"]]:
            raise RuntimeError(f"A picture could not be scored: {wrong[0]}")
        return [each["score"] for each in results]

    def score(images, prompts, metadata=None):
        """Takes uint8 [n, H, W, 3], or a tensor [n, 3, H, W], uint8 or from 0 to 1."""
        if not isinstance(images, np.ndarray):
            scale = 255 if images.is_floating_point() else 1
            levels = (images.float() * scale).round().clamp(0, 255)
            images = levels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
        parts = [images[start : start + PART] for start in range(0, len(images), PART)]
        return [each for part in parts for each in ask(part)], {}

    return score
