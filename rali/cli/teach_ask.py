"""`rali teach score | perceive | describe | compare`: a teacher's answers about pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    MaxPixels,
    MaxTokens,
    MinPixels,
    Model,
    OwnMaxTokens,
    OwnPrompt,
    OwnSamples,
    OwnTemperature,
    Pictures,
    Temperature,
    TopK,
    TopP,
    engine_of,
    find_rows,
    show_requests,
)

if TYPE_CHECKING:
    from rali.data.manifest import Row
    from rali.teacher.ask import Reply
    from rali.teacher.engines import Engine, Request, Sampling
    from rali.teacher.prompts import Prompt


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
        max_new_tokens=max_tokens,
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
    with asking(loaded, output) as asks:
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
    all_classes: Annotated[
        bool,
        typer.Option("--all-classes", help="Offer twelve classes instead of Q-Insight's four."),
    ] = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
    dry_run: DryRun = False,
) -> None:
    """Ask a teacher which degradation a picture has, and how severe it is.

    Example: rali teach perceive photo.jpg --all-classes
    """
    from rali.pictures.degrade import DISTORTIONS
    from rali.teacher.answers import Degradation
    from rali.teacher.engines import Sampling
    from rali.teacher.prompts import degradation_prompt

    check_writable(output)
    rows = find_rows(pictures)
    prompt = degradation_prompt(DISTORTIONS) if all_classes else degradation_prompt()
    sampling = Sampling(temperature, max_new_tokens=max_tokens)
    if dry_run:
        show_requests(
            engine, model, _requests(rows, prompt), sampling, max_pixels, None, engine_set,
            base_url,
        )  # fmt: skip
    loaded = engine_of(engine, model, batch_size, max_pixels, None, engine_set, base_url)

    def cells(reply: Reply) -> list[Any]:
        answer = reply.answer if isinstance(reply.answer, Degradation) else None
        severity = answer.severity if answer else None
        name = answer.distortion if answer else ""
        return [name, "" if severity is None else severity, _reasoning(reply)]

    _ask_each(
        rows, prompt, loaded, sampling,
        ["distortion", "severity", "reasoning"], cells, output,
    )  # fmt: skip


def describe(
    pictures: Pictures,
    model: Model = "nano",
    engine: EngineName = "transformers",
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
    dry_run: DryRun = False,
) -> None:
    """Let a teacher describe the quality of pictures in its own words.

    Example: rali teach describe photo.jpg
    """
    from rali.teacher.engines import Sampling
    from rali.teacher.questions import find_prompt

    check_writable(output)
    rows, prompt = find_rows(pictures), find_prompt("ract/description")
    sampling = Sampling(temperature, max_new_tokens=max_tokens)
    if dry_run:
        show_requests(
            engine, model, _requests(rows, prompt), sampling, max_pixels, None, engine_set,
            base_url,
        )  # fmt: skip
    loaded = engine_of(engine, model, batch_size, max_pixels, None, engine_set, base_url)
    _ask_each(
        rows, prompt, loaded, sampling, ["description"],
        lambda reply: [_reasoning(reply)], output,
    )  # fmt: skip


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="FIRST", help="Picture A, or a manifest of pairs.")
    ],
    second: Annotated[
        Path | None,
        typer.Argument(metavar="SECOND", help="Picture B.", show_default="none, for a manifest"),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The picture that both should look like.",
            show_default="none, or the manifest's",
        ),
    ] = None,
    model: Model = "nano",
    engine: EngineName = "transformers",
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The prompt for a comparison: its name, or a YAML file with a question of your "
            "own.",
            show_default="q-insight/compare, with a reference q-insight/compare-reference",
        ),
    ] = None,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
    dry_run: DryRun = False,
) -> None:
    """Ask a teacher which of two pictures is better, once in each order.

    Example: rali teach compare a.jpg b.jpg --reference original.png
    """
    from rali.data.manifest import read_pairs
    from rali.teacher.answers import Comparison
    from rali.teacher.ask import compare_both_ways, comparison_requests
    from rali.teacher.engines import Sampling
    from rali.teacher.questions import find_prompt

    check_writable(output)
    if second is not None:
        pairs = [(first, second, reference)]
    elif first.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{first} is one picture; give a second one to compare it with.")
    else:
        pairs = [
            (pair.image_a, pair.image_b, Path(pair.reference) if pair.reference else reference)
            for pair in read_pairs(first)
        ]
    sampling = Sampling(0, max_new_tokens=max_tokens)
    asked = None if prompt is None else find_prompt(prompt)
    requests = comparison_requests(pairs, asked)  # a prompt that does not suit is told at once
    if dry_run:
        show_requests(engine, model, requests, sampling, max_pixels, None, engine_set, base_url)
    loaded = engine_of(engine, model, batch_size, max_pixels, None, engine_set, base_url)
    with asking(loaded, output) as asks:
        found = asks.in_chunks(
            pairs,
            lambda some: compare_both_ways(asks.engine, some, prompt=asked, sampling=sampling),
            max(1, loaded.chunk // 2),
        )
        table, failed = [], False
        for (a, b, _), both in zip(pairs, found, strict=False):
            choices = [
                each.answer.choice if isinstance(each.answer, Comparison) else "" for each in both
            ]
            agreed = choices[0] if choices[0] == choices[1] else ""
            error = next((each.error for each in both if each.error), "") or ""
            failed |= bool(error)
            table.append([str(a), str(b), agreed, *choices, _reasoning(both[0]), error])
        header = ["a", "b", "better", "as_a_b", "as_b_a", "reasoning", "error"]
        write_table(header, table, output)
    leave(len(found), len(pairs), failed)


def _ask_each(
    rows: list[Row],
    prompt: Prompt,
    engine: Engine,
    sampling: Sampling,
    header: list[str],
    cells: Callable[[Reply], list[Any]],
    output: Path | None,
) -> None:
    """Ask for one text about each picture, and write a table of what `cells` makes of it."""
    from rali.teacher.ask import ask

    with asking(engine, output) as asks:
        found = asks.in_chunks(
            rows,
            lambda some: ask(asks.engine, _requests(some, prompt), sampling),
            engine.chunk,
        )
        table = [[str(reply.images[0]), *cells(reply), reply.error or ""] for reply in found]
        write_table(["image", *header, "error"], table, output)
    leave(len(found), len(rows), any(reply.error for reply in found))


def _requests(rows: Sequence[Row], prompt: Prompt) -> list[Request]:
    from rali.teacher.engines import Request

    return [Request((row.image,), prompt) for row in rows]


def _reasoning(reply: Reply) -> str:
    return getattr(reply.answer, "reasoning", "")
