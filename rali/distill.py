"""RALI from end to end: manifest and rationales in, a scoring model folder out.

align → embed → compress → bases → fit (→ finetune), in that order, into one run folder. What takes
long (texts, align, embed, finetune) leaves its result with a fingerprint of everything it depends
on, so the same command started again does only what is missing, and a changed setting redoes only
what it touches; the others take a second and are always done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import __version__
from .align import AlignConfig, align
from .bases import BasesConfig, find_bases
from .compress import CompressConfig, fit_projection
from .config import write_yaml
from .encoders import Encoder, load_encoder
from .errors import InputError
from .files import replace_atomically
from .finetune import FinetuneConfig, finetune
from .fit import FitConfig, fit_scores
from .images import PictureBatches, embed
from .manifest import Row
from .run_folder import RunFolder, fingerprint
from .student import Student, StudentConfig
from .triplets import Triplet

Report = Callable[[str, int, int, float | None], None]
"""Called with (stage, step, steps, loss); `loss` is None where a stage has none."""

ScoredPictures = tuple[PictureBatches, np.ndarray]
"""Pictures and their scores [n], 1–5."""


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
    facts = _align_stage(run, encoder, pictures, chosen, config, say)
    if not state.is_main_process:
        return None

    mark = fingerprint(
        [(str(row.image), row.score) for row in train], encoder.spec, _weights_hash(encoder.image)
    )
    places = [place for place, row in enumerate(train) if row.score is not None]
    flips = [False, True][: config.views]
    known = pictures.take(places), _scores(train[place] for place in places)
    val = [row for row in val if row.score is not None]
    unseen = PictureBatches([row.image for row in val], encoder.preprocess), _scores(val)
    mark = fingerprint("embed", mark, config.views, [str(row.image) for row in val])
    jobs = [(known[0], flip) for flip in flips] + ([(unseen[0], False)] if val else [])
    parts = _embed_stage(run, mark, encoder, jobs, say)
    held_out = parts.pop() if val else None
    embeddings = np.concatenate(parts)
    scores = np.tile(known[1], len(flips))

    with run.timed("bases"):
        projection = fit_projection(embeddings, config.compress)
        vectors, values = find_bases(
            projection.transform(embeddings), scores, config.bases, seed=config.seed
        )
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
        _finetune_stage(run, student, known, unseen if val else None, config, say)
    student.save_pretrained(run.folder / "model")
    # What was exported before was another student.
    (run.folder / "model" / "onnx" / "model.onnx").unlink(missing_ok=True)
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


def rationales_of(rows: Sequence[Row], triplets: Sequence[Triplet]) -> list[list[Triplet]]:
    """Per row its parsed triplets, in order of seed.

    Raises:
        InputError: a row has none.
    """
    by_image: dict[Path, list[Triplet]] = {}
    for triplet in triplets:
        if triplet.parse_ok and triplet.reasoning.strip():
            by_image.setdefault(Path(triplet.image).resolve(), []).append(triplet)
    missing = [row.image for row in rows if row.image.resolve() not in by_image]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(rows)} training pictures have no rationale, the first is "
            f"{missing[0]}. Write some with `rali data rationales MANIFEST -o triplets/`."
        )
    return [sorted(by_image[row.image.resolve()], key=lambda t: t.seed) for row in rows]


def _align_stage(
    run: RunFolder,
    encoder: Encoder,
    pictures: PictureBatches,
    chosen: Sequence[Sequence[Triplet]],
    config: DistillConfig,
    say: Report,
) -> dict[str, Any]:
    """Align the encoder, in place, or load what an earlier call left; facts for the card."""
    from accelerate import PartialState
    from safetensors.torch import load_file

    if not config.align.enabled:
        return {"rationales": 0}
    mark = fingerprint(
        [[(t.image_sha256, t.reasoning) for t in own] for own in chosen],
        encoder.spec,
        _weights_hash(encoder.image),
        asdict(config.align),
        config.seed,
    )
    state = PartialState()
    with state.main_process_first():  # the others find them done
        texts, truncated = _embed_texts(run, encoder, chosen, say)
    facts = {"rationales": sum(map(len, texts)), "truncated_texts": round(truncated, 4)}
    aligned_file = run.folder / "aligned.safetensors"
    if run.done("align", mark) and aligned_file.is_file():
        encoder.image.load_state_dict(load_file(aligned_file))
        return facts
    checkpoint = run.folder / f"align-{mark}.pt"
    # Pictures with the same bytes are one picture.
    ids: dict[str, int] = {}
    owners = [ids.setdefault(own[0].image_sha256, len(ids)) for own in chosen]

    def on_step(step: int, steps: int, loss: float) -> None:
        run.log(stage="align", step=step, loss=loss)
        say("align", step, steps, loss)

    def work() -> None:
        align(
            encoder.image,
            pictures,
            texts,
            config.align,
            seed=config.seed,
            owners=owners,
            checkpoint=checkpoint,
            report=on_step,
        )

    if not state.is_main_process:
        work()
        return facts
    with run.timed("align", mark):
        work()
        _save(aligned_file, encoder.image.state_dict())
    checkpoint.unlink(missing_ok=True)
    return facts


def _embed_texts(
    run: RunFolder, encoder: Encoder, chosen: Sequence[Sequence[Triplet]], say: Report
) -> tuple[list[Tensor], float]:
    """Per picture its texts' embeddings [n_i, D], and the share of texts over the context."""
    from safetensors.torch import load_file

    if encoder.text is None:
        raise InputError("the alignment needs the encoder's text tower; it was loaded without.")
    texts = [triplet.reasoning for own in chosen for triplet in own]
    mark = fingerprint(texts, _weights_hash(encoder.text.model))
    file = run.folder / "texts.safetensors"
    if not (run.done("texts", mark) and file.is_file()):
        with run.timed("texts", mark):
            embeddings = encoder.text.encode(
                texts, report=lambda done, count: say("texts", done, count, None)
            )
            truncated = torch.tensor([encoder.text.is_truncated(text) for text in texts])
            _save(file, {"embeddings": embeddings, "truncated": truncated})
    stored = load_file(file)
    counts = [len(own) for own in chosen]
    return list(stored["embeddings"].split(counts)), stored["truncated"].float().mean().item()


