"""Any picture in, uint8 RGB in sRGB out: the one input policy that everything in rali uses.

In: a file, its bytes, a `PIL.Image` or an array. Out: [H, W, 3], what a viewer would show on a
white page. What cannot be read is a `PictureError` with its reason, never a crash or a guess.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from rali.errors import PictureError

Source: TypeAlias = "str | Path | bytes | BinaryIO | Image.Image | np.ndarray"

# fmt: off
PICTURE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".tif", ".tiff",
    ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif",
    ".hif", ".tga", ".qoi", ".ico",
))
# Named, so that a hostile file cannot reach Ghostscript (EPS) or a rarely tested decoder.
_FORMATS = (
    *("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "QOI", "ICO"),
    "AVIF",  # last, because Pillow before 11.3 stops with a KeyError here
)
# fmt: on
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS |= {b"mif1", b"msf1", b"heif"}
MAX_PIXELS = 178_956_970  # where Pillow refuses too; it warns at half of it
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]")  # Path() turns "https://" to "https:/"
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


def open_picture(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture as a viewer shows it: uint8 [H, W, 3], sRGB, 0–255.

    EXIF orientation is applied; alpha (of any kind, also one transparent colour) is laid over
    white; 16 bits are scaled to 8 by their high byte; grey, palette, 1-bit and CMYK become RGB; an
    embedded ICC profile is converted to sRGB (one that is broken or belongs to another kind of
    picture is ignored: the pixels are taken as sRGB); an animation gives its first frame. PNG
    `gAMA` and `cICP` are not read. Mode `I` holds 0–255 or 0–65535, mode `F` 0–1 or 0–255,
    whichever its values fit first.

    Args:
        source: a path, the bytes of a file, an open binary file, a `PIL.Image.Image`, or an array
            [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16 or floats from 0 to 1.
        max_pixels: a file that announces more pixels is refused before it is decoded; Pillow
            refuses more than twice `PIL.Image.MAX_IMAGE_PIXELS` whatever is given here.

    Raises:
        PictureError: `str(error)` is the reason, without the file's name.
    """
    try:
        if isinstance(source, np.ndarray):
            return _from_array(source)
        if isinstance(source, Image.Image):
            return _from_image(source, max_pixels)
        with _open(source) as image:
            return _from_image(image, max_pixels)
    except PictureError:
        raise
    except Exception as error:  # decoders raise nearly anything on malformed bytes
        raise PictureError(_reason(error, max_pixels)) from error


