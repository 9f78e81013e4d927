"""Files of every format, depth, colour space and orientation that `decoders.py` compares.

Out: `File`s of one small photograph, each with the decoders that can tell what is in it.
"""

from __future__ import annotations

import io
import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 (registers JPEG XL)
import tifffile
from PIL import Image, ImageCms
from skimage import data

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import picture_files
from picture_files import icc

BROWSER, MAGICK, OPENCV, TIFFFILE, CODECS = (
    *("Chromium", "ImageMagick", "OpenCV", "tifffile", "imagecodecs"),
)
RGB = np.asarray(Image.fromarray(data.coffee()[100:340, 120:440]).resize((96, 72)))
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
ALPHA = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))
RGBA, LA = np.dstack([RGB, ALPHA]), np.dstack([GREY, ALPHA])
SPACES = {  # XYZ (D50) of red, green and blue
    "romm": [[0.7977, 0.2880, 0], [0.1352, 0.7119, 0], [0.0313, 0.0001, 0.8249]],
    "adobe": picture_files.ADOBE_RGB,
    "p3": picture_files.DISPLAY_P3,
}
CODES = ((1, 13), (12, 13), (9, 13), (9, 14), (1, 8), (9, 16), (9, 18), (12, 16), (5, 5), (11, 17))


class File(NamedTuple):
    """A made file: its format, what is special, its bytes, and who can judge it."""

    kind: str
    name: str
    data: bytes
    judges: tuple[str, ...]
    twin: bytes = b""  # a PNG of the same pixels and colours, for a browser that lacks the format


def make_files() -> Iterator[File]:
    """All files, some 300."""
    for make in (jpeg, png, tiff, bmp, gif, webp, avif, heic, jp2, jxl, netpbm):
        yield from make()


PROFILES = {name: icc(corners, 1.8) for name, corners in SPACES.items()}


