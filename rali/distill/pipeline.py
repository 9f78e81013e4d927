"""RALI from end to end: manifest and rationales in, a scoring model folder out.

align → embed → compress → bases → fit (→ finetune) → phrases, in that order, into one run folder.
What takes long (texts, align, embed, finetune, phrases) leaves its result with a fingerprint of
everything it depends on, so the same command started again does only what is missing, and a changed
setting redoes only what it touches; the others take a second and are always done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from rali.data.manifest import Row
from rali.data.triplets import Triplet
from rali.errors import InputError
from rali.runs.config import write_yaml
from rali.runs.folder import RunFolder
from rali.runs.progress import Report
from rali.scoring.model_folder import INTERVAL_FILE, onnx_file
from rali.student.encoders import Encoder, load_encoder
from rali.student.student import Student, StudentConfig
from rali.version import __version__

from .align import AlignConfig
from .bases import BasesConfig, find_bases
from .batches import PictureBatches, embed
from .compress import CompressConfig, fit_projection
from .finetune import FinetuneConfig
from .fit import FitConfig, fit_scores
from .learn_phrases import PhrasesConfig
from .stages import align_stage, embed_stage, finetune_stage, phrases_stage, rationales_of
from .unfitted import save_unfitted


@dataclass
class DistillConfig:
    """Everything that decides what `rali distill` makes.

    Attributes:
        encoder: `nano` or an open_clip name.
        pretrained: an open_clip tag, a weights file, a nano folder, `random`, or empty for the
            default.
        seed: of every random choice.
        views: embeddings per training picture for bases and fit: 1, or 2 with its mirror image.
        keep_pixels: read each picture once and keep it decoded in TMPDIR, 3·S² bytes each: for
            small encoders, which take less time for a picture than reading it does.
        align, compress, bases, fit: the four steps.
        finetune: a fifth one beyond the paper, off by default.
        phrases: the words that explain a score.
    """

    encoder: str = "ViT-L-14-336-quickgelu"
    pretrained: str = ""
    seed: int = 0
    views: int = 1
    keep_pixels: bool = False
    align: AlignConfig = field(default_factory=AlignConfig)
    compress: CompressConfig = field(default_factory=CompressConfig)
    bases: BasesConfig = field(default_factory=BasesConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    phrases: PhrasesConfig = field(default_factory=PhrasesConfig)

    def __post_init__(self) -> None:
        if self.views not in (1, 2):
            raise InputError(f"views is {self.views}; expected 1, or 2 to add mirror images.")


def distill(
    config: DistillConfig,
    rows: Sequence[Row],
    triplets: Sequence[Triplet],
    folder: str | Path,
    *,
    encoder: Encoder | None = None,
    trained_on: str = "",
    report: Report | None = None,
) -> Student | None:
    """Make a student; the model folder is `folder/model`.

    Rows of split `train` (or all, where the manifest has no splits) are trained on; `val` rows
    choose when the fit stops; `test` rows are never read.

    Args:
        rows: the manifest. Unlabelled training rows take part in the alignment only.
        triplets: rationales; several per picture.
        folder: the run folder.
        encoder: instead of loading `config.encoder`.
        trained_on: one sentence for the model card.

    Returns:
        The student; None in all processes of `accelerate launch` but the first, as they have
        nothing to do after the alignment.

    Raises:
        InputError: nothing to train on, pictures or contents in two splits, pictures without
            rationales, pictures that cannot be read.
    """
    from accelerate import PartialState

    run = RunFolder(Path(folder))
    state = PartialState()
    say = report or (lambda stage, step, steps, loss: None)
    train, val = training_rows(rows)
    if state.is_main_process:
        write_yaml(config, run.folder / "config.yaml")
    encoder = encoder or load_encoder(config.encoder, config.pretrained or None)
    pictures = PictureBatches(
        [row.image for row in train], encoder.preprocess, keep=config.keep_pixels
    )
    chosen = rationales_of(train, triplets) if config.align.enabled else []
    facts = align_stage(run, encoder, pictures, chosen, config.align, config.seed, say)
    if not state.is_main_process:
        return None

    places = [place for place, row in enumerate(train) if row.score is not None]
    flips = [False, True][: config.views]
    known = pictures.take(places), _scores(train[place] for place in places)
    val = [row for row in val if row.score is not None]
    unseen = PictureBatches([row.image for row in val], encoder.preprocess), _scores(val)
    jobs = [(known[0], flip) for flip in flips] + ([(unseen[0], False)] if val else [])
    parts = embed_stage(run, encoder, jobs, say)
    held_out = parts.pop() if val else None
    embeddings = np.concatenate(parts)
    scores = np.tile(known[1], len(flips))

    with run.timed("bases"):
        projection = fit_projection(embeddings, config.compress)
        vectors, values = find_bases(
            projection.transform(embeddings), scores, config.bases, seed=config.seed
        )
        save_unfitted(run.folder, projection, vectors, values, config.fit.temperature)
        say("bases", 1, 1, None)

    def on_fit(step: int, steps: int, loss: float) -> None:
        if step % 10 == 0 or step == steps:
            run.log(stage="fit", step=step, loss=loss)
        say("fit", step, steps, loss)

    def centred(points: np.ndarray) -> np.ndarray:
        return (points - projection.mean) / projection.scale

    with run.timed("fit"):
        fitted = fit_scores(
            centred(embeddings),
            scores,
            vectors,
            values,
            projection.components,
            config.fit,
            validation=None if held_out is None else (centred(held_out), unseen[1]),
            seed=config.seed,
            report=on_fit,
        )
        say("fit", config.fit.steps, config.fit.steps, None)

    student = Student(
        StudentConfig(
            encoder=encoder.spec,
            preprocess=encoder.preprocess.to_dict(),
            embed_dim=encoder.dim,
            pca_dim=len(projection.components),
            bases=len(fitted.basis_scores),
            buckets=config.bases.buckets,
            temperature=fitted.temperature,
            training={
                "data": trained_on,
                "pictures": len(known[0]),
                **facts,
                "variance_kept": round(projection.explained, 4),
                "teacher": ", ".join(sorted({t.teacher for t in triplets})),
                "config": asdict(config),
                "versions": {"rali": __version__, "torch": torch.__version__},
            },
        ),
        encoder.image.cpu(),
    )
    student.mean.copy_(torch.from_numpy(projection.mean))
    student.scale.copy_(torch.from_numpy(projection.scale))
    student.components.copy_(torch.from_numpy(fitted.components))
    student.basis_vectors.copy_(torch.from_numpy(fitted.basis_vectors))
    student.basis_scores.copy_(torch.from_numpy(fitted.basis_scores))
    student.requires_grad_(False)
    if config.finetune.epochs > 0:
        finetune_stage(run, student, known, unseen, config.finetune, config.seed, say)
        some = known[0].take(range(0, len(known[0]), len(known[0]) // 1000 + 1))
        embeddings = embed(student.encoder, some if not val else unseen[0])
        held_out = embeddings if val else None
    undegraded = [place for place, row in enumerate(val) if not row.severity]
    photographs = embeddings if held_out is None else held_out[undegraded or slice(None)]
    distances = student.distance(torch.from_numpy(photographs))
    student.config.familiar = float(distances.quantile(0.99))
    # What was exported before was another student, and would be scored with.
    onnx_file(run.folder / "model").unlink(missing_ok=True)
    (run.folder / "model" / INTERVAL_FILE).unlink(missing_ok=True)
    student.save_pretrained(run.folder / "model")
    if encoder.text is not None:
        rationales = [own[0].reasoning for own in chosen]
        phrases_stage(
            run, student, encoder.text, train, rationales, config.phrases, config.seed, say
        )
    return student


def training_rows(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to choose by: splits `train` and `val`.

    Raises:
        InputError: no labelled training row; a picture or a content that is trained on and in
            another split too.
    """
    train = [row for row in rows if row.split == "train"]
    if not any(row.split for row in rows):
        train = list(rows)
    if not any(row.score is not None for row in train):
        raise InputError(
            f"no picture to train on: of {len(rows)} rows none has split 'train' and a score. "
            "Split the manifest with `rali data split MANIFEST --fractions 6:2:2 -o OUT`."
        )
    pictures = {row.image for row in train}
    contents = {(row.dataset, row.content) for row in train if row.content}
    for row in rows:
        if row.split in ("val", "test") and (
            row.image in pictures or (row.dataset, row.content) in contents
        ):
            raise InputError(
                f"{row.image} is in split {row.split!r}, but it or its content {row.content!r} is "
                "in 'train' too. Split the manifests together with `rali data split`."
            )
    return train, [row for row in rows if row.split == "val"]


def _scores(rows: Iterable[Row]) -> np.ndarray:
    return np.array([row.score for row in rows], dtype=np.float64)
