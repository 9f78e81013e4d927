"""The authors' release of RALI, built at small size."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

WIDTH, DIM, BASES, SIZE = 24, 16, 12, 32


def small_clip() -> Any:
    """A random CLIP as Hugging Face has it."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": 99, "max_position_embeddings": 20,
        },
        vision_config={
            "hidden_size": 48, "intermediate_size": 120, "num_hidden_layers": 3,
            "num_attention_heads": 4, "patch_size": 8, "image_size": SIZE,
            "hidden_act": "quick_gelu",
        },
        projection_dim=WIDTH,
    )  # fmt: skip
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # layer norms too, so that none is the identity
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def write_release(clip: Any, folder: Path) -> Path:
    """Write ckpt.pt, pca.pkl, basis.npz and best/ as the authors ship them; returns the folder."""
    from sklearn.decomposition import PCA
    from transformers import CLIPImageProcessor

    draw = np.random.default_rng(0)
    pca = PCA(DIM).fit(draw.normal(size=(60, WIDTH)) + 1.5)
    scorer = {
        "pca_scale": torch.from_numpy(-draw.uniform(0.5, 2, WIDTH)).float(),
        "pca_components": torch.from_numpy(pca.components_).float(),
        "prototypes": torch.from_numpy(draw.normal(size=(BASES, DIM))).float(),
        "proto_scores": torch.from_numpy(draw.uniform(1, 5, BASES)).float(),
        "logit_scale": torch.tensor(1 / 0.07),
    }
    state = {f"clip.{k}": v for k, v in clip.state_dict().items()}
    state |= {f"scorer.{k}": v for k, v in scorer.items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "ckpt.pt")
    with (folder / "pca.pkl").open("wb") as file:
        pickle.dump(pca, file)
    np.savez(
        folder / "basis.npz",
        vectors=scorer["prototypes"].numpy(), scores=scorer["proto_scores"].numpy(),
    )  # fmt: skip
    clip.save_pretrained(folder / "best")
    CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=SIZE).save_pretrained(
        folder / "best"
    )
    return folder
