"""rali's reading of pictures against independent decoders, file by file.

    python benchmarks/decoders.py --chromium /usr/bin/chromium > benchmarks/decoders.md

Needs ImageMagick's `convert`, a Chromium, and: pip install 'rali[dev]' opencv-python-headless.
Files are made here, so every one has a known picture. Compared are the pixels on white, 0–255.
"""

from __future__ import annotations

import argparse
import base64
import io
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import imagecodecs
import numpy as np
import PIL
import tifffile
from decoders_files import BROWSER, CODECS, MAGICK, OPENCV, SRGB, TIFFFILE, File, make_files
from PIL import Image
from playwright.sync_api import sync_playwright

from rali.pictures.read import open_picture

Judge: TypeAlias = Callable[[File], np.ndarray]
Rows: TypeAlias = dict[tuple[str, str], list[tuple[int, float, str]]]
BAR = 2  # levels
MIME = {"PNG": "png", "GIF": "gif", "BMP": "bmp", "WebP": "webp", "AVIF": "avif", "JPEG": "jpeg"}
ON_WHITE = """async url => {
    const picture = new Image(); picture.src = url; await picture.decode();
    const canvas = document.createElement('canvas');
    canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
    const pen = canvas.getContext('2d');
    pen.fillStyle = '#fff'; pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(picture, 0, 0); return canvas.toDataURL('image/png');
}"""
WHY = {  # (kind, judge): why more than two levels are right, or where rali is the one that is off
    (
        "AVIF",
        BROWSER,
    ): "Chromium takes this file's full-range alpha for limited range "
    "(32 becomes 18, 225 becomes 243); imagecodecs agrees with rali",
    ("AVIF of 10 bits", BROWSER): "Pillow decodes AVIF to 8 bits, which PQ spreads apart",
    ("HEIC with nclx", MAGICK): "this ImageMagick halves the resolution of a 4:4:4 file's chroma: "
    "with its chroma averaged over 2 × 2 pixels, rali's picture is within 2.4 levels",
    ("JPEG XL", BROWSER): "rali cuts 16 bits of grey to 8 before it applies a profile, and a "
    "linear one spreads the shadows apart",
}


def by_chromium(file: File, page: Any) -> np.ndarray:
    mime = "png" if file.twin else MIME[file.kind.split()[0]]
    url = f"data:image/{mime};base64,{base64.b64encode(file.twin or file.data).decode()}"
    shown = base64.b64decode(page.evaluate(ON_WHITE, url).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(shown)).convert("RGB"))


def by_magick(file: File) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        suffix = {"PGM, PPM": "pnm", "HEIC": "heic", "TIFF": "tif"}.get(
            file.kind.split(" with")[0], "x"
        )
        path, profile = Path(folder, f"a.{suffix}"), Path(folder, "srgb.icc")
        path.write_bytes(file.data)
        profile.write_bytes(SRGB)
        # Relative colorimetric as in rali and browsers; without a profile inside, no change.
        colour = ["-intent", "relative", "-profile", str(profile)] * ("profile" in file.kind)
        command = ["convert", f"{path}[0]", "-auto-orient", *colour, "-background", "white"]
        command += [
            "-alpha",
            "remove",
            "-alpha",
            "off",
            "-colorspace",
            "sRGB",
            "-type",
            "TrueColor",
        ]
        made = subprocess.run([*command, "-depth", "8", "ppm:-"], capture_output=True, check=True)
    return np.asarray(Image.open(io.BytesIO(made.stdout)).convert("RGB"))


def by_opencv(file: File) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(file.data, np.uint8), cv2.IMREAD_COLOR_RGB)


def by_tifffile(file: File) -> np.ndarray:
    page = tifffile.TiffFile(io.BytesIO(file.data)).pages[0]
    pixels = page.asarray()
    if page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    made = on_white(pixels, white_is_zero=page.photometric == 0)
    turn = int(page.tags[274].value) if 274 in page.tags else 1
    if turn >= 5:
        made = made.transpose(1, 0, 2)
    down, across = {
        1: (0, 0),
        2: (0, 1),
        3: (1, 1),
        4: (1, 0),
        5: (0, 0),
        6: (0, 1),
        7: (1, 1),
        8: (1, 0),
    }[turn]
    return made[:: -1 if down else 1, :: -1 if across else 1]


