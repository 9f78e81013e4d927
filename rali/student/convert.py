"""Convert the authors' released RALI to a model folder.

In: a folder with `ckpt.pt`, `pca.pkl`, `basis.npz` and `best/` (a Hugging Face CLIP), of which
nothing but arrays is ever made: a pickle that asks for anything else is refused, and what it asks
for is named. Out: a student with the same scores.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rali.errors import InputError
from rali.files import read_json
from rali.pictures.preprocess import Preprocess

from .clip_names import to_open_clip
from .encoders import image_tower
from .pickled import PickleRefusedError, array, read_pca
from .student import Student, StudentConfig
from .tensors_only import read_checkpoint

# ViT-L/14 at 336 pixels with OpenAI's preprocessing, for releases without `best/`.
VIT_L = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "patch_size": 14, "image_size": 336, "hidden_act": "quick_gelu",
}  # fmt: skip
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MOST_BYTES = 2**28  # of pca.pkl and of basis.npz


def convert_official_rali(source: str | Path, output: str | Path) -> Student:
    """Read the authors' release and write a model folder; returns the student.

    Raises:
        InputError: a file is missing, refused or of another shape.
    """
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"There is no folder {source}.")
    weights = read_checkpoint(_there(source / "ckpt.pt"))
    scorer = _numbers(source) | {
        key.removeprefix("scorer.").removeprefix("pca_"): value.float()
        for key, value in weights.items()
        if key.startswith("scorer.")
    }
    missing = {"components", "prototypes", "proto_scores", "logit_scale"} - set(scorer)
    if missing:
        names = [f"scorer.{'pca_' * (name == 'components')}{name}" for name in sorted(missing)]
        raise InputError(f"{source / 'ckpt.pt'} lacks {', '.join(names)}.")
    mean, components, vectors = scorer["mean"], scorer["components"], scorer["prototypes"]
    if components.shape[1:] != mean.shape or vectors.shape[1:] != components.shape[:1]:
        raise InputError(
            f"{source}: the PCA is {tuple(components.shape)} with a mean of {tuple(mean.shape)}, "
            f"the bases are {tuple(vectors.shape)}; they do not fit together."
        )
    sizes = {"scale": len(mean), "proto_scores": len(vectors), "logit_scale": 1}
    for name, wanted in sizes.items():
        if name in scorer and scorer[name].numel() != wanted:
            raise InputError(
                f"{source}: the scorer's {name} has {scorer[name].numel()} numbers; expected "
                f"{wanted}."
            )
    broken = [name for name, value in scorer.items() if not value.isfinite().all()]
    if broken or scorer["logit_scale"].item() <= 0:
        raise InputError(
            f"{source}: the scorer's {broken[0] if broken else 'logit_scale'} is not of finite "
            "numbers, or not above 0."
        )
    if (held := _vectors_shape(source)) != tuple(vectors.shape):
        raise InputError(
            f"{source / 'basis.npz'} holds {held} vectors, ckpt.pt {tuple(vectors.shape)}; they "
            "come from different trainings."
        )
    vision, preprocess = _clip_folder(source / "best")
    spec = _spec(vision, components.shape[1], source / "best")
    try:
        encoder = image_tower(spec)
    except Exception as error:  # torch raises many types for sizes that do not fit together
        raise InputError(
            f"No encoder has the sizes that {source / 'best'} names: {error}."
        ) from error
    _load_encoder(encoder, weights, source / "ckpt.pt")
    student = Student(
        StudentConfig(
            encoder=spec,
            preprocess=preprocess.to_dict(),
            embed_dim=components.shape[1],
            pca_dim=components.shape[0],
            bases=vectors.shape[0],
            temperature=1.0 / float(scorer["logit_scale"]),
            training={"source": "the authors' release of RALI, converted"},
        ),
        encoder,
    )
    with torch.no_grad():
        student.mean.copy_(mean)
        student.scale.copy_(scorer.get("scale", torch.ones_like(mean)).reshape(-1).abs())
        student.components.copy_(components)
        student.basis_vectors.copy_(vectors)
        student.basis_scores.copy_(scorer["proto_scores"].reshape(-1))
    student.save_pretrained(output)
    return student.eval()


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"There is no {path}; give the folder of RALI's release.")
    return path


def _numbers(source: Path) -> dict[str, Tensor]:
    """The PCA's `mean` and, where it has variances, `scale` [D], float32."""
    path = _there(source / "pca.pkl")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PickleRefusedError(f"it is larger than {MOST_BYTES >> 20} MiB")
        state = read_pca(path.read_bytes())
        found = {name: array(state[name]) for name in ("mean_", "var_") if name in state}
    except (PickleRefusedError, OSError) as error:
        raise InputError(
            f"{path} is refused: nothing but a pickle of numpy arrays and scikit-learn's PCA is "
            f"read, and {error}."
        ) from error
    if any(value.ndim != 1 or value.dtype.kind != "f" for value in found.values()):
        found = {}
    if "mean_" not in found:
        raise InputError(f"{path} holds no PCA with a mean_ of numbers.")
    numbers = {"mean": torch.from_numpy(found["mean_"].astype(np.float32))}
    if "var_" in found:  # an IncrementalPCA's; the release divides by the square root
        scale = np.sqrt(found["var_"].astype(np.float64))
        scale[~(scale >= 1e-10)] = 1
        numbers["scale"] = torch.from_numpy(scale.astype(np.float32))
    return numbers


