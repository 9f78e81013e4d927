"""Pixels of every kind to uint8 RGB: bit depth, palette, alpha, colour space and orientation.

In: a `PIL.Image`, decoded or not, or an array. Out: [H, W, 3], 0–255, sRGB, as
`rali.pictures.read.open_picture` promises it.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from rali.errors import PictureError

from .cicp import Space, space_to_srgb
from .colour import to_srgb
from .file_colour import colour_of
from .jpeg2000 import read_codestream, restore_depth
from .opened import first_bytes
from .tiff import floats_to_levels, prepare_tiff, too_large

HALF_LEVEL = 0.5 / 255  # floats this far outside 0–1 are rounding errors
_strict = threading.Lock()
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def image_to_rgb(image: Image.Image, max_pixels: int) -> np.ndarray:
    """An image of any mode as uint8 [H, W, 3], sRGB.

    Raises:
        PictureError: no pixels, more than `max_pixels`, or values outside of the expected range.
            What the decoder raises passes through.
    """
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"The picture has no pixels ({width} by {height}).")
    if width * height > max_pixels:
        raise PictureError(too_large(width, height, max_pixels))
    raw_mode = _raw_mode(image)
    prepare_tiff(image, raw_mode)
    profile = colour_of(image)
    codestream, low, frame = read_codestream(image), _low_bytes(image, profile), _frame(image)
    with _whole_files_only():
        image.load()
    orientation = _orientation(image)
    if codestream:
        image = restore_depth(image, codestream)
    colour, alpha = _split_alpha(image, raw_mode, low)
    if low is not None and isinstance(profile, Space):
        pixels = space_to_srgb(np.asarray(colour).astype(np.uint16) << 8 | low, profile)
    else:
        pixels = np.asarray(to_srgb(colour, profile))
    if frame:  # what a first frame leaves free of its canvas is transparent
        left, top, right, bottom = frame
        inside = np.zeros((height, width), np.uint8)
        inside[top:bottom, left:right] = (
            255 if alpha is None else np.asarray(alpha)[top:bottom, left:right]
        )
        alpha = Image.fromarray(inside)
    if alpha is not None:
        pixels = _over_white(pixels, np.asarray(alpha))
    if orientation in _TRANSPOSE:
        pixels = np.asarray(Image.fromarray(pixels).transpose(_TRANSPOSE[orientation]))
    return np.array(pixels, dtype=np.uint8, order="C")


def _raw_mode(image: Image.Image) -> str:
    """How the file's samples are packed, e.g. "RGB;16B"; empty once the picture is decoded."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _low_bytes(image: Image.Image, profile: Any) -> np.ndarray | None:
    """The low bytes of a 16-bit RGB PNG where they matter: uint8 [H, W, 3]; Pillow drops them."""
    wide = image.format == "PNG" and _raw_mode(image) in ("RGB;16B", "RGBA;16B")
    if not wide or not ("transparency" in image.info or isinstance(profile, Space)):
        return None
    with Image.open(io.BytesIO(first_bytes(image)), formats=("PNG",)) as opened:
        again: Any = opened
        tile = again.tile[0]
        low = (*tile[:3], _raw_mode(image).replace("16B", "16L"))
        again.tile = [low if type(tile) is tuple else type(tile)(*low)]
        with _whole_files_only():
            return np.asarray(again)[..., :3]


def _frame(image: Any) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of an animation's first frame that is not the whole canvas."""
    box = None
    if image.format == "GIF" and image.tile:
        box = tuple(image.tile[0][1])
    elif image.format == "WEBP":
        head = first_bytes(image, 1 << 20)
        at = head.find(b"ANMF") + 8
        if at > 7 and len(head) >= at + 12:
            x, y, w, h = (int.from_bytes(head[i : i + 3], "little") for i in range(at, at + 12, 3))
            box = (2 * x, 2 * y, 2 * x + w + 1, 2 * y + h + 1)
    return None if box is None or box == (0, 0, *image.size) else box


