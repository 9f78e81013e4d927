"""TIFF as its writers meant it: what Pillow misreads, refuses, or takes a thumbnail for.

In: a TIFF that Pillow has opened, or could not. Out: a picture that it decodes rightly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image

from rali.errors import PictureError

RAW = (
    "This is a camera's raw file, which rali does not read: develop it to JPEG, TIFF or PNG first, "
    "for example with darktable or RawTherapee."
)
_RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def refuse_raw(head: bytes) -> None:
    """Raise `PictureError` for a raw file that its first bytes tell."""
    canon = head[8:10] == b"CR" and head[:4] in _TIFF_HEADS
    if head.startswith(_RAW_HEADS) or head[4:12] == b"ftypcrx " or canon:
        raise PictureError(RAW)


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with `head` is a TIFF or BigTIFF."""
    return head[:4] in _TIFF_HEADS


def prepare_tiff(image: Any, raw_mode: str) -> None:
    """Set an opened TIFF right before it is decoded.

    Raises:
        PictureError: it is a raw file, whose first picture is a thumbnail.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if tags and image.tile:
        image.info.pop("xmp", None)  # by which Pillow would turn the picture
    preview = tags.get(254, 0) & 1 and 330 in tags  # a smaller copy of what a SubIFD holds
    if 50706 in tags or tags.get(262) in (32803, 34892) or preview:  # DNGVersion, colour filters
        raise PictureError(RAW)
    if image.mode == "P" and 0 < max(tags.get(320, ()), default=0) < 256:
        table = np.array(tags[320]).reshape(3, -1).T  # 8-bit values where 16-bit ones belong
        image.putpalette(table.astype(np.uint8).tobytes())
    if raw_mode == "F;32BF" and image.tile[0][0] == "libtiff":
        _set_tile(image, (*image.tile[0][:3], ("F;32F", *image.tile[0][3][1:])))  # turned already
    bits = tags.get(258, ())[:2]
    if raw_mode and tags.get(284) == 2 and (bits == (16, 16) or _is_premultiplied(image)):
        _separate_planes(image, bits)


def _is_premultiplied(image: Any) -> bool:
    return any(str(tile[3][0]) == "a" for tile in image.tile if isinstance(tile[3], tuple))


def _separate_planes(image: Any, bits: tuple[int, ...]) -> None:
    """Hand an uncompressed planar TIFF to libtiff: Pillow itself reads 16 bits as 8."""
    tags = image.tag_v2
    # Before 13, Pillow's decoder also wants to know the compression.
    compression = ("raw",) if int(PIL.__version__.partition(".")[0]) < 13 else ()
    mode = "RGBa" if _is_premultiplied(image) else image.mode
    args = (mode + (";16N" if bits == (16, 16) else ""), *compression, False, tags.offset)
    whole = ("libtiff", (0, 0, tags[256], tags[257]), 0, args)  # as stored, before it is turned
    _set_tile(image, whole)
    image.use_load_libtiff = True


def _set_tile(image: Any, tile: tuple[Any, ...]) -> None:
    kind = type(image.tile[0])  # a named tuple since Pillow 11
    image.tile = [tile if kind is tuple else kind(*tile)]


def open_with_tifffile(file: BinaryIO, max_pixels: int) -> Image.Image | None:
    """A TIFF that Pillow does not know, such as floating-point RGB, as `L`, `LA`, `RGB` or `RGBA`.

    None when tifffile does not know it either.

    Raises:
        PictureError: tifffile is not installed, the picture is too large, or its kind is not one
            that shows a picture.
    """
    try:
        import tifffile
    except ImportError:
        raise PictureError(
            "This kind of TIFF needs tifffile. Type: pip install 'rali[tiff]' (or convert the "
            "picture to PNG)."
        ) from None
    file.seek(0)
    try:
        opened = tifffile.TiffFile(file)
        page: Any = opened.pages[0]
    except (tifffile.TiffFileError, IndexError):
        return None
    if page.imagewidth * page.imagelength > max_pixels:
        raise PictureError(too_large(page.imagewidth, page.imagelength, max_pixels))
    photometric = int(page.photometric)
    if 50706 in page.tags or photometric in (32803, 34892):
        raise PictureError(RAW)
    count, extra = page.samplesperpixel, tuple(int(e) for e in page.extrasamples)
    base = count - len(extra)
    if photometric not in (0, 1, 2) or base not in (1, 3) or page.imagedepth > 1:
        raise PictureError(
            f"This TIFF has {count} samples a pixel of kind {page.photometric.name}; rali reads "
            "grey and RGB ones. Convert it to PNG."
        )
    pixels = page.asarray()
    if int(page.planarconfig) == 2 and count > 1:
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels.reshape(page.imagelength, page.imagewidth, count)
    return _as_image(pixels, page, base, extra)


def read_tags(path: str | Path, *codes: int) -> list[Any]:
    """The values of a TIFF's tags, by tifffile; None for each that it lacks or cannot tell."""
    try:
        import tifffile

        with tifffile.TiffFile(path) as opened:
            page: Any = opened.pages[0]
            return [page.tags[code].value if code in page.tags else None for code in codes]
    except Exception:  # readers raise nearly anything on malformed bytes
        return [None] * len(codes)