def _vectors_shape(source: Path) -> tuple[int, ...]:
    """The shape of the array `vectors`; pickled objects are never loaded."""
    path = _there(source / "basis.npz")
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name].shape for name in ("vectors", "scores")}["vectors"]
    except Exception as error:  # a broken archive raises whatever it leads to
        raise InputError(
            f"{path} is refused: it must hold the arrays vectors and scores and no objects "
            f"({error})."
        ) from error


def _clip_folder(folder: Path) -> tuple[dict[str, Any], Preprocess]:
    """The vision settings and the preprocess of a Hugging Face CLIP folder."""
    if not folder.is_dir():
        return VIT_L, Preprocess(336, MEAN, STD, "bicubic", "shortest")
    try:
        again = "Give the folder as it was released."
        config = read_json(folder / "config.json", again)
        look = read_json(folder / "preprocessor_config.json", again)
        vision = VIT_L | config["vision_config"]
        crop = look.get("crop_size", vision["image_size"])
        size = crop["height"] if isinstance(crop, dict) else crop
        preprocess = Preprocess(
            int(size), tuple(look["image_mean"]), tuple(look["image_std"]), "bicubic", "shortest"
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{folder} is not a Hugging Face CLIP folder: {error}.") from error
    return vision, preprocess


def _spec(vision: dict[str, Any], width: int, folder: Path) -> dict[str, Any]:
    try:
        return {
            "name": "clip",
            "embed_dim": width,
            "quick_gelu": vision["hidden_act"] == "quick_gelu",
            "vision_cfg": {
                "image_size": int(vision["image_size"]),
                "patch_size": int(vision["patch_size"]),
                "width": int(vision["hidden_size"]),
                "layers": int(vision["num_hidden_layers"]),
                "head_width": vision["hidden_size"] // vision["num_attention_heads"],
                "mlp_ratio": vision["intermediate_size"] / vision["hidden_size"],
            },
        }
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{folder} is not a Hugging Face CLIP folder: {error}.") from error


def _load_encoder(encoder: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load `clip.*` into open_clip's tower; the release has Hugging Face's names."""
    clip = {k.removeprefix("clip."): v.float() for k, v in weights.items() if k.startswith("clip.")}
    try:
        named = clip if "visual.conv1.weight" in clip else to_open_clip(clip)
    except KeyError as error:
        raise InputError(f"The encoder in {path} lacks {error}.") from error
    state = {k.removeprefix("visual."): v for k, v in named.items() if k.startswith("visual.")}
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"The encoder in {path} does not fit best/config.json: {reason}"
        ) from error
