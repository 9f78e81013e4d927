"""What the nano teacher learns from: degraded photographs, their pixels and what the built-in sees.

In: the data folder of `make_nano_teacher.py`. Out: manifest rows, and beside them one folder with
the pixels as the tower takes them, measures, and the built-in's features of every visual token,
computed once.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from PIL import Image
from pretrain_nano import unscored
from torch import Tensor
from transformers.image_utils import SizeDict

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row
from rali.pictures.measure import Measures, Regions, measure, measure_regions
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture
from rali.runs.progress import Progress, renamed
from rali.student.student import Student

SIZE = 512  # longer edge of the pictures
CELL = 64  # edge of a visual token: 512 is 8 of them, so that the longer edge is never resampled
TOKENS = (SIZE // CELL) ** 2  # at most
CROPS = {"far": 640, "near": 960, "close": 1280}  # longer edges that a part is cut from
BEST = 200  # photographs of BIQ2021, the best twentieth, that count as undegraded
KEPT = 96  # principal components of the built-in's features that a token learns


def photographs(data: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Pristine photographs, those of BIQ2021 that people found best, and its others.

    Kodak's are left out, and of BIQ2021 all but the split for training without held-out twins.
    """
    pristine = sorted(p for p in (data / "pristine").glob("*.jpg") if "kodak" not in p.name)
    twins = set((data / "biq2021" / "train_near_held_out.txt").read_text("utf-8").splitlines())
    found: list[tuple[float, Path]] = []
    for folder in (data / "biq2021", data / "biq2021_more"):
        with (folder / "index.csv").open(newline="") as file:
            found += [
                (float(row["mos"]), folder / "images" / row["image"])
                for row in csv.DictReader(file)
                if row["split"] == "train" and row["image"] not in twins
            ]
    found.sort(reverse=True)
    best, others = found[:BEST], found[BEST:]
    return pristine, sorted(path for _, path in best), sorted(path for _, path in others)


def cut(photographs: list[Path], folder: Path, seed: int) -> list[Path]:
    """Parts of photographs, 512 × 384 pixels, at three distances; they are as good as the whole."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for place, path in enumerate(photographs):
        rgb = open_picture(path)
        for number, (name, longer) in enumerate(CROPS.items()):
            target = folder / f"{path.stem}-{name}.png"
            found.append(target)
            if target.is_file():
                continue
            small = shrink(rgb, longer=longer)
            draw = np.random.default_rng((seed, place, number))
            size = (384, SIZE) if small.shape[0] < small.shape[1] else (SIZE, 384)
            top, left = (
                int(draw.integers(0, max(1, edge - part + 1)))
                for edge, part in zip(small.shape, size, strict=False)
            )
            part = small[top : top + size[0], left : left + size[1]]
            Image.fromarray(part).save(target, compress_level=1)
    return found


def degraded_pictures(
    data: Path, work: Path, seed: int, progress: Progress, scale: float = 1.0
) -> list[Row]:
    """All rows; `scale` shortens a trial.

    Photographs of BIQ2021 have faults of their own, so that none but the best is called undegraded
    or given a score.
    """
    pristine, best, others = photographs(data)
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(others))[: round(800 * scale)]
    pristine = pristine[: max(4, round(len(pristine) * scale))]
    rows = degrade_folder(
        pristine, work / "whole", size=SIZE, per_photograph=36, seed=seed,
        progress=renamed(progress, "degrade whole"),
    )  # fmt: skip
    rows += degrade_folder(
        cut(pristine, work / "cut", seed), work / "parts", per_photograph=9, seed=seed + 1,
        progress=renamed(progress, "degrade parts"),
    )  # fmt: skip
    rows += degrade_folder(
        best[: round(BEST * scale)], work / "best", per_photograph=12, seed=seed + 2,
        progress=renamed(progress, "degrade best"),
    )  # fmt: skip
    rows += [
        unscored(row)
        for row in degrade_folder(
            [others[place] for place in sorted(chosen)], work / "authentic",
            per_photograph=2, seed=seed, progress=renamed(progress, "degrade authentic"),
        )
    ]  # fmt: skip
    return rows


@dataclass(frozen=True)
class Looks:
    """Pictures as the tower takes them, and what the built-in sees in them.

    Attributes:
        pixels: uint8 [N, TOKENS · CELL² · 3], of which a picture fills the first h · w · CELL² · 3,
            as [h · CELL, w · CELL, 3].
        grid: [N, 2], h and w in tokens.
        tokens: float16 [N, TOKENS, KEPT], the first h · w rows in reading order.
        whole: float16 [N, D], the built-in's embedding.
        measures: of every picture.
    """

    pixels: np.ndarray
    grid: np.ndarray
    tokens: np.ndarray
    whole: np.ndarray
    measures: list[Measures]

    def picture(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3]."""
        h, w = self.grid[index] * CELL
        return self.pixels[index, : h * w * 3].reshape(h, w, 3)


