"""Any picture in, uint8 RGB in sRGB out: the one input policy that everything in rali uses.

In: a file, its bytes, a `PIL.Image` or an array. Out: [H, W, 3], what a viewer would show on a
white page. A picture that cannot be read is a `PictureError` with its reason, never a crash or a
guess.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from rali.errors import InputError, PictureError, shortened

from .damage import check_whole, completed, is_checked
from .entry import Entry
from .folders import PICTURE_SUFFIXES as PICTURE_SUFFIXES
from .folders import find_pictures as find_pictures
from .inline import from_cell, from_data_url, is_data_url
from .jpeg_scans import check_scans
from .tiff import is_tiff, open_with_tifffile, refuse_raw
from .to_rgb import array_to_rgb, image_to_rgb

Source: TypeAlias = (
    "str | Path | bytes | BinaryIO | Image.Image | np.ndarray | Mapping[str, Any] | Entry"
)

# fmt: off
# Listed, so that a hostile file cannot reach Ghostscript (EPS) or a rarely tested decoder.
_FORMATS = (
    *("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "QOI", "ICO"),
    "AVIF",  # last, because Pillow before 11.3 stops with a KeyError here
)
# fmt: on
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS |= {b"mif1", b"msf1", b"heif"}
MAX_PIXELS = 178_956_970  # Pillow's own limit, twice its MAX_IMAGE_PIXELS
# A chunk of text or a profile in a PNG; Pillow stops at 1 MB. All texts together: 64 MiB, as there.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, 32 * 2**20)
_raised: list[int] = []  # the limits above it that pictures are being opened with now
_limit = threading.Lock()
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]")  # Path() turns "https://" to "https:/"


def open_picture(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture as a viewer shows it: uint8 [H, W, 3], sRGB, 0–255.

    EXIF orientation is applied (one that only XMP gives is not); alpha (of any kind, also one
    transparent colour, or canvas that a first frame leaves free) is laid over white; 16 bits are
    scaled to 8; grey, palette, 1-bit and CMYK become RGB; an animation gives its first frame.
    Colours become sRGB by the embedded ICC profile (one that is broken or belongs to another kind
    of picture is ignored), by the codes of AVIF, HEIC (`nclx`) and PNG (`cICP`), or by PNG's `gAMA`
    and `cHRM`, as in a browser; PQ and HLG are toned down to an ordinary screen. Floats are 0–1 or
    0–255, whichever most of them lie in, and clipped; mode `I` holds 0–255, 0–65535 or 32 bits,
    whichever its values fit first.

    Args:
        source: a path (also of a picture inside a file: `shard.tar/a.jpg`, `train.parquet#17`),
            the bytes of a file, an open binary file, a data URL, a data set's image cell
            (`{"bytes": …}` or `{"path": …}`), an `Entry`, a `PIL.Image.Image`, or an array [H, W],
            [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16 or floats from 0 to 1.
        max_pixels: a file that announces more pixels is refused before it is decoded.

    Raises:
        PictureError: `str(error)` is the reason, without the file's name.
    """
    try:
        source = _held(source)
        if isinstance(source, np.ndarray):
            return array_to_rgb(source)
        with _pillow_allows(max_pixels):
            if isinstance(source, Image.Image):
                return image_to_rgb(source, max_pixels)
            with _open(source, max_pixels) as (image, file):
                pixels = image_to_rgb(image, max_pixels)
                check_whole(file, image)
                return pixels
    except PictureError:
        raise
    except Exception as error:  # decoders raise nearly anything on malformed bytes
        raise PictureError(_reason(error, max_pixels)) from error


def announced_size(source: Source) -> tuple[int, int] | None:
    """Width and height that a file announces, or None where it cannot be told without decoding."""
    try:
        with _open(source, 0) as (image, _):  # what needs decoding to be opened is refused
            return image.size
    except Exception:  # `open_picture` tells the reason
        return None


@contextlib.contextmanager
def undecoded(path: str | Path) -> Iterator[Image.Image]:
    """A picture's file of any size as Pillow opens it, for what it says besides its pixels.

    Only the header is read where Pillow opens the file by itself. Decoders raise nearly anything on
    malformed bytes.

    Raises:
        PictureError: it is of no kind that can be opened undecoded.
    """
    with _pillow_allows(sys.maxsize), contextlib.ExitStack() as opened:
        try:
            image: Image.Image = opened.enter_context(Image.open(path, formats=_FORMATS))
        except (UnidentifiedImageError, KeyError):  # HEIC, say; Pillow before 11.3 knows no AVIF
            image, _ = opened.enter_context(_open(path, 0))
        yield image


def is_many(pictures: Any) -> bool:
    """Whether this holds several pictures: a list, a generator, an array of paths or of pictures.

    An array of pictures is [n, H, W, C]; an open file, a path, bytes and a cell are one picture.
    """
    if isinstance(pictures, np.ndarray):
        return pictures.ndim == 4 or (pictures.ndim == 1 and pictures.dtype.kind in "OUT")
    single = isinstance(pictures, str | bytes | bytearray | memoryview | Mapping)
    return isinstance(pictures, Iterable) and not single and not hasattr(pictures, "read")


def is_source(pictures: Any) -> bool:
    """Whether this is the path of something with pictures in it: a folder, an archive, a table."""
    if not isinstance(pictures, str | Path):
        return False
    return os.path.isdir(pictures) or (_holds_pictures(str(pictures)) and os.path.isfile(pictures))  # noqa: PTH112, PTH113