@contextlib.contextmanager
def _whole_files_only() -> Iterator[None]:
    """Undo `ImageFile.LOAD_TRUNCATED_IMAGES = True`, which lets half a picture pass for one."""
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _strict:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1–8; damaged EXIF counts as 1, and XMP does not count, as in viewers."""
    try:
        data = image.info.get("exif")
        if not data and "Raw profile type exif" in image.info:
            data = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
        if not data:
            return 1  # a TIFF's own tag was obeyed in decoding
        exif = Image.Exif()
        exif.load(data)
        return int(exif.get(0x0112, 1))
    except Exception:
        return 1


def _split_alpha(
    image: Image.Image, raw_mode: str, low: np.ndarray | None
) -> tuple[Image.Image, Image.Image | None]:
    """A picture of any mode as (8-bit `L`, `RGB`, `CMYK` or `LAB`, alpha as `L` or None).

    `low`: the low bytes of 16-bit colours, uint8 [H, W, 3].
    """
    transparent = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        return _wide_to_grey(image, transparent)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode in ("P", "PA"):
        # Palette entries may have their own alpha, besides PNG's and GIF's `transparency`.
        has_alpha = image.mode == "PA" or image.has_transparency_data
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif image.mode in ("1", "L", "RGB") and transparent is not None:
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        key = np.asarray(transparent, dtype=np.int64)
        if low is not None:
            pixels = pixels.astype(np.int64) << 8 | low
        elif "16" in raw_mode:  # the colour has 16 bits, the decoded pixels have 8
            key >>= 8
        key *= {"L;2": 85, "L;4": 17}.get(raw_mode, 1)  # 2- and 4-bit keys come unscaled
        if image.mode == "1":
            key = (key != 0) * 255
        hit = pixels == key
        opaque = ~(hit.all(axis=2) if hit.ndim == 3 else hit)
        colour = image.convert("L") if image.mode == "1" else image
        return colour, Image.fromarray(opaque.astype(np.uint8) * 255)
    if image.mode in ("LA", "RGBA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("RGB"), None  # YCbCr, HSV, RGBX


def _wide_to_grey(image: Image.Image, transparent: Any) -> tuple[Image.Image, Image.Image | None]:
    """Grey of more than 8 bits: `I;16` (and byte orders), `I`, `F`; Pillow would clip them."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        grey = floats_to_levels(values)
    elif image.mode == "I":
        grey = _whole_numbers(values, image)
    else:
        bits = tags.get(258, (16,))
        grey = values.astype(np.uint16) >> (4 if tuple(np.atleast_1d(bits)) == (12,) else 8)
    if tags.get(262) == 0:  # TIFF: 0 is white, which Pillow honours for 8 bits only
        grey = 255 - grey
    alpha = None
    if isinstance(transparent, int):
        alpha = Image.fromarray((values != transparent).astype(np.uint8) * 255)
    return Image.fromarray(grey.astype(np.uint8)), alpha


def _whole_numbers(values: np.ndarray, image: Image.Image) -> np.ndarray:
    """Mode `I`, by the range that the file says or, without one, the range its values lie in."""
    if image.format in ("PNG", "PPM"):  # 16 bits, which Pillow scales to 65535
        return values >> 8
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and tuple(np.atleast_1d(tags.get(339, 1))) == (1,):
        values = values.view(np.uint32)  # unsigned in the file
    low, high = _range(values)
    if low < 0 or 65535 < high < 2**24:
        raise PictureError(
            f"Its whole-number values run from {low:g} to {high:g}; expected 0–255 or 0–65535."
        )
    return values >> (0 if high <= 255 else 8 if high <= 65535 else 24)


def _range(values: np.ndarray) -> tuple[float, float]:
    if not np.isfinite(values).all():
        raise PictureError("It holds values that are not numbers (NaN or infinity).")
    return float(values.min()), float(values.max())


def _over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """rgb uint8 [H, W, 3] laid over white with alpha uint8 [H, W], rounded to nearest."""
    made = np.empty_like(rgb)
    for top in range(0, len(rgb), 64):  # bands need less memory and stay in the cache
        band = slice(top, top + 64)
        a = alpha[band, :, None].astype(np.uint16)  # 255 · 255 + 127 fits
        made[band] = (rgb[band] * a + 255 * (255 - a) + 127) // 255
    return made


def array_to_rgb(array: np.ndarray) -> np.ndarray:
    """[H, W], [H, W, 1], [H, W, 3] or [H, W, 4] as uint8 [H, W, 3]; alpha is laid over white.

    Raises:
        PictureError: another shape, another type, or floats outside 0–1.
    """
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = " Channels come last." if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise PictureError(
            f"The array has shape {list(shape)}; "
            f"expected [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].{hint}"
        )
    if array.size == 0:
        raise PictureError(f"The array has no pixels (shape {list(shape)}).")
    if array.dtype.kind == "f":
        low, high = _range(array)
        if low < -HALF_LEVEL or high > 1 + HALF_LEVEL:
            raise PictureError(
                f"The array's values run from {low:g} to {high:g}; floats must lie in 0–1 "
                "(for 0–255 give uint8)."
            )
        pixels = np.rint(array.clip(0, 1).astype(np.float64) * 255).astype(np.uint8)
    elif array.dtype == np.uint8:
        pixels = array
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        pixels = (array >> 8).astype(np.uint8)
    else:
        raise PictureError(
            f"The array is of {array.dtype}; expected uint8, uint16 or floats from 0 to 1."
        )
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 4:
        return _over_white(pixels[..., :3], pixels[..., 3])
    return np.array(np.broadcast_to(pixels, (*shape[:2], 3)), order="C")
