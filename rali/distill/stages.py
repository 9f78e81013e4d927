"""The stages of a distillation that take long, each leaving its result in the run folder.

A result is used again if its fingerprint, of everything it depends on, is that of this run; else
the stage goes on from its checkpoint, where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rali.data.manifest import Row
from rali.data.triplets import Triplet
from rali.errors import InputError
from rali.files import image_sha256, replace_atomically
from rali.runs.folder import RunFolder, file_marks, fingerprint
from rali.runs.progress import Report
from rali.scoring.model_folder import PHRASES_FILE
from rali.scoring.phrases import write_phrases
from rali.student.encoders import Encoder, TextTower
from rali.student.student import Student, weights_sha256

from .align import AlignConfig, align
from .batches import PictureBatches, embed
from .finetune import FinetuneConfig, finetune
from .learn_phrases import PhrasesConfig, best_photographs, build_phrases

ScoredPictures = tuple[PictureBatches, np.ndarray]
"""Pictures and their scores [n], 1–5."""


def rationales_of(rows: Sequence[Row], triplets: Sequence[Triplet]) -> list[list[Triplet]]:
    """Per row its parsed triplets, in order of seed.

    Raises:
        InputError: a row has none, or its picture is no longer the one that they are about.
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
    found = [sorted(by_image[row.image.resolve()], key=lambda t: t.seed) for row in rows]
    for row, own in zip(rows, found, strict=True):
        if row.image.is_file() and image_sha256(row.image) != own[0].image_sha256:
            raise InputError(
                f"{row.image} has changed since its rationales were written; write them anew, "
                "in another folder."
            )
    return found


def align_stage(
    run: RunFolder,
    encoder: Encoder,
    pictures: PictureBatches,
    chosen: Sequence[Sequence[Triplet]],
    config: AlignConfig,
    seed: int,
    say: Report,
) -> dict[str, Any]:
    """Align the encoder, in place, or load what an earlier call left; facts for the card."""
    from accelerate import PartialState
    from safetensors.torch import load_file

    if not config.enabled:
        return {"rationales": 0}
    mark = fingerprint(
        [[(t.image_sha256, t.reasoning) for t in own] for own in chosen],
        encoder.spec,
        encoder.preprocess.to_dict(),
        weights_sha256(encoder.image),
        asdict(config),
        seed,
    )
    state = PartialState()
    with state.main_process_first():  # the others find them done
        texts, truncated = _embed_texts(run, encoder, chosen, say)
    used = config.seeds_used or max(map(len, texts))
    facts = {
        "rationales": sum(min(used, len(own)) for own in texts),
        "truncated_texts": round(truncated, 4),
    }
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
            config,
            seed=seed,
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
    mark = fingerprint(texts, weights_sha256(encoder.text.model))
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


def finetune_stage(
    run: RunFolder,
    student: Student,
    known: ScoredPictures,
    unseen: ScoredPictures,
    config: FinetuneConfig,
    seed: int,
    say: Report,
) -> None:
    from safetensors.torch import load_file

    data = [
        (file_marks(pictures.paths), scores.tolist())
        for pictures, scores in (known, unseen)
        if pictures
    ]
    mark = fingerprint(data, weights_sha256(student), asdict(config), seed)
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
            config,
            validation=unseen if unseen[0] else None,
            seed=seed,
            checkpoint=checkpoint,
            report=on_step,
        )
        _save(file, student.state_dict())
    checkpoint.unlink(missing_ok=True)


def phrases_stage(
    run: RunFolder,
    student: Student,
    text: TextTower,
    rows: Sequence[Row],
    rationales: Sequence[str],
    config: PhrasesConfig,
    seed: int,
    say: Report,
) -> None:
    """Leave the student's table of phrases in the model folder, where there can be one."""
    photographs = best_photographs(rows, config.photographs)
    own = weights_sha256(student)
    mark = fingerprint(
        file_marks(photographs), own, weights_sha256(text.model), rationales, asdict(config), seed
    )
    file = run.folder / "model" / PHRASES_FILE
    if run.done("phrases", mark) and file.is_file():
        return
    file.unlink(missing_ok=True)  # another student's
    with run.timed("phrases", mark):
        phrases = build_phrases(
            student.encoder,
            text,
            student.preprocess,
            photographs,
            rationales,
            config,
            seed=seed,
            weights_sha256=own,
            report=lambda done, count: say("phrases", done, count, None),
        )
        if phrases is not None:
            write_phrases(phrases, file.parent)


def embed_stage(
    run: RunFolder,
    encoder: Encoder,
    jobs: Sequence[tuple[PictureBatches, bool]],
    say: Report,
) -> list[np.ndarray]:
    """Embeddings [n, D] for each job: pictures, and whether they are mirrored."""
    mark = fingerprint(
        [(file_marks(pictures.paths), flip) for pictures, flip in jobs],
        encoder.preprocess.to_dict(),
        weights_sha256(encoder.image),
    )
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


def _save(path: Path, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    replace_atomically(path, lambda target: save_file(tensors, target))
