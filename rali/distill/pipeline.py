"""RALI from end to end: manifest and rationales in, a scoring model folder out.

align → embed → compress → bases → fit (→ finetune) → phrases, in that order, into one run folder.
The stages that take long (texts, align, embed, finetune, phrases) leave their result with a
fingerprint of everything it depends on. So the same command started again does only what is
missing, and a changed setting redoes only what it touches; the other stages take a second and
always run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from rali.data.manifest import Row
from rali.data.triplets import Triplet
from rali.errors import InputError
from rali.runs.config import check_seed, write_yaml
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, silent
from rali.scoring.model_folder import HEAD_FILE
from rali.student.encoders import load_encoder
from rali.student.student import Student, StudentConfig
from rali.student.towers import Encoder
from rali.version import __version__

from .align import AlignConfig
from .bases import BasesConfig
from .batches import PictureBatches, embed
from .compress import CompressConfig
from .finetune import FinetuneConfig
from .fit import FitConfig
from .head import fit_head
from .learn_phrases import PhrasesConfig
from .optim import processes
from .splits import scores_of, training_rows
from .stages import align_stage, embed_stage, finetune_stage, phrases_stage, rationales_of


@dataclass
class DistillConfig:
    """Everything that decides what `rali distill` makes.

    Attributes:
        encoder: `nano`, `timm/NAME`, or a name of open_clip's (`NAME`, `NAME:TAG`,
            `hf-hub:OWNER/MODEL`, `local-dir:FOLDER`).
        pretrained: the encoder's weights: an open_clip tag, a weights file, a folder of nano's,
            `random`, or empty for the default.
        seed: seed of every random choice.
        views: embeddings per training picture for bases and fit: 1, or 2 with its mirror image.
        keep_pixels: read each picture once and keep it decoded in TMPDIR, 3·S² bytes each. Worth
            it for small encoders, which need less time for a picture than reading it does.
        align: step 1, pull the image encoder towards the rationales.
        compress: step 2, first half: compress embeddings by PCA.
        bases: step 2, second half: find basis vectors by k-means.
        fit: step 3, fit the bases to the scores.
        finetune: a step beyond the paper, off by default: train encoder and bases together.
        phrases: the table of phrases that explain a score.
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
        check_seed("seed", self.seed)
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
    progress: Progress = silent,
) -> Student | None:
    """Make a student; the model folder is `folder/model`.

    Rows of split `train` (or all, where the manifest has no splits) are trained on; `val` rows
    decide when the fit stops; `test` rows are never read.

    Args:
        rows: the manifest. Unlabelled training rows take part in the alignment only.
        triplets: rationales; several per picture.
        folder: the run folder.
        encoder: takes the place of loading `config.encoder`.
        trained_on: names the training data on the model card.

    Returns:
        The student; None in all processes of `accelerate launch` but the first, as they have
        nothing to do after the embedding.

    Raises:
        InputError: nothing to train on, pictures or contents in two splits, pictures without
            rationales, or pictures that cannot be read.
    """
    run = RunFolder(Path(folder))
    state = processes()
    train, val = training_rows(rows)
    if state.is_main_process:
        write_yaml(asdict(config), run.folder / "config.yaml")
    torch.manual_seed(config.seed)  # a new head over a trunk is random
    encoder = encoder or load_encoder(config.encoder, config.pretrained or None)
    pictures = PictureBatches(
        [row.image for row in train], encoder.preprocess, keep=config.keep_pixels
    )
    chosen = rationales_of(train, triplets) if config.align.enabled else []
    facts = align_stage(run, encoder, pictures, chosen, config.align, config.seed, progress)
    places = [place for place, row in enumerate(train) if row.score is not None]
    flips = [False, True][: config.views]
    train_set = pictures.take(places), scores_of(train[place] for place in places)
    val = [row for row in val if row.score is not None]
    val_set = PictureBatches([row.image for row in val], encoder.preprocess), scores_of(val)
    jobs = [(train_set[0], flip) for flip in flips] + ([(val_set[0], False)] if val else [])
    parts = embed_stage(run, encoder, jobs, progress)
    if not state.is_main_process:
        return None
    held_out = parts.pop() if val else None
    embeddings = np.concatenate(parts)
    scores = np.tile(train_set[1], len(flips))

    projection, fitted = fit_head(
        run,
        (embeddings, scores),
        None if held_out is None else (held_out, val_set[1]),
        config.compress,
        config.bases,
        config.fit,
        seed=config.seed,
        progress=progress,
    )
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
                "pictures": len(train_set[0]),
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
        datasets = [train[place].dataset for place in places]
        finetune_stage(
            run, student, train_set, val_set, datasets, config.finetune, config.seed, progress
        )
        count = len(train_set[0])
        some = train_set[0].take(range(0, count, count // 1000 + 1))
        embeddings = embed(student.encoder, val_set[0] if val else some)
        held_out = embeddings if val else None
    undegraded = [place for place, row in enumerate(val) if not row.severity]
    photographs = embeddings if held_out is None else held_out[undegraded or slice(None)]
    distances = student.distance(torch.from_numpy(photographs))
    student.config.familiar = float(distances.quantile(0.99))
    (run.folder / "model" / HEAD_FILE).unlink(missing_ok=True)
    student.save_pretrained(run.folder / "model")
    if encoder.text is not None:
        rationales = [of_row[0].reasoning for of_row in chosen]
        phrases_stage(
            run, student, encoder.text, train, rationales, config.phrases, config.seed, progress
        )
    return student
