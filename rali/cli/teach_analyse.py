"""`rali teach attention | map | transplant | sheet`: looking inside teachers (RALI §3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._bar import scoring_bar
from ._output import check_writable
from ._teacher import (
    MaxPixels,
    MaxTokens,
    Model,
    Pictures,
    PromptName,
    Samples,
    digits,
    find_rows,
    transformers_engine,
)


def attention(
    pictures: Pictures,
    model: Model = "nano",
    prompt: PromptName = "visualquality-r1/score",
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures to look at, at most.")] = 50,
) -> None:
    """Say where a teacher looks while it writes its score: at its reasoning or at the picture.

    Example: rali teach attention photos/ --model runs/vq/model
    """
    from rali.teacher.analysis import attention_share
    from rali.teacher.prompts import find_prompt

    paths = [row.image for row in find_rows(pictures)]
    with scoring_bar() as bar:
        share = attention_share(
            transformers_engine(model, max_pixels), paths[:count], find_prompt(prompt),
            max_new_tokens=max_tokens, progress=bar,
        )  # fmt: skip
    for name in ("reasoning", "visual", "prompt", "answer"):
        typer.echo(f"{name:10} {getattr(share, name):.1%}")
    typer.echo(
        f"Without the fixed words {share.reasoning_against_visual:.1%} goes to the reasoning and "
        f"{1 - share.reasoning_against_visual:.1%} to the picture ({share.pictures} texts)."
    )


def map_(
    triplets: Annotated[
        list[Path], typer.Argument(help="Folders of triplets, one per data set or teacher.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")],
    model: Model = "nano",
    max_pixels: MaxPixels = None,
    encoder: Annotated[
        str, typer.Option(help="Whose text tower embeds the rationales: nano or open_clip's.")
    ] = "nano",
    pretrained: Annotated[str | None, typer.Option(help="Its weights.")] = None,
    count: Annotated[int, typer.Option(min=5, help="Pictures per folder, at most.")] = 200,
    by_score: Annotated[
        bool, typer.Option("--by-score", help="Rationales alone, coloured by human score.")
    ] = False,
) -> None:
    """Map pictures of several data sets as visual tokens and as rationales, with t-SNE.

    With --by-score: whether rationales of a teacher lie in order of people's scores.

    Example: rali teach map triplets-koniq/ triplets-spaq/ --model runs/vq/model -o map.png
    """
    import numpy as np

    from rali.data.triplets import read_triplets
    from rali.evaluation.analysis import map_2d
    from rali.report.plots import maps, save_png, score_maps
    from rali.student.encoders import load_encoder
    from rali.teacher.analysis import separation, visual_features

    check_writable(output)
    chosen, groups = [], []
    for folder in triplets:
        own = {t.image: t for t in read_triplets(folder) if t.parse_ok}
        picks = np.random.default_rng(0).permutation(len(own))[:count]
        chosen += [list(own.values())[pick] for pick in sorted(picks)]
        groups += [str(folder)] * len(picks)
    text = load_encoder(encoder, pretrained).text
    assert text is not None
    said = text.encode([triplet.reasoning for triplet in chosen]).numpy()
    if by_score:
        scores = np.array([np.nan if t.score is None else t.score for t in chosen])
        clouds = {}
        for name in dict.fromkeys(groups):
            mine = np.array([group == name for group in groups])
            clouds[name] = map_2d(said[mine]), scores[mine]
        save_png(score_maps(clouds), output)
        typer.echo(f"map: {output}")
        return
    with scoring_bar() as bar:
        seen = visual_features(
            transformers_engine(model, max_pixels), [t.image for t in chosen], progress=bar
        )
    panels = {"visual tokens": (map_2d(seen), groups), "rationales": (map_2d(said), groups)}
    save_png(maps(panels), output)
    if len(set(groups)) > 1:
        typer.echo(
            f"silhouette of the {len(set(groups))} groups: visual tokens "
            f"{separation(seen, groups):.3f}, rationales {separation(said, groups):.3f}"
        )
    typer.echo(f"map: {output}")


def transplant(
    vision: Annotated[str, typer.Option(help="Teacher whose vision tower is taken.")],
    language: Annotated[str, typer.Option(help="Teacher whose language model is taken.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new teacher.")],
    manifest: Annotated[
        list[Path] | None, typer.Option(help="Scored pictures to evaluate it on; repeatable.")
    ] = None,
    samples: Samples = 5,
    split: Annotated[str, typer.Option(help="Part of the manifests.")] = "test",
    prompt: PromptName = "visualquality-r1/score",
    max_tokens: MaxTokens = 512,
) -> None:
    """Put one teacher's vision tower to another's language model (RALI, Table 1).

    Example: rali teach transplant --vision base --language runs/vq/model -o runs/mixed
    """
    from rali.data.manifest import read_manifest
    from rali.teacher.analysis import transplant as run
    from rali.teacher.ask import agreement
    from rali.teacher.ask import score as ask_scores
    from rali.teacher.engines import Sampling
    from rali.teacher.prompts import find_prompt
    from rali.teacher.tasks import of_split

    folder = run(vision, language, output)
    typer.echo(f"teacher: {folder}")
    if not manifest:
        return
    loaded, names, cells = transformers_engine(str(folder)), [], []
    sampling = Sampling(1.0, max_new_tokens=max_tokens)
    for path in manifest:
        rows = [row for row in of_split(read_manifest(path), split) if row.score is not None]
        with scoring_bar() as bar:
            found = ask_scores(
                loaded, [row.image for row in rows], find_prompt(prompt), samples=samples,
                sampling=sampling, progress=bar,
            )  # fmt: skip
        values = agreement(list(zip(rows, found, strict=True)))
        names.append(path.stem)
        cells.append(f"{digits(values['plcc']) or '—'} / {digits(values['srcc']) or '—'}")
    typer.echo(f"| vision tower | language model | {' | '.join(names)} |")
    typer.echo(f"| --- | --- |{' ---: |' * len(names)}")
    typer.echo(f"| {vision} | {language} | {' | '.join(cells)} |")


def sheet(
    first: Annotated[Path, typer.Argument(help="Triplets of one teacher.")],
    second: Annotated[Path, typer.Argument(help="Triplets of another.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML page to write.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures.")] = 12,
) -> None:
    """Lay pictures out with what two teachers said of them, side by side.

    Example: rali teach sheet triplets-vq/ triplets-ract/ -o sheet.html
    """
    from rali.teacher.sheets import write_sheet

    check_writable(output)
    typer.echo(f"sheet: {write_sheet(first, second, output, count=count)}")
