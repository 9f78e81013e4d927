"""Synthetic degradations: 12 classes × 5 severities, uint8 RGB in, uint8 RGB out.

The classes are DQ-495K's; Q-Insight's noise, blur, JPEG and darken are four of them and "null" is
its fifth label. Severities 1–5 are slight, mild, moderate, severe and catastrophic; they take the
human scores of KADID-10k's levels of the same number. The strengths are spaced so that fidelity
falls at every step; they are of KADID's order, not its own parameters (see `_OPERATIONS`).
"""

from __future__ import annotations

import io
import json
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from .errors import InputError, PictureError
from .pictures import open_picture

if TYPE_CHECKING:
    from .manifest import Row

DISTORTIONS = (
    "blur",
    "noise",
    "compression",
    "brighten",
    "darken",
    "contrast strengthen",
    "contrast weaken",
    "saturate strengthen",
    "saturate weaken",
    "oversharpen",
    "pixelate",
    "quantize",
)
SEVERITY_NAMES = ("none", "slight", "mild", "moderate", "severe", "catastrophic")
_SYNONYMS = {
    "none": "null",
    "no distortion": "null",
    "pristine": "null",
    "jpeg": "compression",
    "jpeg compression": "compression",
    "jpg": "compression",
    "gaussian blur": "blur",
    "blurring": "blur",
    "gaussian noise": "noise",
    "white noise": "noise",
    "brightness": "brighten",
    "brightening": "brighten",
    "dark": "darken",
    "darkness": "darken",
    "darkening": "darken",
    "contrast strengthening": "contrast strengthen",
    "contrast weakening": "contrast weaken",
    "saturation strengthening": "saturate strengthen",
    "saturation weakening": "saturate weaken",
    "saturation strengthen": "saturate strengthen",
    "saturation weaken": "saturate weaken",
    "desaturate": "saturate weaken",
    "oversharpening": "oversharpen",
    "over sharpening": "oversharpen",
    "over sharpen": "oversharpen",
    "sharpen": "oversharpen",
    "pixelation": "pixelate",
    "pixelated": "pixelate",
    "quantization": "quantize",
    "quantisation": "quantize",
    "posterize": "quantize",
}


def canonical(name: str) -> str:
    """The class a name stands for: one of `DISTORTIONS`, or `null`.

    Raises:
        InputError: a name that stands for none.
    """
    key = name.strip().lower().replace("_", " ").replace("-", " ")
    key = _SYNONYMS.get(key, key)
    if key != "null" and key not in DISTORTIONS:
        raise InputError(
            f"no distortion is called {name!r}; there are null, {', '.join(DISTORTIONS)}."
        )
    return key


@cache
def _scores() -> dict[str, list[float] | float | str]:
    return json.loads((files("rali") / "kadid_scores.json").read_text("utf-8"))


def degraded_score(distortion: str, severity: int) -> float:
    """Score, 1–5, of a degraded picture: KADID-10k's mean for that type and level; 5 for none."""
    name = canonical(distortion)
    _check_severity(severity)
    if name == "null" or severity == 0:
        return 5.0
    levels = _scores()[name]
    assert isinstance(levels, list)
    return levels[severity - 1]


def degrade(rgb: np.ndarray, distortion: str, severity: int, seed: int = 0) -> np.ndarray:
    """Degrade a picture.

    Args:
        rgb: uint8 [H, W, 3].
        distortion: a class or a synonym of one.
        severity: 0 (an unchanged copy) to 5.
        seed: of the noise; the other classes do not draw.

    Raises:
        InputError: unknown class, severity outside 0–5, or not uint8 RGB.
    """
    name = canonical(distortion)
    _check_severity(severity)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"degrade expects uint8 [H, W, 3], got {rgb.dtype} {list(rgb.shape)}.")
    if name == "null" or severity == 0:
        return rgb.copy()
    return _OPERATIONS[name](rgb, severity - 1, seed)


