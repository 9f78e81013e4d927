"""The input policy: every kind of file gives the picture a viewer shows, or a reason why not."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import (
    ADOBE_RGB,
    ALPHA,
    DISPLAY_P3,
    GREY,
    JPEG_ERROR,
    ON_WHITE,
    RGB,
    SRGB,
    H,
    W,
    close,
    encode,
    grey3,
    icc,
    photo,
    png,
    tiff,
    to_srgb_by_hand,
)
from PIL import Image, ImageCms

from rali.errors import PictureError
from rali.pictures.read import (
    PICTURE_SUFFIXES,
    find_pictures,
    is_many,
    open_picture,
    pictures_in,
)

# --- kinds of pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "QOI", "GIF"])
def test_plain_rgb(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {kind}")
    picture = Image.fromarray(RGB)
    if kind == "GIF":
        picture = picture.quantize(200)
        close(open_picture(encode(picture, kind)), np.asarray(picture.convert("RGB")))
    else:
        close(open_picture(encode(picture, kind)), RGB)


def test_lossy_kinds_stay_close() -> None:
    picture = Image.fromarray(RGB)
    close(open_picture(encode(picture, "JPEG", quality=100, subsampling=0)), RGB, JPEG_ERROR)
    close(open_picture(encode(picture, "WEBP", lossless=True)), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    turn: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from what is shown to what is stored
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turn[orientation](RGB)))
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": 1}}
    data = encode(stored, kind, exif=exif, **options.get(kind, {}))
    close(open_picture(data), RGB, JPEG_ERROR if kind == "JPEG" else 0)


def test_broken_exif_is_no_orientation() -> None:
    close(open_picture(encode(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0garbage")), RGB)


def test_alpha_over_white() -> None:
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]))
    for data in (encode(rgba, "PNG"), encode(rgba, "TIFF")):
        close(open_picture(data), ON_WHITE)
    close(open_picture(encode(rgba, "WEBP", lossless=True, exact=True)), ON_WHITE)
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    expected = np.rint(GREY * (ALPHA / 255.0) + 255 - ALPHA.astype(float))
    close(open_picture(encode(grey, "PNG")), grey3(expected))
    close(open_picture(grey.convert("La")), grey3(expected), 1)
    close(open_picture(rgba.convert("RGBa")), ON_WHITE, 1)


def test_palette_with_transparency() -> None:
    indexed = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (4, 1)), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
    row = [[255, 127, 127], [255, 255, 255], [0, 0, 255], [10, 20, 30]]
    expected = np.tile(np.array(row, np.uint8), (4, 1, 1))
    close(open_picture(encode(indexed, "PNG", transparency=bytes([128, 0, 255, 255]))), expected)
    expected[:, 0] = 255, 0, 0
    close(open_picture(encode(indexed, "PNG", transparency=1)), expected)
    close(open_picture(encode(indexed, "GIF", transparency=1)), expected)
    close(open_picture(indexed.convert("PA")), np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("bits", [8, 16])
def test_one_transparent_colour(bits: int) -> None:
    up = 1 if bits == 8 else 257
    key = RGB[3, 5].astype(int) * up
    expected = RGB.copy()
    expected[(RGB[3, 5] == RGB).all(axis=2)] = 255
    assert (expected != RGB).any()
    data = png(bits, 2, RGB.astype(int) * up, (b"tRNS", struct.pack(">HHH", *key)))
    close(open_picture(data), expected)
    expected = np.where(GREY[3, 5] == GREY, 255, GREY)
    data = png(bits, 0, GREY.astype(int) * up, (b"tRNS", struct.pack(">H", int(GREY[3, 5]) * up)))
    close(open_picture(data), grey3(expected))


def test_one_bit() -> None:
    bits = GREY > 128
    picture = Image.fromarray(bits)
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        close(open_picture(encode(picture, kind)), grey3(bits * 255))
    close(open_picture(encode(picture, "PNG", transparency=0)), grey3(np.full_like(GREY, 255)))


@pytest.mark.parametrize("up", [256, 257], ids=["shifted", "repeated"])
def test_sixteen_bits_equal_the_eight_bit_twin(up: int) -> None:
    """Clipped, a 16-bit picture would be all white."""
    wide, grey = RGB.astype(int) * up, GREY.astype(int) * up
    close(open_picture(tiff(wide, 2)), RGB)
    close(open_picture(tiff(grey[..., None], 1)), grey3(GREY))
    close(open_picture(tiff(65535 - grey[..., None], 0)), grey3(GREY))
    close(open_picture(tiff(255 - GREY[..., None], 0, bits=8)), grey3(GREY))
    close(open_picture(png(16, 0, grey)), grey3(GREY))
    close(open_picture(png(16, 2, wide)), RGB)
    opaque = np.full((H, W, 1), 65535)
    close(open_picture(png(16, 6, np.dstack([wide, opaque]))), RGB)
    close(open_picture(png(16, 4, np.dstack([grey, opaque]))), grey3(GREY))
    close(open_picture(Image.fromarray(grey.astype(np.uint16))), grey3(GREY))
    close(open_picture(Image.fromarray(grey.astype(np.int32))), grey3(GREY))


def test_floating_point_modes() -> None:
    close(open_picture(Image.fromarray((GREY / 255).astype(np.float32))), grey3(GREY))
    close(open_picture(Image.fromarray(GREY.astype(np.float32))), grey3(GREY))
    close(open_picture(Image.fromarray(GREY).convert("I")), grey3(GREY))
    for wrong, word in ((-1.0, "run from"), (1e6, "run from"), (np.nan, "not numbers")):
        values = np.full((4, 4), wrong, np.float32)
        with pytest.raises(PictureError, match=word):
            open_picture(encode(Image.fromarray(values), "TIFF"))
    with pytest.raises(PictureError, match="run from"):
        open_picture(Image.fromarray(np.full((4, 4), 70000, np.int32)))


def test_cmyk_and_other_spaces() -> None:
    cmyk = Image.fromarray(RGB).convert("CMYK")
    close(open_picture(encode(cmyk, "JPEG", quality=100, subsampling=0)), RGB, JPEG_ERROR)
    close(open_picture(encode(cmyk, "TIFF")), RGB)
    close(open_picture(Image.fromarray(RGB).convert("YCbCr")), RGB, 3)
    close(open_picture(Image.fromarray(RGB).convert("HSV")), RGB, 4)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    in_lab = ImageCms.profileToProfile(Image.fromarray(RGB), srgb, lab, outputMode="LAB")
    assert in_lab is not None
    # 8-bit a* and b* are coarse: single saturated colours are off by more than the mean is.
    error = np.abs(open_picture(encode(in_lab, "TIFF")).astype(int) - RGB)
    assert error.mean() < 2 and error.max() < 20


# --- colour profiles -----------------------------------------------------------------------------


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB], ids=["display-p3", "adobe-rgb"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_wide_gamut_profiles_become_srgb(kind: str, primaries: list[list[float]]) -> None:
    muted = (RGB * 0.5 + 70).astype(np.uint8)  # inside sRGB, so nothing is clipped
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": 1}}
    data = encode(
        Image.fromarray(muted), kind, icc_profile=icc(primaries, 2.2), **options.get(kind, {})
    )
    with Image.open(io.BytesIO(data)) as stored:
        expected = to_srgb_by_hand(np.asarray(stored.convert("RGB")), primaries, 563 / 256)
    close(open_picture(data), expected, 2)
    assert np.abs(expected - muted).max() > 8  # ignoring the profile would fail


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    close(open_picture(encode(Image.fromarray(RGB), "PNG", icc_profile=profile)), RGB)


def test_profile_under_alpha_and_palette() -> None:
    profile = icc(ADOBE_RGB, 2.2)
    muted = Image.fromarray((RGB * 0.5 + 70).astype(np.uint8))
    expected = open_picture(encode(muted, "PNG", icc_profile=profile))
    rgba = muted.copy()
    rgba.putalpha(255)
    close(open_picture(encode(rgba, "PNG", icc_profile=profile)), expected)
    indexed = muted.quantize(16)
    twin = open_picture(encode(indexed.convert("RGB"), "PNG", icc_profile=profile))
    close(open_picture(encode(indexed, "PNG", icc_profile=profile)), twin)


def test_grey_profiles() -> None:
    data = encode(Image.fromarray(GREY), "PNG", icc_profile=icc([], 1.0, b"GRAY"))
    linear = GREY / 255.0
    expected = 255 * np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    close(open_picture(data), grey3(expected), 2)
    # A grey picture with a colour profile: the profile is used on R = G = B.
    with_rgb = encode(Image.fromarray(GREY), "PNG", icc_profile=icc(SRGB, 1.0))
    close(open_picture(with_rgb), grey3(expected), 2)


@pytest.mark.parametrize("profile", [b"junk", icc(ADOBE_RGB, 2.2)[:150], icc([], 1.8, b"GRAY")])
def test_broken_or_foreign_profiles_are_ignored(profile: bytes) -> None:
    close(open_picture(encode(Image.fromarray(RGB), "PNG", icc_profile=profile)), RGB)
    cmyk = Image.fromarray(RGB).convert("CMYK")
    close(open_picture(encode(cmyk, "TIFF", icc_profile=profile)), RGB)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "green", "blue")]
    options: dict[str, Any] = {} if kind == "TIFF" else {"duration": 50}
    if kind == "WEBP":
        options["lossless"] = True
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    close(open_picture(data), np.asarray(frames[0]))


def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo(64, 96))).save(buffer, quality=100)
    return buffer.getvalue()


def test_heic_with_the_extra() -> None:
    close(open_picture(heic()), photo(64, 96), 6)


def test_heic_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from rali.pictures import read as pictures

    data = heic()
    pictures._register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"pip install 'rali\[heif\]'"):
        open_picture(data)


def test_the_three_ways_to_give_a_file(tmp_path: Path) -> None:
    path = tmp_path / "фото с пробелом 写真 #1.png"
    Image.fromarray(RGB).save(path)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        close(open_picture(source), RGB)
    with path.open("rb") as file:
        close(open_picture(file), RGB)
        assert not file.closed
    with Image.open(path) as image:
        close(open_picture(image), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM"])
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_truncated(kind: str, kept: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: int(len(data) * kept)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(PictureError, match=r"truncated|damaged"):
            open_picture(path)


def test_files_that_are_not_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("dear diary")
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    cases: dict[Any, str] = {
        tmp_path / "empty.jpg": "empty",
        tmp_path / "text.jpg": "not a picture",
        tmp_path / "page.eps": "not a picture",
        tmp_path: "folder",
        tmp_path / "nothing.png": "no such file",
        tmp_path / "text.jpg" / "inside.png": "no such file",
        "https://example.org/a.jpg": "download",
        Path("https://example.org/a.jpg"): "download",
        "a\0b.jpg": "file name",
        b"": "empty",
        "/dev/null": "device",
    }
    for source, word in cases.items():
        with pytest.raises(PictureError, match=word):
            open_picture(source)
    with pytest.raises(PictureError, match="Expected a path"):
        open_picture(17)  # type: ignore[arg-type]
    closed = Image.fromarray(RGB)
    closed.close()
    with pytest.raises(PictureError):
        open_picture(closed)


def test_bombs_are_refused_before_decoding() -> None:
    header_only = png(8, 2, np.zeros((1, 1, 3), np.uint8))
    for width, height in ((60000, 60000), (14000, 14000), (30000, 5966)):
        ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        bomb = header_only[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + header_only[33:]
        with pytest.raises(PictureError, match="limit"):
            open_picture(bomb)
    with pytest.raises(PictureError, match=f"{W} by {H} pixels, more than the limit of 100"):
        open_picture(encode(Image.fromarray(RGB), "PNG"), max_pixels=100)


@pytest.mark.parametrize("shape", [(1, 1), (3, 10000), (10000, 3)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    rgb = photo(*shape)
    close(open_picture(encode(Image.fromarray(rgb), "PNG")), rgb)


# --- arrays --------------------------------------------------------------------------------------


def test_arrays() -> None:
    for array in (RGB, RGB.astype(np.uint16) * 257, (RGB / 255).astype(np.float32), RGB / 255):
        close(open_picture(array), RGB)
    close(open_picture(RGB[::-1, ::2]), RGB[::-1, ::2])
    close(open_picture(GREY), grey3(GREY))
    close(open_picture(GREY[..., None]), grey3(GREY))
    close(open_picture(np.dstack([RGB, ALPHA])), ON_WHITE)
    out = open_picture(RGB)
    out[:] = 0  # the caller's array stays as it was
    assert RGB.any()


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((3, 8, 8), np.uint8), "Channels come last"),
        (np.zeros((8, 8, 2), np.uint8), "shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), "shape"),
        (np.zeros(8, np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 8), np.int64), "int64"),
        (np.zeros((8, 8), bool), "bool"),
        (np.full((8, 8), 200.0), "0–1"),
        (np.full((8, 8), -0.1), "0–1"),
        (np.full((8, 8), np.nan), "NaN"),
        (np.full((8, 8), np.inf), "NaN"),
    ],
)
def test_wrong_arrays(array: np.ndarray, word: str) -> None:
    with pytest.raises(PictureError, match=word):
        open_picture(array)


# --- fuzz ----------------------------------------------------------------------------------------

_SMALL = Image.fromarray(photo(9, 12))
SEEDS = [encode(_SMALL, kind) for kind in ("JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP")]
SEEDS += [encode(_SMALL, "TIFF", compression="tiff_lzw"), encode(_SMALL.convert("CMYK"), "JPEG")]
SEEDS.append(encode(_SMALL, "PNG", icc_profile=icc(ADOBE_RGB, 2.2)))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
    st.booleans(),
)
def test_damaged_bytes_give_a_picture_or_a_reason(
    data: bytes, edits: list[tuple[int, int]], keep: float, cut: bool
) -> None:
    damaged = bytearray(data)
    for place, value in edits:
        damaged[place % len(damaged)] = value
    if cut:
        damaged = damaged[: int(len(damaged) * keep)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            out = open_picture(bytes(damaged), max_pixels=1_000_000)
        except PictureError as error:
            assert str(error).endswith((".", ")"))
        else:
            assert out.dtype == np.uint8 and out.ndim == 3 and out.shape[2] == 3


# --- folders -------------------------------------------------------------------------------------


def test_find_pictures(tmp_path: Path) -> None:
    names = ["b.png", "a10.jpg", "a2.JPG", "notes.txt", ".hidden.jpg", "sub/c.webp", ".x/d.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    flat = [tmp_path / n for n in ("a2.JPG", "a10.jpg", "b.png")]
    assert find_pictures([tmp_path]) == flat
    assert find_pictures([str(tmp_path)], recursive=True) == [*flat, tmp_path / "sub/c.webp"]
    given_by_name = [tmp_path / "notes.txt", tmp_path / "missing.png"]
    assert find_pictures([*given_by_name, tmp_path, flat[0]]) == [*given_by_name, *flat]
    assert find_pictures([]) == []
    assert {".jpg", ".heic", ".webp"} <= PICTURE_SUFFIXES


def test_a_name_too_long_for_the_system_is_a_reason_not_a_crash() -> None:
    name = 300 * "x" + ".jpg"
    assert find_pictures([name]) == [Path(name)]
    with pytest.raises(PictureError):
        open_picture(name)


def test_find_pictures_follows_links_once(tmp_path: Path) -> None:
    data, real = tmp_path / "data", tmp_path / "real"
    for name in ("data/1.png", "data/z/3.png", "real/2.png", "real/in/4.png", "real/.no/5.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (data / "a").symlink_to(data / "z")  # before what it leads to, which keeps its own path
    (data / "again").symlink_to(real)  # the first of two, and a folder in what it leads to
    (data / "linked").symlink_to(real)
    (data / "linked2").symlink_to(real / "in")
    (data / "z" / "loop").symlink_to(data)
    (real / "self").symlink_to(".")
    (real / "back").symlink_to(data / "again")
    (data / "broken").symlink_to(tmp_path / "none")
    names = ["1.png", "again/2.png", "again/in/4.png", "z/3.png"]
    assert find_pictures([data], recursive=True) == [data / name for name in names]
    assert find_pictures([data]) == [data / "1.png"]
    assert find_pictures([data / "linked"]) == [data / "linked" / "2.png"]


@pytest.mark.parametrize("single", ["a.png", Path("a.png"), b"x", np.zeros((8, 8, 3), np.uint8),
                                    Image.new("RGB", (8, 8)), {"bytes": b""}, None,
                                    io.BytesIO(b"x")])  # fmt: skip
def test_one_picture_is_not_several(single: Any) -> None:
    assert not is_many(single)
    assert pictures_in(single) == [single]
    assert is_many([single]) and is_many(iter([single])) and is_many({"a": single}.values())


def test_arrays_of_paths_and_of_pictures_are_several(tmp_path: Path) -> None:
    assert is_many(np.array(["a.png", "b.png"])) and is_many(np.array([b"x", None], object))
    assert is_many(np.zeros((2, 8, 8, 3), np.uint8)) and not is_many(np.zeros(8, np.uint8))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert pictures_in(str(tmp_path)) == [tmp_path / "a.png"]
