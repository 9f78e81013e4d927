"""Convert the authors' released RALI to a model folder.

In: a folder with `ckpt.pt`, `pca.pkl`, `basis.npz` and `best/` (a Hugging Face CLIP), of which
nothing but arrays is ever loaded: a pickle that asks for anything else is refused and named before
it runs. Out: a student with the same scores.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rali.errors import InputError
from rali.pictures.preprocess import Preprocess

from .clip_names import to_open_clip
from .encoders import image_tower
from .student import Student, StudentConfig

# ViT-L/14 at 336 pixels with OpenAI's preprocessing, for releases without `best/`.
VIT_L = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "patch_size": 14, "image_size": 336, "hidden_act": "quick_gelu",
}  # fmt: skip
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Everything that a pickle of numpy arrays and a scikit-learn PCA asks for.
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}
_PCA = {("sklearn.decomposition._pca", "PCA"), ("sklearn.decomposition.pca", "PCA")}


def convert_official_rali(source: str | Path, output: str | Path) -> Student:
    """Read the authors' release and write a model folder; returns the student.

    Raises:
        InputError: a file is missing, refused or of another shape.
    """
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"There is no folder {source}.")
    weights = _checkpoint(source / "ckpt.pt")
    scorer = {
        key.removeprefix("scorer."): value.float()
        for key, value in weights.items()
        if key.startswith("scorer.")
    }
    missing = {"pca_components", "prototypes", "proto_scores", "logit_scale"} - set(scorer)
    if missing:
        raise InputError(f"{source / 'ckpt.pt'} lacks scorer.{', scorer.'.join(sorted(missing))}.")
    pca, basis = _pca(source / "pca.pkl"), _basis(source / "basis.npz")
    components, vectors = scorer["pca_components"], scorer["prototypes"]
    mean = torch.from_numpy(np.asarray(pca["mean_"], dtype=np.float32))
    if components.shape[1:] != mean.shape or vectors.shape[1:] != components.shape[:1]:
        raise InputError(
            f"{source}: the PCA is {tuple(components.shape)} with a mean of {tuple(mean.shape)}, "
            f"the bases are {tuple(vectors.shape)}; they do not fit together."
        )
    for name, wanted in (("pca_scale", len(mean)), ("proto_scores", len(vectors))):
        if name in scorer and scorer[name].numel() != wanted:
            raise InputError(
                f"{source / 'ckpt.pt'}: scorer.{name} has {scorer[name].numel()} numbers; "
                f"expected {wanted}."
            )
    if basis["vectors"].shape != tuple(vectors.shape):
        raise InputError(
            f"{source / 'basis.npz'} holds {basis['vectors'].shape} vectors, ckpt.pt "
            f"{tuple(vectors.shape)}; they come from different trainings."
        )
    vision, preprocess = _clip_folder(source / "best")
    spec = _spec(vision, components.shape[1])
    encoder = image_tower(spec)
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
        student.scale.copy_(scorer.get("pca_scale", torch.ones_like(mean)).reshape(-1).abs())
        student.components.copy_(components)
        student.basis_vectors.copy_(vectors)
        student.basis_scores.copy_(scorer["proto_scores"].reshape(-1))
    student.save_pretrained(output)
    return student.eval()


def _checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of `ckpt.pt`; tensors only."""
    if not path.is_file():
        raise InputError(f"There is no {path}; give the folder of RALI's release.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} is refused: it holds more than tensors, or is not a checkpoint ({reason})."
        ) from error
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise InputError(f"{path} holds no state_dict of tensors.")
    return state


class _State:
    """Takes the place of scikit-learn's PCA: it holds the attributes and does nothing."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PCA:
            return _State
        if (module, name) in _ADMITTED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _pca(path: Path) -> dict[str, Any]:
    """The attributes of a pickled PCA; only `mean_` is used."""
    if not path.is_file():
        raise InputError(f"There is no {path}; the PCA's mean is only there.")
    try:
        with path.open("rb") as file:
            found = _ArraysOnly(file).load()
    except Exception as error:  # a broken pickle raises whatever it leads to
        raise InputError(
            f"{path} is refused: nothing but a pickle of numpy arrays and scikit-learn's PCA is "
            f"read ({error})."
        ) from error
    state = found if isinstance(found, dict) else vars(found) if isinstance(found, _State) else {}
    mean = state.get("mean_")
    if not isinstance(mean, np.ndarray) or mean.ndim != 1 or mean.dtype.kind != "f":
        raise InputError(f"{path} holds no PCA with a mean_ of numbers.")
    return state


def _basis(path: Path) -> dict[str, np.ndarray]:
    """The arrays `vectors` and `scores`; pickled objects are never loaded."""
    if not path.is_file():
        raise InputError(f"There is no {path}; give the folder of RALI's release.")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in ("vectors", "scores")}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is refused: it must hold the arrays vectors and scores and no objects "
            f"({error})."
        ) from error


def _clip_folder(folder: Path) -> tuple[dict[str, Any], Preprocess]:
    """The vision settings and the preprocess of a Hugging Face CLIP folder."""
    if not folder.is_dir():
        return VIT_L, Preprocess(336, MEAN, STD, "bicubic", "shortest")
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        look = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        vision = VIT_L | config["vision_config"]
        crop = look.get("crop_size", vision["image_size"])
        size = crop["height"] if isinstance(crop, dict) else crop
        preprocess = Preprocess(
            int(size), tuple(look["image_mean"]), tuple(look["image_std"]), "bicubic", "shortest"
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is not a Hugging Face CLIP folder: {error}.") from error
    return vision, preprocess


def _spec(vision: dict[str, Any], width: int) -> dict[str, Any]:
    return {
        "name": "clip",
        "embed_dim": width,
        "quick_gelu": vision["hidden_act"] == "quick_gelu",
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "width": vision["hidden_size"],
            "layers": vision["num_hidden_layers"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "mlp_ratio": vision["intermediate_size"] / vision["hidden_size"],
        },
    }


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
