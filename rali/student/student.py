"""The student: an image encoder, a projection and scored bases; pixels in, scores out.

Also its folder on disk (docs/formats.md): `config.json`, `model.safetensors`, `README.md`, `onnx/`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rali.errors import InputError, shortened
from rali.files import read_json, write_text
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import open_picture, pictures_in
from rali.report.evaluation import Evaluation
from rali.runs.progress import Progress, renamed, silent
from rali.scoring.model_folder import (
    CARD_FILE,
    CONFIG_FILE,
    INTERVAL_FILE,
    PHRASES_FILE,
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    find_file,
    find_weights,
    onnx_file,
    remove_exports,
)
from rali.scoring.session import is_range
from rali.version import __version__

from .encoders import embed_batches, image_tower
from .storage import Storage, pack, unpack, write_tensors


@dataclass
class StudentConfig:
    """What `config.json` holds.

    Attributes:
        encoder: the spec that rebuilds the image tower.
        preprocess: size, mean, std, interpolation, resize mode.
        embed_dim: D. pca_dim: M. bases: K. buckets: N.
        temperature: τ. score_range: the range of all scores.
        familiar: the 99 % quantile of `Student.distance` over the undegraded val pictures (without
            any, over those trained on); 0 where it was not measured.
        training: what it was trained on and how, in words and numbers, for the card.
        evaluation: the result of `rali.evaluation.evaluate`, for the card; None before.
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
    evaluation: Evaluation | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "model_type": "rali",
            **vars(self),
            "score_range": list(self.score_range),
            "evaluation": {} if self.evaluation is None else self.evaluation.to_dict(),
            "rali_version": __version__,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = CONFIG_FILE) -> StudentConfig:
        """Read what `to_dict` wrote.

        Raises:
            InputError: a value is missing or of the wrong kind; the message names `where`.
        """
        kind = values.get("model_type") if isinstance(values, dict) else type(values).__name__
        if kind != "rali":
            raise InputError(
                f"{where} has model_type {kind!r}, expected 'rali'. "
                "Give a folder written by `rali distill`."
            )
        fields = {key: values[key] for key in cls.__dataclass_fields__ if key in values}
        if not is_range(bounds := fields.get("score_range") or [1.0, 5.0]):
            raise InputError(
                f"{where} has score_range {shortened(repr(bounds))}, expected two numbers, the "
                "lower first."
            )
        fields["score_range"] = tuple(bounds)
        stored = fields.get("evaluation")
        fields["evaluation"] = Evaluation.from_dict(stored) if stored else None
        try:
            config = cls(**fields)
        except TypeError as error:
            raise InputError(f"{where} is not complete: {error}.") from error
        Preprocess.from_dict(config.preprocess)
        for name in ("embed_dim", "pca_dim", "bases"):
            value = getattr(config, name)
            if not isinstance(value, int) or not 0 < value < 2**24:
                raise InputError(f"{where} has {name} {value!r}, expected a whole number above 0.")
        if not isinstance(config.temperature, int | float) or not 0 < config.temperature < 1e9:
            raise InputError(f"{where} needs a temperature, a number above 0.")
        encoder = config.encoder
        if not isinstance(encoder, dict) or not isinstance(encoder.get("name"), str):
            raise InputError(f"{where} does not name its encoder.")
        return config


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
            self.project(embedding),
            self.basis_vectors,
            self.basis_scores,
            self.config.temperature,
        )

    def distance(self, embedding: Tensor) -> Tensor:
        """Distance [batch], ≥ 0, of embeddings [batch, D] to the nearest basis, after PCA.

        A score depends on directions alone, so a basis stands for the ray through it, and the
        distance to a ray is taken. Pictures made to please the score lie far out in one direction,
        and farther from their ray than photographs do.
        """
        projected = self.project(embedding)
        directions = F.normalize(self.basis_vectors, dim=-1)
        along = (projected @ directions.T).amax(-1).clamp_min(0)
        return (projected.square().sum(-1) - along.square()).clamp_min(1e-12).sqrt()

    def project(self, embedding: Tensor) -> Tensor:
        """Embeddings [batch, D], centred, scaled and projected by PCA: [batch, M]."""
        return ((embedding - self.mean) / self.scale) @ self.components.T

    @torch.inference_mode()
    def score(
        self, pictures: Any, batch_size: int = 8, *, progress: Progress = silent
    ) -> np.ndarray:
        """Scores [n], 1–5, float64, of files, arrays or PIL pictures, or of a folder's.

        Raises:
            PictureError: one of them cannot be read.
        """
        embedded = self._embedded(pictures, batch_size, renamed(progress, "score"))
        scores = [self.score_embeddings(embedding).double().cpu() for embedding in embedded]
        return torch.cat([torch.empty(0, dtype=torch.double), *scores]).numpy()

    def embed(
        self, pictures: Any, batch_size: int = 8, *, progress: Progress = silent
    ) -> np.ndarray:
        """Embeddings [n, D] before PCA, float32, of files, arrays or PIL pictures, or a folder's.

        Raises:
            PictureError: one of them cannot be read.
        """
        embedded = self._embedded(pictures, batch_size, progress)
        parts = [embedding.float().cpu().numpy() for embedding in embedded]
        return np.concatenate([np.empty((0, self.config.embed_dim), np.float32), *parts])

    def _embedded(self, pictures: Any, batch_size: int, progress: Progress) -> Iterator[Tensor]:
        """Embeddings [batch, D] of one batch after the other, on the student's device."""
        pictures = pictures_in(pictures)
        if not isinstance(pictures, Sequence | np.ndarray):
            pictures = list(pictures)

        def pixels(start: int) -> Tensor:
            some = pictures[start : start + batch_size]
            return torch.from_numpy(np.stack([self.preprocess(open_picture(p)) for p in some]))

        batches = map(pixels, range(0, len(pictures), batch_size))
        return embed_batches(self.encoder, batches, len(pictures), progress)

    def save_pretrained(
        self, folder: str | Path, *, name: str = "", storage: Storage = "float32"
    ) -> Path:
        """Write `config.json`, `model.safetensors` and the card; returns the folder.

        Exports, phrases and interval of another student in the folder are removed; a README that is
        not a card of rali's stays.

        Args:
            name: the model's name on the card, which the card's examples load.
            storage: how the weights are stored: `float32`, `float16`, or `int8` (large
                kernels and matrices as whole numbers, the rest in float16).
        """
        from .card import has_own_readme, model_card

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = pack(self.state_dict(), storage)
        digest = sha256_of(state if storage == "float32" else unpack(state))
        config = self.config.to_dict() | {WEIGHTS_SHA256: digest}
        text = json.dumps(config, indent=2) + "\n"
        remove_exports(folder, text)  # first: they would be used for scoring
        write_tensors(state, folder / WEIGHTS_FILE, {"format": "pt", WEIGHTS_SHA256: digest})
        write_text(folder / CONFIG_FILE, text, durable=True)
        if not has_own_readme(folder):
            card = model_card(config, self.config.evaluation, self.config.training, name=name)
            write_text(folder / CARD_FILE, card)
        return folder

    @classmethod
    def from_pretrained(cls, model: str | Path, *, revision: str | None = None) -> Student:
        """Load `builtin`, a model folder or a Hub id.

        Raises:
            InputError: there is no such model, or its files are not those of a rali student.
        """
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        folder = find_weights(model, revision=revision)
        config_file = folder / CONFIG_FILE
        values = read_json(config_file, "Write or copy the folder again.")
        config = StudentConfig.from_dict(values, str(config_file))
        try:
            student = cls(config)
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"{config_file} describes no encoder that can be built: {error}."
            ) from error
        try:
            with safe_open(folder / WEIGHTS_FILE, "pt") as file:
                written, noted = (file.metadata() or {}), values.get(WEIGHTS_SHA256)
            if noted and written.get(WEIGHTS_SHA256, noted) != noted:
                raise InputError(
                    f"{folder / WEIGHTS_FILE} and {config_file} are of two students: writing one "
                    "of them was stopped. Write the folder again, as with the same `rali distill`."
                )
            student.load_state_dict(unpack(load_file(folder / WEIGHTS_FILE)))
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
        """Upload the model folder to the Hub; returns the address of the commit.

        Args:
            repo_id: owner/name; the repository is created where it does not exist.
            onnx: the file that `rali export` wrote, which `Scorer(repo_id)` loads. The interval of
                `rali calibrate` and the table of phrases are uploaded from its model folder.

        Raises:
            InputError: `onnx` is of another student.
        """
        from huggingface_hub import HfApi

        from rali.scoring.scorer import Scorer

        exported = Scorer(onnx).metadata.get(WEIGHTS_SHA256)
        if exported and exported != weights_sha256(self):
            raise InputError(
                f"{onnx} was exported from other weights than this student's. Type: rali export "
                "MODEL_FOLDER, and give that file."
            )
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
    return sha256_of(module.state_dict())


def sha256_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of all tensors with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def score_from_bases(
    projected: Tensor, basis_vectors: Tensor, basis_scores: Tensor, temperature: Tensor | float
) -> Tensor:
    """Scores [batch] by RALI's equation 3, with a temperature.

        w_i = softmax_i( cos⟨x, μ_i⟩ / τ ),   f̂ = Σ_i w_i f_i

    Args:
        projected: [batch, M]. basis_vectors: [K, M]. basis_scores: [K]. temperature: τ > 0.
    """
    cosine = F.normalize(projected, dim=-1) @ F.normalize(basis_vectors, dim=-1).T
    return (cosine / temperature).softmax(dim=-1) @ basis_scores
