"""A teacher that follows a script, and small manifests of labelled pictures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from rali.data.manifest import Row, write_manifest
from rali.pictures.read import open_picture
from rali.teacher.engines import Request, Sampling


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Let another process be at work in a folder."""
    code = (
        "import sys; from pathlib import Path; from rali.runs.folder import alone_in;"
        "held = alone_in(Path(sys.argv[1])); held.__enter__(); print('held', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        yield
        other.communicate()


class Script:
    """An engine that answers with the request's seed; no answer is read where `fails` is true."""

    name = "script"
    mark = "script 1"
    pixels = (1, 10_000)
    chunk = 64

    def __init__(self, fails: Callable[[Request], bool] = lambda request: False) -> None:
        self.fails = fails
        self.asked: list[tuple[str, int]] = []

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str]:
        texts = []
        for request in requests:
            for path in request.images:
                open_picture(path)
            self.asked.append((request.images[0].name, request.seed))
            value = 1 + request.seed % 4
            texts.append(
                "no idea"
                if self.fails(request)
                else f"<think>seed {request.seed}</think><answer>{value}</answer>"
            )
        return texts


def manifest(folder: Path, name: str, count: int, **more) -> str:
    """Write a manifest of `count` scored pictures in the split train; returns its path."""
    rows = []
    for index in range(count):
        path = folder / f"{name}-{index}.png"
        Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(path)
        values = {"score": 1 + index % 5, "dataset": name, "split": "train"} | more
        rows.append(Row(path, **values))
    write_manifest(rows, folder / f"{name}.csv")
    return str(folder / f"{name}.csv")
