"""Synthetic degradations: 12 classes × 5 severities, uint8 RGB in, uint8 RGB out.

The classes are DQ-495K's; Q-Insight's noise, blur, JPEG and darken are four of them and "null" is
its fifth label. Severities 1–5 are slight, moderate, obvious, serious and catastrophic. Their
strengths lie on the scales of KADID-10k's generator and inside its ranges, so that its human scores
hold for them; where a level of KADID changes next to nothing (blur 1, saturation ×1), ours starts
higher.
"""

from __future__ import annotations

import io
import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from .errors import InputError, PictureError
from .files import replace_atomically
from .pictures import open_picture
from .triplets import image_sha256

if TYPE_CHECKING:
    from .manifest import Row

# Per class the strengths of severities 1–5.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "blur": (0.5, 0.7, 1, 2, 5),  # σ in pixels
    "noise": (8, 11.4, 14, 18, 25.5),  # σ in grey levels
    "compression": (43, 36, 24, 7, 4),  # JPEG quality
    "brighten": (0.2, 0.35, 0.55, 0.8, 1.1),  # the middle tone rises by half of it
    "darken": (0.1, 0.2, 0.35, 0.55, 0.8),  # the middle tone falls by half of it
    "contrast strengthen": (0.15, 0.25, 0.35, 0.42, 0.5),  # quarter tones move by a quarter of it
    "contrast weaken": (0.15, 0.2, 0.27, 0.33, 0.4),
    "saturate strengthen": (1.5, 2, 3, 6, 9),  # factor on the distance from grey
    "saturate weaken": (0.6, 0.4, 0.2, 0.1, 0),
    "oversharpen": (1, 2, 3, 6, 12),  # amount of an unsharp mask of σ 1
    "pixelate": (1.13, 1.28, 1.43, 1.76, 3.45),  # edge of a block in pixels
    "quantize": (20, 16, 13, 10, 7),  # levels per channel
}
DISTORTIONS = tuple(STRENGTHS)
STAMP = "degraded.json"  # what a folder's pictures were made from
SEVERITY_NAMES = ("none", "slight", "moderate", "obvious", "serious", "catastrophic")
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
    """Score, 1–5, of a degraded picture: KADID-10k's mean for that strength; 5 for none."""
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
    return _OPERATIONS[name](rgb, STRENGTHS[name][severity - 1], seed)