def _finetune_stage(
    run: RunFolder,
    student: Student,
    known: ScoredPictures,
    unseen: ScoredPictures | None,
    config: DistillConfig,
    say: Report,
) -> None:
    from safetensors.torch import load_file

    mark = fingerprint("finetune", _weights_hash(student), asdict(config.finetune), config.seed)
    file = run.folder / "finetuned.safetensors"
    if run.done("finetune", mark) and file.is_file():
        student.load_state_dict(load_file(file))
        return
    checkpoint = run.folder / f"finetune-{mark}.pt"

    def on_step(step: int, steps: int, loss: float) -> None:
        run.log(stage="finetune", step=step, loss=loss)
        say("finetune", step, steps, loss)

    with run.timed("finetune", mark):
        finetune(
            student,
            *known,
            config.finetune,
            validation=unseen,
            seed=config.seed,
            checkpoint=checkpoint,
            report=on_step,
        )
        _save(file, student.state_dict())
    checkpoint.unlink(missing_ok=True)


def _embed_stage(
    run: RunFolder,
    mark: str,
    encoder: Encoder,
    jobs: Sequence[tuple[PictureBatches, bool]],
    say: Report,
) -> list[np.ndarray]:
    """Embeddings [n, D] for each job: pictures, and whether they are mirrored."""
    cache = run.folder / "embeddings.npz"
    if not (run.done("embed", mark) and cache.is_file()):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        total = sum(len(pictures) for pictures, _ in jobs)
        arrays: list[np.ndarray] = []
        with run.timed("embed", mark):
            for pictures, flip in jobs:
                base = sum(map(len, arrays))

                def on_batch(done: int, count: int, base: int = base) -> None:
                    say("embed", base + done, total, None)

                arrays.append(
                    embed(encoder.image, pictures, flip=flip, device=device, report=on_batch)
                )

            def write(path: Path) -> None:
                with path.open("wb") as file:
                    np.savez(file, *arrays)

            replace_atomically(cache, write)
    stored = np.load(cache)
    return [stored[f"arr_{index}"] for index in range(len(jobs))]


def _scores(rows: Iterable[Row]) -> np.ndarray:
    return np.array([row.score for row in rows], dtype=np.float64)


def _save(path: Path, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    replace_atomically(path, lambda target: save_file(tensors, target))


def _weights_hash(module: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
