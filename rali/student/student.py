"""The student: an image encoder, a projection and scored bases; pixels in, scores out.

Also its folder on disk: `config.json`, `model.safetensors`, `README.md`, `onnx/` (SPEC §3).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rali.errors import InputError
from rali.files import replace_atomically
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import open_picture
from rali.scoring.model_folder import (
    CARD_FILE,
    CONFIG_FILE,
    INTERVAL_FILE,
    PHRASES_FILE,
    WEIGHTS_FILE,
    find_file,
    find_weights,
    onnx_file,
)
from rali.version import __version__

from .encoders import image_tower


@dataclass
class StudentConfig:
    """What `config.json` says besides the weights' shapes.

    Attributes:
        encoder: the spec that rebuilds the image tower.
        preprocess: size, mean, std, interpolation, resize mode.
        embed_dim: D. pca_dim: M. bases: K. buckets: N.
        temperature: τ. score_range: of every score.
        familiar: the `Student.distance` below which 99 % of the undegraded pictures are that chose
            when to stop training (where there were none, of those trained on); 0 where it was not
            measured.
        training: what it was trained on and how, in words and numbers, for the card.
        evaluation: what `rali.evaluation.evaluate` measured, for the card; empty before.
    """

    encoder: dict[str, Any]
    preprocess: dict[str, Any]
    embed_dim: int
    pca_dim: int
    bases: int
    buckets: int = 240
    temperature: float = 0.07
    score_range: tuple[float, float] = (1.0, 5.0)
    familiar: float = 0.0
    training: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model_type": "rali",
            **vars(self),
            "score_range": list(self.score_range),
            "rali_version": __version__,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = CONFIG_FILE) -> StudentConfig:
        if values.get("model_type") != "rali":
            raise InputError(
                f"{where} has model_type {values.get('model_type')!r}, expected 'rali'. "
                "Give a folder written by `rali distill`."
            )
        known = {key: values[key] for key in cls.__dataclass_fields__ if key in values}
        known["score_range"] = tuple(known.get("score_range", (1.0, 5.0)))
        try:
            return cls(**known)
        except TypeError as error:
            raise InputError(f"{where} is not complete: {error}.") from error


class Student(nn.Module):
    """Pixels [batch, 3, S, S] → (scores [batch], embeddings [batch, D])."""

    mean: Tensor
    scale: Tensor
    components: Tensor
    basis_vectors: Tensor
    basis_scores: Tensor

    def __init__(self, config: StudentConfig, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder if encoder is not None else image_tower(config.encoder)
        width, dim, count = config.embed_dim, config.pca_dim, config.bases
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("components", torch.zeros(dim, width))
        self.register_buffer("basis_vectors", torch.zeros(count, dim))
        self.register_buffer("basis_scores", torch.zeros(count))
        self.eval()

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess.from_dict(self.config.preprocess)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [batch] and embeddings [batch, D] (before PCA, not normalised)."""
        embedding = self.encoder(pixel_values)
        return self.score_embeddings(embedding), embedding

    def score_embeddings(self, embedding: Tensor) -> Tensor:
        """Scores [batch] of embeddings [batch, D] as the encoder gives them."""
        return score_from_bases(
            self._projected(embedding),
            self.basis_vectors,
            self.basis_scores,
            self.config.temperature,
        )

    def distance(self, embedding: Tensor) -> Tensor:
        """How far embeddings [batch, D] are from all bases: [batch], ≥ 0, in their own unit.

        A score depends on directions alone, so a basis stands for the ray through it: the distance
        is that to the nearest ray. What was made to please the score goes a long way in one
        direction, and is farther from its ray than photographs are.
        """
        projected = self._projected(embedding)
        directions = F.normalize(self.basis_vectors, dim=-1)
        along = (projected @ directions.T).amax(-1).clamp_min(0)
        return (projected.square().sum(-1) - along.square()).clamp_min(1e-12).sqrt()

    def _projected(self, embedding: Tensor) -> Tensor:
        return ((embedding - self.mean) / self.scale) @ self.components.T

    @torch.inference_mode()
    def score(self, pictures: Sequence[Any], batch_size: int = 8) -> np.ndarray:
        """Scores [n], 1–5, float64, of files, arrays or PIL pictures.

        Raises:
            PictureError: one of them cannot be read.
        """
        device = self.mean.device
        scores: list[float] = []
        for start in range(0, len(pictures), batch_size):
            batch = [self.preprocess(open_picture(p)) for p in pictures[start : start + batch_size]]
            pixels = torch.from_numpy(np.stack(batch)).to(device)
            scores.extend(self(pixels)[0].double().tolist())
        return np.array(scores)

    def save_pretrained(self, folder: str | Path, *, name: str = "", half: bool = False) -> Path:
        """Write `config.json`, `model.safetensors` and the card; returns the folder.

        Args:
            name: what the card calls the model and its examples load.
            half: store float16.
        """
        from safetensors.torch import save_file

        from .card import model_card

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            key: (value.half() if half and value.is_floating_point() else value)
            .detach()
            .cpu()
            .contiguous()
            for key, value in self.state_dict().items()
        }
        replace_atomically(
            folder / WEIGHTS_FILE, lambda path: save_file(state, path, metadata={"format": "pt"})
        )
        config = self.config.to_dict()
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        card = model_card(config, self.config.evaluation or None, self.config.training, name=name)
        (folder / CARD_FILE).write_text(card, "utf-8")
        return folder

    @classmethod
    def from_pretrained(cls, model: str | Path, *, revision: str | None = None) -> Student:
        """Load a model folder, a hub id, or `builtin`.

        Raises:
            InputError: nothing there, or files that are not a rali student's.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = find_weights(model, revision=revision)
        config_file = folder / CONFIG_FILE
        try:
            values = json.loads(config_file.read_text("utf-8"))
        except json.JSONDecodeError as error:
            raise InputError(f"{config_file} is not JSON: {error}.") from error
        student = cls(StudentConfig.from_dict(values, str(config_file)))
        try:
            state = load_file(folder / WEIGHTS_FILE)
            student.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
            )
        except (SafetensorError, RuntimeError) as error:
            raise InputError(
                f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE}: {error}"
            ) from error
        return student.eval()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        onnx: str | Path,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Upload the model folder; returns the commit's address.

        Args:
            repo_id: owner/name; made if it is not there.
            onnx: the file that `rali export` wrote, which `Scorer(repo_id)` loads. What `rali
                calibrate` left in its model's folder goes with it, and the table of phrases.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.save_pretrained(temporary, name=repo_id)
            target = onnx_file(folder)
            target.parent.mkdir()
            shutil.copyfile(onnx, target)
            for name in (INTERVAL_FILE, PHRASES_FILE):
                if beside := find_file(onnx, name, local=True):
                    shutil.copyfile(beside, folder / name)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder))


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 of all weights and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def score_from_bases(
    projected: Tensor, basis_vectors: Tensor, basis_scores: Tensor, temperature: Tensor | float
) -> Tensor:
    """Scores [batch] by RALI equation 3, with a temperature.

        w_i = softmax_i( cos⟨x, μ_i⟩ / τ ),   f̂ = Σ_i w_i f_i

    Args:
        projected: [batch, M]. basis_vectors: [K, M]. basis_scores: [K]. temperature: τ > 0.
    """
    cosine = F.normalize(projected, dim=-1) @ F.normalize(basis_vectors, dim=-1).T
    return (cosine / temperature).softmax(dim=-1) @ basis_scores