def encode(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return picture_files.encode(picture, kind, **options)


def png_of(pixels: np.ndarray, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    return picture_files.png(bits, colour, pixels, *chunks)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def jpeg() -> Iterator[File]:
    for quality, sampling, late in itertools.product((75, 95), (0, 1, 2), (False, True)):
        name = f"quality {quality}, subsampling {sampling}, {'progressive' if late else 'baseline'}"
        made = encode(RGB, "JPEG", quality=quality, subsampling=sampling, progressive=late)
        yield File("JPEG", name, made, (BROWSER, MAGICK, OPENCV))
    yield File("JPEG", "grey", encode(GREY, "JPEG"), (BROWSER, MAGICK, OPENCV))
    cmyk = Image.fromarray(RGB).convert("CMYK")
    yield File("JPEG CMYK", "no profile", encode(cmyk, "JPEG", quality=95), (BROWSER, MAGICK))
    for turn in range(1, 9):
        made = encode(RGB, "JPEG", quality=95, exif=exif(turn))
        yield File("JPEG", f"orientation {turn}", made, (BROWSER, MAGICK, OPENCV))
    for name, colours in PROFILES.items():
        made = encode(RGB, "JPEG", quality=95, icc_profile=colours)
        yield File("JPEG with a profile", name, made, (BROWSER, MAGICK))


P3_CORNERS = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def png() -> Iterator[File]:
    both = (BROWSER, MAGICK)
    wide, noise = 257, np.random.default_rng(0).integers(0, 256, RGB.shape)
    for bits in (1, 2, 4, 8):
        top = 2**bits - 1
        few = GREY >> (8 - bits)
        yield File("PNG", f"grey of {bits} bits", png_of(few, bits, 0), (*both, OPENCV))
        key = struct.pack(">H", int(few[9, 9]))
        yield File(
            "PNG", f"{bits} bits, one transparent", png_of(few, bits, 0, (b"tRNS", key)), both
        )
        table = np.random.default_rng(bits).integers(0, 256, (top + 1, 3)).astype(np.uint8)
        plte = (b"PLTE", table.tobytes())
        yield File("PNG", f"palette of {bits} bits", png_of(few, bits, 3, plte), (*both, OPENCV))
        clear = (b"tRNS", bytes(range(0, 2**bits, 1)) if bits == 8 else b"\0\x80"[: top + 1])
        yield File("PNG", f"palette of {bits} bits, alpha", png_of(few, bits, 3, plte, clear), both)
    for name, pixels, colour in (
        ("RGB", RGB, 2),
        ("grey", GREY, 0),
        ("RGBA", RGBA, 6),
        ("LA", LA, 4),
    ):
        yield File("PNG", f"{name} of 8 bits", png_of(pixels, 8, colour), both)
        sixteen = pixels.astype(np.uint16) * wide
        yield File("PNG", f"{name} of 16 bits", png_of(sixteen, 16, colour), both)
        sixteen = np.minimum(pixels.astype(np.int64) * 257 + np.resize(noise, pixels.shape), 65535)
        yield File("PNG", f"{name} of 16 bits, uneven", png_of(sixteen, 16, colour), both)
    for off in (0, 1, 128):
        sixteen = RGB.astype(np.uint16) * wide
        sixteen[20:40, 20:40] = (30000, 20000, 10000)
        sixteen[30:40, 20:40, 1] += off  # the same high byte or another: only one colour is clear
        key = struct.pack(">3H", 30000, 20000, 10000)
        made = png_of(sixteen, 16, 2, (b"tRNS", key))
        yield File("PNG", f"16 bits, one transparent, {off} beside it", made, (MAGICK,))
    for turn in range(1, 9):
        yield File("PNG", f"orientation {turn}", encode(RGB, "PNG", exif=exif(turn)), (BROWSER,))
    for name, colours in PROFILES.items():
        for kind, pixels in (("RGB", RGB), ("RGBA", RGBA)):
            made = encode(pixels, "PNG", icc_profile=colours)
            yield File("PNG with a profile", f"{name}, {kind}", made, both)
    for codes in CODES:
        for bits in (8, 16):
            chunk = (b"cICP", bytes([*codes, 0, 1]))
            made = png_of(RGB.astype(int) * (wide if bits == 16 else 1), bits, 2, chunk)
            kind = "PNG with cICP, 16 bits" if bits == 16 else "PNG with cICP"
            yield File(kind, str(codes), made, (BROWSER,))
    for gamma in (100000, 45455, 55556, 38462):
        for corners in ((), ((b"cHRM", P3_CORNERS),)):
            made = png_of(RGB, 8, 2, (b"gAMA", struct.pack(">I", gamma)), *corners)
            yield File(
                "PNG with gAMA, cHRM", f"{gamma}{' and P3' * bool(corners)}", made, (BROWSER,)
            )
    yield File(
        "PNG with gAMA, cHRM", "P3 alone", png_of(RGB, 8, 2, (b"cHRM", P3_CORNERS)), (BROWSER,)
    )
    linear = png_of(GREY, 8, 0, (b"gAMA", struct.pack(">I", 100000)))
    yield File("PNG with gAMA, cHRM", "linear grey", linear, (BROWSER,))


def tiff_of(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def tiff() -> Iterator[File]:
    ways = {"none": None, "LZW": "lzw", "deflate": "adobe_deflate", "PackBits": "packbits"}
    types = {"uint8": 1, "uint16": 257, "float32": 1 / 255, "float64": 1 / 255, "uint32": 16843009}
    for (kind, scale), (way, packed), order in itertools.product(types.items(), ways.items(), "<>"):
        many = (RGB * np.float64(scale)).astype(kind)
        if packed in (None, "lzw") or kind in ("uint8", "uint16"):
            more = {"compression": packed, "byteorder": order}
            name = f"{kind}, {way}, {'big' if order == '>' else 'little'}-endian"
            made = tiff_of(many, photometric="rgb", **more)
            yield File("TIFF", f"RGB {name}", made, (TIFFFILE, MAGICK))
            grey = (GREY * np.float64(scale)).astype(kind)
            yield File("TIFF", f"grey {name}", tiff_of(grey, **more), (TIFFFILE, MAGICK))
            if packed is None and kind in ("uint8", "uint16"):
                made = tiff_of(grey, photometric="miniswhite", **more)
                yield File("TIFF", f"white is zero {name}", made, (TIFFFILE, MAGICK))
                planes = np.ascontiguousarray(many.transpose(2, 0, 1))
                made = tiff_of(planes, photometric="rgb", planarconfig="separate", **more)
                yield File("TIFF", f"planar {name}", made, (TIFFFILE, MAGICK))
                for alpha, pixels in (("unassalpha", RGBA), ("unassalpha", LA)):
                    wide = (pixels * np.float64(scale)).astype(kind)
                    photometric = "rgb" if pixels is RGBA else "minisblack"
                    made = tiff_of(wide, photometric=photometric, extrasamples=[alpha], **more)
                    yield File("TIFF", f"{photometric} alpha {name}", made, (TIFFFILE, MAGICK))
    for turn, kind in itertools.product(range(1, 9), ("uint8", "uint16", "planar uint16")):
        pixels = RGB.astype(np.uint16) * 257 if "16" in kind else RGB
        more = {"planarconfig": "separate"} if "planar" in kind else {}
        if more:
            pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        tag = [(274, 3, 1, turn, False)]
        made = tiff_of(pixels, photometric="rgb", extratags=tag, **more)
        yield File("TIFF", f"{kind}, orientation {turn}", made, (TIFFFILE, MAGICK))
    for scale in (1, 257):
        table = (np.random.default_rng(3).integers(0, 256, (3, 256)) * scale).astype(np.uint16)
        made = tiff_of(GREY, photometric="palette", colormap=table)
        yield File("TIFF", f"palette, colours times {scale}", made, (MAGICK,))
    for name, colours in PROFILES.items():
        yield File("TIFF with a profile", name, encode(RGB, "TIFF", icc_profile=colours), (MAGICK,))


def bmp() -> Iterator[File]:
    both = (BROWSER, MAGICK, OPENCV)
    image = Image.fromarray(RGB)
    for name, picture in (
        ("24 bits", image),
        ("8 bits", image.quantize(256)),
        ("1 bit", image.convert("1")),
    ):
        yield File("BMP", name, encode(picture, "BMP"), both)
    for name, colours in PROFILES.items():
        pixels = np.ascontiguousarray(RGB[::-1, :, ::-1]).tobytes()
        head = struct.pack("<IiiHHIIiiII", 124, 96, 72, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
        head += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0) + b"DEBM" + bytes(48)
        head += struct.pack("<IIII", 4, 124 + len(pixels), len(colours), 0)
        start = b"BM" + struct.pack("<IHHI", 14 + 124 + len(pixels) + len(colours), 0, 0, 138)
        yield File("BMP with a profile", name, start + head + pixels + colours, (BROWSER,))


def gif() -> Iterator[File]:
    few = Image.fromarray(RGB).quantize(64)
    yield File("GIF", "whole", encode(few, "GIF"), (BROWSER, MAGICK))
    yield File("GIF", "one transparent", encode(few, "GIF", transparency=5), (BROWSER, MAGICK))
    for left, top in ((0, 0), (10, 5), (30, 40), (60, 60)):
        made = bytearray(encode(few, "GIF"))
        struct.pack_into("<HH", made, 6, 96 + left + 20, 72 + top + 9)  # a larger canvas
        place = made.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 96, 72))
        struct.pack_into("<HH", made, place + 1, left, top)
        yield File("GIF", f"first frame at {left}, {top}", bytes(made), (BROWSER,))


def webp() -> Iterator[File]:
    for quality in (50, 90):
        made = encode(RGB, "WEBP", quality=quality)
        yield File("WebP", f"quality {quality}", made, (BROWSER, MAGICK, OPENCV))
    yield File("WebP", "lossless", encode(RGB, "WEBP", lossless=True), (BROWSER, MAGICK, OPENCV))
    clear = encode(RGBA, "WEBP", lossless=True, exact=True)
    yield File("WebP", "transparent", clear, (BROWSER, MAGICK))
    for name, colours in PROFILES.items():
        made = encode(RGB, "WEBP", lossless=True, icc_profile=colours)
        yield File("WebP with a profile", name, made, (BROWSER,))
    for left, top in ((0, 0), (12, 6), (40, 30)):
        inner = encode(RGB, "WEBP", lossless=True)[12:]
        frame = (
            b"".join(v.to_bytes(3, "little") for v in (left // 2, top // 2, 95, 71, 100))
            + b"\0"
            + inner
        )

        def chunk(name: bytes, body: bytes) -> bytes:
            return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

        size = (96 + left + 9).to_bytes(3, "little") + (72 + top + 4).to_bytes(3, "little")
        body = chunk(b"VP8X", b"\x02\0\0\0" + size) + chunk(b"ANIM", bytes(6))
        body += chunk(b"ANMF", frame) + chunk(b"ANMF", frame)
        made = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
        yield File("WebP", f"first frame at {left}, {top}", made, (BROWSER,))


def with_codes(made: bytes, primaries: int, transfer: int) -> bytes:
    place = made.index(b"nclx") + 4
    return made[:place] + struct.pack(">HH", primaries, transfer) + made[place + 4 :]


def avif() -> Iterator[File]:
    made = encode(RGB, "AVIF", quality=95, subsampling="4:4:4")
    yield File("AVIF", "4:4:4", made, (BROWSER,))
    yield File("AVIF", "4:2:0", encode(RGB, "AVIF", quality=90, subsampling="4:2:0"), (BROWSER,))
    clear = encode(RGBA, "AVIF", quality=95, subsampling="4:4:4")
    yield File("AVIF", "transparent", clear, (BROWSER, CODECS))
    for codes in CODES:
        yield File("AVIF with nclx", str(codes), with_codes(made, *codes), (BROWSER,))
    ten = imagecodecs.avif_encode(
        (RGB.astype(np.uint16) * 1023 // 255), level=95, pixelformat="444", bitspersample=10
    )
    for codes in ((1, 13), (12, 13), (9, 16), (9, 18)):
        yield File("AVIF of 10 bits", str(codes), with_codes(ten, *codes), (BROWSER,))
    for turn in range(2, 9):
        turned = encode(RGB, "AVIF", quality=95, subsampling="4:4:4", exif=exif(turn))
        yield File("AVIF", f"orientation {turn}", turned, (BROWSER,))
    for name, colours in PROFILES.items():
        made = encode(RGB, "AVIF", quality=95, subsampling="4:4:4", icc_profile=colours)
        yield File("AVIF with a profile", name, made, (BROWSER,))


def heic() -> Iterator[File]:
    for codes in ((1, 13), (12, 13), (9, 13), (1, 8), (9, 16), (9, 18)):
        buffer = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(RGB)).save(
            buffer,
            quality=95,
            chroma="444",
            color_primaries=codes[0],
            transfer_characteristics=codes[1],
        )
        stored = np.asarray(pillow_heif.open_heif(buffer.getvalue()))
        twin = png_of(stored, 8, 2, (b"cICP", bytes([*codes, 0, 1])))
        judges = (BROWSER, MAGICK) if codes == (1, 13) else (BROWSER,)
        yield File("HEIC with nclx", str(codes), buffer.getvalue(), judges, twin)


def jp2() -> Iterator[File]:
    for kind, pixels in (("RGB", RGB), ("grey", GREY), ("RGBA", RGBA)):
        for bits, exact, codec in itertools.product((8, 10, 12, 16), (True, False), ("jp2", "j2k")):
            wide = np.rint(pixels * ((2**bits - 1) / 255)).astype(
                np.uint8 if bits == 8 else np.uint16
            )
            made = imagecodecs.jpeg2k_encode(
                wide,
                level=0 if exact else 60,
                bitspersample=bits,
                reversible=exact,
                codecformat=codec,
            )
            name = f"{kind} of {bits} bits, {'5/3' if exact else '9/7'}, {codec}"
            yield File("JPEG 2000", name, made, (CODECS,))

    made = imagecodecs.jpeg2k_encode(RGB, level=0, codecformat="jp2")
    place, header = made.index(b"colr") - 4, made.index(b"jp2h") - 4
    size = struct.unpack_from(">I", made, header)[0]
    for name, colours in PROFILES.items():
        box = struct.pack(">I", 11 + len(colours)) + b"colr\x02\0\0" + colours
        data = made[:header] + struct.pack(">I", size - 15 + len(box)) + made[header + 4 : place]
        data += box + made[place + 15 :]
        twin = encode(RGB, "PNG", icc_profile=colours)
        yield File("JPEG 2000 with a profile", name, data, (BROWSER,), twin)


def jxl() -> Iterator[File]:
    for kind, pixels in (("RGB", RGB), ("grey", GREY), ("RGBA", RGBA)):
        made = imagecodecs.jpegxl_encode(pixels, lossless=True)
        yield File("JPEG XL", f"{kind} of 8 bits", made, (CODECS,))
        made = imagecodecs.jpegxl_encode(pixels.astype(np.uint16) * 257, lossless=True)
        chunk = (b"gAMA", struct.pack(">I", 100000))  # so the encoder labels 16 bits
        colour = {"RGB": 2, "grey": 0, "RGBA": 6}[kind]
        twin = png_of(pixels.astype(np.uint16) * 257, 16, colour, chunk)
        yield File("JPEG XL", f"linear {kind} of 16 bits", made, (BROWSER,), twin)


def netpbm() -> Iterator[File]:
    for top, dark in itertools.product((15, 100, 255, 1023, 4095, 65535), (1, 0.003)):
        for letter, pixels in ((b"P5", GREY), (b"P6", RGB)):
            values = np.rint(pixels / 255 * top * dark).astype(">u2" if top > 255 else np.uint8)
            made = letter + f"\n96 72\n{top}\n".encode() + values.tobytes()
            yield File("PGM, PPM", f"{letter.decode()} to {top}, times {dark}", made, (MAGICK,))


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
