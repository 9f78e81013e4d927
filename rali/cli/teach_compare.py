"""`rali teach compare`: which of two pictures a teacher finds better, asked in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError

from ._answers import asking, leave, write_table
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
    Model,
    OwnMaxTokens,
    TopK,
    TopP,
    engine_of,
    prompt_option,
    show_requests,
)

if TYPE_CHECKING:
    from rali.teacher.ask import Reply
    from rali.teacher.decoding import Decoding
    from rali.teacher.engines import Engine


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
        prompt_option(
            "comparison", "q-insight/compare, with a reference q-insight/compare-reference"
        ),
    ] = None,
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
    """Ask a teacher which of two pictures is better, once in each order.

    How it was asked is printed on standard error.

    Example: rali teach compare a.jpg b.jpg --reference original.png
    """
    from rali.data.manifest import read_pairs
    from rali.teacher.answers import Comparison
    from rali.teacher.ask import comparison_requests
    from rali.teacher.decoding import decoding_of

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
    hows = {
        shown: decoding_of(
            model, "comparison", reference=shown, prompt=prompt, temperature=temperature,
            top_p=top_p, top_k=top_k, max_new_tokens=max_tokens,
            served=engine == "openai",
        )
        for shown in dict.fromkeys(pair[2] is not None for pair in pairs)
    }  # fmt: skip
    prompts = {shown: how.find_prompt() for shown, how in hows.items()}
    requests = [  # a prompt that does not suit is told at once
        each for pair in pairs for each in comparison_requests([pair], prompts[pair[2] is not None])
    ]
    if dry_run:
        sampling = next(how.sampling for how in hows.values())
        show_requests(engine, model, requests, sampling, max_pixels, None, engine_set, base_url)
    loaded = engine_of(engine, model, batch_size, max_pixels, None, engine_set, base_url)
    with asking(loaded, output, list(hows.values())) as asks:
        found = asks.in_chunks(
            pairs, lambda some: _compare(asks.engine, some, hows), max(1, loaded.chunk // 2)
        )
        for how in hows.values():
            typer.echo(f"asked: {how.words()}", err=True)
        table, failed = [], False
        for (a, b, _), both in zip(pairs, found, strict=False):
            choices = [
                each.answer.choice if isinstance(each.answer, Comparison) else "" for each in both
            ]
            agreed = choices[0] if choices[0] == choices[1] else ""
            error = next((each.error for each in both if each.error), "") or ""
            failed |= bool(error)
            reasoning = getattr(both[0].answer, "reasoning", "")
            table.append([str(a), str(b), agreed, *choices, reasoning, error])
        header = ["a", "b", "better", "as_a_b", "as_b_a", "reasoning", "error"]
        write_table(header, table, output)
    leave(len(found), len(pairs), failed)


def _compare(
    engine: Engine,
    pairs: Sequence[tuple[Path, Path, Path | None]],
    hows: Mapping[bool, Decoding],
) -> list[tuple[Reply, Reply]]:
    """Compare pairs, each as `hows` says of those with a reference (True) or without."""
    from rali.teacher.ask import compare_both_ways

    found: dict[int, tuple[Reply, Reply]] = {}
    for shown, how in hows.items():
        places = [place for place, pair in enumerate(pairs) if (pair[2] is not None) == shown]
        own = [pairs[place] for place in places]
        replies = compare_both_ways(engine, own, prompt=how.find_prompt(), sampling=how.sampling)
        found |= dict(zip(places, replies, strict=True))
    return [found[place] for place in range(len(pairs))]
