"""Damage that decoders pass over in silence, and whole files that look damaged."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rali.errors import PictureError
from rali.pictures.read import open_picture
from tests.picture_files import encode, photo

GRAIN = np.random.default_rng(0).integers(0, 20, (240, 320, 3), dtype=np.uint8)
PHOTO = Image.fromarray(photo(240, 320) + GRAIN)
END = b"\xff\xd9"


def jpeg(image: Image.Image = PHOTO, **options: Any) -> bytes:
    return encode(image, "JPEG", quality=90, **options)


def zeroed(file: bytes, start: float, count: int = 2000) -> bytes:
    at = int(len(file) * start)
    return file[:at] + b"\0" * len(file[at : at + count]) + file[at + count :]


def png_of(rows: bytes, size: tuple[int, int], extra: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">2I5B", *size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def refused(file: bytes, word: str) -> None:
    with pytest.raises(PictureError, match=word):
        open_picture(file)


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_cut_jpeg_with_an_end_marker(mode: str, progressive: bool, kept: float) -> None:
    file = jpeg(PHOTO.convert(mode), progressive=progressive)
    refused(file[: int(len(file) * kept)] + END, "truncated")
    refused(file[: int(len(file) * kept)], "truncated")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_without_its_end_marker_is_whole(mode: str, options: dict[str, Any]) -> None:
    file = jpeg(PHOTO.convert(mode), **options)
    assert file.endswith(END)
    for short in (file[:-1], file[:-2]):
        np.testing.assert_array_equal(open_picture(short), open_picture(file))


@pytest.mark.parametrize("start", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_hole_in_a_jpeg(mode: str, start: float) -> None:
    refused(zeroed(jpeg(PHOTO.convert(mode)), start), "zeros|truncated")


@pytest.mark.parametrize("start", [0.4, 0.6, 0.9])
def test_a_hole_in_a_webp(start: float) -> None:
    refused(zeroed(encode(PHOTO, "WEBP"), start), "damaged|truncated|zeros")


@pytest.mark.parametrize("start", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_hole_in_heic_and_avif(kind: str, start: float) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    refused(zeroed(encode(PHOTO, kind, quality=90), start), "damaged|zeros")


@pytest.mark.parametrize("rows", [0, 20, 43])
def test_a_png_with_missing_rows(rows: int) -> None:
    pixels = photo(44, 60)
    whole = np.hstack([np.zeros((44, 1), np.uint8), pixels.reshape(44, -1)])
    np.testing.assert_array_equal(open_picture(png_of(whole.tobytes(), (60, 44))), pixels)
    refused(png_of(whole[:rows].tobytes(), (60, 44)), "truncated")


def test_a_changed_byte_in_a_png() -> None:
    file = bytearray(encode(PHOTO, "PNG"))
    file[len(file) // 2] ^= 1
    refused(bytes(file), "damaged")


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iCCP"])
def test_a_png_with_more_than_a_megabyte_beside_its_pixels(kind: str) -> None:
    info, options = PngImagePlugin.PngInfo(), {}
    if kind == "tEXt":
        info.add_text("note", "x" * 3_000_000)
    elif kind == "zTXt":
        info.add_text("note", "x" * 3_000_000, zip=True)
    elif kind == "iTXt":
        info.add_itxt("note", "x" * 3_000_000)
    else:
        options = {"icc_profile": b"x" * 3_000_000}
    file = encode(PHOTO, "PNG", pnginfo=info, **options)
    np.testing.assert_array_equal(open_picture(file), np.asarray(PHOTO))


@pytest.mark.parametrize("level", [0, 127, 128, 255])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_flat_pictures_are_whole(kind: str, level: int) -> None:
    flat = Image.new("RGB", (1600, 1600), (level,) * 3)
    choices: list[dict[str, Any]] = [{}]
    if kind == "JPEG":
        choices = [{}, {"optimize": True}, {"progressive": True}, {"quality": 100}]
    elif kind == "WEBP":
        choices = [{}, {"lossless": True}, {"quality": 1}]
    for options in choices:
        assert abs(open_picture(encode(flat, kind, **options)).mean() - level) < 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_black_pngs_are_whole(mode: str) -> None:
    for size in ((1, 1), (7, 5), (33, 66)):
        assert open_picture(encode(Image.new(mode, size), "PNG")).shape == (*size[::-1], 3)


def test_interlaced_black_png_is_whole_and_a_short_one_is_not() -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    width, height, rows = 11, 9, []
    for left, top, across, down in [*passes, (0, 1, 1, 2)]:
        columns = len(range(left, width, across))
        rows += [b"\0" * (1 + 3 * columns)] * (len(range(top, height, down)) if columns else 0)
    made = []
    for data in (rows, rows[:-1]):
        file = png_of(b"".join(data), (width, height))
        at = file.index(b"IHDR")
        head = file[at : at + 16] + b"\1"
        check = struct.pack(">I", zlib.crc32(head))
        made.append(file[:at] + head + check + file[at + 21 :])
    assert not open_picture(made[0]).any()
    refused(made[1], "truncated")


def test_a_jpeg_followed_by_other_data_is_whole() -> None:
    file = jpeg()
    for tail in (b"\0" * 5000, jpeg(), b"text"):
        np.testing.assert_array_equal(open_picture(file + tail), open_picture(file))
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(file[:9000]) + 2) + file[:9000]
    np.testing.assert_array_equal(open_picture(file[:2] + thumbnail + file[2:]), open_picture(file))