def find_pictures(paths: Iterable[str | Path], recursive: bool = False) -> list[Path]:
    """The pictures that `paths` name, each once: folders expanded, their files in natural order.

    In a folder, files with a suffix of `PICTURE_SUFFIXES` count, hidden ones do not. A path that
    is no folder is kept whatever its name, also when nothing is there: opening it says why not.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not os.path.isdir(path):  # noqa: PTH112 - False, where Path.is_dir raises
            found[path] = None
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted((f for f in folders if f[0] != "."), key=_natural)
            if not recursive:
                folders.clear()
            for name in sorted(files, key=_natural):
                if name[0] != "." and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                    found[Path(folder, name)] = None
    return list(found)


def _natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key with "a2" before "a10"."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts if p], name


# --- opening -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _open(source: Any) -> Iterator[Image.Image]:
    """The file's first frame, not decoded yet."""
    if isinstance(source, str | Path):
        file = _open_file(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        file = io.BytesIO(source)
    elif hasattr(source, "read"):
        if isinstance(source, io.TextIOBase):
            raise PictureError('The file is open as text: open it with open(path, "rb").')
        if hasattr(source, "seekable") and source.seekable():
            source.seek(0)  # a buffer just written to stands at its end
        # A copy: Pillow seeks in the file and may close it, and both are the caller's business.
        file = io.BytesIO(source.read())
    else:
        raise PictureError(
            f"Expected a path, bytes, a binary file, a PIL image or a numpy array, "
            f"not {type(source).__name__}."
        )
    with file:
        head = file.read(64)
        file.seek(0)
        if not head:
            raise PictureError("The file is empty (0 bytes).")
        formats: tuple[str, ...] = _FORMATS
        if _is_heif(head):
            _register_heif()
            formats = ("HEIF",)
        elif isinstance(source, str | Path) and Path(source).suffix.lower() == ".tga":
            formats = ("TGA",)  # has no signature: any data could pass for one, so by name only
        with Image.open(file, formats=formats) as image:
            yield image


def _open_file(path: str | Path) -> Any:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (a str must not pass through Path first)
    except (FileNotFoundError, NotADirectoryError):
        if _ADDRESS.match(str(path)):
            raise PictureError(
                "This is an address, and rali reads files: download it and give the file."
            ) from None
        raise PictureError("There is no such file.") from None
    except ValueError:
        raise PictureError("This is not a possible file name.") from None
    if stat.S_ISDIR(mode):
        raise PictureError("This is a folder, not a picture.")
    if not stat.S_ISREG(mode):
        raise PictureError("This is a device or a pipe, not a file.")
    return open(path, "rb")  # noqa: PTH123 (closed with the picture)


def _is_heif(head: bytes) -> bool:
    """ISO 14496-12 `ftyp` box with a HEIF brand and no AVIF one (Pillow reads AVIF itself)."""
    if head[4:8] != b"ftyp":
        return False
    box = head[8 : max(12, min(int.from_bytes(head[:4], "big"), len(head)))]
    brands = {box[i : i + 4] for i in range(0, len(box), 4) if i != 4}
    return bool(brands & _HEIF_BRANDS) and not brands & {b"avif", b"avis"}


@functools.lru_cache(maxsize=1)
def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise PictureError(
            "This is a HEIC/HEIF picture, which needs pillow-heif. "
            "Type: pip install 'rali[heif]' (or convert the picture to JPEG or PNG)."
        ) from None
    pillow_heif.register_heif_opener()


def _reason(error: Exception, max_pixels: int) -> str:
    """One sentence for what went wrong inside the decoder."""
    text = str(error).strip().rstrip(".") or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return f"The picture has more pixels than the limit of {limit:,} allows."
    if isinstance(error, UnidentifiedImageError | KeyError):
        return "This is not a picture in a format that rali reads, or its header is damaged."
    if isinstance(error, PermissionError):
        return "There is no permission to read the file."
    if isinstance(error, MemoryError):
        return "There is not enough memory to decode the picture."
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"The file is truncated: its end is missing ({text})."
    return f"The picture is damaged or of an unsupported kind ({text})."


# --- to RGB --------------------------------------------------------------------------------------


def _from_image(image: Image.Image, max_pixels: int) -> np.ndarray:
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"The picture has no pixels ({width} by {height}).")
    if width * height > max_pixels:
        raise PictureError(
            f"The picture has {width} by {height} pixels, more than the limit of {max_pixels:,}."
        )
    raw_mode = _raw_mode(image)
    _separate_16_bit_planes(image, raw_mode)
    with _whole_files_only():
        image.load()
    orientation, profile = _orientation(image), image.info.get("icc_profile")
    colour, alpha = _split_alpha(image, raw_mode)
    rgb = _to_srgb(colour, profile)
    pixels = np.asarray(rgb)
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


