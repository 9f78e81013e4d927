"""TID2013 (Ponomarenko et al., 2015): 25 pictures × 24 degradations × 5 levels.

In: the release's folder with `mos_with_names.txt` (`MOS name`), possibly `mos_std.txt` beside it,
`distorted_images/iRR_TT_L.bmp` and `reference_images/`. MOS 0–9, higher is better. The case of
names differs between the list and the disk.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._cells import number, spaced
from ._pictures import subfolder
from ._release import Label, Release, home_of, name_parts, rows_of, score_file

TYPES = (
    "additive gaussian noise", "noise in color components", "spatially correlated noise",
    "masked noise", "high frequency noise", "impulse noise", "quantization noise",
    "gaussian blur", "denoising", "jpeg", "jpeg2000", "jpeg transmission errors",
    "jpeg2000 transmission errors", "non-eccentricity pattern noise", "local block-wise",
    "mean shift", "contrast change", "saturation change", "multiplicative noise", "comfort noise",
    "lossy compression of noisy images", "color quantization with dither",
    "chromatic aberrations", "sparse sampling",
)  # fmt: skip
# Their levels run from one side of the original to the other, not from weak to strong.
SIGNED = ("mean shift", "contrast change")


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release.

    Raises:
        InputError: a file or picture is missing, or a cell is not what it should be.
    """
    source = score_file(root, ["mos_with_names.txt"], RELEASE)
    lines = spaced(source, 2)
    deviations = source.parent / "mos_std.txt"
    stds = [""] * len(lines)
    if deviations.is_file():
        stds = [cells[0] for _, cells in spaced(deviations, 1)]
    if len(stds) != len(lines):
        raise InputError(f"{deviations} has {len(stds)} rows and {source} {len(lines)}.")
    labels = []
    for (where, cells), std in zip(lines, stds, strict=True):
        raw, name = cells[:2]
        reference, distortion, severity = name_parts(name, TYPES, where)
        labels.append(
            Label(
                where, name, number(raw, where, required=True), number(std, where, minimum=0),
                content=reference.lower(), reference=f"{reference}.bmp", distortion=distortion,
                severity=None if distortion in SIGNED else severity,
            )
        )  # fmt: skip
    home = home_of(root)
    return rows_of(
        RELEASE, labels, source, subfolder(home, "distorted_images"),
        references=subfolder(home, "reference_images"), labels_only=labels_only,
    )  # fmt: skip


RELEASE = Release(
    name="tid2013",
    title="TID2013",
    layout="mos_with_names.txt, distorted_images/ and reference_images/",
    pictures=3_000,
    worst=0.24242,
    best=7.21429,
    scale="MOS 0–9, higher is better",
    content="reference picture",
    split="none",
    licence="see its page",
    home="www.ponomarenko.info/tid2013.htm",
    read=read,
)
