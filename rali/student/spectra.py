"""Cosine spectra of small blocks: what blur, noise and compression change, at every place.

In: the luma or chroma plane of a picture. Out: means and standard deviations of the logarithms of
its spectrum, and of a small network on each block's. Convolutions followed by rectifiers have to
build a block edge, or the ratio between two frequencies, from sums; here it is a difference.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LOG_FLOOR = 0.01  # two thirds of a grey level: nothing below it is seen
PLANES = {"luma": 1, "chroma": 2}  # channels of each plane


def planes(pixels: Tensor) -> dict[str, Tensor]:
    """Luma [batch, 1, H, W] and chroma [batch, 2, H, W] of pixels [batch, 3, H, W]."""
    red, green, blue = pixels.split(1, 1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return {"luma": luma, "chroma": torch.cat([0.564 * (blue - luma), 0.713 * (red - luma)], 1)}


def statistics(features: Tensor) -> list[Tensor]:
    """Mean and standard deviation over positions of [batch, channels, H, W]."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    mean = features.mean((2, 3))
    square = (features * features).mean((2, 3))
    return [mean, (square - mean * mean).clamp_min(0).add(1e-4).sqrt()]


class Spectrum(nn.Module):
    """Logarithms of the cosine spectrum of small blocks, and a small network on each block's.

    Blur empties the high frequencies, noise fills all alike, compression and quantization leave
    few of them. Each is a factor, which the logarithm turns into a distance.

    Args:
        kind: the plane, a key of `PLANES`.
        shrink: pixels averaged over, per edge.
        edge: edge of a block, in averaged pixels.
        stride: distance from a block to the next.
        width: channels of the network.
    """

    cosines: Tensor
    constant: Tensor

    def __init__(self, kind: str, shrink: int, edge: int, stride: int, width: int) -> None:
        super().__init__()
        self.kind, self.shrink, self.stride = kind, shrink, stride
        self.groups = PLANES[kind]
        channels = self.groups * edge * edge
        self.register_buffer("cosines", _cosines(edge).repeat(self.groups, 1, 1, 1), False)
        constant = torch.zeros(1, channels, 1, 1)
        constant[0, :: edge * edge] = 1.0  # a block's mean has a sign, so no logarithm is taken
        self.register_buffer("constant", constant, persistent=False)
        self.norm = nn.BatchNorm2d(channels)
        self.network = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.outputs = 2 * (channels + width)

    def forward(self, of: dict[str, Tensor]) -> list[Tensor]:
        """The statistics, [batch, n] each, of planes as `planes` gives them."""
        plane = of[self.kind]
        with torch.autocast(plane.device.type, enabled=False):  # bfloat16 is coarser than noise
            if self.shrink > 1:
                plane = F.avg_pool2d(plane, self.shrink)
            spectrum = F.conv2d(plane, self.cosines, stride=self.stride, groups=self.groups)
            logarithms = torch.log(spectrum.abs() + LOG_FLOOR)
            x = self.norm(torch.where(self.constant > 0, spectrum, logarithms))
        return statistics(x) + statistics(self.network(x))


def _cosines(edge: int) -> Tensor:
    """The orthonormal discrete cosine transform (type II) of blocks: [edge², 1, edge, edge]."""
    place = torch.arange(edge, dtype=torch.float64)
    basis = torch.cos(math.pi / edge * (place + 0.5) * place[:, None]) * math.sqrt(2 / edge)
    basis[0] /= math.sqrt(2)
    blocks = torch.einsum("ux,vy->uvxy", basis, basis)
    return blocks.reshape(edge * edge, 1, edge, edge).float()