def _separate_16_bit_planes(image: Any, raw_mode: str) -> None:
    """Hand an uncompressed planar 16-bit TIFF to libtiff: Pillow itself reads it as 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    if raw_mode and tags.get(284) == 2 and tags.get(258, ())[:2] == (16, 16):
        whole = ("libtiff", (0, 0, *image.size), 0, (f"{image.mode};16N", False, tags.offset))
        kind = type(image.tile[0])  # a named tuple since Pillow 11
        image.tile = [whole if kind is tuple else kind(*whole)]
        image.use_load_libtiff = True


@contextlib.contextmanager
def _whole_files_only() -> Iterator[None]:
    """Undo `ImageFile.LOAD_TRUNCATED_IMAGES = True`, under which half a picture is a picture."""
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
    """EXIF orientation 1–8; damaged EXIF counts as 1, as in viewers."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _split_alpha(image: Image.Image, raw_mode: str) -> tuple[Image.Image, Image.Image | None]:
    """(`L`, `RGB`, `CMYK` or `LAB` of 8 bits, alpha `L` or None) of a picture of any mode."""
    transparent = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        return _wide_to_grey(image, transparent)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode in ("P", "PA"):
        # Palette entries may carry alpha of their own, beside PNG's and GIF's `transparency`.
        has_alpha = image.mode == "PA" or image.has_transparency_data
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif image.mode in ("1", "L", "RGB") and transparent is not None:
        pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        key = np.asarray(transparent, dtype=np.int64)
        if "16" in raw_mode:  # the colour is given with 16 bits, the pixels came with 8
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
        low, high = _range(values)
        if low < 0 or high > 255:
            raise PictureError(
                f"Its floating-point values run from {low:g} to {high:g}; expected 0–1 or 0–255."
            )
        grey = np.rint(values.astype(np.float64) * (255 if high <= 1 else 1))
    elif image.mode == "I":
        low, high = _range(values)
        if low < 0 or high > 65535:
            raise PictureError(
                f"Its whole-number values run from {low:g} to {high:g}; expected 0–255 or 0–65535."
            )
        eight = high <= 255 and image.format != "PNG"  # older Pillow reads 16-bit PNG as `I`
        grey = values if eight else values >> 8
    else:
        bits = tags.get(258, (16,))
        grey = values.astype(np.uint16) >> (4 if tuple(np.atleast_1d(bits)) == (12,) else 8)
        if tags.get(262) == 0:  # TIFF: 0 is white, which Pillow honours for 8 bits only
            grey = 255 - grey
    alpha = None
    if isinstance(transparent, int):
        alpha = Image.fromarray((values != transparent).astype(np.uint8) * 255)
    return Image.fromarray(grey.astype(np.uint8)), alpha


def _range(values: np.ndarray) -> tuple[float, float]:
    if not np.isfinite(values).all():
        raise PictureError("It holds values that are not numbers (NaN or infinity).")
    return float(values.min()), float(values.max())


def _over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """rgb uint8 [H, W, 3] laid over white with alpha uint8 [H, W], rounded to nearest."""
    made = np.empty_like(rgb)
    for top in range(0, len(rgb), 64):  # in bands, which take less memory and stay in the cache
        band = slice(top, top + 64)
        a = alpha[band, :, None].astype(np.uint16)  # holds all of it: 255 · 255 + 127
        made[band] = (rgb[band] * a + 255 * (255 - a) + 127) // 255
    return made


# --- colour --------------------------------------------------------------------------------------


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`L`, `RGB`, `CMYK` or `LAB` to sRGB, by its ICC profile where that fits the picture."""
    if image.mode == "LAB":
        from PIL import ImageCms

        return ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        ).apply(image)
    if profile and (space := _profile_space(profile)):
        if image.mode == "L" and space == "RGB":
            image = image.convert("RGB")
        wanted = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}[image.mode]
        if space == wanted and not (image.mode == "RGB" and _is_srgb(profile)):
            try:
                return _transform(profile, image.mode).apply(image)
            except Exception:  # a broken profile: the pixels are taken as sRGB
                pass
    return image.convert("RGB")


def _transform(profile: bytes, mode: str) -> Any:
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


@functools.lru_cache(maxsize=32)
def _profile_space(profile: bytes) -> str | None:
    """ "RGB", "GRAY", "CMYK" …; None when the profile cannot be read."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return str(opened.profile.xcolor_space).strip()
    except Exception:
        return None


@functools.lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """Whether the profile moves no colour by more than one level; then pixels stay exact."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    try:
        moved = np.asarray(_transform(profile, "RGB").apply(Image.fromarray(cube)))
    except Exception:
        return False
    return int(np.abs(moved.astype(int) - cube.astype(int)).max()) <= 1


# --- arrays --------------------------------------------------------------------------------------


def _from_array(array: np.ndarray) -> np.ndarray:
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
        if low < 0 or high > 1:
            raise PictureError(
                f"The array's values run from {low:g} to {high:g}; floats must lie in 0–1 "
                "(for 0–255 give uint8)."
            )
        pixels = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
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
