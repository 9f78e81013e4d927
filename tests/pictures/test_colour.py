"""Colours that a file gives by numbers or in its header, against values from elsewhere."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from picture_files import ADOBE_RGB, RGB, close, encode, grey3, icc, photo, png, to_srgb_by_hand
from PIL import Image

from rali.pictures.read import open_picture

P3_CORNERS = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
PQ_GREYS = {64: 30, 96: 70, 128: 132, 160: 213, 176: 237, 192: 255, 255: 255}
HLG_GREYS = {32: 14, 64: 43, 128: 99, 160: 135, 192: 189, 240: 243, 255: 255}
GREYS = {  # cICP's transfer code → level → what Chromium 156 shows
    (9, 16): PQ_GREYS,
    (1, 16): PQ_GREYS,
    (9, 18): HLG_GREYS,
    (1, 8): {16: 71, 64: 137, 128: 188, 240: 248},
    (9, 14): {16: 4, 64: 53, 128: 121, 240: 239},
    (1, 4): {16: 7, 64: 62, 128: 129, 240: 240},
    (1, 5): {16: 1, 64: 40, 128: 106, 240: 237},
    (1, 7): {16: 34, 64: 81, 128: 141, 240: 242},
    (12, 13): {16: 16, 128: 128, 240: 240},
}


@pytest.mark.parametrize("codes", GREYS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_curves_of_cicp_as_chromium_shows_them(codes: tuple[int, int], bits: int) -> None:
    levels = np.array([list(GREYS[codes])], np.uint8)
    stored = np.repeat(levels[..., None], 3, axis=2).astype(int) * (1 if bits == 8 else 257)
    data = png(bits, 2, stored, (b"cICP", bytes([*codes, 0, 1])))
    close(open_picture(data), grey3(np.array([list(GREYS[codes].values())])), 1)


COLOURS = np.array(
    [[(200, 100, 50), (30, 120, 90), (240, 200, 20), (60, 60, 200), (180, 140, 150)]], np.uint8
)
SHOWN = {  # by Chromium 156: P3, BT.2020, PQ, HLG, cinema, linear BT.2020
    (12, 13): [(215, 93, 31), (0, 122, 88), (248, 198, 0), (60, 60, 208), (188, 138, 150)],
    (9, 13): [(241, 76, 29), (0, 126, 87), (255, 195, 0), (19, 57, 209), (201, 134, 150)],
    (9, 16): [(255, 0, 0), (0, 121, 53), (255, 105, 0), (0, 0, 255), (255, 95, 147)],
    (9, 18): [(230, 48, 17), (0, 95, 65), (255, 153, 0), (0, 39, 178), (182, 106, 124)],
    (11, 17): [(212, 78, 0), (0, 111, 74), (254, 199, 0), (43, 42, 208), (183, 129, 143)],
    (9, 8): [(255, 159, 113), (0, 190, 159), (255, 227, 0), (122, 132, 237), (232, 192, 202)],
}


@pytest.mark.parametrize("codes", SHOWN, ids=str)
def test_colours_of_cicp_as_chromium_shows_them(codes: tuple[int, int]) -> None:
    data = png(8, 2, COLOURS, (b"cICP", bytes([*codes, 0, 1])))
    close(open_picture(data), np.array([SHOWN[codes]]), 1)
    with Image.open(io.BytesIO(data)) as image:
        close(open_picture(image), np.array([SHOWN[codes]]), 1)


def test_unspecified_codes_and_srgb_change_nothing() -> None:
    for codes in ((1, 13), (2, 2), (1, 2), (255, 200)):
        close(open_picture(png(8, 2, RGB, (b"cICP", bytes([*codes, 0, 1])))), RGB)
    close(open_picture(png(8, 2, RGB, (b"cICP", b"\x09"))), RGB)  # cut short


def test_gamma_and_corners_of_png() -> None:
    """`sRGB` is above them, and corners alone do not count, as in Chromium."""
    linear, usual = struct.pack(">I", 100000), struct.pack(">I", 45455)
    corners = (b"cHRM", P3_CORNERS)
    shown = [(230, 168, 121), (95, 181, 159), (248, 228, 78), (132, 132, 229), (218, 196, 202)]
    for extra in ((), ((b"sBIT", b"\x08\x08\x08"),)):
        close(open_picture(png(8, 2, COLOURS, (b"gAMA", linear), *extra)), np.array([shown]), 1)
    grey = np.array([[16, 64, 128, 240]], np.uint8)
    close(
        open_picture(png(8, 0, grey, (b"gAMA", linear))), grey3(np.array([[71, 137, 188, 248]])), 1
    )
    for chunks in (
        ((b"gAMA", usual),),
        (corners,),
        ((b"sRGB", b"\0"), (b"gAMA", linear), corners),
        ((b"gAMA", struct.pack(">I", 0)),),
    ):
        close(open_picture(png(8, 2, RGB, *chunks)), RGB)
    muted = (RGB * 0.5 + 70).astype(np.uint8)
    wide = open_picture(png(8, 2, muted, (b"gAMA", usual), corners))
    display_p3 = [[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]]
    close(wide, to_srgb_by_hand(muted, display_p3, 2.2), 2)


def test_linear_sixteen_bits_keep_their_shadows() -> None:
    """From the high byte alone, 0.003 of full light would be black."""
    levels = np.full((2, 2, 3), round(0.003 * 65535))
    data = png(16, 2, levels, (b"gAMA", struct.pack(">I", 100000)))
    close(open_picture(data), np.full((2, 2, 3), 255 * 12.92 * 0.003), 1)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_colour_codes_of_avif_and_heic(kind: str) -> None:
    """The same pixels under a PNG's cICP are the reference: two ways, one colour."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {kind}")
    data = encode(Image.fromarray(photo(64, 96)), kind, quality=95)
    with Image.open(io.BytesIO(data)) as image:
        stored = np.asarray(image.convert("RGB"))
    place = data.index(b"nclx") + 4
    for codes in ((12, 13), (9, 16), (9, 18), (1, 8), (9, 13)):
        marked = data[:place] + struct.pack(">HH", *codes) + data[place + 4 :]
        expected = open_picture(png(8, 2, stored, (b"cICP", bytes([*codes, 0, 1]))))
        close(open_picture(marked), expected)
        assert np.abs(expected.astype(int) - stored).max() > 5
    for codes in ((1, 13), (1, 1), (2, 2), (1, 6)):  # video's curve is sRGB's in a still picture
        marked = data[:place] + struct.pack(">HH", *codes) + data[place + 4 :]
        close(open_picture(marked), stored)
    damaged = data.replace(b"ipma", b"ipmb").replace(b"pitm", b"pitn")
    with pytest.raises(Exception, match=r"damaged|unsupported|not a picture"):
        open_picture(damaged)


