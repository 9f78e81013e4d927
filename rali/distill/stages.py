"""The stages of a distillation that take long, each leaving its result in the run folder.

A result is used again if its mark, a fingerprint of everything it depends on, is that of this run;
otherwise the stage resumes from its checkpoint, where it has one. The mark is inside the file: a
note beside it could be of another run's file after a kill between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rali.data.manifest import Row
from rali.data.triplets import Triplet
from rali.errors import InputError
from rali.pictures.inside import is_there, picture_marks, picture_sha256
from rali.runs.folder import RunFolder, fingerprint
from rali.runs.progress import Progress, silent
from rali.scoring.model_folder import PHRASES_FILE
from rali.scoring.phrases import write_phrases
from rali.student.storage import write_tensors
from rali.student.student import Student, sha256_of, weights_sha256
from rali.student.towers import Encoder, TextTower

from .align import AlignConfig, align
from .batches import PictureBatches, embed, join_shares
from .finetune import FinetuneConfig, finetune
from .learn_phrases import PhrasesConfig, best_photographs, build_phrases
from .optim import processes

MARK, SUM = "made_from", "sha256"  # in the metadata of a stage's file

ScoredPictures = tuple[PictureBatches, np.ndarray]
"""Pictures and their scores [n], 1–5."""


def rationales_of(rows: Sequence[Row], triplets: Sequence[Triplet]) -> list[list[Triplet]]:
    """The parsed triplets of each row, in order of their seeds.

    Raises:
        InputError: a row has none, or its picture has changed since they were written.
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
    for row, of_row in zip(rows, found, strict=True):
        if is_there(row.image) and {picture_sha256(row.image)} != {t.image_sha256 for t in of_row}:
            raise InputError(
                f"{row.image} has changed since its rationales were written; write them anew, "
                "in another folder."
            )
    return found


