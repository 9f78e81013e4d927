"""Nano: an image encoder and a text tower small enough to ship inside the package.

In: pixels [batch, 3, S, S] and token ids [batch, context]. Out: embeddings [batch, dim] in one
space, as from CLIP. Quality lives in fine detail, so the image encoder looks twice: at a
shrunken whole picture (exposure, colour, composition) with a convolutional trunk, and at the
cosine spectra of small native-resolution blocks (blur, noise, blocking, banding) with a small
network on their logarithms. Both are pooled to means *and standard deviations*, the statistics
that hand-made quality measures are built on. `benchmarks/nano.md` compares what was tried.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LOG_FLOOR = 0.01  # two thirds of a grey level: nothing below it is seen
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]")


@dataclass(frozen=True)
class NanoConfig:
    """The architecture of both towers; saved as JSON beside the weights.

    Attributes:
        size: edge S of the input, in pixels.
        embed_dim: dimension D of the shared space.
        shrink: the trunk sees the picture averaged over shrink × shrink pixels.
        widths: channels of the trunk's stages, each at half the resolution of the one before.
        spectra: for each block spectrum its plane (`"luma"` or `"chroma"`), the pixels averaged
            over, the edge of a block and the distance from a block to the next.
        spectrum_width: channels of the network on each spectrum.
        head_width: hidden units between the pooled statistics and the embedding.
        text_width, text_layers, text_heads: the text transformer.
        context: tokens per text; longer texts are cut.
        buckets: size of the hashed vocabulary.
    """

    size: int = 512
    embed_dim: int = 192
    shrink: int = 4
    widths: tuple[int, ...] = (16, 32, 64, 128)
    spectra: tuple[tuple[str, int, int, int], ...] = (
        ("luma", 1, 8, 16),
        ("luma", 2, 8, 8),
        ("chroma", 4, 4, 4),
    )
    spectrum_width: int = 64
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

    Hashing (CRC-32) needs no vocabulary file, and a word that pretraining never saw still gets an
    id of its own rather than a shared "unknown".
    """
    ids = torch.zeros(len(texts), context, dtype=torch.long)
    for row, text in enumerate(texts):
        words = _WORD.findall(text.lower())[:context]
        hashed = [1 + zlib.crc32(word.encode()) % (buckets - 1) for word in words]
        ids[row, : len(hashed)] = torch.tensor(hashed, dtype=torch.long)
    return ids


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def _statistics(features: Tensor) -> list[Tensor]:
    """Mean and standard deviation over positions of [batch, channels, H, W]."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    mean = features.mean((2, 3))
    square = (features * features).mean((2, 3))
    return [mean, (square - mean * mean).clamp_min(0).add(1e-4).sqrt()]


class _Stage(nn.Module):
    """Halve the resolution, and add a residual block where one is wanted."""

    def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
        super().__init__()
        self.down = _conv(inputs, outputs, stride=2)
        self.body = (
            nn.Sequential(_conv(outputs, outputs), nn.ReLU(), _conv(outputs, outputs))
            if residual
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down(x))
        return x if self.body is None else F.relu(x + self.body(x))


class _Spectrum(nn.Module):
    """Logarithms of the cosine spectrum of small blocks, and a small network on each block's.

    Blur empties the high frequencies, noise fills all alike, compression and quantization leave
    few of them. Each is a factor, which the logarithm turns into a distance.
    """

    cosines: Tensor
    constant: Tensor

    def __init__(self, planes: int, shrink: int, edge: int, stride: int, width: int) -> None:
        super().__init__()
        self.planes, self.shrink, self.stride = planes, shrink, stride
        channels = planes * edge * edge
        self.register_buffer("cosines", _cosines(edge).repeat(planes, 1, 1, 1), persistent=False)
        constant = torch.zeros(1, channels, 1, 1)
        constant[0, :: edge * edge] = 1.0  # a block's mean has a sign, so no logarithm is taken
        self.register_buffer("constant", constant, persistent=False)
        self.norm = nn.BatchNorm2d(channels)
        self.network = nn.Sequential(
            _conv(channels, width, 1), nn.ReLU(), _conv(width, width, 1), nn.ReLU()
        )
        self.outputs = 2 * (channels + width)

    def forward(self, planes: Tensor) -> list[Tensor]:
        with torch.autocast(planes.device.type, enabled=False):  # bfloat16 is coarser than noise
            if self.shrink > 1:
                planes = F.avg_pool2d(planes, self.shrink)
            spectrum = F.conv2d(planes, self.cosines, stride=self.stride, groups=self.planes)
            logarithms = torch.log(spectrum.abs() + LOG_FLOOR)
            x = self.norm(torch.where(self.constant > 0, spectrum, logarithms))
        return _statistics(x) + _statistics(self.network(x))


def _cosines(edge: int) -> Tensor:
    """The orthonormal discrete cosine transform (type II) of blocks: [edge², 1, edge, edge]."""
    place = torch.arange(edge, dtype=torch.float64)
    basis = torch.cos(math.pi / edge * (place + 0.5) * place[:, None]) * math.sqrt(2 / edge)
    basis[0] /= math.sqrt(2)
    blocks = torch.einsum("ux,vy->uvxy", basis, basis)
    return blocks.reshape(edge * edge, 1, edge, edge).float()


def _random_windows(pixels: Tensor, edge: int) -> Tensor:
    """One random window of each picture of [batch, 3, H, W]: [batch, 3, edge, edge]."""
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
        self.stem = _conv(3, widths[0], stride=2)
        # A residual block at the highest resolution would cost as much as all the others.
        self.stages = nn.ModuleList(
            _Stage(widths[index - 1], widths[index], residual=index > 1)
            for index in range(1, len(widths))
        )
        spectra = [
            _Spectrum({"luma": 1, "chroma": 2}[kind], shrink, edge, stride, config.spectrum_width)
            for kind, shrink, edge, stride in config.spectra
        ]
        self.spectra = nn.ModuleList(spectra)
        pooled = 2 * sum(widths) + sum(spectrum.outputs for spectrum in spectra)
        self.norm = nn.BatchNorm1d(pooled)
        self.head = nn.Sequential(
            nn.Linear(pooled, config.head_width),
            nn.GELU(),
            nn.Linear(config.head_width, config.embed_dim),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        if self.training:
            # Seven eighths of each edge, at native resolution: new content, the same quality.
            pixels = _random_windows(pixels, pixels.shape[-1] * 7 // 8 // 16 * 16)
        x = F.relu(self.stem(F.avg_pool2d(pixels, self.config.shrink)))
        pooled = _statistics(x)
        for stage in self.stages:
            x = stage(x)
            pooled += _statistics(x)
        red, green, blue = pixels.split(1, 1)
        luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        planes = {
            "luma": luma,
            "chroma": torch.cat([0.564 * (blue - luma), 0.713 * (red - luma)], 1),
        }
        for (kind, *_), spectrum in zip(self.config.spectra, self.spectra, strict=True):
            pooled += spectrum(planes[kind])
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
