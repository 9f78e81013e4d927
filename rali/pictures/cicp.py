"""Colour by numbers: pixels under primaries and a transfer curve in, uint8 sRGB out.

The codes are those of ITU-T H.273 ("CICP"), which AVIF and HEIC (`nclx`), PNG (`cICP`) and video
share. PQ and HLG are toned down to an ordinary screen as Chromium does it: white at 203 cd/m²
becomes half of the screen's light, 1000 cd/m² all of it (the reference-white operator of SMPTE
ST 2094-50, with 1000 cd/m² as the brightest).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
PRIMARIES: dict[int, tuple[float, ...]] = {  # x and y of white, red, green and blue
    1: (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1, 0, 0, 1, 0, 0),
    11: (*_DCI, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (*_D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
_SRGB, _PQ, _CINEMA, _HLG = 13, 16, 17, 18
_BRIGHTEST = 1000 / 203  # of what PQ and HLG can show, in whites


@dataclasses.dataclass(frozen=True)
class Space:
    """How numbers mean colours: chromaticities (white, red, green, blue) and a curve.

    `transfer` is a code of H.273, or a gamma where it is a float: light = value ** gamma.
    """

    primaries: tuple[float, ...] = PRIMARIES[1]
    transfer: int | float = _SRGB

    @property
    def is_srgb(self) -> bool:
        """Whether pixels stay as they are."""
        return self.primaries == PRIMARIES[1] and self.transfer == _SRGB


def space_of(primaries: int, transfer: int) -> Space:
    """The space of two H.273 codes; one that is unspecified or reserved counts as sRGB's."""
    known = transfer in _CURVES or transfer in (_PQ, _CINEMA, _HLG)
    return Space(PRIMARIES.get(primaries, PRIMARIES[1]), transfer if known else _SRGB)


def space_to_srgb(pixels: np.ndarray, space: Space) -> np.ndarray:
    """uint8 or uint16 [H, W, 3] in `space` as uint8 [H, W, 3] in sRGB; what is outside is clipped.

    uint16 holds 0–65535.
    """
    top = np.iinfo(pixels.dtype).max
    light = _light(np.arange(top + 1) / top, space.transfer).astype(np.float32)
    bright = space.transfer in (_PQ, _HLG)
    to_wide = _matrix(space.primaries, PRIMARIES[9]).astype(np.float32)
    to_srgb = _matrix(PRIMARIES[9] if bright else space.primaries, PRIMARIES[1])
    made = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), 64):  # bands need less memory and stay in the cache
        band = light[pixels[start : start + 64]]
        if bright:
            band = band @ to_wide.T
            if space.transfer == _HLG:  # the screen's own curve, of a screen of 1000 cd/m²
                luma = np.maximum(band @ np.array([0.2627, 0.6780, 0.0593], np.float32), 0)
                band = band * (_BRIGHTEST * luma**0.2)[..., None]
            band = band * _gain(band.max(axis=2))[..., None]
        shown = (band @ to_srgb.T.astype(np.float32)).clip(0, 1)
        made[start : start + 64] = _ENCODED[np.rint(shown * (len(_ENCODED) - 1)).astype(np.int32)]
    return made


def _encode(light: np.ndarray) -> np.ndarray:
    """Light 0–1 as sRGB 0–1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


_ENCODED = np.rint(255 * _encode(np.linspace(0, 1, 1 << 16))).astype(np.uint8)


def _light(v: np.ndarray, transfer: int | float) -> np.ndarray:
    """Values 0–1 as light: 0–1, for PQ in whites of 203 cd/m², for HLG of the scene."""
    if isinstance(transfer, float):
        return np.asarray(v**transfer)
    if transfer == _PQ:
        p = v ** (1 / 78.84375)
        ratio = np.maximum(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)
        return np.asarray(10000 / 203 * ratio ** (1 / 0.1593017578125))
    if transfer == _CINEMA:
        return np.asarray(52.37 / 48 * v**2.6)
    if transfer == _HLG:
        return np.where(
            v <= 0.5, v**2 / 3, (np.exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12
        )
    gamma, a, slope, knee = _CURVES[transfer]
    return np.where(v < knee, v / slope, ((v + a) / (1 + a)) ** gamma)


_CURVES: dict[int, tuple[float, float, float, float]] = {  # gamma, offset, slope, knee
    # BT.709 and its kin: as screens show it (BT.1886), which is not the camera's curve turned back.
    **dict.fromkeys((1, 6, 11, 12, 14, 15), (2.4, 0, 1, 0)),
    4: (2.2, 0, 1, 0),
    5: (2.8, 0, 1, 0),
    7: (1 / 0.45, 0.111572, 4, 0.0912863),
    8: (1, 0, 1, 0),
    13: (2.4, 0.055, 12.92, 0.04045),
}


def _gain(brightest: np.ndarray) -> np.ndarray:
    """What to multiply a pixel with whose brightest component is `brightest` whites.

    ST 2094-50's reference-white operator for a screen without headroom: half up to white, then a
    quadratic Bézier curve that reaches the screen's 1 at `_BRIGHTEST`.
    """
    mid = 0.35 + 0.65 * 2
    a, b = 1 - 2 * mid + _BRIGHTEST, mid - 1
    t = (np.sqrt(b * b + a * np.clip(brightest - 1, 0, _BRIGHTEST - 1)) - b) / a
    shown = 0.5 + 2 * 0.325 * t + (0.5 - 2 * 0.825 + 1) * t * t
    return np.where(brightest <= 1, 0.5, shown / np.maximum(brightest, 1)).astype(np.float32)


@functools.lru_cache(maxsize=32)
def _matrix(source: tuple[float, ...], target: tuple[float, ...]) -> np.ndarray:
    """[3, 3]: linear RGB of one set of primaries to another's, whites adapted by Bradford."""
    return np.linalg.inv(_to_xyz(target)) @ _to_xyz(source)


def _to_xyz(chromaticities: tuple[float, ...]) -> np.ndarray:
    """[3, 3]: linear RGB to XYZ, adapted to D65."""
    xy = np.array(chromaticities, dtype=np.float64).reshape(4, 2)
    xyz = np.column_stack([xy, 1 - xy.sum(axis=1)])
    white = xyz[0] / xyz[0, 1]
    columns = xyz[1:].T
    columns = columns * np.linalg.solve(columns, white)
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    d65 = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    ratio = (bradford @ d65) / (bradford @ white)
    return np.asarray(np.linalg.inv(bradford) @ (ratio[:, None] * bradford) @ columns)