class Features:
    """The built-in's spatial features: trunk and block spectra, pooled to each token's cell."""

    def __init__(self) -> None:
        student = Student.from_pretrained("builtin")
        self.encoder: Any = student.encoder
        look = student.preprocess
        self.mean, self.std = torch.tensor(look.mean), torch.tensor(look.std)

    @torch.inference_mode()
    def __call__(self, rgb: np.ndarray) -> tuple[Tensor, Tensor]:
        """uint8 [H, W, 3] in whole cells → features [h · w, n] and the embedding [D]."""
        encoder, kept = self.encoder, []
        shape = rgb.shape[0] // CELL, rgb.shape[1] // CELL
        hooks = [
            module.register_forward_hook(lambda m, i, out: kept.append(out))
            for spectrum in encoder.spectra
            for module in (spectrum.norm, spectrum.network)
        ]
        hooks.append(encoder.trunk.register_forward_hook(lambda m, i, out: kept.extend(out)))
        values = (torch.from_numpy(rgb.copy()).float() / 255 - self.mean) / self.std
        whole = encoder(values.permute(2, 0, 1)[None])[0]
        for hook in hooks:
            hook.remove()
        stages = len(encoder.config.stages)
        cells = []
        for place, part in enumerate(kept):
            mean = F.adaptive_avg_pool2d(part, shape)
            cells.append(mean)
            if place >= stages:  # of spectra, the spread inside a cell too
                square = F.adaptive_avg_pool2d(part * part, shape)
                cells.append((square - mean * mean).clamp_min(0).add(1e-4).sqrt())
        values = F.avg_pool2d(values.permute(2, 0, 1)[None], CELL)
        return torch.cat([*cells, values], 1)[0].flatten(1).T, whole


def fitted(rgb: np.ndarray, processor: Any) -> np.ndarray:
    """A picture at the size that the processor gives it, uint8 in whole cells."""
    look = processor.image_processor
    pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None]
    resized = look.resize(pixels, SizeDict(**dict(look.size)), look.resample, factor=CELL)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def look_at(rows: list[Row], folder: Path, processor: Any, progress: Progress) -> Looks:
    """Fill `folder` with the looks of all rows, or resume; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    count, features = len(rows), Features()
    basis = folder / "basis.pt"
    if not basis.is_file():
        draw = np.random.default_rng(0).permutation(count)[:400]
        found = [features(fitted(open_picture(rows[i].image), processor))[0] for i in draw]
        sample = torch.cat(found)
        mean, std = sample.mean(0), sample.std(0) + 1e-3
        sample = (sample - mean) / std
        spread, axes = torch.linalg.eigh(sample.T @ sample)
        share = spread[-KEPT:].sum() / spread.sum()
        print(f"{KEPT} of {sample.shape[1]} components hold {share:.2f} of the features' variance")
        torch.save((mean, std, axes[:, -KEPT:].contiguous()), basis)
    shapes = {
        "pixels": ((count, TOKENS * CELL * CELL * 3), np.uint8),
        "grid": ((count, 2), np.int64),
        "tokens": ((count, TOKENS, KEPT), np.float16),
        "whole": ((count, features.encoder.config.embed_dim), np.float16),
        "measures": ((count, len(dataclasses.fields(Measures))), np.float64),
    }
    done = 0
    if (folder / "done.json").is_file():
        done = json.loads((folder / "done.json").read_text())
    else:
        for name, (shape, kind) in shapes.items():
            open_memmap(folder / f"{name}.npy", "w+", kind, shape=shape)
    starts = range(done, count, 100)
    spans = [(start, min(start + 100, count)) for start in starts]
    processes = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with processes.Pool(initializer=_begin, initargs=(folder, rows, processor)) as pool:
        for end in pool.imap(_look, spans):
            (folder / "done.json").write_text(str(end))
            progress("look", end, count)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes}
    measures = [Measures(*map(float, values)) for values in arrays.pop("measures")]
    return Looks(measures=measures, **arrays)


_looker: Any = None  # of a process


def _begin(folder: Path, rows: list[Row], processor: Any) -> None:
    global _looker
    torch.set_num_threads(1)
    _looker = Looker(folder, rows, processor)


def _look(span: tuple[int, int]) -> int:
    for index in range(*span):
        _looker(index)
    return span[1]


class Looker:
    """Fills rows of the arrays in a folder of looks."""

    def __init__(self, folder: Path, rows: list[Row], processor: Any) -> None:
        self.rows, self.processor, self.features = rows, processor, Features()
        self.mean, self.std, self.axes = torch.load(folder / "basis.pt")
        names = ("pixels", "grid", "tokens", "whole", "measures")
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in names}

    def __call__(self, index: int) -> None:
        original, arrays = open_picture(self.rows[index].image), self.arrays
        rgb = fitted(original, self.processor)
        h, w = rgb.shape[0] // CELL, rgb.shape[1] // CELL
        tokens, whole = self.features(rgb)
        tokens = ((tokens - self.mean) / self.std) @ self.axes
        arrays["pixels"][index, : rgb.size] = rgb.reshape(-1)
        arrays["grid"][index] = h, w
        arrays["tokens"][index, : h * w] = tokens.half().numpy()
        arrays["whole"][index] = whole.half().numpy()
        arrays["measures"][index] = dataclasses.astuple(measure(original))


def regions_of(looks: Looks, folder: Path) -> list[Regions]:
    """How the regions of every picture differ, kept in `folder`."""
    file = folder / "regions.npy"
    if not file.is_file():
        found = [measure_regions(looks.picture(index)) for index in range(len(looks.grid))]
        np.save(file, [dataclasses.astuple(regions) for regions in found])
    return [Regions(*map(float, values)) for values in np.load(file)]


def held_out(rows: list[Row], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows to learn from, and of all versions of a twelfth of the photographs."""

    def photograph(row: Row) -> str:
        part = row.image.parent.name == "parts"
        return row.content.rsplit("-", 1)[0] if part else row.content

    names = sorted({photograph(row) for row in rows if row.score is not None})
    kept = set(np.random.default_rng(seed).permutation(names)[: -(-len(names) // 12)])
    of = np.array([photograph(row) in kept for row in rows])
    return np.flatnonzero(~of), np.flatnonzero(of)
