"""A folder of degraded photographs, and the score that people gave such degradations.

In: photographs. Out: a folder of PNG files, plain and degraded, and their manifest rows. Scores are
KADID-10k's mean human scores per degradation and strength (`kadid_scores.json`).
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from rali.errors import InputError, PictureError
from rali.files import image_sha256, replace_atomically
from rali.pictures.degrade import (
    DISTORTIONS,
    STRENGTHS,
    canonical,
    check_severity,
    degraded_versions,
)
from rali.pictures.paths import as_text
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture
from rali.runs.folder import claim, read_claim
from rali.runs.progress import Progress, silent

from .manifest import Row

STAMP = "degraded.json"  # what a folder's pictures were made from


@cache
def _scores() -> dict[str, list[float] | float | str]:
    return json.loads((files("rali") / "data" / "kadid_scores.json").read_text("utf-8"))


def degraded_score(distortion: str, severity: int) -> float:
    """Score of a degraded picture, 1–5: KADID-10k's mean at that strength; 5 when undegraded."""
    name = canonical(distortion)
    check_severity(severity)
    if name == "null" or severity == 0:
        return 5.0
    levels = _scores()[name]
    assert isinstance(levels, list)
    return levels[severity - 1]


def degrade_folder(
    photographs: Iterable[str | Path],
    output_dir: str | Path,
    *,
    distortions: Sequence[str] = DISTORTIONS,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    size: int | None = None,
    per_photograph: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Row]:
    """Write every photograph, plain and degraded, as PNG; returns manifest rows.

    Files are `<content>__<distortion>__<severity>.png`, written under a temporary name and
    renamed. Files that are there already are kept, so the same call resumes a stopped one.
    `content` is the photograph's stem, made unique.
    A degradation that changes no pixel (saturation of a grey photograph) is left out. So are
    photographs that cannot be read, with one warning at the end.

    Args:
        size: shrink the longer edge to at most this many pixels before degrading.
        per_photograph: draw at most this many (distortion, severity) pairs per photograph instead
            of taking all.
        seed: seed of the draws and the noise; each picture gets its own noise.
        progress: called with the stage "degrade" and the photographs done.

    Raises:
        InputError: no photograph could be read, an unknown distortion or severity, or a folder
            whose pictures were made from other photographs of these names or in another way.
    """
    output = Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    paths = [Path(path) for path in photographs]
    names = [canonical(name) for name in distortions]
    for severity in severities:
        check_severity(severity)
    kinds = [(name, s) for name in names if name != "null" for s in severities if s]

    def attempt(path: Path, content: str) -> list[Row] | str:
        chosen = kinds
        if per_photograph is not None:
            draw = np.random.default_rng((seed, *content.encode()))
            count = min(per_photograph, len(kinds))
            chosen = [kinds[i] for i in draw.choice(len(kinds), count, replace=False)]
        try:
            return _degrade_photograph(path, content, output, chosen, size, seed)
        except PictureError as error:
            return f"{path}: {error}"

    contents = _contents(paths)
    _claim(output, dict(zip(contents, paths, strict=True)), size, seed)
    rows: list[Row] = []
    failures: list[str] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        outcomes = pool.map(attempt, paths, contents)
        for number, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                rows += outcome
            progress("degrade", number, len(paths))
    if failures:
        message = f"{len(failures)} of {len(paths)} photographs were left out: " + "; ".join(
            failures[:5]
        )
        if not rows:
            raise InputError(message)
        warnings.warn(message, stacklevel=2)
    return rows


def _claim(output: Path, sources: Mapping[str, Path], size: int | None, seed: int) -> None:
    """Note in the folder what each picture is made from; refuse it if that was something else."""
    stamp = output / STAMP
    if not read_claim(stamp) and any(output.glob("*__null__0.png")):
        raise InputError(
            f"{output} holds degradations, but no {STAMP} that says of what. Give another folder, "
            "or delete it."
        )
    made_with = f"size {size}, seed {seed}, strengths {zlib.crc32(repr(STRENGTHS).encode())}"
    claim(
        stamp,
        {
            content: f"{image_sha256(path)[:16]}, {made_with}"
            for content, path in sources.items()
            if path.is_file()
        },
        lambda other: (
            f"{output} holds degradations of another {next(iter(other))!r}, or with another size, "
            "seed or version of rali. Give another folder, or delete it."
        ),
        grows=True,
    )


def _contents(paths: Sequence[Path]) -> list[str]:
    """The photographs' stems, made unique by the folder's name in front."""
    contents: list[str] = []
    for path in paths:
        content = as_text(path.stem)
        if content in contents:
            content = f"{as_text(path.parent.name)}-{content}"
        while content in contents:
            content += "_"
        contents.append(content)
    return contents


def _degrade_photograph(
    path: Path,
    content: str,
    output: Path,
    kinds: Sequence[tuple[str, int]],
    size: int | None,
    seed: int,
) -> list[Row]:
    """Write one photograph, plain and in each kind of (distortion, severity); returns its rows."""
    files = {
        (name, severity): output / f"{content}__{name.replace(' ', '-')}__{severity}.png"
        for name, severity in [("null", 0), *kinds]
    }
    missing = [kind for kind, file in files.items() if not file.is_file()]

    def noise_seed(name: str, severity: int) -> int:
        # A noise field that pictures share could be learnt instead of noise.
        return zlib.crc32(f"{seed}/{content}/{name}/{severity}".encode())

    if missing:
        original = shrink(open_picture(path), longer=size)
        for name, severity, picture in degraded_versions(original, missing, noise_seed):
            save = partial(Image.fromarray(picture).save, format="PNG", compress_level=1)
            replace_atomically(files[name, severity], save)
    return [
        Row(
            image=file.resolve(),
            score=degraded_score(name, severity),
            raw_score=degraded_score(name, severity),
            dataset="degraded",
            content=content,
            reference=str(files["null", 0].resolve()),
            distortion=name,
            severity=severity,
        )
        for (name, severity), file in files.items()
        if file.is_file()
    ]
