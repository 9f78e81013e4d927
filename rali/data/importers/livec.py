"""LIVE In the Wild, also CLIVE (Ghadiyaram and Bovik, 2016): 1,162 photographs from phones.

In: the release's folder with `Images/`, `Data/AllImages_release.mat`, `AllMOS_release.mat` and
`AllStdDev_release.mat`. MOS 0–100, higher is better. The first seven pictures trained the raters;
as is usual, they are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rali.errors import InputError, require

from ..manifest import Row
from ._pictures import subfolder
from ._release import Label, Release, rows_of

TRAINING = 7


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release.

    Raises:
        InputError: a file or picture is missing, or the three lists do not match.
    """
    data = subfolder(Path(root), "Data")
    names, scores, stds = (
        _variable(data, f"All{name}_release") for name in ("Images", "MOS", "StdDev")
    )
    if not len(names) == len(scores) == len(stds) > TRAINING:
        raise InputError(
            f"{data}: {len(names)} names, {len(scores)} scores and {len(stds)} deviations; "
            f"expected {RELEASE.pictures + TRAINING:,} of each."
        )
    source = data / "AllMOS_release.mat"
    labels = [
        Label(f"{source}, entry {place}", str(name), float(score), float(std))
        for place, (name, score, std) in enumerate(zip(names, scores, stds, strict=True), 1)
    ][TRAINING:]
    pictures = subfolder(Path(root), "Images")
    return rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)


def _variable(folder: Path, name: str) -> list[Any]:
    path = folder / f"{name}.mat"
    io = require("scipy.io", "data")
    if not path.is_file():
        raise InputError(f"There is no {path}; give the folder of {RELEASE.title}.")
    try:
        cells = io.loadmat(path)[name].ravel()
    except Exception as error:  # scipy raises whatever a broken file leads it to
        raise InputError(f"{path} cannot be read as MATLAB's {name}: {error}") from error
    return [cell.item() for cell in cells]


RELEASE = Release(
    name="livec",
    title="LIVE In the Wild",
    layout="Images/, and Data/ with AllImages_release.mat, AllMOS_release.mat and "
    "AllStdDev_release.mat",
    pictures=1_162,
    worst=3.42,
    best=92.4316,
    scale="MOS 0–100, higher is better",
    content="picture",
    split="none",
    licence="see its page",
    home="live.ece.utexas.edu/research/ChallengeDB",
    read=read,
)
