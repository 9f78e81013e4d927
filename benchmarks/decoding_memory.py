"""Peak memory of reading a picture, in bytes per pixel, for each format: file to model's pixels.

    python benchmarks/decoding_memory.py > benchmarks/decoding_memory.md

Each file of 24 megapixels is read in a process of its own. What the process held before is taken
off its peak; `rali serve` keeps `BYTES_PER_PIXEL` of `rali.pictures.decoder` for a picture.
"""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from rali.pictures.decoder import BYTES_PER_PIXEL
from rali.version import __version__

WIDTH, HEIGHT = 6000, 4000
READ = """
import re, sys
from pathlib import Path
from rali.pictures.read import open_picture
from rali.scoring.scorer import Scorer
held = lambda name: int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
data, resize = Path(sys.argv[1]).read_bytes(), Scorer().preprocess
resize.pixels(open_picture(Path(sys.argv[2]).read_bytes()))
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
resize.pixels(open_picture(data))
print((held("VmHWM") - before) * 1024)
"""


def files() -> dict[str, bytes]:
    """One picture in every format and depth that decodes differently."""
    rough = np.random.default_rng(0).integers(0, 256, (HEIGHT // 40, WIDTH // 40, 4), np.uint8)
    rgba = Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    rgb = rgba.convert("RGB")
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)

    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    found = {
        "JPEG": saved(rgb, "JPEG", quality=90),
        "JPEG, progressive": saved(rgb, "JPEG", quality=90, progressive=True),
        "JPEG, CMYK": saved(rgb.convert("CMYK"), "JPEG", quality=90),
        "JPEG, turned": saved(rgb, "JPEG", quality=90, exif=b"Exif\0\0" + _turned()),
        "PNG": saved(rgb, "PNG", compress_level=1),
        "PNG with alpha": saved(rgba, "PNG", compress_level=1),
        "PNG, 16 bits, grey": saved(deep, "PNG", compress_level=1),
        "PNG, palette": saved(rgb.quantize(64), "PNG"),
        "GIF": saved(rgb.quantize(64), "GIF"),
        "WebP": saved(rgb, "WEBP", quality=80, method=0),
        "WebP with alpha": saved(rgba, "WEBP", quality=80, method=0),
        "WebP, lossless": saved(rgb, "WEBP", lossless=True, method=0),
        "TIFF": saved(rgb, "TIFF"),
        "TIFF, LZW, with alpha": saved(rgba, "TIFF", compression="tiff_lzw"),
        "BMP": saved(rgb, "BMP"),
        "JPEG 2000": saved(rgb, "JPEG2000", quality_layers=[40]),
        "AVIF": saved(rgb, "AVIF", quality=60, speed=10),
    }
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        found["HEIC"] = saved(rgb, "HEIF", quality=60)
    except ImportError:
        pass
    return found


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes().removeprefix(b"Exif\0\0")


def main() -> None:
    print("# Memory of decoding\n")
    print(
        f"`python benchmarks/decoding_memory.py`: {platform.machine()}, Python "
        f"{platform.python_version()}, rali {__version__}; {WIDTH} × {HEIGHT} pixels, one process "
        f"per file. `rali serve` keeps {BYTES_PER_PIXEL} bytes per pixel for a picture.\n"
    )
    print("| file | bytes per pixel, at the highest |\n| --- | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        small, path = Path(folder) / "small.png", Path(folder) / "picture"
        Image.new("RGB", (64, 64)).save(small)
        for name, data in files().items():
            path.write_bytes(data)
            command = [sys.executable, "-c", READ, str(path), str(small)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"| {name} | {int(done.stdout) / (WIDTH * HEIGHT):.1f} |", flush=True)


if __name__ == "__main__":
    main()
