"""A data set as its authors publish it, and how its labels become manifest rows.

In: a `Release` (its files, size, range, content key and source, as its owners state them) and
labels as its score files give them. Out: rows with scores on 1–5. A release that differs from the
published one is a warning or an error of one sentence with the path.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rali.errors import InputError

from ..manifest import Row
from ..tables import first_few
from ._pictures import PictureFinder
from ._scores import rescale_std, score

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


@dataclass(frozen=True)
class Release:
    """A data set as its authors publish it, and the function that reads it.

    Attributes:
        name: its name on the command line and in manifests. title: its name in print.
        layout: the files and folders that are read, in words.
        pictures: labelled pictures (or comparisons) in the full release.
        worst, best: native scores of the worst and the best picture of the full release, so that a
            subset of it gets the same scores; `worst > best` where lower is better. None where the
            data set has no scores, or where they are taken from a complete list.
        scale: the native scale in words.
        content: what must not straddle a split.
        split: the split that the release has.
        licence: as its owners state it, where that could be read; else where to read it.
        home: where to ask for the download.
        read: takes the release's folder (or, for most, its score file) and options as keywords,
            which become the options of its command; returns manifest rows, or pairs.
        pairs: whether `read` returns comparisons, which are written as a table of pairs.
    """

    name: str
    title: str
    layout: str
    pictures: int
    worst: float | None
    best: float | None
    scale: str
    content: str
    split: str
    licence: str
    home: str
    read: Callable[..., list[Any]]
    pairs: bool = False


@dataclass(frozen=True)
class Label:
    """A picture's label as the release writes it, in native units.

    Attributes:
        where: file and row, which begin the message of an error.
        picture: its file name. reference: the file name of its undistorted picture, if any.
        mos, std: native score and its standard deviation.
    """

    where: str
    picture: str
    mos: float | None = None
    std: float | None = None
    content: str = ""
    split: str = ""
    reference: str = ""
    distortion: str = ""
    severity: int | None = None


def score_file(root: str | Path, names: Sequence[str], release: Release) -> Path:
    """The release's score file: `root` itself, or the first of `names` in it, without case.

    Raises:
        InputError: there is none of them.
    """
    root = Path(root)
    if root.is_file():
        return root
    there = {path.name.lower(): path for path in sorted(root.glob("*"))} if root.is_dir() else {}
    for name in names:
        folder, _, last = name.rpartition("/")
        if folder and (root / name).is_file():
            return root / name
        if not folder and last.lower() in there:
            return there[last.lower()]
    raise InputError(
        f"{root} holds no {' or '.join(names)}; give the folder of {release.title}, or the file."
    )


def name_parts(name: str, types: Sequence[str], where: str) -> tuple[str, str, int]:
    """Reference, degradation and level of a name such as `I01_02_03.png`; types start at 1.

    Raises:
        InputError: a name of another form.
    """
    try:
        reference, kind, level = Path(name).stem.rsplit("_", 2)
        place, severity = int(kind), int(level)
    except ValueError:
        place = severity = 0
    if not 1 <= place <= len(types) or not 0 <= severity <= 5:
        raise InputError(
            f"{where}: {name!r} is not named like I01_02_03.png (reference, type, level)."
        )
    return reference, types[place - 1], severity


def home_of(root: str | Path) -> Path:
    """The folder of a release, also where its score file is given instead."""
    return Path(root).parent if Path(root).is_file() else Path(root)


def rows_of(
    release: Release,
    labels: Iterable[Label],
    source: Path,
    pictures: Path,
    *,
    references: Path | None = None,
    labels_only: bool = False,
) -> list[Row]:
    """Manifest rows of labels.

    A list that is longer or shorter than the release is a warning, and so are pictures that the
    list does not name: a part of a release is still good data.

    Args:
        source: the score file, for messages. pictures: the folder that names are relative to.
        references: the folder of the undistorted pictures.
        labels_only: do not check that the pictures are there.

    Raises:
        InputError: pictures are missing, a score is outside the release's range, or scores rise
            with the strength of the degradation.
    """
    labels = list(labels)
    if not labels:
        raise InputError(f"{source} lists no pictures of {release.title}.")
    if len(labels) != release.pictures:
        warnings.warn(
            f"{source} lists {len(labels):,} pictures; {release.title} has {release.pictures:,}.",
            stacklevel=2,
        )
    low, high = _extremes(release, labels, source)
    _check_direction(release, labels, source, rising=high < low)
    finder = PictureFinder(pictures)
    originals = PictureFinder(references) if references else finder
    rows = []
    for label in labels:
        found = originals.look(label.reference) if label.reference else None
        rows.append(
            Row(
                image=finder.find(label.picture, label.where),
                score=score(label.mos, low, high, label.where),
                raw_score=label.mos,
                dataset=release.name,
                content=label.content,
                split=label.split,
                std=rescale_std(label.std, low, high),
                distortion=label.distortion,
                severity=label.severity,
                reference=str(found or ""),
            )
        )
    finder.stop_if_missing(source, labels_only)
    if not labels_only:
        _warn_of_extra(rows, source, pictures, references)
    return rows


def _extremes(release: Release, labels: Sequence[Label], source: Path) -> tuple[float, float]:
    if release.worst is not None and release.best is not None:
        return release.worst, release.best
    found = [label.mos for label in labels if label.mos is not None]
    if not found:
        return 1.0, 5.0
    if len(found) < release.pictures:
        raise InputError(
            f"{source} has {len(found):,} scores of {release.title}'s {release.pictures:,}; its "
            "extremes, which place them on 1–5, are only in the full list."
        )
    return min(found), max(found)


def _check_direction(
    release: Release, labels: Sequence[Label], source: Path, *, rising: bool
) -> None:
    """Refuse scores that rise as the same degradation of a picture gets stronger."""
    series: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for label in labels:
        if label.severity and label.distortion and label.mos is not None:
            points = series.setdefault((label.content, label.distortion), [])
            points.append((label.severity, label.mos))
    up = down = 0
    for points in series.values():
        (_, weak), (_, strong) = min(points), max(points)
        up, down = up + (strong > weak), down + (strong < weak)
    if (down > up) if rising else (up > down):
        raise InputError(
            f"{source}: scores {'fall' if rising else 'rise'} with the strength of the "
            f"degradation, but {release.title} is {release.scale}. Is this its score file?"
        )


def _warn_of_extra(
    rows: Sequence[Row], source: Path, pictures: Path, references: Path | None
) -> None:
    """Warn of pictures that lie beside the labelled ones but are not in the list."""
    named = {row.image for row in rows} | {Path(row.reference) for row in rows if row.reference}
    named = {path.resolve() for path in named}
    folders = {path.parent for path in named} - ({references.resolve()} if references else set())
    extra = sorted(
        path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and path not in named
    )
    if extra:
        names = first_few([path.name for path in extra])
        warnings.warn(
            f"{pictures} holds {len(extra):,} pictures that {source} does not list: {names}.",
            stacklevel=3,
        )
