"""A student whose attention and convolutions are the ones that ONNX Runtime has fast kernels for.

The weights stay; only the way they are written down changes. An exported attention is some ten
nodes, which ONNX Runtime recognises from few exporters: here it is one
`com.microsoft.MultiHeadAttention`. ONNX Runtime's optimiser fuses LayerNorm and GELU by itself.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rali.student.student import Student


class FusedAttention(nn.Module):
    """Self-attention of tokens [batch, tokens, width] as one ONNX node; it cannot run in torch.

    It takes no mask, as image towers use none.
    """

    def __init__(self, qkv: nn.Linear, projection: nn.Module, heads: int) -> None:
        super().__init__()
        self.qkv, self.projection, self.heads = qkv, projection, heads

    def forward(self, tokens: Tensor, **unused: Any) -> Any:
        query, key, value = self.qkv(tokens).chunk(3, -1)
        attended: Tensor = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            (query, key, value),
            attrs={"num_heads": self.heads},
            dtype=query.dtype,
            shape=query.shape,
            version=1,
        )
        return self.projection(attended)


class _AsMultihead(FusedAttention):
    """The same with the signature of `torch.nn.MultiheadAttention`."""

    def forward(self, tokens: Tensor, *same: Tensor, **unused: Any) -> Any:
        return super().forward(tokens), None


def fuse(student: Student, *, attention: bool = True) -> Student:
    """A copy of the student for the exporter, fused where it can be."""
    copied = copy.deepcopy(student)
    if not attention:
        return _one_branch(copied)
    for parent in list(copied.encoder.modules()):
        for name, module in list(parent.named_children()):
            fused = _fused(module)
            if fused is not None:
                setattr(parent, name, fused)
    return _one_branch(copied)


def _fused(module: Any) -> nn.Module | None:
    kind = f"{type(module).__module__}.{type(module).__name__}"
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None or module.bias_k is not None or not module.batch_first:
            return None
        width = module.embed_dim
        qkv = nn.Linear(width, 3 * width, module.in_proj_bias is not None)
        qkv.weight, qkv.bias = module.in_proj_weight, module.in_proj_bias
        return _AsMultihead(qkv, module.out_proj, module.num_heads)
    if kind == "timm.layers.attention.Attention":
        extras: list[Any] = [
            getattr(module, name, None) for name in ("q_norm", "k_norm", "norm", "gate")
        ]
        if not all(part is None or isinstance(part, nn.Identity) for part in extras):
            return None
        return FusedAttention(module.qkv, module.proj, module.num_heads)
    return None


def _one_branch(student: Student) -> Student:
    """Adds up convolutions that were trained as several side by side, as MobileCLIP's are."""
    if any(hasattr(module, "reparameterize") for module in student.encoder.modules()):
        from timm.utils.model import reparameterize_model

        student.encoder = reparameterize_model(student.encoder)
    return student
