"""Harvest: a teacher describes every picture with several seeds, and its texts become triplets.

In: an engine, manifest rows and a prompt. Out: a folder of triplets, beside `harvest.json` (how the
texts were drawn) and `summary.json` (how many there are). A text that cannot be parsed is kept too,
marked, and drawn again with another seed, up to a limit. A run that is killed loses at most the
batch in flight; started again it writes only what is missing, such as what a server gave no answer
to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rali.data.manifest import Row
from rali.data.triplets import Triplet, TripletWriter, check_same, read_triplets
from rali.errors import InputError
from rali.pictures.inside import picture_sha256
from rali.runs.folder import claim, read_claim, write_json
from rali.runs.progress import Progress, silent

from .answers import Score
from .ask import Reply, ask
from .kept import KeptTexts
from .meter import Meter
from .prompts import Prompt
from .requests import Engine, Request, Sampling, Streaming, different
from .tasks import TASKS, to_quality

RETRY = 1_000_000  # attempt a (from 0) at seed s is drawn with the seed s + a · RETRY


@dataclass(frozen=True)
class HarvestSummary:
    """How much of a harvest its folder holds.

    Attributes:
        pictures: number of pictures that were asked about.
        texts: number of usable texts, at best `seeds` per picture.
        written: number of texts that this call added, usable or not.
        attempts: number of texts drawn so far. failures: how many of these could not be parsed.
        given_up: number of (picture, seed) pairs that stayed without a usable text.
        unreadable: pictures that were left out, each with the reason.
        server: what a server was asked for, its tokens and their price; over all runs of the
            folder, but for a batch in flight that was killed. See `OpenaiEngine.usage`.
    """

    pictures: int
    texts: int
    written: int
    attempts: int
    failures: int
    given_up: int
    unreadable: tuple[str, ...] = ()
    server: dict[str, Any] | None = None

    @property
    def failure_rate(self) -> float:
        """Share of the texts that could not be parsed, 0–1."""
        return self.failures / self.attempts if self.attempts else 0.0


def harvest(
    engine: Engine,
    rows: Sequence[Row],
    prompt: Prompt,
    folder: str | Path,
    *,
    seeds: int = 8,
    sampling: Sampling | None = None,
    attempts: int = 4,
    batch_size: int | None = None,
    progress: Progress = silent,
) -> HarvestSummary:
    """Ask for `seeds` texts per picture that the folder does not have yet.

    Args:
        rows: pictures, with or without scores.
        prompt: for a score or a description.
        seeds: texts per picture, of seeds 0, 1, … A later call with more seeds adds the others. At
            temperature 0 all texts of a picture are the same, and one is asked for.
        attempts: how often a text is drawn at most, where none can be parsed.
        batch_size: texts that are asked for, and written, at a time; None takes the engine's
            `chunk`.

    Raises:
        InputError: a prompt of another task, or a folder of triplets with another teacher, prompt,
            sampling, pixels or scores; or a server that does not answer any more.
    """
    if not TASKS[prompt.task].as_triplets:
        raise InputError(
            f"A harvest asks for a score or a description, not for {prompt.name!r}; "
            "`rali teach perceive` and `compare` ask the others."
        )
    batch_size = engine.chunk if batch_size is None else batch_size
    if not 1 <= seeds <= RETRY or attempts < 1 or batch_size < 1:
        raise InputError(
            f"seeds is {seeds} (expected 1 to {RETRY:,}), attempts {attempts} and batch_size "
            f"{batch_size} (expected 1 or more)."
        )
    sampling = sampling or Sampling()
    if different(prompt, sampling, 2) == 1:
        seeds, attempts = 1, 1
    folder = Path(folder)
    rows = list({row.image.resolve(): row for row in rows}.values())
    if folder.is_dir() and any(folder.glob("*.parquet")):
        check_same(rows, folder, engine.name, prompt.text)
        kept = read_triplets(folder)
    else:
        kept = []
    claim(
        folder / "harvest.json",
        {"teacher": engine.name, "weights": engine.mark, "prompt": prompt.name,
         **asdict(sampling), "pixels": list(engine.pixels)},
        lambda other: (
            f"{folder} holds a harvest with {', '.join(f'{k} {v!r}' for k, v in other.items())}; "
            "give another folder, or the same settings to resume it."
        ),
    )  # fmt: skip
    usable = {(t.image, t.seed): t.parse_ok for t in kept}
    digests: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    counts = {"attempts": 0, "failures": 0, "written": 0, "texts": 0, "given_up": 0}
    todo: list[tuple[Row, int]] = []  # a picture and the seed to draw next

    def settle(row: Row, seed: int, ok: bool) -> None:
        """Count one drawn text; draw another where it could not be parsed."""
        counts["attempts"] += 1
        counts["failures"] += not ok
        if ok:
            counts["texts"] += 1
        elif seed // RETRY + 1 < attempts:
            follow(row, seed + RETRY)
        else:
            counts["given_up"] += 1

    def follow(row: Row, seed: int) -> None:
        key = (row.image.resolve(), seed)
        if key in usable:
            settle(row, seed, usable[key])
        else:
            todo.append((row, seed))

    meter, kept_texts = Meter(engine), None
    meter.used = read_claim(folder / "summary.json").get("server")
    if isinstance(engine, Streaming):  # a batch is long: what is finished of it is kept
        engine = kept_texts = KeptTexts(engine, folder / "texts.jsonl")
        kept_texts.drop(usable)

    def summarise() -> HarvestSummary:
        summary = HarvestSummary(
            pictures=len(rows),
            unreadable=tuple(unreadable.values()),
            server=meter.read(),
            **counts,
        )
        noted = asdict(summary) | {"failure_rate": summary.failure_rate}
        write_json(noted, folder / "summary.json")
        return summary

    for first in range(0, seeds, meter.together):
        for row in rows:
            for seed in range(first, min(first + meter.together, seeds)):
                follow(row, seed)
    total = seeds * len(rows)
    with TripletWriter(folder, shard_size=batch_size) as writer:
        while todo:
            batch, todo[:] = todo[:batch_size], todo[batch_size:]
            requests = [Request((row.image,), prompt, seed) for row, seed in batch]
            asked, made = [], []
            replies = ask(engine, requests, sampling)
            for (row, seed), reply in zip(batch, replies, strict=True):
                if reply.answer is None:
                    unreadable[row.image] = str(reply.error)
                    continue
                if row.image not in digests:
                    digests[row.image] = picture_sha256(row.image)
                asked.append((row, seed))
                made.append(_triplet(row, digests[row.image], reply, prompt, engine.name, seed))
            counts["written"] += writer.add(made)
            writer.flush()
            if kept_texts:
                kept_texts.forget()
            for (row, seed), triplet in zip(asked, made, strict=True):
                settle(row, seed, triplet.parse_ok)
            todo[:] = [pair for pair in todo if pair[0].image not in unreadable]
            summarise()  # what was paid for is not forgotten by a kill
            meter.check(
                f"{counts['texts']:,} texts are kept in {folder}; the same command asks for the "
                "rest."
            )
            progress("harvest", total - len(todo), total)
    return summarise()


def first_requests(
    rows: Sequence[Row], prompt: Prompt, folder: Path, seeds: int, together: int
) -> list[Request]:
    """What a harvest into this folder asks first, in its order: the texts it does not have.

    Texts that cannot be parsed are asked for again, beside these.
    """
    kept = read_triplets(folder) if any(folder.glob("*.parquet")) else []
    have = {(t.image, t.seed % RETRY) for t in kept if t.parse_ok}
    return [
        Request((row.image,), prompt, seed)
        for first in range(0, seeds, together)
        for row in {row.image.resolve(): row for row in rows}.values()
        for seed in range(first, min(first + together, seeds))
        if (row.image.resolve(), seed) not in have
    ]


def _triplet(
    row: Row, sha256: str, reply: Reply, prompt: Prompt, teacher: str, seed: int
) -> Triplet:
    reasoning = reply.answer.reasoning if reply.answer else ""
    score = to_quality(reply.answer.value, prompt) if isinstance(reply.answer, Score) else None
    return Triplet(
        image=row.image.resolve(),
        image_sha256=sha256,
        score=row.score,
        reasoning=reasoning,
        raw_text=reply.text,
        teacher_score=score,
        teacher=teacher,
        prompt=prompt.text,
        seed=seed,
        parse_ok=reply.error is None and bool(reasoning or not prompt.reasons),
    )