def logged(run: RunFolder, progress: Progress, every: int = 1) -> Progress:
    """A `Progress` that also writes the loss of every `every`-th step, and of the last, to the run.

    The report draws the curves of these numbers.
    """

    def on_step(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done % every == 0 or done == total:
            run.log(stage=stage, step=done, loss=loss)
        progress(stage, done, total, loss)

    return on_step


def align_stage(
    run: RunFolder,
    encoder: Encoder,
    pictures: PictureBatches,
    chosen: Sequence[Sequence[Triplet]],
    config: AlignConfig,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Align the encoder in place, or load the result of an earlier call; returns card entries."""
    if not config.enabled:
        return {"rationales": 0}
    mark = fingerprint(
        [[(t.image_sha256, t.reasoning) for t in of_row] for of_row in chosen],
        encoder.spec,
        encoder.preprocess.to_dict(),
        weights_sha256(encoder.image),
        weights_sha256(encoder.text.model) if encoder.text else "",
        config.deciding(),
        seed,
    )
    state = processes()
    with state.main_process_first():  # the others find them done
        texts, truncated = _embed_texts(run, encoder, chosen, progress)
    used = config.seeds_used or max(map(len, texts))
    facts = {
        "rationales": sum(min(used, len(of_row)) for of_row in texts),
        "truncated_texts": round(truncated, 4),
    }
    aligned_file = run.folder / "aligned.safetensors"
    if (kept := _kept(aligned_file, mark)) is not None:
        encoder.image.load_state_dict(kept)
        return facts
    checkpoint = run.folder / f"align-{mark}.pt"
    # Pictures with the same bytes are one picture.
    ids: dict[str, int] = {}
    owners = [ids.setdefault(of_row[0].image_sha256, len(ids)) for of_row in chosen]

    def work() -> None:
        align(
            encoder.image,
            pictures,
            texts,
            config,
            seed=seed,
            owners=owners,
            checkpoint=checkpoint,
            progress=logged(run, progress),
        )

    if state.is_main_process:
        with run.timed("align", mark):
            work()
            _keep(aligned_file, mark, encoder.image.state_dict())
        checkpoint.unlink(missing_ok=True)
    else:
        work()
    state.wait_for_everyone()
    if not state.is_main_process:  # what batches were normalised with is each process's own
        encoder.image.load_state_dict(_kept(aligned_file, mark) or encoder.image.state_dict())
    return facts


def _embed_texts(
    run: RunFolder, encoder: Encoder, chosen: Sequence[Sequence[Triplet]], progress: Progress
) -> tuple[list[Tensor], float]:
    """The embeddings [n_i, D] of each picture's texts, and the share of texts that are cut."""
    if encoder.text is None:
        raise InputError("The alignment needs the encoder's text tower; it was loaded without.")
    texts = [triplet.reasoning for of_row in chosen for triplet in of_row]
    mark = fingerprint(texts, weights_sha256(encoder.text.model))
    file = run.folder / "texts.safetensors"
    if (stored := _kept(file, mark)) is None:
        with run.timed("texts", mark):
            embeddings = encoder.text.encode(texts, progress=progress).cpu()
            truncated = torch.tensor([encoder.text.is_truncated(text) for text in texts])
            stored = {"embeddings": embeddings, "truncated": truncated}
            _keep(file, mark, stored)
    counts = [len(of_row) for of_row in chosen]
    return list(stored["embeddings"].split(counts)), stored["truncated"].float().mean().item()


def finetune_stage(
    run: RunFolder,
    student: Student,
    train: ScoredPictures,
    val: ScoredPictures,
    datasets: Sequence[str],
    config: FinetuneConfig,
    seed: int,
    progress: Progress = silent,
) -> None:
    """Fine-tune the student in place, or load the result of an earlier call.

    Args:
        datasets: of each picture of `train` its data set.
    """
    data = [
        (picture_marks(pictures.paths), scores.tolist())
        for pictures, scores in (train, val)
        if pictures
    ]
    start = student.config
    mark = fingerprint(
        data, datasets, weights_sha256(student), start.encoder, start.preprocess,
        start.temperature, asdict(config), seed,
    )  # fmt: skip
    file = run.folder / "finetuned.safetensors"
    if (kept := _kept(file, mark)) is not None:
        student.load_state_dict(kept)
        return
    checkpoint = run.folder / f"finetune-{mark}.pt"
    with run.timed("finetune", mark):
        finetune(
            student,
            *train,
            config,
            datasets=datasets,
            validation=val if val[0] else None,
            seed=seed,
            checkpoint=checkpoint,
            progress=logged(run, progress),
        )
        _keep(file, mark, student.state_dict())
    checkpoint.unlink(missing_ok=True)


def phrases_stage(
    run: RunFolder,
    student: Student,
    text: TextTower,
    rows: Sequence[Row],
    rationales: Sequence[str],
    config: PhrasesConfig,
    seed: int,
    progress: Progress = silent,
) -> None:
    """Write the student's table of phrases to the model folder, where there can be one."""
    photographs = best_photographs(rows, config.photographs)
    weights = weights_sha256(student)
    tower = weights, student.config.encoder, student.config.preprocess
    mark = fingerprint(
        picture_marks(photographs), *tower, weights_sha256(text.model), rationales,
        asdict(config), seed,
    )  # fmt: skip
    file = run.folder / "model" / PHRASES_FILE
    if run.done("phrases", mark) and file.is_file():
        return
    run.forget("phrases")
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
            weights_sha256=weights,
            progress=progress,
        )
        if phrases is not None:
            write_phrases(phrases, file.parent)


def embed_stage(
    run: RunFolder,
    encoder: Encoder,
    jobs: Sequence[tuple[PictureBatches, bool]],
    progress: Progress = silent,
) -> list[np.ndarray]:
    """Embeddings [n, D] for each job: pictures, and whether they are mirrored.

    Under `accelerate launch` each process embeds its share; the first gets the whole, the others
    nothing.
    """
    mark = fingerprint(
        [(picture_marks(pictures.paths), flip) for pictures, flip in jobs],
        encoder.spec,
        encoder.preprocess.to_dict(),
        weights_sha256(encoder.image),
    )
    file = run.folder / "embeddings.safetensors"
    if (stored := _kept(file, mark)) is not None:
        return [stored[str(job)].numpy() for job in range(len(jobs))]
    state = processes()
    if not state.is_main_process:
        _embed_share(run.folder, mark, encoder, jobs, silent)
        state.wait_for_everyone()
        return []
    with run.timed("embed", mark):
        own = _embed_share(run.folder, mark, encoder, jobs, progress)
        state.wait_for_everyone()
        shares = [own]
        for process in range(1, state.num_processes):
            share = _kept(_share_file(run.folder, process), mark)
            if share is None:
                raise InputError(
                    f"{_share_file(run.folder, process)}, which process {process} has written, is "
                    "not there. All processes need one disk for the run folder."
                )
            shares.append(share)
        arrays = [
            join_shares([share[str(job)].numpy() for share in shares]) for job in range(len(jobs))
        ]
        _keep(file, mark, {str(job): torch.from_numpy(array) for job, array in enumerate(arrays)})
    for process in range(1, state.num_processes):
        _share_file(run.folder, process).unlink(missing_ok=True)
    return arrays


def _embed_share(
    folder: Path,
    mark: str,
    encoder: Encoder,
    jobs: Sequence[tuple[PictureBatches, bool]],
    progress: Progress,
) -> dict[str, Tensor]:
    """What this process embeds of each job; all processes but the first leave it in a file."""
    state = processes()
    device = state.device if torch.cuda.is_available() else "cpu"
    share = state.process_index, state.num_processes
    total = sum(len(pictures) for pictures, _ in jobs) // share[1]
    found: dict[str, Tensor] = {}
    for job, (pictures, flip) in enumerate(jobs):
        on_batch = _within(progress, sum(map(len, found.values())), total)
        array = embed(
            encoder.image, pictures, flip=flip, device=device, share=share, progress=on_batch
        )
        found[str(job)] = torch.from_numpy(array)
    if not state.is_main_process:
        _keep(_share_file(folder, state.process_index), mark, found)
    return found


def _share_file(folder: Path, process: int) -> Path:
    return folder / f"embeddings-{process}.safetensors"


def _within(progress: Progress, before: int, total: int) -> Progress:
    """A `Progress` for a part of a stage: its steps come after `before` others of `total`."""
    return lambda stage, done, _, loss=None: progress(stage, before + done, total, loss)


def _keep(path: Path, mark: str, state: Mapping[str, Tensor]) -> None:
    """Write a stage's result with its mark inside."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write_tensors(tensors, path, {MARK: mark, SUM: sha256_of(tensors)})


def _kept(path: Path, mark: str) -> dict[str, Tensor] | None:
    """The result that a stage left, if it has this mark and is not damaged."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            noted = file.metadata() or {}
        if noted.get(MARK) != mark:
            return None
        found = load_file(path)
    except SafetensorError:  # damaged: it is made again
        return None
    return found if noted.get(SUM) == sha256_of(found) else None
