"""Depths, frames, orientations and kinds of file that were once read wrong or not at all."""

from __future__ import annotations

import base64
import io
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import ALPHA, GREY, ON_WHITE, RGB, close, encode, grey3, planar_tiff, png, tiff
from PIL import Image

from rali.errors import PictureError
from rali.pictures.read import MAX_PIXELS, open_picture

# Six by two pixels of 16 bits from OpenJPEG's encoder: levels times 257, by both transforms.
_LEVELS = np.array([[0, 1, 127, 128, 254, 255], [255, 0, 30, 200, 128, 64]])
LEVELS = np.stack([_LEVELS, _LEVELS[::-1], _LEVELS[:, ::-1]], axis=-1)
CODESTREAMS = {
    "5/3": "/0//"
    "UQAvAAAAAAAGAAAAAgAAAAAAAAAAAAAABgAAAAIAAAAAAAAAAAADDwEBDwEBDwEB/1IADAAAAAEBAAQEAAH/"
    "XAAEQID/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABqAAH/k8/8MGgOA5+GbsMY"
    "WNDxDKd93W4+MQN1Ws8TMDo7n9/4kNANlB2HoVdIBiSYbIMLMQbwUzCpxEGW0++PH9/4kOAJ4E65Kzt+NVGaVPioYgX5"
    "xnZLJnHmywzMw90j/9k=",
    "9/7": "/0//"
    "UQAvAAAAAAAGAAAAAgAAAAAAAAAAAAAABgAAAAIAAAAAAAAAAAADDwEBDwEBDwEB/1IADQECAAEBAAQEAACI"
    "/1wABUKAAP9kACUAAUNyZWF0ZWQgYnkgT3BlbkpQRUcgdmVyc2lvbiAyLjUuNP+QAAoAAAAAAGcAAf+Tz/wQaA4Dn4Zk"
    "AxmrNFdpaTswm8BHLtmoDR2JB2GDz/woaA2SovIzPLm52pUFDhcHekhTDkdaz1GlQEqDz/wQZAnaYjCTFBXN5xthJUdZ"
    "bRxkDFjPt0Vqd2X/2Q==",
}
JPEG_XL = (
    "/woIAAqASAgEAQAMAUsYixVSXHp3NZQ89McDJUyRTXF1F4gFAOR8Ahf+R13z9mC/rN0zCoFLCpBmIhKgWOgnwi662n3X4S98"
    "IMsKxVgYMBo="
)


@pytest.mark.parametrize("transform", CODESTREAMS)
def test_highest_values_of_16_bit_jpeg_2000(transform: str) -> None:
    data = base64.b64decode(CODESTREAMS[transform])
    lost = 1 if transform == "9/7" else 0
    close(open_picture(data), LEVELS, lost)
    with Image.open(io.BytesIO(data)) as image:
        close(open_picture(image), LEVELS, lost)