def jp2_with(box: bytes, data: bytes) -> bytes:
    """A JP2 whose `colr` box is another."""
    header, place = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    size = struct.unpack_from(">I", data, place)[0]
    whole = struct.unpack_from(">I", data, header)[0] - size + len(box)
    return (
        data[:header]
        + struct.pack(">I", whole)
        + data[header + 4 : place]
        + box
        + data[place + size :]
    )


def test_profiles_in_the_header_of_jpeg_2000() -> None:
    muted = (RGB * 0.5 + 70).astype(np.uint8)
    data = encode(Image.fromarray(muted), "JPEG2000", irreversible=False)
    profile = icc(ADOBE_RGB, 2.2)
    expected = open_picture(encode(Image.fromarray(muted), "PNG", icc_profile=profile))
    for method in (2, 3):
        box = struct.pack(">I", 11 + len(profile)) + b"colr" + bytes([method, 0, 0]) + profile
        close(open_picture(jp2_with(box, data)), expected)
    broken = struct.pack(">I", 15) + b"colr\x02\0\0junk"
    close(open_picture(jp2_with(broken, data)), muted)


def bmp_with(pixels: np.ndarray, kind: bytes, more: bytes, profile: bytes = b"") -> bytes:
    """A 24-bit BMP with a version 5 header: `kind` of colour space, its 48 bytes, a profile."""
    height, width = pixels.shape[:2]
    rows = [row[:, ::-1].tobytes() for row in pixels[::-1]]
    body = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, len(body), 2835, 2835, 0, 0)
    head += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0) + kind + more.ljust(48, b"\0")
    head += struct.pack("<IIII", 4, 124 + len(body), len(profile), 0)
    size = 14 + 124 + len(body) + len(profile)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + 124) + head + body + profile


def test_profiles_and_primaries_in_the_header_of_bmp() -> None:
    muted = (RGB * 0.5 + 70).astype(np.uint8)
    profile = icc(ADOBE_RGB, 2.2)
    expected = open_picture(encode(Image.fromarray(muted), "PNG", icc_profile=profile))
    close(open_picture(bmp_with(muted, b"DEBM", b"", profile)), expected)
    for kind in (b"BGRs", b" niW", b"KNIL"):  # sRGB, Windows' default, a link
        close(open_picture(bmp_with(muted, kind, b"")), muted)
    close(open_picture(bmp_with(muted, b"\0\0\0\0", b"")), muted)  # no primaries given
    srgb = [0.4124, 0.2126, 0.0193, 0.3576, 0.7152, 0.1192, 0.1805, 0.0722, 0.9505]
    more = struct.pack("<9i", *(round(v * 2**30) for v in srgb))
    more += struct.pack("<3I", *[1 << 16] * 3)  # linear
    close(
        open_picture(bmp_with(COLOURS, b"\0\0\0\0", more)),
        np.array(
            [[(229, 168, 122), (96, 181, 160), (248, 229, 78), (133, 133, 229), (218, 195, 201)]]
        ),
        2,
    )
