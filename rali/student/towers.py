"""Both towers of a model, as every family of encoders gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rali.pictures.preprocess import Preprocess
from rali.runs.progress import Progress, silent

RANDOM = "random"  # in place of pretrained weights


class TextTower(nn.Module):
    """A frozen text encoder: texts in, embeddings [n, D] out (not normalised).

    Args:
        model: token ids [n, context] → embeddings [n, D], by `encode_text` where it has one.
        tokenizer: texts → token ids.
        is_truncated: whether a text is longer than the context, so that its end is cut.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, is_truncated: Callable[[str], bool]
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.is_truncated = is_truncated

    @torch.no_grad()
    def encode(
        self, texts: Sequence[str], batch_size: int = 256, *, progress: Progress = silent
    ) -> Tensor:
        """Embeddings [len(texts), D], float32, on the CPU; computed on a GPU where there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        embed = getattr(self.model.to(device), "encode_text", self.model)
        parts = []
        for start in range(0, len(texts), batch_size):
            chunk = list(texts[start : start + batch_size])
            parts.append(embed(self.tokenizer(chunk).to(device)).float().cpu())
            progress("texts", start + len(chunk), len(texts))
        self.model.to("cpu")
        return torch.cat(parts)


@dataclass
class Encoder:
    """Both towers of one model.

    Attributes:
        spec: what rebuilds the image tower, as saved in `config.json`.
        image: pixels [batch, 3, S, S], normalised → embeddings [batch, dim].
        text: the frozen text tower; `None` where only the image side was asked for.
        preprocess: how pictures become those pixels.
    """

    spec: dict[str, Any]
    image: nn.Module
    text: TextTower | None
    preprocess: Preprocess
    dim: int
