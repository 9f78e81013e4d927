"""Nano's text tower: small enough to ship inside the package, and without a vocabulary file.

In: texts, as hashed words. Out: embeddings [batch, dim] in one space with nano's image tower.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]")


@dataclass(frozen=True)
class TextConfig:
    """The architecture of the text tower; saved as JSON beside its weights.

    Attributes:
        embed_dim: dimension D of the shared space.
        width, layers, heads: the transformer.
        context: tokens per text; longer texts are cut.
        buckets: size of the hashed vocabulary.
    """

    embed_dim: int = 192
    width: int = 128
    layers: int = 2
    heads: int = 4
    context: int = 160
    buckets: int = 8192

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tokenize(texts: list[str], context: int, buckets: int) -> Tensor:
    """Words, numbers and punctuation hashed into `buckets` ids: [batch, context], 0 pads.

    Hashing (CRC-32) needs no vocabulary file, and a word that pretraining never saw still gets an
    id of its own rather than a shared "unknown".
    """
    ids = torch.zeros(len(texts), context, dtype=torch.long)
    for row, text in enumerate(texts):
        words = _WORD.findall(text.lower())[:context]
        hashed = [1 + zlib.crc32(word.encode()) % (buckets - 1) for word in words]
        ids[row, : len(hashed)] = torch.tensor(hashed, dtype=torch.long)
    return ids


class NanoTextEncoder(nn.Module):
    """Texts → embeddings [batch, embed_dim]: hashed words, a small transformer, masked mean."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.tokens = nn.Embedding(config.buckets, width, padding_idx=0)
        self.positions = nn.Parameter(torch.randn(config.context, width) * 0.01)
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, config.embed_dim)
        nn.init.normal_(self.tokens.weight, std=0.05)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Token ids [len(texts), context]; longer texts are cut."""
        return tokenize(texts, self.config.context, self.config.buckets)

    def is_truncated(self, text: str) -> bool:
        """Whether a text has more tokens than the context, so that its end is cut."""
        return len(_WORD.findall(text.lower())) > self.config.context

    def forward(self, ids: Tensor) -> Tensor:
        length = int((ids != 0).sum(1).max().clamp_min(1))
        ids = ids[:, :length]
        present = ids != 0
        # An empty text still needs one position to attend to.
        keep = present | (torch.arange(length, device=ids.device) == 0)
        x = self.tokens(ids) + self.positions[:length]
        x = self.norm(self.transformer(x, src_key_padding_mask=~keep))
        weight = keep.unsqueeze(-1).to(x.dtype)
        return self.projection((x * weight).sum(1) / weight.sum(1))
