"""Pictures of a training's steps, read ahead of it by processes of their own.

In: for each step a `View`, which says what it sees of which pictures. Out: the steps' pixels, in
their order. What is random is drawn before, so that the pixels do not depend on who reads them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rali.errors import InputError, RaliError

MOST_WORKERS = 8


@dataclass(frozen=True)
class View:
    """What a step sees.

    Attributes:
        indices: [n], the pictures.
        flip: [n], which of them are mirrored.
        corners: [n, 2], top and left of a window in each, before it is mirrored; None for all of
            each picture.
        edge: of the windows, in pixels.
    """

    indices: np.ndarray
    flip: np.ndarray
    corners: np.ndarray | None = None
    edge: int = 0

    def part(self, some: slice) -> View:
        """What is seen of some of the pictures."""
        corners = None if self.corners is None else self.corners[some]
        return View(self.indices[some], self.flip[some], corners, self.edge)


def draw_view(
    indices: np.ndarray, flip: bool, crop: float, size: int, draw: np.random.Generator
) -> View:
    """A view of some pictures of size × size pixels, half of them mirrored if `flip` says so.

    With `crop` below 1 a window of this share of the size, rounded down to a multiple of 16, is cut
    out of each at a random place, without resizing: new content, the same quality.
    """
    mirrored = flip & (draw.random(len(indices)) < 0.5)
    if crop >= 1:
        return View(indices, mirrored)
    edge = cropped_edge(size, crop)
    return View(indices, mirrored, draw.integers(0, size - edge + 1, (len(indices), 2)), edge)


def cropped_edge(size: int, crop: float) -> int:
    """Pixels of a cropped window's edge."""
    return max(16, int(size * crop) // 16 * 16)


class Readable(Protocol):
    """Pictures as `stream` reads them: `rali.distill.batches.PictureBatches`."""

    @property
    def kept(self) -> bool: ...
    def read(self, view: View) -> np.ndarray: ...
    def normalised(self, stack: np.ndarray) -> Tensor: ...


@contextmanager
def stream(pictures: Readable, views: Iterable[View], workers: int) -> Iterator[Iterator[Tensor]]:
    """Normalised pixels [n, 3, edge, edge] of each view, in order.

    Args:
        workers: processes that read ahead, two views each; -1 takes one for each core that this
            process may use, at most eight; 0 reads when it is asked. Pixels that are kept are read
            without them.

    Raises:
        InputError: on entering a step, a picture that cannot be read; at any time, a process that
            was killed.
    """
    count = 0 if pictures.kept else _workers() if workers < 0 else workers
    loader: DataLoader[Any] = DataLoader(
        _Reader(pictures),
        batch_size=None,
        sampler=views,
        num_workers=count,
        collate_fn=_as_it_is,  # arrays go through pipes: shared memory is small in a container
        worker_init_fn=_serve_the_training,
        generator=torch.Generator(),  # else it would draw from the training's
    )
    batches = _pixels(pictures, loader)
    try:
        yield batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "A process that reads pictures was killed, perhaps for lack of memory. The same "
            f"command resumes; give fewer than {count} by --set align.workers=N."
        ) from error
    finally:
        batches.close()  # ends the processes


def _pixels(pictures: Readable, loader: Iterable[Any]) -> Generator[Tensor, None, None]:
    for found in loader:
        if isinstance(found, RaliError):
            raise found
        yield pictures.normalised(found)


class _Reader(Dataset[Any]):
    def __init__(self, pictures: Readable) -> None:
        self.pictures = pictures

    def __getitem__(self, view: View) -> np.ndarray | RaliError:
        try:
            return self.pictures.read(view)
        except RaliError as error:  # torch would wrap it in a traceback
            return error


def _as_it_is(found: Any) -> Any:
    return found


def _serve_the_training(worker: int) -> None:
    """Ctrl-C and a lost terminal are the training's business; a worker ends with it.

    Else a worker whose training was killed would wait for ever for somebody to take its pixels.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_WORKERS, (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
