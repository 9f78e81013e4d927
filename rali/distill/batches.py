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

import numpy as np
import torch
from torch import Tensor, nn

from rali.errors import InputError, PictureError
from rali.pictures.degrade import through_jpeg
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import open_picture
from rali.runs.progress import Progress, silent
from rali.student.encoders import embed_batches


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

    def pixels(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        flip: bool | np.ndarray = False,
        crop: float = 1.0,
        draw: np.random.Generator | None = None,
        quality: np.ndarray | None = None,
    ) -> Tensor:
        """Normalised pixels [len(indices), 3, S, S], float32, channels last in memory.

        Args:
            flip: mirrors all of them, or those where an array [len(indices)] of bool says so.
            crop: below 1, a window of this share of S, rounded down to a multiple of 16, is cut out
                of each at a random place, without resizing: new content, the same quality.
            draw: chooses the places.
            quality: of each picture the quality at which it is written as a JPEG and read back,
                1–100; 0 leaves it as it is.
        """
        stack = np.stack(list(self._pool.map(self._read, indices)))
        if crop < 1 and draw is not None:
            stack = _windows(stack, max(16, int(self.preprocess.size * crop) // 16 * 16), draw)
        mirrored = np.broadcast_to(flip, len(stack))
        stack[mirrored] = stack[mirrored, :, ::-1]
        for index, own in enumerate(() if quality is None else quality.tolist()):
            if own:
                stack[index] = through_jpeg(stack[index], own)
        batch = torch.from_numpy(stack).permute(0, 3, 1, 2).float()  # channels last as it is
        mean = torch.tensor(self.preprocess.mean).view(3, 1, 1)
        std = torch.tensor(self.preprocess.std).view(3, 1, 1)
        return batch.sub_(255 * mean).div_(255 * std)  # in place: these are the largest tensors


def _windows(stack: np.ndarray, edge: int, draw: np.random.Generator) -> np.ndarray:
    """One window [edge, edge, 3] of each picture of [n, S, S, 3], at a random place."""
    corners = draw.integers(0, stack.shape[1] - edge + 1, (len(stack), 2))
    return np.stack(
        [
            picture[top : top + edge, left : left + edge]
            for picture, (top, left) in zip(stack, corners, strict=True)
        ]
    )


def in_order(pictures: PictureBatches, batch_size: int, *, flip: bool = False) -> Iterator[Tensor]:
    """Pixels [batch, 3, S, S] of all pictures, one batch after the other."""
    for start in range(0, len(pictures), batch_size):
        yield pictures.pixels(range(start, min(start + batch_size, len(pictures))), flip=flip)


def embed(
    encoder: nn.Module,
    pictures: PictureBatches,
    *,
    batch_size: int = 16,
    flip: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> np.ndarray:
    """Embeddings [n, dim], float32, of all pictures with the encoder in evaluation mode."""
    encoder.eval().to(device)
    batches = in_order(pictures, batch_size, flip=flip)
    embedded = embed_batches(encoder, batches, len(pictures), progress)
    return np.concatenate([embedding.float().cpu().numpy() for embedding in embedded])