def _check_severity(severity: int) -> None:
    if isinstance(severity, float) or severity not in range(6):
        raise InputError(f"severity is {severity!r}; expected 0 (none) to 5 (catastrophic).")


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blur(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    sigma = (0.8, 1.4, 2.2, 3.6, 6.0)[level]
    return _bytes(ndimage.gaussian_filter(rgb.astype(np.float32), (sigma, sigma, 0), truncate=3))


def _noise(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    sigma = (8, 14, 22, 36, 58)[level]
    noise = np.random.default_rng(seed).standard_normal(rgb.shape, dtype=np.float32)
    return _bytes(rgb + noise * sigma)


def _compression(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    buffer = io.BytesIO()
    quality = (40, 22, 13, 7, 3)[level]
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer))  # a copy: Pillow's own buffer is read-only


def _brighten(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    lift = (0.08, 0.16, 0.26, 0.40, 0.58)[level]
    table = _bytes(255 * (np.arange(256) / 255) ** (1 - lift) + 255 * lift * 0.6)
    return table[rgb]


def _darken(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    drop = (0.10, 0.20, 0.32, 0.48, 0.68)[level]
    table = _bytes(255 * (1 - drop) * (np.arange(256) / 255) ** (1 + 1.2 * drop))
    return table[rgb]


def _contrast(rgb: np.ndarray, factor: float) -> np.ndarray:
    values = rgb.astype(np.float32)
    middle = values.mean()
    return _bytes(middle + (values - middle) * factor)


def _saturation(rgb: np.ndarray, factor: float) -> np.ndarray:
    values = rgb.astype(np.float32)
    grey = (values @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return _bytes(grey + (values - grey) * factor)


def _oversharpen(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    amount = (1.0, 2.0, 3.5, 6.0, 10.0)[level]
    values = rgb.astype(np.float32)
    return _bytes(values + amount * (values - ndimage.gaussian_filter(values, (1.2, 1.2, 0))))


def _pixelate(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    block = (2, 3, 5, 8, 13)[level]
    height, width = rgb.shape[:2]
    small = (max(1, round(width / block)), max(1, round(height / block)))
    picture = Image.fromarray(rgb).resize(small, Image.Resampling.BOX)
    return np.array(picture.resize((width, height), Image.Resampling.NEAREST))


def _quantize(rgb: np.ndarray, level: int, seed: int) -> np.ndarray:
    steps = (16, 10, 7, 5, 3)[level]
    table = _bytes(np.rint(np.arange(256) / 255 * (steps - 1)) * 255 / (steps - 1))
    return table[rgb]


# Against KADID-10k's parameters of the same level: JPEG (43, 36, 24, 7, 4) and sharpening
# (1, 2, 3, 6, 12) are close; its blur (σ 0.1, 0.5, 1, 2, 5) is weaker at every level, its noise
# (σ 8, 11, 14, 18, 26), quantization (20, 16, 13, 10, 7 levels) and pixelation clearly weaker at
# the upper ones, its saturation loss (0.4, 0.2, 0.1, 0, −0.4) stronger at the lower ones.
# By PSNR its brightening and both contrast changes are weaker by about a level, its darkening by
# up to two. Where KADID's level is weaker than ours, its raters would score our picture lower.
_OPERATIONS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "blur": _blur,
    "noise": _noise,
    "compression": _compression,
    "brighten": _brighten,
    "darken": _darken,
    "contrast strengthen": lambda rgb, level, seed: _contrast(
        rgb, (1.25, 1.55, 2.0, 2.8, 4.5)[level]
    ),
    "contrast weaken": lambda rgb, level, seed: _contrast(
        rgb, (0.75, 0.57, 0.40, 0.25, 0.12)[level]
    ),
    "saturate strengthen": lambda rgb, level, seed: _saturation(
        rgb, (1.5, 2.1, 3.0, 4.5, 8.0)[level]
    ),
    "saturate weaken": lambda rgb, level, seed: _saturation(rgb, (0.7, 0.5, 0.3, 0.13, 0.0)[level]),
    "oversharpen": _oversharpen,
    "pixelate": _pixelate,
    "quantize": _quantize,
}


def degrade_folder(
    photographs: Iterable[str | Path],
    output_dir: str | Path,
    *,
    distortions: Sequence[str] = DISTORTIONS,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    size: int | None = None,
    per_photograph: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Write every photograph plain and degraded as PNG; returns manifest rows.

    Files are `<content>__<distortion>__<severity>.png`, written under a temporary name and
    renamed; those that are there already are kept, so a stopped call goes on (another `size` or
    `seed` belongs in another folder). `content` is the photograph's stem, made unique.
    Photographs that cannot be read are left out, with one warning at the end.

    Args:
        size: shrink so that the longer edge has at most so many pixels, before degrading.
        per_photograph: draw so many (distortion, severity) pairs per photograph instead of all.
        seed: of the draws and the noise; each picture gets noise of its own.
        progress: called with (photographs done, photographs).

    Raises:
        InputError: no photograph could be read, or an unknown distortion or severity.
    """
    from .manifest import Row

    output = Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    paths = [Path(path) for path in photographs]
    names = [canonical(name) for name in distortions]
    for severity in severities:
        _check_severity(severity)
    kinds = [(name, s) for name in names if name != "null" for s in severities if s]
    rows: list[Row] = []
    failures: list[str] = []
    taken: set[str] = set()
    for number, path in enumerate(paths):
        content = path.stem if path.stem not in taken else f"{path.parent.name}-{path.stem}"
        while content in taken:
            content += "_"
        taken.add(content)
        chosen = kinds
        if per_photograph is not None:
            draw = np.random.default_rng((seed, *content.encode()))
            count = min(per_photograph, len(kinds))
            chosen = [kinds[i] for i in draw.choice(len(kinds), count, replace=False)]
        original: np.ndarray | None = None
        reference = output / f"{content}__null__0.png"
        try:
            for name, severity in [("null", 0), *chosen]:
                target = output / f"{content}__{name.replace(' ', '-')}__{severity}.png"
                if not target.is_file():
                    if original is None:
                        original = _shrink(open_picture(path), size)
                    # Were the noise field shared, it could be learnt instead of the noise.
                    own = zlib.crc32(f"{seed}/{content}/{name}/{severity}".encode())
                    picture = Image.fromarray(degrade(original, name, severity, own))
                    temporary = target.with_suffix(".tmp")
                    picture.save(temporary, "PNG", compress_level=1)
                    temporary.replace(target)
                score = degraded_score(name, severity)
                rows.append(
                    Row(
                        image=target.resolve(),
                        score=score,
                        raw_score=score,
                        dataset="degraded",
                        content=content,
                        reference=str(reference.resolve()),
                        distortion=name,
                        severity=severity,
                    )
                )
        except PictureError as error:
            failures.append(f"{path}: {error}")
        if progress:
            progress(number + 1, len(paths))
    if failures:
        message = f"{len(failures)} of {len(paths)} photographs were left out: " + "; ".join(
            failures[:5]
        )
        if not rows:
            raise InputError(message)
        warnings.warn(message, stacklevel=2)
    return rows


def _shrink(rgb: np.ndarray, size: int | None) -> np.ndarray:
    height, width = rgb.shape[:2]
    if size is None or max(height, width) <= size:
        return rgb
    factor = size / max(height, width)
    edges = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(rgb).resize(edges, Image.Resampling.LANCZOS))
