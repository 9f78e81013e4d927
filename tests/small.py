"""Small models and pictures that several tests share."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from rali.distill.stream import View
from rali.pictures.preprocess import Preprocess
from rali.student.nano import NanoConfig
from rali.student.nano_text import NanoTextEncoder, TextConfig
from rali.student.towers import Encoder, TextTower
from rali.student.trunk import TrunkConfig, TrunkEncoder

if TYPE_CHECKING:
    from rali.data.manifest import Row
    from rali.data.triplets import Triplet
    from rali.distill.pipeline import DistillConfig
    from rali.student.student import Student

SMALL = NanoConfig(
    image=TrunkConfig(
        "test_efficientnet",
        embed_dim=24,
        stages=(0, 1),
        shrink=2,
        spectra=(("luma", 1, 8, 8), ("chroma", 2, 4, 4)),
        spectrum_width=8,
        head_width=16,
    ),
    text=TextConfig(embed_dim=24, width=16, heads=2, layers=1, buckets=256),
    preprocess=Preprocess(size=64, mean=(0.5,) * 3, std=(0.25,) * 3, resize_mode="mirror"),
)


def small_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    text = NanoTextEncoder(SMALL.text)
    return Encoder(
        spec={"name": "nano", "config": SMALL.image.to_dict()},
        image=TrunkEncoder(SMALL.image).eval(),
        text=TextTower(text, text.tokenize, text.is_truncated),
        preprocess=SMALL.preprocess,
        dim=SMALL.image.embed_dim,
    )


@dataclass(frozen=True)
class SmallRun:
    """A finished distillation of `small_encoder`, and what it was made from."""

    config: DistillConfig
    rows: list[Row]
    triplets: list[Triplet]
    folder: Path
    student: Student

    def copy_to(self, folder: Path) -> Path:
        """A copy of the run folder that a test may continue."""
        return shutil.copytree(self.folder, folder)


class Pixels:
    """Six fixed pictures with the surface of PictureBatches."""

    preprocess = Preprocess(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)

    def __init__(self, count: int = 6) -> None:
        self.data = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.data)

    def name(self, index: int) -> str:
        return f"picture {index}"

    kept = False

    def read(self, view: View) -> np.ndarray:
        batch = self.data[torch.as_tensor(view.indices)]
        mirrored = torch.as_tensor(view.flip)
        return torch.where(mirrored[:, None, None, None], batch.flip(3), batch).numpy()

    def normalised(self, stack: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(stack)

    def pixels(self, indices, *, flip=False):
        return self.normalised(self.read(View(indices, np.broadcast_to(flip, len(indices)).copy())))


def tower(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.Linear(16, 4))


# Vision towers as open_clip builds them, with the width of their embeddings.
TOWERS: dict[str, tuple[dict[str, Any], int]] = {
    "open_clip": (
        {"layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 64}, 24,
    ),
    "timm": ({"timm_model_name": "test_vit", "timm_pool": "avg", "image_size": 160}, 64),
    "several branches": (
        {"timm_model_name": "repvgg_a0", "timm_pool": "avg", "image_size": 64}, 1280,
    ),
}  # fmt: skip


def tower_student(kind: str, **changes: int) -> Student:
    """A student with random weights of one of `TOWERS`, whose normalisations all differ.

    Equal ones would be merged on export. `changes` are of the tower's description.
    """
    from rali.student.encoders import image_tower
    from rali.student.student import Student, StudentConfig

    torch.manual_seed(0)
    vision, width = TOWERS[kind]
    vision = vision | changes
    if "timm_model_name" in vision:
        vision = {**vision, "timm_model_pretrained": False, "timm_proj": None}
    spec = {"name": "clip", "vision_cfg": vision, "embed_dim": width, "quick_gelu": False}
    encoder = image_tower(spec)
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
    preprocess = Preprocess(size=vision["image_size"], mean=(0.5,) * 3, std=(0.5,) * 3)
    config = StudentConfig(spec, preprocess.to_dict(), width, pca_dim=8, bases=6)
    return with_random_bases(Student(config, encoder))


def with_random_bases(student: Student) -> Student:
    """The student with random components and bases, whose scores are spread over the range."""
    for buffer in (student.components, student.basis_vectors):
        nn.init.normal_(buffer)
    student.basis_scores.copy_(torch.linspace(1, 5, student.config.bases))
    return student.eval()


# Heights and widths of pictures: each case of a resize and a crop.
SHAPES = (
    (512, 512),
    (427, 640),
    (640, 400),
    (300, 301),
    (100, 90),
    (80, 700),
    (900, 100),
    (512, 700),
    (96, 9),
    (12, 96),
)


def photograph(height: int, width: int) -> np.ndarray:
    """One of scikit-learn's two photographs, resized: uint8 [height, width, 3]."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    image = Image.fromarray(load_sample_images().images[(height + width) % 2])
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def as_tensor(*pictures: np.ndarray) -> torch.Tensor:
    """Pictures uint8 [H, W, 3] of one size as floats [n, 3, H, W], 0–1."""
    return torch.stack([torch.from_numpy(each.copy()).permute(2, 0, 1) for each in pictures]) / 255