def by_imagecodecs(file: File) -> np.ndarray:
    read = {"JPEG XL": imagecodecs.jpegxl_decode, "AVIF": imagecodecs.avif_decode}
    pixels = read.get(file.kind, imagecodecs.jpeg2k_decode)(file.data)
    bits = int(file.name.split(" of ")[1].split()[0]) if " of " in file.name else 8
    return on_white(pixels, top=2**bits - 1)


def on_white(
    pixels: np.ndarray, top: float | None = None, white_is_zero: bool = False
) -> np.ndarray:
    """Any depth, grey or colour, with or without alpha, as uint8 [H, W, 3]."""
    top = top or (1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max)
    values = pixels.astype(np.float64) / top
    values = values[..., None] if values.ndim == 2 else values
    count = values.shape[2] // 2 * 2 - 1 if values.shape[2] in (2, 4) else values.shape[2]
    colour = 1 - values[..., :count] if white_is_zero else values[..., :count]
    alpha = values[..., count:] if values.shape[2] > count else 1
    return np.rint(np.repeat(colour * alpha + 1 - alpha, 3 // count, axis=2) * 255).astype(np.uint8)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--chromium", default="/usr/bin/chromium")
    given = options.parse_args()
    files = list(make_files())
    rows: Rows = defaultdict(list)
    with sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=given.chromium,
            args=["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"],
        )
        page, version = browser.new_page(), browser.version
        judges: dict[str, Judge] = {
            BROWSER: lambda file: by_chromium(file, page),
            **{MAGICK: by_magick, OPENCV: by_opencv, TIFFFILE: by_tifffile, CODECS: by_imagecodecs},
        }
        for file in files:
            for judge in file.judges:
                rows[file.kind, judge].append((*_difference(file, judges[judge]), file.name))
        browser.close()
    print(_page(len(files), rows, version))
    if unexplained := [row for row in rows if _most(rows[row]) > BAR and row not in WHY]:
        raise SystemExit(f"Above {BAR} levels without a reason: {unexplained}")


def _difference(file: File, judge: Judge) -> tuple[int, float]:
    """The largest and the mean difference, in levels."""
    ours, theirs = open_picture(file.data), judge(file)
    if ours.shape != theirs.shape:
        raise SystemExit(f"{file.kind}, {file.name}: {ours.shape} against {theirs.shape}")
    apart = np.abs(ours.astype(int) - theirs)
    return int(apart.max()), float(apart.mean())


def _most(found: list[tuple[int, float, str]]) -> int:
    return max(most for most, _, _ in found)


def _page(count: int, rows: Rows, version: str) -> str:
    magick = subprocess.run(["convert", "-version"], capture_output=True, text=True, check=True)
    versions = [f"Chromium {version}", " ".join(magick.stdout.split()[1:3])]
    versions += [f"OpenCV {cv2.__version__}", f"tifffile {tifffile.__version__}"]
    versions += [f"imagecodecs {imagecodecs.__version__}", f"Pillow {PIL.__version__}"]
    compared = sum(map(len, rows.values()))
    above = [row for found in rows.values() for row in found if row[0] > BAR]
    lines = [
        "# Pictures against independent decoders",
        "",
        f"{count} files made by `benchmarks/decoders_files.py` of one 96 × 72 photograph, "
        f"{compared} comparisons: {', '.join(versions)}. Compared are pixels on white, 0–255, "
        "after orientation and colour. Formats that a browser lacks are shown to it as a PNG of "
        "the same decoded pixels with the same colour tags, so there it judges the colour only.",
        "",
        f"The bar: no difference above {BAR} levels unexplained. **{compared - len(above)} of "
        f"{compared} comparisons are within it, all others are explained.** The largest and the "
        "mean difference are over all pixels of all files of the row.",
        "",
        "| kind | decoder | files | largest | mean | above the bar |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (kind, judge), found in sorted(rows.items()):
        mean = sum(row[1] for row in found) / len(found)
        names = ", ".join(name for most, _, name in found if most > BAR)
        why = f"{names}: {WHY.get((kind, judge), '?')}" if names else ""
        lines.append(f"| {kind} | {judge} | {len(found)} | {_most(found)} | {mean:.2f} | {why} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
