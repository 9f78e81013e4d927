"""Harvest: a teacher looks at every picture with several seeds, and what it says is kept.

In come an engine, manifest rows and a prompt; out comes a folder of triplets (SPEC §3), beside
`harvest.json`, how they were drawn, and `summary.json`, what came of it. A text that cannot be
parsed is kept too, marked, and asked for again with another seed, up to a limit. A run
that is killed loses at most the batch in flight; started again it does only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rali.data.manifest import Row
from rali.data.triplets import Triplet, TripletWriter, check_same, read_triplets
from rali.errors import InputError
from rali.files import image_sha256, replace_atomically
from rali.runs.progress import Progress

from .answers import Score
from .ask import Told, ask
from .engines import Engine, Request, Sampling
from .prompts import Prompt
from .tasks import to_quality

RETRY = 1_000_000  # attempt a at seed s is drawn with the seed s + a · RETRY


@dataclass(frozen=True)
class HarvestSummary:
    """What a harvest's folder holds of what was asked for.

    Attributes:
        pictures: that were asked about. texts: usable ones, `seeds` per picture at best.
        written: texts that this call added, usable or not.
        attempts, failures: texts drawn so far, and how many of them could not be parsed.
        given_up: (picture, seed) pairs that stayed without a usable text.
        unreadable: pictures left out, each with the reason.
    """

    pictures: int
    texts: int
    written: int
    attempts: int
    failures: int
    given_up: int
    unreadable: tuple[str, ...] = ()

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
    batch_size: int = 64,
    progress: Progress | None = None,
) -> HarvestSummary:
    """Ask for `seeds` texts per picture that the folder does not have yet.

    Args:
        rows: pictures, with or without scores.
        prompt: for a score or a description.
        seeds: texts per picture, of seeds 0, 1, … A later call with more adds the others.
        attempts: how often a text that cannot be parsed is drawn in all.
        batch_size: texts asked for, and kept, at a time.
        progress: called with (texts settled, texts).

    Raises:
        InputError: a prompt of another task, or a folder with another teacher's texts, another
            prompt's, those of other sampling or pixels, or with other scores.
    """
    if prompt.task not in ("score", "description"):
        raise InputError(
            f"a harvest asks for a score or a description, not for {prompt.name!r}; "
            "`rali teach perceive` and `compare` ask the others."
        )
    if not 1 <= seeds <= RETRY or attempts < 1 or batch_size < 1:
        raise InputError(
            f"seeds is {seeds} (expected 1 to {RETRY:,}), attempts {attempts} and batch_size "
            f"{batch_size} (expected 1 or more)."
        )
    sampling = sampling or Sampling()
    folder = Path(folder)
    rows = list({row.image.resolve(): row for row in rows}.values())
    if folder.is_dir() and any(folder.glob("*.parquet")):
        check_same(rows, folder, engine.name, prompt.text)
        known = read_triplets(folder)
    else:
        known = []
    _claim(folder, {"teacher": engine.name, "weights": engine.mark, "prompt": prompt.name,
                    **asdict(sampling), "pixels": list(engine.pixels)})  # fmt: skip
    usable = {(t.image, t.seed): t.parse_ok for t in known}
    digests: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    counts = {"attempts": 0, "failures": 0, "written": 0, "texts": 0, "given_up": 0}
    todo: list[tuple[Row, int]] = []  # a picture and the seed to draw next

    def settle(row: Row, seed: int, ok: bool) -> None:
        """Count one drawn text; ask again where it was of no use."""
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

    for seed in range(seeds):
        for row in rows:
            follow(row, seed)
    total = seeds * len(rows)
    with TripletWriter(folder, shard_size=batch_size) as writer:
        while todo:
            batch, todo[:] = todo[:batch_size], todo[batch_size:]
            requests = [Request((row.image,), prompt, seed) for row, seed in batch]
            asked, made = [], []
            answers = ask(engine, requests, sampling, batch_size=batch_size)
            for (row, seed), told in zip(batch, answers, strict=True):
                if told.answer is None:
                    unreadable[row.image] = str(told.error)
                    continue
                if row.image not in digests:
                    digests[row.image] = image_sha256(row.image)
                asked.append((row, seed))
                made.append(_triplet(row, digests[row.image], told, prompt, engine.name, seed))
            counts["written"] += writer.add(made)
            writer.flush()
            for (row, seed), triplet in zip(asked, made, strict=True):
                settle(row, seed, triplet.parse_ok)
            todo[:] = [pair for pair in todo if pair[0].image not in unreadable]
            if progress:
                progress(total - len(todo), total)
    summary = HarvestSummary(
        pictures=len(rows),
        unreadable=tuple(unreadable.values()),
        **counts,
    )
    _write_json(asdict(summary) | {"failure_rate": summary.failure_rate}, folder / "summary.json")
    return summary


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note how texts are drawn beside the shards; refuse a folder of texts drawn otherwise."""
    file = folder / "harvest.json"
    if file.is_file():
        known = json.loads(file.read_text("utf-8"))
        other = [f"{k} {known.get(k)!r}" for k, v in settings.items() if known.get(k, v) != v]
        if other:
            raise InputError(
                f"{folder} holds a harvest with {', '.join(other)}; give another folder, or the "
                "same settings to go on."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(settings, file)


def _write_json(values: dict[str, Any], path: Path) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    replace_atomically(path, lambda target: target.write_text(text, "utf-8"))


def _triplet(row: Row, digest: str, told: Told, prompt: Prompt, teacher: str, seed: int) -> Triplet:
    reasoning = told.answer.reasoning if told.answer else ""
    score = to_quality(told.answer.value, prompt) if isinstance(told.answer, Score) else None
    return Triplet(
        image=row.image.resolve(),
        image_sha256=digest,
        score=row.score,
        reasoning=reasoning,
        raw_text=told.text,
        teacher_score=score,
        teacher=teacher,
        prompt=prompt.text,
        seed=seed,
        parse_ok=told.error is None and bool(reasoning or not prompt.reasons),
    )
