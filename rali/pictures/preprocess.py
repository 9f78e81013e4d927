"""uint8 RGB in, normalised float32 [3, S, S] out; equal to open_clip's PIL transforms.

The description is data: it travels from the encoder to the model folder and the ONNX file, so
torch and ONNX Runtime see the same numbers. Needs numpy and Pillow only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from PIL import Image

from rali.errors import InputError, shortened

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_RESIZE_MODES = ("shortest", "squash", "mirror")
# From this aspect ratio on, only what the centre crop keeps is resized: 3×10000 would otherwise
# pass through 336×1120000. Below it, the whole picture is, exactly as torchvision does.
LONG = 8
LARGEST = 16_384  # pixels of an encoder's edge: 3 GB of them


def shrink(rgb: np.ndarray, *, longer: int | None = None, shorter: int | None = None) -> np.ndarray:
    """A picture with smaller edges, uint8 [H, W, 3]; one that is small enough stays as it is.

    Args:
        longer: at most as many pixels for the longer edge.
        shorter: at most as many pixels for the shorter edge.
    """
    height, width = rgb.shape[:2]
    factor = min(
        1.0 if longer is None else longer / max(height, width),
        1.0 if shorter is None else shorter / min(height, width),
    )
    if factor >= 1:
        return rgb
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes an encoder's input.

    `shortest` resizes the shorter edge to `size` and crops the centre (torchvision's `Resize` +
    `CenterCrop`); `squash` resizes to `size` × `size`, whatever the aspect ratio; `mirror` resizes
    the longer edge to `size` and fills the square with mirror images, so that the whole picture
    counts and keeps its shape. All use Pillow's antialiased filter. `mean` and `std` are on the 0–1
    scale; the defaults are CLIP's.

    Beyond an aspect ratio of 8, `shortest` resizes only the region of the source that the crop
    keeps: the same filter on the same pixels, so memory stays bounded. The filter's two passes may
    then come in another order, which moves values by a level or so (more in pure noise).

    Raises:
        InputError: a field is not what its type says; the message names it.
    """

    size: int = 336
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash", "mirror"] = "shortest"

    def __post_init__(self) -> None:
        whole = isinstance(self.size, int) and not isinstance(self.size, bool)
        if not whole or not 1 <= self.size <= LARGEST:
            raise InputError(
                f"Preprocess: size must be a whole number of pixels from 1 to {LARGEST:,}, got "
                f"{shortened(repr(self.size))}."
            )
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three(name, getattr(self, name)))
        if min(self.std) <= 0:
            raise InputError(f"Preprocess: std must be greater than 0, got {list(self.std)}.")
        for name, known in (("interpolation", tuple(_FILTERS)), ("resize_mode", _RESIZE_MODES)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"Preprocess: {name} must be {' or '.join(known)}, got {getattr(self, name)!r}."
                )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `from_dict` reads them back."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Preprocess:
        """Read what `to_dict` wrote: every field must be there, and no other.

        Raises:
            InputError: a field is missing, unknown or of the wrong kind.
        """
        if not isinstance(fields, Mapping):
            raise InputError(f"Preprocess: expected a dict, got {type(fields).__name__}.")
        known = {field.name for field in dataclasses.fields(cls)}
        for problem, names in (
            ("lacks", known - set(fields)),
            ("has unknown", set(fields) - known),
        ):
            if names:
                raise InputError(
                    f"Preprocess: the description {problem} {', '.join(sorted(map(str, names)))}; "
                    f"expected {', '.join(sorted(known))}."
                )
        return cls(**fields)

    def pixels(self, rgb: np.ndarray) -> np.ndarray:
        """rgb uint8 [H, W, 3] → uint8 [S, S, 3], before normalisation.

        Raises:
            InputError: not uint8 RGB.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise InputError(
                f"Expected uint8 [H, W, 3], got {rgb.dtype} {list(rgb.shape)}; "
                "rali.pictures.read.open_picture makes it from any picture."
            )
        image = Image.fromarray(np.ascontiguousarray(rgb))
        rows, columns = self.axes(*rgb.shape[:2])
        pixels = np.asarray(self._resize(image, rows, columns))
        if pixels.shape[:2] != (self.size, self.size):
            pixels = pixels[rows.kept(self.size)][:, columns.kept(self.size)]
        return pixels

    def axes(self, height: int, width: int) -> tuple[Axis, Axis]:
        """How the rows and the columns of a picture become S each."""
        shorter, longer = min(height, width), max(height, width)

        def axis(length: int) -> Axis:
            if self.resize_mode == "mirror":
                resized = max(1, int(self.size * length / longer + 0.5))
                return Axis(length, 0.0, float(length), resized, 0)
            if self.resize_mode == "squash" or length == shorter:
                return Axis(length, 0.0, float(length), self.size, 0)
            # torchvision truncates the longer edge and rounds the crop's corner half to even.
            resized = int(self.size * length / shorter)
            offset = round((resized - self.size) / 2.0)
            if length < LONG * shorter:
                return Axis(length, 0.0, float(length), resized, offset)
            begin, end = offset * length / resized, (offset + self.size) * length / resized
            return Axis(length, begin, end, self.size, 0)

        return axis(height), axis(width)

    def __call__(self, rgb: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """rgb uint8 [H, W, 3] → float32 [3, S, S], (value / 255 − mean) / std.

        Args:
            out: an array to write into, as for numpy's functions.
        """
        return self.normalise(self.pixels(rgb), out)

    def normalise(self, pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """What `pixels` returned, uint8 [S, S, 3] → float32 [3, S, S], into `out` if given."""
        planes = np.empty((3, self.size, self.size), np.float32) if out is None else out
        for channel, values in enumerate(self._values):
            np.take(values, pixels[..., channel], out=planes[channel], mode="clip")
        return planes

    @cached_property
    def _values(self) -> np.ndarray:
        """What each of the 256 levels becomes, per channel: float32 [3, 256]."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        return np.ascontiguousarray(((unit[:, None] - mean) / std).T)

    def _resize(self, image: Image.Image, rows: Axis, columns: Axis) -> Image.Image:
        """One axis after the other, in the order of Pillow 13, whichever Pillow is here."""
        kind = _FILTERS[self.interpolation]
        (width, height), top, bottom = (columns.resized, rows.resized), rows.begin, rows.end
        left, right = columns.begin, columns.end
        if rows_first(rows, columns):
            image = image.resize((image.width, height), kind, (0, top, image.width, bottom))
            return image.resize((width, height), kind, (left, 0, right, height))
        image = image.resize((width, image.height), kind, (left, 0, right, image.height))
        return image.resize((width, height), kind, (0, top, width, bottom))


@dataclass(frozen=True)
class Axis:
    """How one edge of a picture becomes S pixels.

    Attributes:
        length: pixels of the picture.
        begin, end: the part that is resized, in pixels.
        resized: its length afterwards. offset: the first of the S pixels that the crop keeps.
    """

    length: int
    begin: float
    end: float
    resized: int
    offset: int

    def kept(self, size: int) -> np.ndarray:
        """Which of the `resized` pixels become the `size` that are kept: int64 [size].

        Where there are fewer, they are mirrored at both ends, as often as it takes.
        """
        places = (np.arange(size) + self.offset) % (2 * self.resized)
        return np.minimum(places, 2 * self.resized - 1 - places)


def rows_first(rows: Axis, columns: Axis) -> bool:
    """Whether Pillow 13 resizes the rows first; it rounds between the two passes."""
    less = rows.length - rows.resized
    return less > 0 and less > 2 * (columns.length - columns.resized)


def _three(name: str, values: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if isinstance(values, str) or len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"Preprocess: {name} must be three finite numbers, got {shortened(repr(values))}."
        )
    return numbers
