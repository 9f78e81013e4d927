"""Training pictures, read when they are needed: paths in, normalised pixel batches out."""

from __future__ import annotations

import copy
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from rali.errors import InputError, PictureError
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import open_picture
from rali.runs.progress import Progress, silent
from rali.student.encoders import embed_batches

from .stream import View

BATCH = 16  # pictures that are embedded at once


class PictureBatches:
    """A list of picture files as tensors.

    Args:
        paths: the files.
        preprocess: the encoder's.
        keep: read each file once and keep its pixels in a temporary file of 3·S² bytes per
            picture (in TMPDIR), which is deleted with this object.

    Raises:
        InputError: too little space to keep the pixels. `pixels` raises it for a file that cannot
            be read: training data is not skipped silently.
    """

    def __init__(
        self, paths: Sequence[Path], preprocess: Preprocess, *, keep: bool = False
    ) -> None:
        self.paths = list(paths)
        self.preprocess = preprocess
        self._kept: np.ndarray | None = None
        if keep and self.paths:
            shape = (len(self.paths), preprocess.size, preprocess.size, 3)
            needed, free = math.prod(shape), shutil.disk_usage(tempfile.gettempdir()).free
            if needed > free:  # writing to the map of a full disk would kill the process
                raise InputError(
                    f"Keeping {len(self.paths)} decoded pictures takes {needed / 1e9:.1f} GB, but "
                    f"{tempfile.gettempdir()} has {free / 1e9:.1f} GB left. Set TMPDIR to a larger "
                    "disk, or keep_pixels=false."
                )
            file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the map
            self._kept = np.memmap(file, np.uint8, "w+", shape=shape)
        self._read_before = np.zeros(len(self.paths), bool)
        self._places = np.arange(len(self.paths))  # rows of the kept pixels
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def take(self, indices: Sequence[int]) -> PictureBatches:
        """The pictures at `indices`; what either object reads is kept for both."""
        part = copy.copy(self)
        part._pool = self._pool
        part.paths = [self.paths[index] for index in indices]
        part._places = self._places[list(indices)]
        return part

    def _read(self, index: int) -> np.ndarray:
        place = self._places[index]
        if self._kept is not None and self._read_before[place]:
            return self._kept[place]
        try:
            pixels = self.preprocess.pixels(open_picture(self.paths[index]))
        except PictureError as error:
            raise InputError(
                f"{self.paths[index]} cannot be read: {error}. "
                "Take it out of the manifest, or repair it."
            ) from error
        if self._kept is not None:
            self._kept[place] = pixels
            self._read_before[place] = True
        return pixels

    @property
    def kept(self) -> bool:
        """Whether pixels are kept, which this process alone can do."""
        return self._kept is not None

    def read(self, view: View) -> np.ndarray:
        """What a step sees: uint8 [n, edge, edge, 3]."""
        # The pool's threads do not exist in a process that was forked off to read.
        found = map if get_worker_info() else self._pool.map
        stack = np.stack(list(found(self._read, view.indices)))
        if view.corners is not None:
            tops_lefts = zip(stack, view.corners, strict=True)
            edge = view.edge
            stack = np.stack([each[y : y + edge, x : x + edge] for each, (y, x) in tops_lefts])
        stack[view.flip] = stack[view.flip, :, ::-1]
        return stack

    def normalised(self, stack: np.ndarray) -> Tensor:
        """Pixels [n, 3, edge, edge], float32, channels last in memory, of `read`'s."""
        batch = torch.from_numpy(stack).permute(0, 3, 1, 2).float()  # channels last as it is
        mean = torch.tensor(self.preprocess.mean).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std).view(3, 1, 1)
        return batch.sub_(255 * mean).div_(255 * std)  # in place: these are the largest tensors

    def pixels(
        self, indices: Sequence[int] | np.ndarray, *, flip: bool | np.ndarray = False
    ) -> Tensor:
        """Normalised pixels [len(indices), 3, S, S] of whole pictures.

        Args:
            flip: mirrors all of them, or those where an array [len(indices)] of bool says so.
        """
        view = View(np.asarray(indices), np.broadcast_to(flip, len(indices)))
        return self.normalised(self.read(view))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_pool"}


def in_order(
    pictures: PictureBatches,
    batch_size: int,
    *,
    flip: bool = False,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Tensor]:
    """Pixels [batch, 3, S, S] of all pictures, one batch after the other.

    Args:
        share: (k, n) gives every n-th batch, from the k-th on.
    """
    for start in range(share[0] * batch_size, len(pictures), share[1] * batch_size):
        yield pictures.pixels(range(start, min(start + batch_size, len(pictures))), flip=flip)


def embed(
    encoder: nn.Module,
    pictures: PictureBatches,
    *,
    batch_size: int = BATCH,
    flip: bool = False,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    progress: Progress = silent,
) -> np.ndarray:
    """Embeddings [n, dim], float32, of all pictures with the encoder in evaluation mode.

    Args:
        share: (k, n) embeds every n-th batch, from the k-th on. A batch is the same whoever embeds
            it, so `join_shares` makes the shares of n processes what one process gets.
    """
    encoder.eval().to(device)
    batches = in_order(pictures, batch_size, flip=flip, share=share)
    embedded = embed_batches(encoder, batches, -(-len(pictures) // share[1]), progress)
    found = [embedding.float().cpu().numpy() for embedding in embedded]
    return np.concatenate(found) if found else np.empty((0, 0), np.float32)


def join_shares(shares: Sequence[np.ndarray], batch_size: int = BATCH) -> np.ndarray:
    """The rows of n shares of `embed` in the order of the pictures."""
    places: list[list[int]] = [[] for _ in shares]
    for place in range(sum(map(len, shares))):
        places[place // batch_size % len(shares)].append(place)
    joined = np.empty((sum(map(len, shares)), shares[0].shape[1]), np.float32)
    for own, share in zip(places, shares, strict=True):
        if own:  # there may be fewer batches than processes
            joined[own] = share
    return joined