def _as_image(pixels: np.ndarray, page: Any, base: int, extra: tuple[int, ...]) -> Image.Image:
    alpha = extra[0] if extra and extra[0] in (1, 2) else 0
    pixels = pixels[..., : base + bool(alpha)]
    if pixels.dtype.kind == "f":
        shown = floats_to_levels(pixels)
    elif pixels.dtype.kind == "u":
        bits = page.bitspersample
        shown = np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8)
    else:
        raise PictureError(f"This TIFF holds {pixels.dtype}; rali reads unsigned and float ones.")
    if int(page.photometric) == 0:
        shown[..., :base] = 255 - shown[..., :base]
    mode = {1: "L", 3: "RGB"}[base]
    if alpha:
        mode += "a" if alpha == 1 else "A"
    image = Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown, mode.upper())
    if alpha == 1:  # the colour was multiplied with it
        image = Image.frombytes(mode, image.size, image.tobytes()).convert(mode.upper())
    if 34675 in page.tags:
        image.info["icc_profile"] = bytes(page.tags[34675].value)
    exif = Image.Exif()
    exif[0x0112] = int(page.tags[274].value) if 274 in page.tags else 1
    image.info["exif"] = exif.tobytes()
    return image


def floats_to_levels(values: np.ndarray) -> np.ndarray:
    """Floats of a file as levels 0–255: 0–1 or 0–255, whichever most are in; the rest is clipped.

    Raises:
        PictureError: no number, a quarter or more of them below 0, or no range fits.
    """
    if not np.isfinite(values).all():
        raise PictureError("It holds values that are not numbers (NaN or infinity).")
    some = values[values != 0]
    below, above, far = (
        ((some < 0).mean(), (some > 1).mean(), (some > 255).mean()) if some.size else (0, 0, 0)
    )
    if below >= 0.25 or far >= 0.25 or 0.25 <= above <= 0.75:
        raise PictureError(
            f"Its floating-point values run from {values.min():g} to {values.max():g}; "
            "expected 0–1 or 0–255."
        )
    scale = 255 if above < 0.25 else 1
    return np.rint(values.astype(np.float64).clip(0, 255 / scale) * scale).astype(np.uint8)


def too_large(width: int, height: int, max_pixels: int) -> str:
    """The sentence for a picture above the limit, and the way out."""
    megapixels = -(-width * height // 1_000_000)
    return (
        f"The picture has {width} by {height} pixels, more than the limit of {max_pixels:,}. "
        f"Raise it with --max-megapixels {megapixels} or max_pixels={width * height} if you "
        "trust the file."
    )
