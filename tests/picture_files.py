"""Small pictures and files of them, made by hand where Pillow writes no such kind."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

H, W = 24, 37
JPEG_ERROR = 5  # levels that quality 100 loses on these colours


def photo(height: int = H, width: int = W) -> np.ndarray:
    """Smooth colours, so lossy formats stay close, and no symmetry, so a turn shows."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    rgb = [20 + 200 * x / width, 230 - 200 * y / height, 60 + 120 * (x + y) / (width + height)]
    return np.stack(rgb, axis=-1).astype(np.uint8)


RGB = photo()
GREY = RGB[..., 0]
ALPHA = np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1))
ON_WHITE = np.rint(RGB * (ALPHA / 255.0)[..., None] + 255 - ALPHA[..., None].astype(float))


def grey3(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close(got: np.ndarray, expected: np.ndarray, levels: float = 0) -> None:
    assert got.dtype == np.uint8 and got.shape == expected.shape and got.flags.c_contiguous
    assert np.abs(got.astype(float) - expected.astype(float)).max() <= levels


def png(bits: int, colour: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of [H, W] or [H, W, C] written by hand: Pillow writes no 16-bit colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = rows.shape[:2]
    kept = rows.astype(">u2" if bits == 16 else np.uint8)
    if bits < 8:
        binary = (kept[..., None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
        kept = np.packbits(binary.reshape(height, -1), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in kept)
    body = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)), *chunks]
    body += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in body)


def tiff(values: np.ndarray, photometric: int, bits: int = 16) -> bytes:
    """A minimal little-endian uncompressed TIFF, [H, W, samples]."""
    height, width, samples = values.shape
    data = values.astype("<u2" if bits == 16 else np.uint8).tobytes()
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, photometric), (273, 4, 1, 0), (277, 3, 1, samples), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(data))]
    after = 8 + 2 + 12 * len(tags) + 4
    out = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, kind, count, value in tags:
        if tag == 258 and samples > 2:
            value = after
        elif tag == 273:
            value = after + 2 * samples
        out += struct.pack("<HHII", tag, kind, count, value)
    return out + struct.pack("<I", 0) + struct.pack("<H", bits) * samples + data


def icc(primaries: list[list[float]], gamma: float, space: bytes = b"RGB ") -> bytes:
    """A version 2 display profile: `primaries` are the XYZ (D50) of red, green and blue."""

    def xyz(value: list[float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in value)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = [(b"wtpt", xyz([0.9642, 1.0, 0.8249]))]
    if space == b"RGB ":
        for letter, value in zip(b"rgb", primaries, strict=True):
            tags += [(bytes([letter]) + b"XYZ", xyz(value)), (bytes([letter]) + b"TRC", curve)]
    else:
        tags.append((b"kTRC", curve))
    tags.append((b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79))
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ "
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


DISPLAY_P3 = [[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]]
ADOBE_RGB = [[0.6097, 0.3111, 0.0195], [0.2053, 0.6257, 0.0609], [0.1492, 0.0632, 0.7446]]
SRGB = [[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7142]]


def to_srgb_by_hand(rgb: np.ndarray, primaries: list[list[float]], gamma: float) -> np.ndarray:
    """Linearise, primaries to XYZ, XYZ to sRGB's primaries, sRGB's curve: no ICC library."""
    linear = (rgb / 255.0) ** gamma @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))
    linear = linear.clip(0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(curve * 255)


def planar_tiff(planes: np.ndarray, order: str) -> bytes:
    """Uncompressed TIFF, uint16 [3, H, W], one strip per plane (PlanarConfiguration 2)."""
    count, height, width = planes.shape
    size = height * width * 2
    start = 8 + 2 + 10 * 12 + 4
    bits, offsets, sizes = start, start + 6, start + 18
    data = start + 30
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 3, offsets), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 3, sizes), (284, 3, 1, 2),
    ]  # fmt: skip
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    for tag, kind, n, value in tags:
        short = kind == 3 and n == 1
        out += struct.pack(order + "HHI", tag, kind, n)
        out += struct.pack(order + ("HH" if short else "I"), *((value, 0) if short else (value,)))
    out += struct.pack(order + "I3H", 0, 16, 16, 16)
    out += struct.pack(order + "3I", *(data + size * i for i in range(count)))
    out += struct.pack(order + "3I", size, size, size)
    return out + planes.astype(order + "u2").tobytes()
