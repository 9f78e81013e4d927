"""An image tower on any trunk of timm's: its features pooled, a head into the text tower's space.

In: pixels [batch, 3, S, S]. Out: embeddings [batch, D]. Quality is in the spread of features as
much as in their mean, so each stage of a convolutional trunk is pooled to means *and standard
deviations*; a vision transformer's tokens to the class token, mean and maximum. Block spectra of
the same pixels may stand beside the trunk (`rali.student.spectra`).
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rali.errors import InputError, require

from .spectra import Spectrum, planes, statistics


@dataclass(frozen=True)
class TrunkConfig:
    """The architecture of an image tower; saved as JSON with the student.

    Attributes:
        trunk: timm's name of the architecture.
        embed_dim: dimension D of the embeddings.
        stages: which of the trunk's stages are pooled, from 0; empty for all. A vision
            transformer has none, and its last tokens are pooled.
        shrink: the trunk sees the picture averaged over shrink × shrink pixels.
        spectra: for each block spectrum its plane (`"luma"` or `"chroma"`), the pixels averaged
            over, the edge of a block and the distance from a block to the next.
        spectrum_width: channels of the network on each spectrum.
        head_width: hidden units between the pooled features and the embedding; 0 for none.
        dropout: share of the pooled features that a step of training does not see.
        folded: batch normalisations of the trunk are part of its convolutions. They keep what
            pretraining measured, and training takes a third of the time.
    """

    trunk: str
    embed_dim: int
    stages: tuple[int, ...] = ()
    shrink: int = 1
    spectra: tuple[tuple[str, int, int, int], ...] = ()
    spectrum_width: int = 64
    head_width: int = 0
    dropout: float = 0.0
    folded: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrunkConfig:
        def freeze(value: Any) -> Any:
            return tuple(freeze(item) for item in value) if isinstance(value, list) else value

        return cls(**{key: freeze(value) for key, value in values.items()})


class TrunkEncoder(nn.Module):
    """Pixels [batch, 3, S, S], normalised → embeddings [batch, embed_dim].

    Args:
        config: the architecture.
        state: weights of the trunk before its normalisations are folded; without, it is random.

    Raises:
        InputError: timm has no such trunk, the stages are not its own, or the weights lack some of
            the trunk's.
    """

    trunk: Any  # timm's models have no common type

    def __init__(self, config: TrunkConfig, state: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.config = config
        self.trunk, widths = _trunk(config)
        if state is not None:
            self.trunk.load_state_dict(_by_names_of(self.trunk, state))
        if config.folded:
            fold_normalisations(self.trunk.eval())
        spectra = [Spectrum(*spectrum, config.spectrum_width) for spectrum in config.spectra]
        self.spectra = nn.ModuleList(spectra)
        pooled = sum(widths) + sum(spectrum.outputs for spectrum in spectra)
        self.norm = nn.BatchNorm1d(pooled)
        width = config.head_width
        self.head = (
            nn.Sequential(nn.Linear(pooled, width), nn.GELU(), nn.Linear(width, config.embed_dim))
            if width
            else nn.Linear(pooled, config.embed_dim)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.norm(torch.cat(self.pooled(pixels), 1))
        return self.head(F.dropout(pooled, self.config.dropout, self.training))

    def pooled(self, pixels: Tensor) -> list[Tensor]:
        """The pooled features, [batch, n] each."""
        shrunk = F.avg_pool2d(pixels, self.config.shrink) if self.config.shrink > 1 else pixels
        if _has_tokens(self.trunk):
            tokens = self.trunk.forward_features(shrunk)
            first = self.trunk.num_prefix_tokens
            patches = tokens[:, first:]
            found = [tokens[:, 0]] if first else []
            found += [patches.mean(1), patches.amax(1)]
        else:
            stages = self.trunk(shrunk)
            if getattr(self.trunk, "output_fmt", "NCHW") == "NHWC":
                stages = [stage.permute(0, 3, 1, 2) for stage in stages]
            found = [part for stage in stages for part in statistics(stage)]
        if self.config.spectra:
            of = planes(pixels)
            found += [part for spectrum in self.spectra for part in spectrum(of)]
        return found


def check_timm_name(name: str) -> None:
    """Refuse a trunk that is not one of timm's own architectures, such as `hf-hub:…`.

    A model's `config.json` names its trunk, and timm would follow such a name to the Hub.

    Raises:
        InputError: timm has no such architecture.
    """
    timm = require("timm", "distill")
    if name.partition(".")[0] not in timm.list_models() or ":" in name or "/" in name:
        raise InputError(
            f"timm has no trunk called {name!r}. A place on the Hub or on this machine is not "
            "followed from a model's config.json."
        )


def _trunk(config: TrunkConfig) -> tuple[nn.Module, list[int]]:
    """The trunk, and the widths of what is pooled of it."""
    timm = require("timm", "distill")
    check_timm_name(config.trunk)
    try:
        if config.stages:
            trunk = timm.create_model(config.trunk, features_only=True, out_indices=config.stages)
            return trunk, [2 * width for width in trunk.feature_info.channels()]
        trunk = timm.create_model(config.trunk, num_classes=0)
        if _has_tokens(trunk):
            return trunk, [trunk.num_features] * (2 + bool(trunk.num_prefix_tokens))
        trunk = timm.create_model(config.trunk, features_only=True)
        return trunk, [2 * width for width in trunk.feature_info.channels()]
    except Exception as error:  # timm raises many types
        raise InputError(
            f"timm cannot build {config.trunk!r} with stages {list(config.stages) or 'all'}: "
            f'{error}. `python -c "import timm; print(timm.list_models())"` prints its names.'
        ) from error


def _by_names_of(trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The trunk's part of a whole model's weights.

    timm flattens models whose stages it returns: `stages.0.norm` is `stages_0.norm` there, or
    `model.stages.0.norm`.
    """

    def key(name: str) -> str:
        return name.removeprefix("model.").replace(".", "_")

    own = trunk.state_dict()
    known = {key(name): value for name, value in state.items()}
    found = {name: known[key(name)] for name in own if key(name) in known}
    missing = [name for name in own if name not in found or found[name].shape != own[name].shape]
    if missing:
        raise InputError(
            f"The weights hold nothing that fits {len(missing)} of the trunk's {len(own)} tensors, "
            f"such as {missing[0]}; give those of this trunk."
        )
    return found


def _has_tokens(trunk: nn.Module) -> bool:
    return hasattr(trunk, "num_prefix_tokens")


def fold_normalisations(module: nn.Module) -> None:
    """Make each batch normalisation part of the convolution before it, in place.

    What follows the normalisation in the same layer (timm's activation) stays.
    """
    children = list(module.named_children())
    for (name, before), (after_name, after) in itertools.pairwise(children):
        if (
            isinstance(before, nn.Conv2d)
            and isinstance(after, nn.BatchNorm2d)
            and before.out_channels == after.num_features
        ):
            setattr(module, name, fuse_conv_bn_eval(before, after))
            rest = [part for part in after.children() if not isinstance(part, nn.Identity)]
            setattr(module, after_name, nn.Sequential(*rest))
    for _, child in module.named_children():
        fold_normalisations(child)
