"""`rali score --xmp`: each row's marks go into the sidecar beside its picture; `--undo`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from rali.errors import InputError
from rali.files import is_full
from rali.pictures.embedded import embedded_rating
from rali.pictures.folders import is_picture_name
from rali.pictures.paths import path_in
from rali.report.xmp_packet import MAX_BYTES
from rali.report.xmp_sidecar import STARS, Marks, keywords_of, marked, rating_in, stars_of

from ._undo import FOLDER, UndoRecord, read_sidecar

_OPEN = 8  # folders whose records are open at once
_TRIES = 5  # at a sidecar that another program writes at the same time
_TOLD = 5  # problems that are told one by one


@dataclass(frozen=True)
class Xmp:
    """How sidecars are written.

    Attributes:
        adobe: photo.xmp instead of photo.jpg.xmp.
        stars: the scores at which two, three, four and five stars begin; None by default.
    """

    adobe: bool = False
    stars: tuple[float, ...] | None = None

    @property
    def setting(self) -> str:
        """What decides a sidecar, so that rows of other settings are not mixed."""
        stars = ",".join(f"{score:g}" for score in self.stars or STARS)
        return f"--xmp-name {'adobe' if self.adobe else 'full'} --stars {stars}"


def read_stars(text: str) -> tuple[float, ...]:
    """The four scores of `--stars`.

    Raises:
        InputError: these are not four numbers that rise.
    """
    try:
        stars = tuple(float(part) for part in text.split(","))
    except ValueError:
        stars = ()
    if len(stars) != 4 or not all(a < b for a, b in pairwise(stars)):
        raise InputError(
            f"--stars is {text!r}; expected four scores that rise, at which two, three, four and "
            f"five stars begin, such as {','.join(map(str, STARS))}."
        )
    return stars


class Sidecars:
    """Writes sidecars as rows come; a context manager.

    Args:
        xmp: how. scorer: whose scores they are. level: of the rows' low and high.

    Raises:
        InputError: the model's scores are not from 1 to 5, and no stars were given.
    """

    def __init__(self, xmp: Xmp, scorer: Any, level: float | None) -> None:
        if xmp.stars is None and scorer.score_range != (1.0, 5.0):
            low, high = scorer.score_range
            raise InputError(
                f"{scorer.model} scores from {low:g} to {high:g}, and --xmp knows stars for scores "
                "from 1 to 5 only: give --stars with four scores."
            )
        self._xmp, self._level = xmp, level
        model = str(scorer.model)
        self._model = Path(model).name if Path(model).exists() else model
        self._weights = scorer.weights_sha256
        self._records = _Records()
        self._stems: tuple[Path | None, Counter[str]] = None, Counter()
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._records.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the sidecar of a row that has a score.

        Raises:
            OSError: the disk is full.
        """
        if row["score"] is None:
            return
        picture = Path(path_in(row["image"]))
        if not os.path.isfile(picture):  # noqa: PTH113 - Path.is_file may raise
            self.counts["no file"] += 1
            return
        try:
            self.counts[self._write(picture, row)] += 1
        except (InputError, OSError) as error:
            if is_full(error):
                raise
            self.counts["failed"] += 1
            reason = error.strerror if isinstance(error, OSError) else None
            if len(self.problems) < _TOLD:
                name = picture.parent / self._name(picture)
                self.problems.append(f"{name} stays as it is: {reason or error}")

    def _write(self, picture: Path, row: Mapping[str, Any]) -> str:
        name = self._name(picture)
        if self._xmp.adobe and self._twins(picture) > 1:
            raise InputError(
                f"It would belong to each picture named {picture.stem}. Leave --xmp-name adobe out."
            )
        path, marks = picture.parent / name, self._marks(row)
        xmp, rated = embedded_rating(picture)
        rated = rated or rating_in(xmp)
        for _ in range(_TRIES):
            if path.is_file() and path.stat().st_size > MAX_BYTES:
                raise InputError(f"It has more than {MAX_BYTES >> 20} MiB, which no sidecar needs.")
            before = read_sidecar(path)
            sidecar = marked(before, marks, rated=rated)
            done = "made" if before is None else "changed"
            if sidecar.data == before:
                done = "unchanged"
            elif not self._records.of(picture.parent).write(name, before, sidecar.data):
                continue
            self.counts["others"] += sidecar.others
            return done
        raise InputError("Another program writes it again and again. Try again when it is done.")

    def _marks(self, row: Mapping[str, Any]) -> Marks:
        between = None
        if self._level is not None:
            between = row["low"], row["high"], self._level
        why = [(reason["meaning"], reason["probability"]) for reason in row.get("why") or ()]
        return Marks(
            score=row["score"],
            stars=stars_of(row["score"], self._xmp.stars or STARS),
            model=self._model,
            weights=self._weights,
            between=between,
            keywords=keywords_of(why),
        )

    def _name(self, picture: Path) -> str:
        return _names(picture)[self._xmp.adobe]

    def _twins(self, picture: Path) -> int:
        """How many pictures in its folder have its name but for the suffix."""
        folder, stems = self._stems
        if folder != picture.parent:
            names = (path for path in picture.parent.iterdir() if is_picture_name(path.name))
            stems = Counter(path.stem for path in names)
            self._stems = picture.parent, stems
        return stems[picture.stem]

    def sentences(self) -> list[str]:
        """What was done, and what could not be."""
        count = self.counts
        parts = [f"{count['made']:,} made", f"{count['changed']:,} changed"]
        parts += [f"{count['unchanged']:,} as before"]
        parts += [f"{count['failed']:,} failed"] if count["failed"] else []
        line = f"sidecars: {', '.join(parts)}"
        if count["others"]:
            line += f"; {count['others']:,} keep a rating that is not rali's"
        if count["no file"]:
            line += f"; {count['no file']:,} pictures are no files of their own and get none"
        more = count["failed"] - len(self.problems)
        return [*self.problems, *([f"{more:,} more failed so."] if more else []), f"{line}."]


def undo_sidecars(entries: Iterable[Any]) -> int:
    """Make the sidecars of these pictures what they were; returns the exit code."""
    from typer import echo

    counts: Counter[str] = Counter()
    records = _Records()
    try:
        for entry in entries:
            picture = Path(path_in(entry.key))
            if not os.path.isdir(picture.parent / FOLDER):  # noqa: PTH112 - Path.is_dir may raise
                continue
            record = records.of(picture.parent)
            for name in _names(picture):
                done = record.undo(name)
                if done == "edited":
                    left = "was edited since rali wrote it, and stays as it is."
                    echo(f"rali: {picture.parent / name} {left}", err=True)
                counts[done or ""] += 1
    finally:
        records.close()
    echo(
        f"rali: sidecars: {counts['restored']:,} restored, {counts['deleted']:,} deleted, "
        f"{counts['edited']:,} edited since and left.",
        err=True,
    )
    return int(counts["edited"] > 0)


class _Records:
    """The records of the last few folders."""

    def __init__(self) -> None:
        self._open: dict[Path, UndoRecord] = {}

    def of(self, folder: Path) -> UndoRecord:
        folder = folder.resolve()  # one lock, whatever links lead there
        if folder not in self._open:
            if len(self._open) == _OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[folder] = UndoRecord(folder)
        return self._open[folder]

    def close(self) -> None:
        for record in self._open.values():
            record.close()


def _names(picture: Path) -> tuple[str, str]:
    """A sidecar's name beside a picture: in full, and as Adobe has it."""
    return f"{picture.name}.xmp", f"{picture.stem}.xmp"
