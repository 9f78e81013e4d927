"""Files that Pillow itself would silently turn into a wrong picture."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from picture_files import planar_tiff
from PIL import Image, ImageFile

from rali.errors import PictureError
from rali.pictures.read import open_picture


@pytest.mark.parametrize("order", ["<", ">"])
def test_planar_sixteen_bit_tiff(order: str, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)
    data = planar_tiff(rgb.transpose(2, 0, 1).astype(np.uint16) * 257, order)
    assert np.array_equal(open_picture(data), rgb)
    (tmp_path / "a.tif").write_bytes(data)
    assert np.array_equal(open_picture(tmp_path / "a.tif"), rgb)


@pytest.mark.parametrize("bits", [2, 4])
def test_transparent_level_of_a_few_bit_grey_png(bits: int) -> None:
    top = (1 << bits) - 1
    levels = np.arange(16, dtype=np.uint8).reshape(2, 8) % (top + 1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    binary = (levels[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in binary.reshape(2, -1))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0))
    data += chunk(b"tRNS", struct.pack(">H", 1)) + chunk(b"IDAT", zlib.compress(rows))
    got = open_picture(data + chunk(b"IEND", b""))
    expected = np.where(levels == 1, 255, levels.astype(int) * 255 // top)
    assert np.array_equal(got, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_half_a_file_is_refused_whatever_pillow_is_told(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    with pytest.raises(PictureError, match="truncated"):
        open_picture(buffer.getvalue()[: buffer.tell() // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # the caller's setting is as it was


def test_numbers_that_resemble_a_tga_header(tmp_path: Path) -> None:
    data = np.array([0, 2, 0, 0, 0, 0, 20, 20, 24] + [7] * 900, "<i2").tobytes()
    (tmp_path / "weights.jpg").write_bytes(data)
    for source in (data, tmp_path / "weights.jpg"):
        with pytest.raises(PictureError, match="not a picture"):
            open_picture(source)
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.TGA")
    assert np.array_equal(open_picture(tmp_path / "a.TGA"), rgb)


def test_buffer_at_its_end_and_text_file() -> None:
    rgb = np.full((4, 6, 3), 90, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    assert np.array_equal(open_picture(buffer), rgb)
    with pytest.raises(PictureError, match="rb"):
        open_picture(io.StringIO("text"))  # type: ignore[arg-type]
