"""The contrastive loss, and its exact gradient over a batch that is too large for the memory.

In: embeddings of pictures and texts. Out: the loss (CLIP's, with several texts per picture), and
the gradient in the image tower's parameters.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rali.errors import InputError
from rali.runs.halving import is_out_of_memory

from .optim import normalises


def multi_positive_infonce(
    images: Tensor,
    texts: Tensor,
    image_owner: Tensor,
    text_owner: Tensor,
    logit_scale: Tensor | float,
) -> Tensor:
    """CLIP's symmetric contrastive loss where several texts may belong to one picture.

    With cosines s_it scaled by `logit_scale` and P(i) the texts of picture i,

        L_image = mean_i  −1/|P(i)| Σ_{t∈P(i)} log softmax_t(s_i·)[t]

    and L_text likewise over pictures; the loss is their mean. With one text per picture it is
    CLIP's loss.

    Args:
        images: [batch, dim], any norm.
        texts: [n_texts, dim], any norm.
        image_owner: [batch] picture ids; equal ids (duplicates) are positives of each other.
        text_owner: [n_texts] id of the picture that each text was written for.
        logit_scale: 1 / temperature.
    """
    logits = logit_scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    positive = (image_owner[:, None] == text_owner[None, :]).to(logits.dtype)

    def one_way(scores: Tensor, mask: Tensor) -> Tensor:
        log_probability = scores.log_softmax(dim=1)
        return -((log_probability * mask).sum(1) / mask.sum(1).clamp_min(1)).mean()

    return (one_way(logits, positive) + one_way(logits.T, positive.T)) / 2


class LogitScale(nn.Module):
    """CLIP's learned 1 / temperature, at most 100; a call returns its value."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def forward(self) -> Tensor:
        return self.log.exp()

    def clamp(self) -> None:
        """Keep the value from 1 to 100; to be called after each step."""
        self.log.data.clamp_(0, math.log(100))


class Share(NamedTuple):
    """What one process holds of a batch.

    Attributes:
        pixels: [batch, 3, S, S]. text: the embeddings of their texts, [n_texts, dim].
        image_owner, text_owner: as `multi_positive_infonce` takes them.
    """

    pixels: Tensor
    text: Tensor
    image_owner: Tensor
    text_owner: Tensor


def backward_in_parts(
    model: nn.Module, accelerator, share: Share, scale: LogitScale, parts: int
) -> tuple[float, int]:
    """Accumulate the gradient of the loss over the whole (global) batch.

    The embeddings of all parts are computed first, the loss is taken over the whole batch, and its
    gradient is sent back through each part. Parts that do not fit into the memory are halved, with
    a warning.

    Args:
        model: pixels [batch, 3, S, S] → [batch, dim]; it has no gradient yet.
        share: this process's part of the batch.
        parts: how many to begin with.

    Returns:
        The loss, and the number of parts.

    Raises:
        InputError: there is too little memory, and parts cannot be halved: each is one picture,
            other processes would wait, or the training would be another one, as each part is
            normalised by itself.
    """
    start = torch.get_rng_state(), _cuda_state(share.pixels)
    while True:
        try:
            return _backward(model, accelerator, share, scale, parts), parts
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        parts = _smaller_parts(model, parts, len(share.pixels), accelerator.num_processes)
        for parameter in (*model.parameters(), *scale.parameters()):
            parameter.grad = None
        _set_state(start)


def _backward(model: nn.Module, accelerator, share: Share, scale: LogitScale, count: int) -> float:
    pixels, text, image_owner, text_owner = share
    parts = pixels.tensor_split(count)
    states, embeddings = [], []
    for part in parts:
        states.append((torch.get_rng_state(), _cuda_state(pixels)))
        with torch.set_grad_enabled(len(parts) == 1), accelerator.autocast():
            embeddings.append(model(part).float())
    leaf = torch.cat(embeddings).detach().requires_grad_(True)
    everyone = accelerator.gather(leaf.detach())
    start = accelerator.process_index * len(leaf)
    everyone = torch.cat([everyone[:start], leaf, everyone[start + len(leaf) :]])
    # Processes may hold different numbers of texts; the padding has no owner.
    texts = accelerator.gather(accelerator.pad_across_processes(text))
    owners = accelerator.gather(accelerator.pad_across_processes(text_owner, pad_index=-1))
    loss = multi_positive_infonce(
        everyone,
        texts[owners >= 0],
        accelerator.gather(image_owner),
        owners[owners >= 0],
        scale(),
    )
    accelerator.backward(loss)
    gradient = leaf.grad * accelerator.num_processes  # DDP divides by it
    if len(parts) == 1:
        embeddings[0].backward(gradient)
        return loss.item()
    after = (torch.get_rng_state(), _cuda_state(pixels))
    for part, state, slice_ in zip(parts, states, gradient.tensor_split(count), strict=True):
        _set_state(state)  # the same random windows as in the first pass
        with accelerator.autocast():
            again = model(part).float()
        again.backward(slice_)
    _set_state(after)
    return loss.item()


def _smaller_parts(model: nn.Module, parts: int, batch: int, world: int) -> int:
    """Twice the number of parts, with a warning; an InputError where that cannot be."""
    size, half = -(-batch // parts), -(-batch // (2 * parts))
    if size < 2 or world > 1 or normalises(model):
        raise InputError(
            f"There is not enough memory to align with align.micro_batch={size}. Give a smaller "
            "one, or set align.grad_checkpointing=true."
        )
    warnings.warn(
        f"There is not enough memory for align.micro_batch={size}; from here on it is {half}, "
        "which takes longer and changes nothing else.",
        stacklevel=1,
    )
    return min(2 * parts, batch)


def _cuda_state(pixels: Tensor) -> Tensor | None:
    return torch.cuda.get_rng_state(pixels.device) if pixels.is_cuda else None


def _set_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
