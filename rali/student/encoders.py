"""Encoders by name: an image tower, a text tower and the preprocess that travels with them.

`nano` is this project's own (weights in the package), `timm/NAME` is any trunk of timm's under a
head into a text tower's space, and every other name is `open_clip`'s, in each of its spellings.
What differs from family to family is in one table, `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rali.runs.halving import Halving
from rali.runs.progress import Progress, silent

from .from_open_clip import find_open_clip, load_open_clip, rebuild_open_clip
from .from_timm import find_timm, load_timm, rebuild_trunk
from .nano import find_nano, load_nano
from .towers import Encoder

NANO = "nano"


def load_encoder(name: str = NANO, pretrained: str | None = None, *, text: bool = True) -> Encoder:
    """Build an encoder with its pretrained weights.

    Args:
        name: `nano`, `timm/NAME` or `timm/NAME:STAGES`, any name in `open_clip.list_models()`, with
            a tag or without (`ViT-B-32:openai`), `hf-hub:OWNER/MODEL` or `local-dir:FOLDER`.
        pretrained: `random`, a weights file, or what the family knows: a tag of open_clip's
            (`openai`, `webli`, …) or of timm's, a Python package that holds a trunk's weights, for
            nano a folder written by `rali.distill.pretrain_nano`. Default: the packaged weights
            for nano; timm's own; for others the tag in the name, else the tag `openai` where it
            fits, else one of the largest trainings.
        text: load the text tower too.

    Raises:
        InputError: an unknown name or tag, or weights that cannot be loaded.
    """
    return family_of(name).load(name, find_pretrained(name, pretrained), text)


def find_pretrained(name: str, pretrained: str | None = None) -> str | None:
    """The weights that `load_encoder` would load: a tag, a file, a folder or `random`.

    None means that open_clip has no weights of this encoder. Nothing is loaded.

    Raises:
        InputError: an unknown name, or weights that are not there.
    """
    return family_of(name).find(name, pretrained)


def image_tower(spec: dict[str, Any]) -> nn.Module:
    """The image tower of a saved `spec`, without weights."""
    return family_of(spec["name"]).rebuild(spec)


@torch.inference_mode()
def embed_batches(
    image: nn.Module, batches: Iterable[Tensor], total: int, progress: Progress = silent
) -> Iterator[Tensor]:
    """Embeddings [batch, dim] of one batch of pixels [batch, 3, S, S] after the other.

    They are on the image tower's device, whose mode and type are left as they are. A batch that
    does not fit into the memory is halved until it does, with a warning.

    Args:
        total: pictures in all batches, for `progress`.
    """
    device = next(image.parameters()).device
    done, halving = 0, Halving("embed pictures")
    for pixels in batches:
        yield torch.cat(list(halving.run(lambda part: image(part.to(device)), pixels)))
        done += len(pixels)
        progress("embed", done, total)


@dataclass(frozen=True)
class EncoderFamily:
    """What holds for all encoders of one kind.

    Attributes:
        find: takes a name and what was given as `pretrained`, returns the weights to load.
        load: takes a name, those weights and whether the text tower is wanted, returns the towers.
        rebuild: takes a saved spec, returns the image tower without weights.
        packaged: the weights come with the package.
        casts: the layers may be cast to bfloat16 or float16. Nano computes its spectra in float32.
        any_size: the image tower takes pixels of any size, not only of the preprocess's.
    """

    find: Callable[[str, str | None], str | None]
    load: Callable[[str, str | None, bool], Encoder]
    rebuild: Callable[[dict[str, Any]], nn.Module]
    packaged: bool = False
    casts: bool = True
    any_size: bool = False


OPEN_CLIP = EncoderFamily(find_open_clip, load_open_clip, rebuild_open_clip)
FAMILIES = {
    NANO: EncoderFamily(
        find_nano, load_nano, rebuild_trunk, packaged=True, casts=False, any_size=True
    ),
    "timm": EncoderFamily(find_timm, load_timm, rebuild_trunk),
    "clip": OPEN_CLIP,  # converted, under no name of open_clip's
}


def family_of(name: str) -> EncoderFamily:
    """The family of an encoder by its name; every name that is not in the table is open_clip's."""
    return FAMILIES.get(name.partition("/")[0], OPEN_CLIP)
