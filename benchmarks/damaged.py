"""Damaged files of every format that rali reads: how many are scored without a word.

    python benchmarks/damaged.py --before DIR > benchmarks/damaged.md

DIR holds another version of the package `rali` to compare with. Needs 'rali[heif,jxl]' and
scikit-image, whose coffee photograph is cut to 320 × 240, written in each format and damaged:
cut, cut with the format's end put back, zeroed in the middle or at the end, bytes flipped.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401
from PIL import Image
from skimage import data

KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "JPEG": ("jpg", "JPEG", {"quality": 90}),
    "JPEG, progressive": ("jpg", "JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("png", "PNG", {}),
    "WebP, lossy": ("webp", "WEBP", {"quality": 90}),
    "WebP, lossless": ("webp", "WEBP", {"lossless": True}),
    "HEIC": ("heic", "HEIF", {"quality": 90}),
    "AVIF": ("avif", "AVIF", {"quality": 90}),
    "JPEG XL": ("jxl", "JXL", {}),
    "JPEG 2000": ("jp2", "JPEG2000", {}),
    "GIF": ("gif", "GIF", {}),
    "TIFF, LZW": ("tif", "TIFF", {"compression": "tiff_lzw"}),
    "TIFF, deflate": ("tif", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, raw": ("tif", "TIFF", {}),
    "BMP": ("bmp", "BMP", {}),
    "PPM": ("ppm", "PPM", {}),
    "TGA": ("tga", "TGA", {}),
    "QOI": ("qoi", "QOI", {}),
    "ICO": ("ico", "ICO", {"sizes": [(240, 240)]}),
}
ENDS = {"jpg": b"\xff\xd9", "png": b"\0\0\0\0IEND\xaeB`\x82", "gif": b"\0;"}
DAMAGES = ("cut", "cut, end put back", "hole", "zeros at the end", "1 byte", "20 bytes")
PER_DAMAGE = 8
READ = """
import sys, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore")
from rali.pictures.read import open_picture
found = {}
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        found[file.name] = open_picture(file)
    except Exception:
        pass
np.savez(sys.argv[2], **found)
"""


def damaged(file: bytes, how: str, end: bytes, random: np.random.Generator) -> bytes:
    """The file with one damage behind its first tenth, where headers are over."""
    at = int(random.integers(len(file) // 10, len(file) * 9 // 10))
    if how == "cut":
        return file[:at]
    if how == "cut, end put back":
        return file[:at] + end
    if how == "hole":
        count = min(len(file) // 10, len(file) - at)
        return file[:at] + bytes(count) + file[at + count :]
    if how == "zeros at the end":
        return file[:at] + bytes(len(file) - at)
    changed = bytearray(file)
    for _ in range(int(how.split()[0])):
        place = int(random.integers(len(file) // 10, len(file)))
        changed[place] ^= int(random.integers(1, 256))
    return bytes(changed)


def read_all(folder: Path, package: Path) -> dict[str, np.ndarray]:
    """The pixels of each file that is not refused, by the `rali` inside a folder."""
    with tempfile.TemporaryDirectory() as told:
        made = Path(told) / "made.npz"
        command = [sys.executable, "-c", READ, str(folder), str(made)]
        subprocess.run(command, cwd=package, capture_output=True, check=True)
        with np.load(made) as found:
            return dict(found)


def main(before: Path, seed: int) -> None:
    if not (before / "rali" / "pictures").is_dir():  # else the installed rali would be read twice
        raise SystemExit(f"There is no rali in {before}: give a checkout of an earlier commit.")
    pillow_heif.register_heif_opener()
    photograph = Image.fromarray(data.coffee()[80:320, 140:460])
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for kind, (suffix, pillow, options) in KINDS.items():
            buffer = io.BytesIO()
            photograph.save(buffer, pillow, **options)
            file = buffer.getvalue()
            (folder / f"{kind};whole;0.{suffix}").write_bytes(file)
            for how in DAMAGES:
                end = ENDS.get(suffix, b"")
                if how != "cut, end put back" or end:
                    for i in range(PER_DAMAGE):
                        name = f"{kind};{how};{i}.{suffix}"
                        (folder / name).write_bytes(damaged(file, how, end, random))
        names = sorted(path.name for path in folder.iterdir())
        old, new = read_all(folder, before), read_all(folder, Path(__file__).parents[1])
    count: Counter[tuple[str, str, str]] = Counter()
    for name in names:
        kind, how, _ = name.split(";")
        for version, found in (("before", old), ("after", new)):
            whole = next((n for n in new if n.startswith(f"{kind};whole")), None)
            assert whole is not None, f"{kind}: the whole file is refused"
            got = found.get(name)
            if how != "whole":
                count[kind, how, "files"] += version == "after"
                same = got is not None and np.array_equal(got, new[whole])
                count[kind, how, version] += got is not None and not same
    print("# Damaged files\n")
    total = sum(n for (_, _, what), n in count.items() if what == "files")
    print(
        f"`python benchmarks/damaged.py --before DIR --seed {seed}`: {total} files made from one "
        "photograph of\n320 × 240, damaged behind their first tenth; Python "
        f"{sys.version.split()[0]}, Pillow {Image.__version__}. Counted are files that are\n"
        "read without a word, to other pixels than the whole file's: before → after the check for "
        "damage.\nNo whole file is refused. What can be known per format: "
        '`docs/score.md`, "Damaged files".\n'
    )
    print(f"| format | {' | '.join(DAMAGES)} | all |")
    print(f"| --- | {'---: | ' * (len(DAMAGES) + 1)}".rstrip())
    for kind in [*KINDS, "all"]:
        cells = []
        for how in [*DAMAGES, "all"]:
            sums = [
                sum(
                    n
                    for (k, h, w), n in count.items()
                    if kind in (k, "all") and how in (h, "all") and w == what
                )
                for what in ("before", "after", "files")
            ]
            cells.append(f"{sums[0]} → {sums[1]} of {sums[2]}" if sums[2] else "–")
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="folder with another rali in it")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    main(args.before, args.seed)