def _check_severity(severity: int) -> None:
    if isinstance(severity, float) or severity not in range(6):
        raise InputError(f"severity is {severity!r}; expected 0 (none) to 5 (catastrophic).")


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blur(rgb: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    return _bytes(ndimage.gaussian_filter(rgb.astype(np.float32), (sigma, sigma, 0)))


def _noise(rgb: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(rgb.shape, dtype=np.float32)
    return _bytes(rgb + noise * sigma)


def _compression(rgb: np.ndarray, quality: float, seed: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return np.array(Image.open(buffer))  # a copy: Pillow's own buffer is read-only


def _curve(rgb: np.ndarray, *points: tuple[float, float]) -> np.ndarray:
    """A smooth tone curve through black, `points` and white, all on the 0–1 scale."""
    x, y = zip((0.0, 0.0), *points, (1.0, 1.0), strict=True)
    return _bytes(255 * PchipInterpolator(x, y)(np.arange(256) / 255))[rgb]


def _brighten(rgb: np.ndarray, lift: float, seed: int) -> np.ndarray:
    return _curve(rgb, (0.5, 0.5 + lift / 2))


def _darken(rgb: np.ndarray, drop: float, seed: int) -> np.ndarray:
    return _curve(rgb, (0.5, 0.5 - drop / 2))


def _strengthen_contrast(rgb: np.ndarray, amount: float, seed: int) -> np.ndarray:
    return _curve(rgb, (0.3, 0.3 - amount / 4), (0.5, 0.5), (0.7, 0.7 + amount / 4))


def _weaken_contrast(rgb: np.ndarray, amount: float, seed: int) -> np.ndarray:
    return _strengthen_contrast(rgb, -amount, seed)


def _saturate(rgb: np.ndarray, factor: float, seed: int) -> np.ndarray:
    values = rgb.astype(np.float32)
    grey = (values @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return _bytes(grey + (values - grey) * factor)


def _oversharpen(rgb: np.ndarray, amount: float, seed: int) -> np.ndarray:
    values = rgb.astype(np.float32)
    return _bytes(values + amount * (values - ndimage.gaussian_filter(values, (1, 1, 0))))


def _pixelate(rgb: np.ndarray, block: float, seed: int) -> np.ndarray:
    height, width = rgb.shape[:2]
    small = (max(1, round(width / block)), max(1, round(height / block)))
    picture = Image.fromarray(rgb).resize(small, Image.Resampling.BOX)
    return np.array(picture.resize((width, height), Image.Resampling.NEAREST))


def _quantize(rgb: np.ndarray, levels: float, seed: int) -> np.ndarray:
    return _bytes(np.rint(np.arange(256) / 255 * (levels - 1)) * 255 / (levels - 1))[rgb]


_OPERATIONS: dict[str, Callable[[np.ndarray, float, int], np.ndarray]] = {
    "blur": _blur,
    "noise": _noise,
    "compression": _compression,
    "brighten": _brighten,
    "darken": _darken,
    "contrast strengthen": _strengthen_contrast,
    "contrast weaken": _weaken_contrast,
    "saturate strengthen": _saturate,
    "saturate weaken": _saturate,
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
    renamed; those that are there already are kept, so a stopped call goes on.
    `content` is the photograph's stem, made unique.
    A degradation that changes no pixel (saturation of a grey photograph) is none and is left out;
    so are photographs that cannot be read, with one warning at the end.

    Args:
        size: shrink so that the longer edge has at most so many pixels, before degrading.
        per_photograph: draw so many (distortion, severity) pairs per photograph instead of all.
        seed: of the draws and the noise; each picture gets noise of its own.
        progress: called with (photographs done, photographs).

    Raises:
        InputError: no photograph could be read, an unknown distortion or severity, or a folder
            whose pictures were made from other photographs of these names or in another way.
    """
    output = Path(output_dir)
    output.mkdir(parents=True, exist_ok=True)
    paths = [Path(path) for path in photographs]
    names = [canonical(name) for name in distortions]
    for severity in severities:
        _check_severity(severity)
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
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                rows += outcome
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


def _claim(output: Path, sources: Mapping[str, Path], size: int | None, seed: int) -> None:
    """Note in the folder what its pictures are made from; refuse it if it was something else."""
    made_with = f"size {size}, seed {seed}, strengths {zlib.crc32(repr(STRENGTHS).encode())}"
    stamp = output / STAMP
    known: dict[str, str] = json.loads(stamp.read_text("utf-8")) if stamp.is_file() else {}
    now = dict(known)
    for content, path in sources.items():
        if path.is_file():
            now[content] = f"{image_sha256(path)[:16]}, {made_with}"
    other = [name for name in known if now[name] != known[name]]
    if other:
        raise InputError(
            f"{output} holds degradations of another {other[0]!r}, or with another size, seed or "
            "version of rali. Give another folder, or delete it."
        )
    if not known and any(output.glob("*__null__0.png")):
        raise InputError(
            f"{output} holds degradations, but no {STAMP} that says of what. Give another folder, "
            "or delete it."
        )
    text = json.dumps(now, indent=1)
    replace_atomically(stamp, lambda target: target.write_text(text, "utf-8"))


def _contents(paths: Sequence[Path]) -> list[str]:
    """The photographs' stems; namesakes get their folder's name in front."""
    contents: list[str] = []
    for path in paths:
        content = path.stem if path.stem not in contents else f"{path.parent.name}-{path.stem}"
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
    """Write one photograph plain and in each kind of (distortion, severity); its rows."""
    from .manifest import Row

    rows: list[Row] = []
    original: np.ndarray | None = None
    reference = output / f"{content}__null__0.png"
    for name, severity in [("null", 0), *kinds]:
        target = output / f"{content}__{name.replace(' ', '-')}__{severity}.png"
        if not target.is_file():
            if original is None:
                original = _shrink(open_picture(path), size)
            # Were the noise field shared, it could be learnt instead of the noise.
            own = zlib.crc32(f"{seed}/{content}/{name}/{severity}".encode())
            picture = degrade(original, name, severity, own)
            if severity and np.array_equal(picture, original):
                continue
            save = partial(Image.fromarray(picture).save, format="PNG", compress_level=1)
            replace_atomically(target, save)
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
    return rows


def _shrink(rgb: np.ndarray, size: int | None) -> np.ndarray:
    height, width = rgb.shape[:2]
    if size is None or max(height, width) <= size:
        return rgb
    factor = size / max(height, width)
    edges = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(rgb).resize(edges, Image.Resampling.LANCZOS))
