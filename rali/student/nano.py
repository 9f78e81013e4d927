"""Nano: the encoder that ships inside the package, under the built-in and for distillations.

Quality lives in fine detail and in what a picture shows, so the image tower looks twice: with a
pretrained trunk at the picture averaged over 2 × 2 pixels, and at the cosine spectra of small
blocks of every pixel. `benchmarks/nano.md` compares what was tried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from rali.errors import InputError
from rali.files import read_json
from rali.pictures.preprocess import Preprocess
from rali.scoring.model_folder import BUILTIN, CONFIG_FILE, WEIGHTS_FILE, find_weights

from .nano_text import NanoTextEncoder, TextConfig
from .storage import unpack
from .towers import RANDOM, Encoder, TextTower
from .trunk import TrunkConfig, TrunkEncoder
from .trunk_weights import find_trunk_weights, trunk_weights

TRUNK = TrunkConfig(
    trunk="tf_efficientnet_lite0",
    embed_dim=192,
    stages=(0, 1, 2, 3, 4),
    shrink=2,
    spectra=(("luma", 1, 8, 16), ("luma", 2, 8, 8), ("chroma", 4, 4, 4)),
    spectrum_width=64,
    head_width=128,
    dropout=0.5,
)
PREPROCESS = Preprocess(size=512, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize_mode="mirror")


@dataclass(frozen=True)
class NanoConfig:
    """Both towers and the preprocess; saved as `config.json` beside their weights."""

    image: TrunkConfig = TRUNK
    text: TextConfig = field(default_factory=TextConfig)
    preprocess: Preprocess = PREPROCESS

    def to_dict(self) -> dict[str, Any]:
        return {name: part.to_dict() for name, part in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NanoConfig:
        return cls(
            TrunkConfig.from_dict(values["image"]),
            TextConfig(**values["text"]),
            Preprocess.from_dict(values["preprocess"]),
        )


def packaged_nano() -> Path:
    """The folder of nano's own weights inside the package."""
    return Path(str(files("rali") / "student" / "nano_weights"))


def find_nano(name: str, pretrained: str | None) -> str:
    """The weights to load: a folder, `random`, or the trunk's alone (a file or a package).

    Raises:
        InputError: they are not there.
    """
    if pretrained == RANDOM:
        return RANDOM
    folder = Path(pretrained) if pretrained else packaged_nano()
    if (folder / CONFIG_FILE).is_file():
        return str(folder)
    if pretrained and not folder.is_dir():
        return find_trunk_weights(TRUNK.trunk, pretrained)
    raise InputError(
        f"{folder} holds no nano weights: expected {CONFIG_FILE}, image.safetensors and "
        "text.safetensors. Give a folder written by recipes/weights/pretrain_nano.py, a model "
        "folder of a nano student, or nothing for the packaged ones."
    )


def load_nano(name: str, pretrained: str | None, text: bool) -> Encoder:
    """Nano's towers, from what `find_nano` found."""
    folder = Path(pretrained or RANDOM)
    given = folder if folder.is_dir() else packaged_nano()
    config = _config_of(given)
    if folder.is_dir():
        image = TrunkEncoder(config.image)
        image.load_state_dict(_image_state(folder))
    elif pretrained in (None, RANDOM):
        image = TrunkEncoder(config.image)
    else:
        image = TrunkEncoder(config.image, trunk_weights(TRUNK.trunk, str(pretrained)))
    has_text = (given / "text.safetensors").is_file()
    return Encoder(
        spec={"name": name, "config": config.image.to_dict()},
        image=image.eval(),
        text=nano_text(given if has_text else None) if text else None,
        preprocess=config.preprocess,
        dim=config.image.embed_dim,
    )


def nano_text(folder: Path | None = None) -> TextTower:
    """Nano's text tower, by default the packaged one."""
    folder = folder or packaged_nano()
    config = _config_of(folder)
    tower = NanoTextEncoder(config.text)
    tower.load_state_dict(_read(folder / "text.safetensors"))
    return TextTower(tower, tower.tokenize, tower.is_truncated)


def _config_of(folder: Path) -> NanoConfig:
    """The architecture of nano in a folder of its own, or under a student.

    Raises:
        InputError: the student has another encoder, or the file is damaged.
    """
    file, again = folder / CONFIG_FILE, "Give another folder, or write this one again."
    values = read_json(file, again)
    try:
        if "model_type" not in values:
            return NanoConfig.from_dict(values)
        encoder = values["encoder"]
        if encoder["name"] != "nano":
            raise InputError(
                f"{folder} is a student of {encoder['name']}; expected one of nano, as it is to "
                "begin from its encoder."
            )
        image = TrunkConfig.from_dict(encoder["config"])
        return NanoConfig(image, preprocess=Preprocess.from_dict(values["preprocess"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{file} describes no nano ({error!r}). {again}") from error


def _image_state(folder: Path) -> dict[str, Tensor]:
    """The image tower's weights; the packaged ones are those of the built-in student."""
    if (folder / "image.safetensors").is_file():
        return _read(folder / "image.safetensors")
    student = find_weights(BUILTIN) if folder == packaged_nano() else folder
    prefix = "encoder."
    state = _read(student / WEIGHTS_FILE).items()
    return {key.removeprefix(prefix): value for key, value in state if key.startswith(prefix)}


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return unpack(load_file(file))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read as weights: {error}.") from error
