"""Reference triplets: rationales for a manifest's pictures from measures and known degradations.

In: manifest rows. Out: a folder of triplets whose `teacher` is "reference". They bootstrap the nano
teacher and are a baseline to compare a real teacher with; no model writes them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rali.errors import InputError, PictureError
from rali.pictures.inside import is_there, picture_sha256
from rali.runs.folder import claim
from rali.runs.progress import Progress, silent

from .manifest import Row
from .tables import stored_path
from .triplets import Triplet, TripletWriter, check_same, read_triplets

TEACHER = "reference"
STAMP = "rationales.json"
SEEDS_PER_RUN = 1000  # text k of run `seed` has the triplet seed 1000 · seed + k
BATCH = 64  # pictures handed to the threads at a time, so that Ctrl-C waits for few


def reference_triplets(row: Row, *, count: int = 4, seed: int = 0) -> list[Triplet]:
    """Measure one picture and write `count` different texts about it.

    The texts depend on the file's bytes, the row and `seed`, not on the file's place. A larger
    `count` adds texts to those of a smaller one.

    Raises:
        PictureError: the picture cannot be read.
    """
    from rali.pictures.measure import measure, measure_regions
    from rali.pictures.read import open_picture

    from .rationale_text import write_rationales

    if not is_there(row.image):
        raise PictureError("There is no such file.")
    rgb = open_picture(row.image)
    digest = picture_sha256(row.image)
    texts = write_rationales(
        score=row.score,
        measures=measure(rgb),
        regions=measure_regions(rgb),
        distortion=_distortion_with_words(row.distortion),
        severity=row.severity,
        count=count,
        seed=f"{seed}/{digest}",
    )
    return [
        Triplet(
            image=row.image,
            image_sha256=digest,
            score=row.score,
            reasoning=text,
            raw_text=text,
            teacher_score=row.score,
            teacher=TEACHER,
            prompt="",
            seed=SEEDS_PER_RUN * seed + number,
            parse_ok=True,
        )
        for number, text in enumerate(texts)
    ]


def build_reference_triplets(
    rows: Iterable[Row],
    folder: str | Path,
    *,
    count: int = 4,
    seed: int = 0,
    workers: int | None = None,
    shard_size: int = 1024,
    progress: Progress = silent,
) -> int:
    """Write the triplets of all rows that `folder` lacks, so the same call resumes a stopped one.

    Args:
        rows: manifest rows, with or without scores.
        folder: the folder of the shards; made when it does not exist.
        count: texts per picture, 1 to 1000.
        seed: a different seed adds different texts to those that are there.
        workers: threads; the number of processors by default.
        shard_size: triplets per shard; a kill loses at most this many.
        progress: called with the stage "rationales" and the pictures done.

    Returns:
        The number of new triplets.

    Raises:
        InputError: a picture cannot be read (the others are written first), or the folder holds
            texts of another teacher, or of other scores, degradations or bytes of these pictures.
    """
    if not 1 <= count <= SEEDS_PER_RUN:
        raise InputError(f"count is {count}; expected 1 to {SEEDS_PER_RUN} texts per picture.")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected 0 or more.")
    rows = list(rows)
    seeds = range(SEEDS_PER_RUN * seed, SEEDS_PER_RUN * seed + count)
    failures: list[str] = []
    new = 0

    def attempt(row: Row) -> list[Triplet] | str:
        try:
            return reference_triplets(row, count=count, seed=seed)
        except (PictureError, InputError) as error:
            return f"{row.image}: {error}"

    with TripletWriter(folder, shard_size) as writer:
        if writer.done:
            check_same(rows, folder, TEACHER)
        _claim(rows, Path(folder), {image for image, _ in writer.done})
        todo = [row for row in rows if any((row.image, s) not in writer.done for s in seeds)]
        done = len(rows) - len(todo)
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            for start in range(0, len(todo), BATCH):
                for outcome in pool.map(attempt, todo[start : start + BATCH]):
                    if isinstance(outcome, str):
                        failures.append(outcome)
                    else:
                        new += writer.add(outcome)
                    done += 1
                    progress("rationales", done, len(rows))
    if failures:
        shown = "\n  ".join(failures[:10])
        more = f"\n  and {len(failures) - 10} more" if len(failures) > 10 else ""
        raise InputError(
            f"{len(failures)} of {len(rows)} pictures cannot be read (the others have their "
            f"rationales); repair them, or take them out of the manifest:\n  {shown}{more}"
        )
    return new


def _claim(rows: Sequence[Row], folder: Path, told: Collection[Path]) -> None:
    """Note in the folder which degradation each picture's texts tell; refuse it if another one.

    Args:
        told: the pictures that have texts; what is noted of others may change.
    """
    claim(
        folder / STAMP,
        {
            stored_path(row.image, folder): f"{row.distortion} {row.severity or 0}".strip()
            for row in rows
        },
        lambda other: (
            f"{folder} tells the degradation {next(iter(other.values()))!r} of "
            f"{next(iter(other))}, the manifest another; delete the folder or give another."
        ),
        free=[stored_path(row.image, folder) for row in rows if row.image not in told],
        grows=True,
    )


def requested_triplets(
    rows: Iterable[Row], folder: str | Path, *, count: int = 4, seed: int = 0
) -> list[Triplet]:
    """The folder's triplets that `build_reference_triplets` would write for these arguments.

    A folder may hold more: of other pictures, other seeds or a larger count.
    """
    pictures = {row.image.resolve() for row in rows}
    seeds = range(SEEDS_PER_RUN * seed, SEEDS_PER_RUN * seed + count)
    return [t for t in read_triplets(folder) if t.image.resolve() in pictures and t.seed in seeds]


def _distortion_with_words(name: str) -> str | None:
    """The distortion that a name stands for; None for a name that the texts have no words for."""
    from rali.pictures.degrade import canonical

    try:
        return canonical(name) if name else None
    except InputError:
        return None
