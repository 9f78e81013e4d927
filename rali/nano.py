"""Nano: an image encoder and a text tower small enough to ship inside the package.

In come pixels [batch, 3, S, S] and token ids [batch, context]; out come embeddings [batch, dim]
in one space, as from CLIP. Quality lives in fine detail, so the image encoder looks at a shrunken
whole picture (exposure, colour, composition) and at native-resolution crops (blur, noise,
blocking) with one convolutional trunk, and pools means *and standard deviations* of every stage:
the statistics that hand-made quality measures are built on. `benchmarks/nano.md` has what was
tried.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]")


@dataclass(frozen=True)
class NanoConfig:
    """The architecture of both towers; saved as JSON beside the weights.

    Attributes:
        size: edge S of the input, in pixels.
        embed_dim: dimension D of the shared space.
        widths: channels of the trunk's stages, each at half the resolution of the one before.
        views: what the trunk looks at: `("whole", k)` is the picture averaged over k×k pixels,
            `("crops", n, c)` an n×n grid of native c×c crops.
        statistics: pool standard deviations beside means.
        head_width: hidden units between the pooled statistics and the embedding.
        text_width, text_layers, text_heads: the text transformer.
        context: tokens per text; longer texts are cut.
        buckets: size of the hashed vocabulary.
    """

    size: int = 512
    embed_dim: int = 192
    widths: tuple[int, ...] = (16, 32, 64, 128)
    views: tuple[tuple[Any, ...], ...] = (("whole", 4), ("crops", 3, 64))
    statistics: bool = True
    head_width: int = 320
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    context: int = 160
    buckets: int = 8192
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NanoConfig:
        def freeze(value: Any) -> Any:
            return tuple(freeze(item) for item in value) if isinstance(value, list) else value

        return cls(**{key: freeze(value) for key, value in values.items()})


def tokenize(texts: list[str], context: int, buckets: int) -> Tensor:
    """Words, numbers and punctuation hashed into `buckets` ids: [batch, context], 0 pads.

    Hashing (CRC-32) needs no vocabulary file, and a word never seen in pretraining still gets
    an id of its own rather than a shared "unknown".
    """
    ids = torch.zeros(len(texts), context, dtype=torch.long)
    for row, text in enumerate(texts):
        words = _WORD.findall(text.lower())[:context]
        hashed = [1 + zlib.crc32(word.encode()) % (buckets - 1) for word in words]
        ids[row, : len(hashed)] = torch.tensor(hashed, dtype=torch.long)
    return ids


def token_count(text: str) -> int:
    """Tokens of a text before it is cut."""
    return len(_WORD.findall(text.lower()))


class _Conv(nn.Module):
    """3×3 convolution, shared by all views, then a batch normalisation for each view.

    A shrunken picture and native crops have different statistics: one running mean for both
    would be right for neither when the model is evaluated.
    """

    def __init__(self, inputs: int, outputs: int, views: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(views))

    def forward(self, x: Tensor, view: int) -> Tensor:
        return self.norms[view](self.conv(x))


class _Stage(nn.Module):
    """Halve the resolution; then, where asked for, a residual block."""

    def __init__(self, inputs: int, outputs: int, views: int, residual: bool) -> None:
        super().__init__()
        self.down = _Conv(inputs, outputs, views, stride=2)
        self.body = nn.ModuleList(
            _Conv(outputs, outputs, views) for _ in range(2 if residual else 0)
        )

    def forward(self, x: Tensor, view: int) -> Tensor:
        x = F.relu(self.down(x, view))
        if len(self.body):
            inner = F.relu(self.body[0](x, view))
            x = F.relu(x + self.body[1](inner, view))
        return x


def _random_windows(pixels: Tensor, edge: int) -> Tensor:
    """From each picture of [batch, 3, H, W] its own window: [batch, 3, edge, edge]."""
    batch, _, height, width = pixels.shape
    tops = torch.randint(height - edge + 1, (batch,)).tolist()
    lefts = torch.randint(width - edge + 1, (batch,)).tolist()
    windows = [
        picture[:, top : top + edge, left : left + edge]
        for picture, top, left in zip(pixels, tops, lefts, strict=True)
    ]
    return torch.stack(windows).contiguous(memory_format=torch.channels_last)


class NanoImageEncoder(nn.Module):
    """Pixels [batch, 3, S, S], normalised → embeddings [batch, embed_dim]."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        views = len(config.views)
        self.stem = _Conv(3, widths[0], views, stride=2)
        # A residual block at the highest resolution would cost as much as all the others.
        self.stages = nn.ModuleList(
            _Stage(widths[index - 1], widths[index], views, residual=index > 1)
            for index in range(1, len(widths))
        )
        pooled = sum(widths) * (2 if config.statistics else 1) * len(config.views)
        self.norm = nn.LayerNorm(pooled)
        self.head = nn.Sequential(
            nn.Linear(pooled, config.head_width),
            nn.GELU(),
            nn.Linear(config.head_width, config.embed_dim),
        )

    def _crops(self, pixels: Tensor, grid: int, edge: int) -> Tensor:
        """Native crops stacked along the batch, crop-major: [grid² · batch, 3, edge, edge].

        In evaluation they lie evenly; in training each lies anywhere in its cell of the grid.
        """
        height, width = pixels.shape[-2:]
        crops = []
        for row in range(grid):
            for column in range(grid):
                if self.training:
                    tall, wide = height // grid, width // grid
                    cell = pixels[
                        ..., row * tall : (row + 1) * tall, column * wide : (column + 1) * wide
                    ]
                    crops.append(_random_windows(cell, edge))
                else:
                    top = (2 * row + 1) * height // (2 * grid) - edge // 2
                    left = (2 * column + 1) * width // (2 * grid) - edge // 2
                    crops.append(pixels[..., top : top + edge, left : left + edge])
        return torch.cat(crops)

    def _pool(self, features: Tensor, batch: int) -> list[Tensor]:
        """Mean and standard deviation over crops and positions: each [batch, channels]."""
        groups = features.shape[0] // batch
        mean = features.mean((2, 3))
        if not self.config.statistics:
            return [mean.reshape(groups, batch, -1).mean(0)]
        square = (features * features).mean((2, 3)).reshape(groups, batch, -1).mean(0)
        mean = mean.reshape(groups, batch, -1).mean(0)
        return [mean, (square - mean * mean).clamp_min(0).add(1e-4).sqrt()]

    def forward(self, pixels: Tensor) -> Tensor:
        batch, _, height, _ = pixels.shape
        pooled: list[Tensor] = []
        if self.training:
            # Seven eighths of each edge, at native resolution: new content, the same quality.
            pixels = _random_windows(pixels, height * 7 // 8 // 16 * 16)
        for index, (kind, *numbers) in enumerate(self.config.views):
            if kind == "crops":
                view = self._crops(pixels, *numbers)
            else:
                view = F.avg_pool2d(pixels, numbers[0]) if numbers[0] > 1 else pixels
            x = F.relu(self.stem(view, index))
            pooled += self._pool(x, batch)
            for stage in self.stages:
                x = stage(x, index)
                pooled += self._pool(x, batch)
        return self.head(self.norm(torch.cat(pooled, 1)))


class NanoTextEncoder(nn.Module):
    """Texts → embeddings [batch, embed_dim]: hashed words, a small transformer, masked mean."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.tokens = nn.Embedding(config.buckets, width, padding_idx=0)
        self.positions = nn.Parameter(torch.randn(config.context, width) * 0.01)
        layer = nn.TransformerEncoderLayer(
            width,
            config.text_heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, config.text_layers, enable_nested_tensor=False
        )
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, config.embed_dim)
        nn.init.normal_(self.tokens.weight, std=0.05)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Token ids [len(texts), context]; longer texts are cut."""
        return tokenize(texts, self.config.context, self.config.buckets)

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