def pictures_in(pictures: Any) -> Iterable[Any]:
    """The pictures that this holds, one by one: several as they are, a source's, or the one.

    Raises:
        InputError: a source without pictures, or a table without a column of them.
    """
    if is_many(pictures):
        return pictures
    if not is_source(pictures):
        return [pictures]
    if not os.path.isdir(pictures):  # noqa: PTH112
        from .sources import find_entries

        return find_entries([pictures])
    if not (found := find_pictures([pictures])):
        raise InputError(f"There are no pictures in the folder {pictures}.")
    return found


def _holds_pictures(name: str) -> bool:
    if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:  # noqa: PTH122
        return False
    from . import inside, listed

    return name.lower().endswith((*inside.ARCHIVES, *listed.SUFFIXES))


@contextlib.contextmanager
def _pillow_allows(max_pixels: int) -> Iterator[None]:
    """Raise Pillow's own limit, which belongs to the process, while a higher one is asked for."""
    own = Image.MAX_IMAGE_PIXELS
    if own is None or (max_pixels <= 2 * own and not _raised):
        yield
        return
    with _limit:
        _raised.append(Image.MAX_IMAGE_PIXELS or max_pixels)
        Image.MAX_IMAGE_PIXELS = max(_raised[-1], max_pixels)
    try:
        yield
    finally:
        with _limit:
            first = _raised[0]
            _raised.pop()
            if not _raised:
                Image.MAX_IMAGE_PIXELS = first


def _held(source: Any) -> Any:
    """What an entry or a data set's cell holds; anything else as it is."""
    if isinstance(source, Entry):
        source = source.picture
    return from_cell(source) if isinstance(source, Mapping) else source


@contextlib.contextmanager
def _open(source: Any, max_pixels: int) -> Iterator[tuple[Image.Image, bytes]]:
    """The file's first frame, not decoded yet; its bytes, if it is checked for damage."""
    source = _held(source)
    if is_data_url(source) and not os.path.lexists(source):
        source = from_data_url(source)
    if isinstance(source, str | Path):
        file = _open_file(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        file = io.BytesIO(source)
    elif hasattr(source, "read"):
        if isinstance(source, io.TextIOBase):
            raise PictureError('The file is open as text: open it with open(path, "rb").')
        if hasattr(source, "seekable") and source.seekable():
            source.seek(0)  # a buffer that was just written to stands at its end
        # A copy: Pillow seeks in the file and may close it, and both are the caller's business.
        file = io.BytesIO(source.read())
    else:
        raise PictureError(
            f"Expected a path, bytes, a binary file, a PIL image or a numpy array, "
            f"not {type(source).__name__}."
        )
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", ""))
    with file:
        head = file.read(64)
        file.seek(0)
        if not head:
            raise PictureError("The file is empty (0 bytes).")
        refuse_raw(head)
        formats: tuple[str, ...] = _FORMATS
        if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
            _register_jxl()
            formats = ("JXL",)
        elif _is_heif(head):
            _register_heif()
            formats = ("HEIF",)
        elif name.lower().endswith(".tga"):
            formats = ("TGA",)  # by name only: without a signature, any data could pass for one
        data = b""
        if is_checked(head):
            data = file.read()
            file.seek(0)
        if head.startswith(b"\xff\xd8\xff"):
            check_scans(data)
            file = io.BytesIO(completed(data))
        try:
            image: Image.Image = Image.open(file, formats=formats)
        except UnidentifiedImageError:
            other = open_with_tifffile(file, max_pixels) if is_tiff(head) else None
            if other is None and _holds_pictures(name):
                raise PictureError(
                    "This is an archive or a table, not a picture: give it alone, or let "
                    "`rali.pictures.sources.find_entries` list what is in it."
                ) from None
            if other is None:
                raise
            image = other
        with image:
            yield image, data


def _open_file(path: str | Path) -> Any:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (a str must not pass through Path first)
    except (FileNotFoundError, NotADirectoryError):
        from .inside import picture_inside

        if (inside := picture_inside(path)) is not None:
            return io.BytesIO(inside.read())
        if _ADDRESS.match(str(path)):
            raise PictureError(
                "This is an address, and rali reads files: download it and give the file."
            ) from None
        raise PictureError("There is no such file.") from None
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            raise
        raise PictureError("This is not a possible file name.") from None
    if stat.S_ISDIR(mode):
        raise PictureError("This is a folder, not a picture.")
    if not stat.S_ISREG(mode):
        raise PictureError("This is a device or a pipe, not a file.")
    return open(path, "rb")  # noqa: PTH123 (closed with the picture)


def _is_heif(head: bytes) -> bool:
    """Whether an ISO 14496-12 `ftyp` box has a HEIF brand and no AVIF one, which Pillow reads."""
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


@functools.lru_cache(maxsize=1)
def _register_jxl() -> None:
    try:
        import pillow_jxl  # noqa: F401
    except ImportError:
        raise PictureError(
            "This is a JPEG XL picture, which needs pillow-jxl-plugin. "
            "Type: pip install 'rali[jxl]' (or convert the picture to JPEG or PNG)."
        ) from None


def _reason(error: Exception, max_pixels: int) -> str:
    """One sentence about what went wrong in the decoder."""
    text = shortened(str(error).strip().rstrip(".") or type(error).__name__)
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"The picture has more pixels than the limit of {max_pixels:,} allows ({text}). Raise "
            "it with --max-megapixels or max_pixels if you trust the file."
        )
    if isinstance(error, UnidentifiedImageError | KeyError):
        return "This is not a picture in a format that rali reads, or its header is damaged."
    if isinstance(error, PermissionError):
        return "There is no permission to read the file."
    if isinstance(error, MemoryError):
        return "There is not enough memory to decode the picture."
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"The file is truncated: its end is missing ({text})."
    return f"The picture is damaged or of an unsupported kind ({text})."