@pytest.mark.parametrize("bits", [9, 10, 12, 15, 16])
@pytest.mark.parametrize("exact", [True, False])
def test_depths_of_jpeg_2000(bits: int, exact: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    hard = np.random.default_rng(0).choice([0, 1, 128, 254, 255], (24, 37, 3))
    for pixels in (RGB, hard, np.dstack([RGB, ALPHA]), np.dstack([hard, np.full_like(ALPHA, 255)])):
        wide = np.rint(pixels * ((2**bits - 1) / 255)).astype(np.uint16)
        data = imagecodecs.jpeg2k_encode(
            wide, level=0 if exact else 90, bitspersample=bits, reversible=exact, codecformat="jp2"
        )
        expected = imagecodecs.jpeg2k_decode(data) / (2**bits - 1)
        if pixels.shape[2] == 4:
            expected = expected[..., :3] * expected[..., 3:] + 1 - expected[..., 3:]
        close(open_picture(data), expected * 255, 1.5)


def test_a_codestream_that_cannot_be_read_exactly_is_refused() -> None:
    data = bytearray(base64.b64decode(CODESTREAMS["5/3"]))
    data[42:51:3] = [16] * 3  # 17 bits
    with pytest.raises(PictureError, match="16-bit PNG or TIFF"):
        open_picture(bytes(data))


# --- floats and whole numbers --------------------------------------------------------------------


@pytest.mark.parametrize("most", [1.02, 1.5, 40.0, 1e6])
def test_one_float_above_one_is_clipped(most: float) -> None:
    values = (GREY / 255).astype(np.float32)
    values[3, 4], values[5, 6] = most, -0.01
    expected = GREY.copy()
    expected[3, 4], expected[5, 6] = 255, 0
    close(open_picture(encode(Image.fromarray(values), "TIFF")), grey3(expected))
    values = GREY.astype(np.float32)
    values[3, 4] = 255.5
    expected[5, 6] = GREY[5, 6]
    close(open_picture(encode(Image.fromarray(values), "TIFF")), grey3(expected))


def test_floats_of_no_known_range_are_refused() -> None:
    values = np.linspace(0, 2, GREY.size, dtype=np.float32).reshape(GREY.shape)
    with pytest.raises(PictureError, match="0–1 or 0–255"):
        open_picture(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("top", [65535, 4095, 1023, 255, 100])
@pytest.mark.parametrize("dark", [1.0, 0.003])
def test_the_header_of_a_pgm_gives_its_maximum(top: int, dark: float) -> None:
    """A dark picture is not brightened because its values would fit eight bits."""
    for letter, pixels in (("P5", GREY), ("P6", RGB)):
        values = np.rint(pixels / 255 * top * dark)
        head = f"{letter} {RGB.shape[1]} {RGB.shape[0]} {top}\n".encode()
        data = head + values.astype(">u2" if top > 255 else np.uint8).tobytes()
        expected = values * (255 / top)
        close(open_picture(data), grey3(expected) if letter == "P5" else expected, 1)


def whole_tiff(values: np.ndarray, sample_format: int) -> bytes:
    """A grey 32-bit TIFF, signed (2) or not (1)."""
    data, (height, width) = values.tobytes(), values.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 32), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8 + 2 + 12 * 10 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
    tags += [(339, 3, sample_format)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4) + data


def test_32_bit_whole_numbers() -> None:
    full = GREY.astype(np.uint32) * 16843009
    close(open_picture(whole_tiff(full, 1)), grey3(GREY))
    for values, kind in ((GREY.astype(np.uint32), 1), (GREY.astype(np.int32) * 257, 2)):
        close(open_picture(whole_tiff(values, kind)), grey3(GREY))
    with pytest.raises(PictureError, match="whole-number"):
        open_picture(whole_tiff(GREY.astype(np.uint32) * 1000, 1))


def test_a_colour_map_of_8_bit_values() -> None:
    """As ImageMagick reads it; by the standard such a map is all but black."""
    tifffile = pytest.importorskip("tifffile")
    table = np.random.default_rng(0).integers(0, 256, (3, 256))
    for scale in (1, 256, 257):
        file = io.BytesIO()
        tifffile.imwrite(file, GREY, photometric="palette", colormap=(table * scale).astype("u2"))
        close(open_picture(file.getvalue()), table.T[GREY])


@pytest.mark.parametrize("off", [1, 127, 255])
def test_a_transparent_colour_of_16_bits_matches_exactly(off: int) -> None:
    rgb = RGB.astype(np.uint16) * 257
    key = (30000, 20000, 0x4E00)
    rgb[2:4, :5] = key
    rgb[6:8, :5] = key[0], key[1], key[2] + off  # the same high byte
    expected = rgb >> 8
    expected[2:4, :5] = 255
    close(open_picture(png(16, 2, rgb, (b"tRNS", struct.pack(">3H", *key)))), expected)


# --- frames, orientations, sizes ---------------------------------------------------------------


@pytest.mark.parametrize(("left", "top"), [(0, 0), (3, 2), (9, 7)])
def test_a_first_frame_smaller_than_its_canvas_lies_on_white(left: int, top: int) -> None:
    height, width = RGB.shape[:2]
    few = Image.fromarray(RGB).quantize(16)
    expected = np.full((height + 10, width + 12, 3), 255)
    expected[top : top + height, left : left + width] = np.asarray(few.convert("RGB"))
    data = bytearray(encode(few, "GIF"))
    struct.pack_into("<HH", data, 6, width + 12, height + 10)
    place = data.index(b"\x2c\0\0\0\0" + struct.pack("<HH", width, height))
    struct.pack_into("<HH", data, place + 1, left, top)
    close(open_picture(bytes(data)), expected)

    left, top = left // 2 * 2, top // 2 * 2  # WebP's places are even
    expected[:] = 255
    expected[top : top + height, left : left + width] = RGB
    still = encode(Image.fromarray(RGB), "WEBP", lossless=True)[12:]
    numbers = (left // 2, top // 2, width - 1, height - 1, 100)
    frame = b"".join(n.to_bytes(3, "little") for n in numbers) + b"\0" + still
    size = (width + 11).to_bytes(3, "little") + (height + 9).to_bytes(3, "little")
    chunks = [(b"VP8X", b"\x02\0\0\0" + size), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"".join(
        name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        for name, part in chunks
    )
    close(open_picture(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body), expected)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_of_xmp_alone_does_not_turn(kind: str) -> None:
    image = Image.fromarray(RGB)
    more: dict[str, Any] = {"xmp": XMP}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        more = {"pnginfo": text}
    elif kind == "TIFF":
        more = {"tiffinfo": {700: XMP}}
    data = encode(image, kind, **more, **({"lossless": True} if kind == "WEBP" else {}))
    assert b'tiff:Orientation="6"' in data
    assert open_picture(data).shape == RGB.shape
    with Image.open(io.BytesIO(data)) as opened:
        assert open_picture(opened).shape == RGB.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_planar_16_bit_tiff_is_turned(orientation: int) -> None:
    plain = planar_tiff(RGB.transpose(2, 0, 1).astype(np.uint16) * 257, "<")
    # The tag in place of SamplesPerPixel's neighbour: RowsPerStrip defaults to the whole picture.
    place = plain.index(struct.pack("<HHI", 278, 4, 1))
    data = bytearray(plain)
    tag = struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    samples = bytes(data[place - 12 : place])
    data[place - 12 : place + 12] = tag + samples
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = open_picture(encode(Image.fromarray(RGB), "PNG", exif=exif))
    close(open_picture(bytes(data)), expected)


def test_a_higher_limit_is_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "TIFF", "WEBP", "JPEG", "GIF"):
        data = encode(Image.fromarray(RGB), kind)
        assert open_picture(data, max_pixels=1000).shape == RGB.shape
    assert Image.MAX_IMAGE_PIXELS == 100
    data = encode(Image.fromarray(RGB), "PNG")
    with pytest.raises(PictureError, match=rf"--max-megapixels 1 or max_pixels={GREY.size} "):
        open_picture(data, max_pixels=GREY.size - 1)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_command_line_and_python_have_one_limit() -> None:
    from rali.cli.score import MAX_MEGAPIXELS

    assert round(MAX_MEGAPIXELS * 1e6) == MAX_PIXELS


# --- kinds of file -------------------------------------------------------------------------------


def test_raw_files_are_refused_not_their_thumbnails(tmp_path: Path) -> None:
    plain = tiff(RGB, 2, bits=8)
    size = len(plain)

    def with_tags(*tags: tuple[int, int, int, int]) -> bytes:
        """The TIFF with its table of tags at the end, these added."""
        count = struct.unpack_from("<H", plain, 8)[0]
        table = [plain[10 + 12 * i : 22 + 12 * i] for i in range(count)]
        table = sorted(
            [*table, *(struct.pack("<HHII", *tag) for tag in tags)], key=lambda t: t[0] + 256 * t[1]
        )
        head = b"II*\0" + struct.pack("<I", size) + plain[8:]
        return head + struct.pack("<H", len(table)) + b"".join(table) + bytes(4)

    close(open_picture(with_tags()), RGB)
    kinds = {
        "DNG": with_tags((50706, 1, 4, 0x00000401)),
        "NEF": with_tags((254, 4, 1, 1), (330, 4, 1, 8)),
        "CR2": b"II*\0\x10\0\0\0CR\2\0" + plain,
        "RAF": b"FUJIFILMCCD-RAW 0201" + plain,
        "ORF": b"IIRO" + plain[4:],
        "RW2": b"IIU\0" + plain[4:],
        "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + plain,
    }
    for name, data in kinds.items():
        with pytest.raises(PictureError, match=r"raw file.*develop"):
            open_picture(data)
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=r"raw file.*develop"):
            open_picture(tmp_path / name)
    close(open_picture(with_tags((254, 4, 1, 1))), RGB)  # a small copy, with nothing larger beside


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "uint16", "uint32"])
def test_kinds_of_tiff_that_pillow_does_not_know(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    top = 1 if kind.startswith("float") else np.iinfo(kind).max

    def written(pixels: np.ndarray, **options: Any) -> bytes:
        file = io.BytesIO()
        values = pixels / 255 * top
        tifffile.imwrite(file, (np.rint(values) if top > 1 else values).astype(kind), **options)
        return file.getvalue()

    rgba, more = np.dstack([RGB, ALPHA]), {"extrasamples": ["unassalpha"]}
    for order in "<>":
        close(open_picture(written(RGB, photometric="rgb", byteorder=order)), RGB)
        close(open_picture(written(GREY, byteorder=order)), grey3(GREY))
        close(open_picture(written(rgba, photometric="rgb", byteorder=order, **more)), ON_WHITE, 1)
    grey = np.dstack([GREY, np.full_like(GREY, 255)])
    close(open_picture(written(grey, photometric="minisblack", **more)), grey3(GREY))
    close(open_picture(written(255 - GREY, photometric="miniswhite", byteorder=">")), grey3(GREY))
    turned = written(RGB, photometric="rgb", extratags=[(274, 3, 1, 6, False)])
    close(open_picture(turned), np.rot90(RGB, -1))
    with pytest.raises(PictureError, match="limit"):
        open_picture(written(RGB, photometric="rgb"), max_pixels=10)
    if kind == "float64":
        monkeypatch.setitem(sys.modules, "tifffile", None)
        with pytest.raises(PictureError, match=re.escape("pip install 'rali[tiff]'")):
            open_picture(written(RGB, photometric="rgb"))


def test_big_endian_floats_compressed() -> None:
    """Pillow turns their bytes twice."""
    pytest.importorskip("imagecodecs")
    tifffile = pytest.importorskip("tifffile")
    for compression in ("lzw", "zlib"):
        file = io.BytesIO()
        values = (GREY / 255).astype(np.float32)
        tifffile.imwrite(file, values, compression=compression, byteorder=">")
        close(open_picture(file.getvalue()), grey3(GREY))


def test_jpeg_xl(monkeypatch: pytest.MonkeyPatch) -> None:
    from rali.pictures import read

    data = base64.b64decode(JPEG_XL)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    read._register_jxl.cache_clear()
    with pytest.raises(PictureError, match=re.escape("pip install 'rali[jxl]'")):
        open_picture(data)
    monkeypatch.undo()
    read._register_jxl.cache_clear()
    pytest.importorskip("pillow_jxl")
    close(open_picture(data), LEVELS)
