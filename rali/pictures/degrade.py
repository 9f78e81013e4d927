"""Synthetic degradations: 12 classes × 5 severities, uint8 RGB in, uint8 RGB out.

The classes are DQ-495K's; Q-Insight's noise, blur, JPEG and darken are four of them and "null" is
its fifth label. Severities 1–5 are slight, moderate, obvious, serious and catastrophic. Their
strengths use the scales of KADID-10k's generator and stay inside its ranges, so that its human
scores hold for them; where a level of KADID changes next to nothing (blur 1, saturation ×1), ours
starts higher.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from rali.errors import InputError

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
KINDS = tuple((name, severity) for name in DISTORTIONS for severity in range(1, 6))
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
    """The class that a name stands for: one of `DISTORTIONS`, or `null`.

    Raises:
        InputError: no class has this name.
    """
    key = name.strip().lower().replace("_", " ").replace("-", " ")
    key = _SYNONYMS.get(key, key)
    if key != "null" and key not in DISTORTIONS:
        raise InputError(
            f"No distortion is called {name!r}; there are null, {', '.join(DISTORTIONS)}."
        )
    return key


def degrade(rgb: np.ndarray, distortion: str, severity: int, seed: int = 0) -> np.ndarray:
    """Degrade a picture.

    Args:
        rgb: uint8 [H, W, 3].
        distortion: a class or a synonym of one.
        severity: 0 (an unchanged copy) to 5.
        seed: for the noise; the other classes draw no random numbers.

    Raises:
        InputError: unknown class, severity outside 0–5, or not uint8 RGB.
    """
    name = canonical(distortion)
    check_severity(severity)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"degrade expects uint8 [H, W, 3], got {rgb.dtype} {list(rgb.shape)}.")
    if name == "null" or severity == 0:
        return rgb.copy()
    return _OPERATIONS[name](rgb, STRENGTHS[name][severity - 1], seed)


def degraded_versions(
    rgb: np.ndarray,
    kinds: Iterable[tuple[str, int]],
    seed: Callable[[str, int], int] = lambda distortion, severity: 0,
    prepare: Callable[[np.ndarray], np.ndarray] = lambda rgb: rgb,
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(distortion, severity, picture) of a photograph, one after the other.

    A degradation that changes no pixel (saturation of a grey photograph) is left out.

    Args:
        rgb: uint8 [H, W, 3].
        kinds: (distortion, severity) of each version; severity 0 is the photograph itself.
        seed: the seed of a version's noise, by distortion and severity.
        prepare: applied to the photograph anew before each version is made.
    """
    for distortion, severity in kinds:
        plain = prepare(rgb)
        picture = degrade(plain, distortion, severity, seed(distortion, severity))
        if severity == 0 or not np.array_equal(picture, plain):
            yield distortion, severity, picture


def check_severity(severity: int) -> None:
    """Refuse anything but 0 to 5.

    Raises:
        InputError: another number, or a float.
    """
    if isinstance(severity, float) or severity not in range(6):
        raise InputError(f"severity is {severity!r}; expected 0 (none) to 5 (catastrophic).")


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blur(rgb: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    from scipy import ndimage  # here and below, as it takes seconds and names need none of it

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
    from scipy.interpolate import PchipInterpolator

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
    from scipy import ndimage

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
