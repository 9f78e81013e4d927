"""Rename CLIP's weights between Hugging Face's `CLIPModel` and open_clip's `CLIP`.

In: a state dict with the names of one. Out: the same weights with the names of the other. Hugging
Face stores the query, key and value projections apart, and its output projections transposed.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

_PLAIN = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
_STEMS = {
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.encoder.layers": "transformer.resblocks",
}
_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_QKV = ("q_proj", "k_proj", "v_proj")


def to_open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `CLIPModel` with open_clip's names; other entries are left out."""
    found = {new: state[old] for old, new in _PLAIN.items() if old in state}
    found |= {new: state[old].T for old, new in _TRANSPOSED.items() if old in state}
    for stem, new_stem in _STEMS.items():
        for layer in _layers(state, stem):
            old, new = f"{stem}.{layer}", f"{new_stem}.{layer}"
            for kind in ("weight", "bias"):
                for part, new_part in _PARTS.items():
                    found[f"{new}.{new_part}.{kind}"] = state[f"{old}.{part}.{kind}"]
                found[f"{new}.attn.in_proj_{kind}"] = torch.cat(
                    [state[f"{old}.self_attn.{name}.{kind}"] for name in _QKV]
                )
    return found


def to_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of open_clip's `CLIP` with `CLIPModel`'s names; other entries are left out."""
    found = {old: state[new] for old, new in _PLAIN.items() if new in state}
    found |= {old: state[new].T for old, new in _TRANSPOSED.items() if new in state}
    for stem, new_stem in _STEMS.items():
        for layer in _layers(state, new_stem):
            old, new = f"{stem}.{layer}", f"{new_stem}.{layer}"
            for kind in ("weight", "bias"):
                for part, new_part in _PARTS.items():
                    found[f"{old}.{part}.{kind}"] = state[f"{new}.{new_part}.{kind}"]
                thirds = state[f"{new}.attn.in_proj_{kind}"].chunk(3)
                for name, third in zip(_QKV, thirds, strict=True):
                    found[f"{old}.self_attn.{name}.{kind}"] = third
    return found


def _layers(state: dict[str, Tensor], stem: str) -> list[int]:
    numbers = (re.match(rf"{re.escape(stem)}\.(\d+)\.", key) for key in state)
    return sorted({int(match[1]) for match in numbers if match})
