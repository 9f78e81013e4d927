"""`rali teach score | perceive | describe | compare`: a teacher's answers about pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError

from ._output import check_writable
from ._teacher import (
    BatchSize,
    CsvOutput,
    EngineName,
    EngineSet,
    MaxPixels,
    MaxTokens,
    MinPixels,
    Model,
    Pictures,
    PromptName,
    Samples,
    Temperature,
    TopP,
    digits,
    engine_of,
    find_rows,
    in_chunks,
    leave,
    write_table,
)

if TYPE_CHECKING:
    from rali.data.manifest import Row
    from rali.teacher.ask import Told
    from rali.teacher.engines import Engine, Sampling
    from rali.teacher.prompts import Prompt

CHUNK = 4  # times the texts side by side: what a stop may lose


def score(
    pictures: Pictures,
    model: Model = "nano",
    samples: Samples = 5,
    engine: EngineName = "transformers",
    prompt: PromptName = "visualquality-r1/score",
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 512,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    engine_set: EngineSet = None,
    output: CsvOutput = None,
) -> None:
    """Score pictures with a teacher: mean and spread of several texts.

    Of a manifest with scores it also says SRCC and PLCC, on standard error.

    Example: rali teach score photo.jpg --model nano
    """
    from rali.teacher.ask import agreement
    from rali.teacher.ask import score as run
    from rali.teacher.engines import Sampling
    from rali.teacher.prompts import find_prompt

    check_writable(output)
    rows, asked = find_rows(pictures), find_prompt(prompt)
    loaded = engine_of(engine, model, batch_size, max_pixels, min_pixels, engine_set)
    sampling = Sampling(temperature, top_p, max_tokens)
    found = in_chunks(
        rows,
        lambda some: run(
            loaded, [row.image for row in some], asked, samples=samples, sampling=sampling
        ),
        max(1, CHUNK * batch_size // samples),
    )
    header = ["image", "score", "spread", "parsed", "samples", "reasoning", "error"]
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
            "SRCC and PLCC are not defined for these few or equal scores."
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
        bool, typer.Option("--all-classes", help="Twelve classes instead of Q-Insight's four.")
    ] = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    output: CsvOutput = None,
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
    loaded = engine_of(engine, model, batch_size, max_pixels)
    prompt = degradation_prompt(DISTORTIONS) if all_classes else degradation_prompt()

    def cells(told: Told) -> list[Any]:
        known = told.answer if isinstance(told.answer, Degradation) else None
        severity = known.severity if known else None
        name = known.distortion if known else ""
        return [name, "" if severity is None else severity, _reasoning(told)]

    _ask_each(
        rows, prompt, loaded, Sampling(temperature, max_new_tokens=max_tokens),
        ["distortion", "severity", "reasoning"], cells, CHUNK * batch_size, output,
    )  # fmt: skip


def describe(
    pictures: Pictures,
    model: Model = "nano",
    engine: EngineName = "transformers",
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    output: CsvOutput = None,
) -> None:
    """Let a teacher describe the quality of pictures in its own words.

    Example: rali teach describe photo.jpg
    """
    from rali.teacher.engines import Sampling
    from rali.teacher.prompts import find_prompt

    check_writable(output)
    rows = find_rows(pictures)
    loaded = engine_of(engine, model, batch_size, max_pixels)
    _ask_each(
        rows, find_prompt("ract/description"), loaded,
        Sampling(temperature, max_new_tokens=max_tokens), ["description"],
        lambda told: [_reasoning(told)], CHUNK * batch_size, output,
    )  # fmt: skip


def compare(
    first: Annotated[Path, typer.Argument(help="Picture A, or a manifest of pairs.")],
    second: Annotated[Path | None, typer.Argument(help="Picture B.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="The picture that both are meant to be.")
    ] = None,
    model: Model = "nano",
    engine: EngineName = "transformers",
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    output: CsvOutput = None,
) -> None:
    """Ask a teacher which of two pictures is better, in both orders.

    Example: rali teach compare a.jpg b.jpg --reference original.png
    """
    from rali.data.manifest import read_pairs
    from rali.teacher.answers import Comparison
    from rali.teacher.ask import compare_both_ways
    from rali.teacher.engines import Sampling

    check_writable(output)
    if second is not None:
        pairs = [(first, second, reference)]
    elif first.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{first} is one picture; give another to compare it with.")
    else:
        pairs = [
            (pair.image_a, pair.image_b, Path(pair.reference) if pair.reference else reference)
            for pair in read_pairs(first)
        ]
    loaded = engine_of(engine, model, batch_size, max_pixels)
    sampling = Sampling(0, max_new_tokens=max_tokens)
    found = in_chunks(
        pairs,
        lambda some: compare_both_ways(loaded, some, sampling=sampling),
        max(1, CHUNK * batch_size // 2),
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
    cells: Callable[[Told], list[Any]],
    chunk: int,
    output: Path | None,
) -> None:
    """One text about each picture, as a table of what `cells` makes of it."""
    from rali.teacher.ask import ask
    from rali.teacher.engines import Request

    found = in_chunks(
        rows,
        lambda some: ask(engine, [Request((row.image,), prompt) for row in some], sampling),
        chunk,
    )
    table = [[str(told.images[0]), *cells(told), told.error or ""] for told in found]
    write_table(["image", *header, "error"], table, output)
    leave(len(found), len(rows), any(told.error for told in found))


def _reasoning(told: Told) -> str:
    return getattr(told.answer, "reasoning", "")
