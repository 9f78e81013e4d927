"""`rali teach score | perceive | describe`: a teacher's answers about pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError

from ._answers import asking, digits, leave, write_table
from ._output import check_writable
from ._teacher import (
    BaseUrl,
    BatchSize,
    CsvOutput,
    DryRun,
    EngineName,
    EngineSet,
    Likeliest,
    MaxPixels,
    MinPixels,
    Model,
    OwnMaxTokens,
    OwnPrompt,
    OwnSamples,
    OwnTemperature,
    Pictures,
    TopK,
    TopP,
    engine_of,
    find_rows,
    prompt_option,
    show_requests,
)

if TYPE_CHECKING:
    from rali.teacher.ask import Reply
    from rali.teacher.decoding import Decoding


def score(
    pictures: Pictures,
    model: Model = "nano",
    samples: OwnSamples = None,
    engine: EngineName = "transformers",
    prompt: OwnPrompt = None,
    temperature: OwnTemperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: OwnMaxTokens = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
    dry_run: DryRun = False,
) -> None:
    """Score pictures with a teacher: the mean and the spread of several texts' scores.

    How it was asked is printed on standard error; for a manifest with human scores, SRCC and PLCC
    too.

    Example: rali teach score photo.jpg --samples 5
    """
    from rali.teacher.ask import agreement, score_requests
    from rali.teacher.ask import score as run
    from rali.teacher.decoding import decoding_of

    check_writable(output)
    how = decoding_of(
        model, prompt=prompt, samples=samples, temperature=temperature, top_p=top_p, top_k=top_k,
        max_new_tokens=max_tokens, served=engine == "openai",
    )  # fmt: skip
    rows, asked = find_rows(pictures), how.find_prompt()
    if dry_run:
        show_requests(
            engine, model,
            score_requests([row.image for row in rows], asked, how.samples, how.sampling),
            how.sampling, max_pixels, min_pixels, engine_set, base_url,
        )  # fmt: skip
    loaded = engine_of(engine, model, batch_size, max_pixels, min_pixels, engine_set, base_url)
    header = ["image", "score", "spread", "parsed", "samples", "reasoning", "error"]
    with asking(loaded, output, [how]) as asks:
        found = asks.in_chunks(
            rows,
            lambda some: run(
                asks.engine, [row.image for row in some], asked,
                samples=how.samples, sampling=how.sampling,
            ),
            max(1, loaded.chunk // how.samples),
        )  # fmt: skip
        typer.echo(f"asked: {how.words()}", err=True)
        table = [
            [str(f.image), digits(f.score), digits(f.spread), f.parsed, f.samples, f.reasoning,
             f.error or ""]
            for f in found
        ]  # fmt: skip
        write_table(header, table, output)
    if any(row.score is not None for row in rows[: len(found)]):
        values = agreement(list(zip(rows, found, strict=False)))
        srcc, plcc = values["srcc"], values["plcc"]
        typer.echo(
            "SRCC and PLCC are not defined: the scores are too few, or all the same."
            if srcc is None or plcc is None
            else f"SRCC {srcc:.3f}, PLCC {plcc:.3f}, n {values['n']}",
            err=True,
        )
    leave(len(found), len(rows), any(f.error for f in found))


def perceive(
    pictures: Pictures,
    model: Model = "nano",
    engine: EngineName = "transformers",
    prompt: Annotated[str | None, prompt_option("degradation", "q-insight/degradation")] = None,
    all_classes: Annotated[
        bool,
        typer.Option(
            "--all-classes", help="Offer twelve classes instead of the prompt's, Q-Insight's four."
        ),
    ] = False,
    temperature: Likeliest = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: OwnMaxTokens = None,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
    dry_run: DryRun = False,
) -> None:
    """Ask a teacher which degradation a picture has, and how severe it is.

    How it was asked is printed on standard error.

    Example: rali teach perceive photo.jpg --all-classes
    """
    from rali.pictures.degrade import DISTORTIONS
    from rali.teacher.answers import Degradation
    from rali.teacher.decoding import decoding_of
    from rali.teacher.prompts import with_classes
    from rali.teacher.questions import spelling_of

    check_writable(output)
    how = decoding_of(
        model, "degradation", prompt=prompt, temperature=temperature, top_p=top_p, top_k=top_k,
        max_new_tokens=max_tokens, served=engine == "openai",
    )  # fmt: skip
    if (asked := how.find_prompt()).task != "degradation":
        raise InputError(f"Perceiving needs a prompt for a degradation; given {asked.name!r}.")
    if all_classes:
        how = replace(how, prompt=spelling_of(with_classes(asked, DISTORTIONS)), source="")

    def cells(reply: Reply) -> list[Any]:
        answer = reply.answer if isinstance(reply.answer, Degradation) else None
        severity = answer.severity if answer else None
        name = answer.distortion if answer else ""
        return [name, "" if severity is None else severity, _reasoning(reply)]

    _ask_each(
        pictures, how, ["distortion", "severity", "reasoning"], cells, output, dry_run,
        engine=engine, model=model, batch_size=batch_size, max_pixels=max_pixels,
        engine_set=engine_set, base_url=base_url,
    )  # fmt: skip


def describe(
    pictures: Pictures,
    model: Model = "nano",
    engine: EngineName = "transformers",
    prompt: Annotated[str | None, prompt_option("description", "ract/description")] = None,
    temperature: Likeliest = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: OwnMaxTokens = None,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
    dry_run: DryRun = False,
) -> None:
    """Let a teacher describe the quality of pictures in its own words.

    How it was asked is printed on standard error.

    Example: rali teach describe photo.jpg
    """
    from rali.teacher.decoding import decoding_of

    check_writable(output)
    how = decoding_of(
        model, "description", prompt=prompt, temperature=temperature, top_p=top_p, top_k=top_k,
        max_new_tokens=max_tokens, served=engine == "openai",
    )  # fmt: skip
    if (asked := how.find_prompt()).task != "description":
        raise InputError(f"Describing needs a prompt for a description; given {asked.name!r}.")
    _ask_each(
        pictures, how, ["description"], lambda reply: [_reasoning(reply)], output, dry_run,
        engine=engine, model=model, batch_size=batch_size, max_pixels=max_pixels,
        engine_set=engine_set, base_url=base_url,
    )  # fmt: skip


def _ask_each(
    pictures: list[Path],
    how: Decoding,
    header: list[str],
    cells: Callable[[Reply], list[Any]],
    output: Path | None,
    dry_run: bool,
    *,
    engine: str,
    model: str,
    batch_size: int,
    max_pixels: int | None,
    engine_set: list[str] | None,
    base_url: str | None,
) -> None:
    """Ask for one text about each picture, and write a table of what `cells` makes of it."""
    from rali.teacher.ask import ask
    from rali.teacher.engines import Request

    prompt = how.find_prompt()
    requests = [Request((row.image,), prompt) for row in find_rows(pictures)]
    if dry_run:
        show_requests(engine, model, requests, how.sampling, max_pixels, None, engine_set, base_url)
    loaded = engine_of(engine, model, batch_size, max_pixels, None, engine_set, base_url)
    with asking(loaded, output, [how]) as asks:
        found = asks.in_chunks(
            requests, lambda some: ask(asks.engine, some, how.sampling), loaded.chunk
        )
        typer.echo(f"asked: {how.words()}", err=True)
        table = [[str(reply.images[0]), *cells(reply), reply.error or ""] for reply in found]
        write_table(["image", *header, "error"], table, output)
    leave(len(found), len(requests), any(reply.error for reply in found))


def _reasoning(reply: Reply) -> str:
    return getattr(reply.answer, "reasoning", "")
