"""`rali teach attention | map | transplant | sheet`: looking into teachers (RALI §3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._answers import digits
from ._bar import scoring_bar
from ._model import TEACHER_HELP
from ._output import FIGURES, check_output
from ._teacher import (
    MaxPixels,
    MaxTokens,
    Model,
    Pictures,
    PromptName,
    Samples,
    find_rows,
    transformers_engine,
)


def attention(
    pictures: Pictures,
    model: Model = "nano",
    prompt: PromptName = "visualquality-r1/score",
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    count: Annotated[int, typer.Option(min=1, help="Look at this many pictures at most.")] = 50,
) -> None:
    """Measure where a teacher looks when it writes a score: at its reasoning or at the picture.

    It prints shares of the attention of the tokens that write the score, as in RALI's Fig. 3.

    Example: rali teach attention photos/ --model runs/vq/model
    """
    from rali.teacher.analysis import attention_share
    from rali.teacher.questions import find_prompt

    paths = [row.image for row in find_rows(pictures)]
    with scoring_bar() as progress:
        share = attention_share(
            transformers_engine(model, max_pixels), paths[:count], find_prompt(prompt),
            max_new_tokens=max_tokens, progress=progress,
        )  # fmt: skip
    for name in ("reasoning", "visual", "prompt", "answer"):
        typer.echo(f"{name:10} {getattr(share, name):.1%}")
    typer.echo(
        f"Without the prompt's fixed words, {share.reasoning_against_visual:.1%} goes to the "
        f"reasoning and {1 - share.reasoning_against_visual:.1%} to the picture ({share.pictures} "
        "texts)."
    )


def map_(
    triplets: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRIPLETS", help="Folders of triplets, one per data set or teacher."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="File to write: .png, .pdf or .svg."),
    ],
    model: Model = "nano",
    max_pixels: MaxPixels = None,
    encoder: Annotated[
        str,
        typer.Option(help="The encoder that embeds rationales: nano or an open_clip name."),
    ] = "nano",
    pretrained: Annotated[
        str | None,
        typer.Option(help="The encoder's weights, by their open_clip tag.", show_default="none"),
    ] = None,
    count: Annotated[
        int, typer.Option(min=5, help="Take this many pictures of each folder at most.")
    ] = 200,
    by_score: Annotated[
        bool,
        typer.Option("--by-score", help="Map only the rationales, coloured by human score."),
    ] = False,
) -> None:
    """Draw t-SNE maps of several data sets, by visual tokens and by rationales.

    With --by-score the maps show whether a teacher's rationales lie in the order of human scores.

    Example: rali teach map triplets-koniq triplets-spaq --count 100 -o map.png
    """
    import numpy as np

    from rali.data.triplets import read_triplets
    from rali.evaluation.analysis import map_2d
    from rali.report.canvas import save_figure
    from rali.report.maps import group_maps, score_maps
    from rali.student.encoders import load_encoder
    from rali.teacher.analysis import separation, visual_features

    check_output(output, FIGURES)
    chosen, groups = [], []
    for folder in triplets:
        own = {t.image: t for t in read_triplets(folder) if t.parse_ok}
        picks = np.random.default_rng(0).permutation(len(own))[:count]
        chosen += [list(own.values())[pick] for pick in sorted(picks)]
        groups += [str(folder)] * len(picks)
    text = load_encoder(encoder, pretrained).text
    assert text is not None
    embedded = text.encode([triplet.reasoning for triplet in chosen]).numpy()
    if by_score:
        scores = np.array([np.nan if t.score is None else t.score for t in chosen])
        clouds = {}
        for name in dict.fromkeys(groups):
            mine = np.array([group == name for group in groups])
            clouds[name] = map_2d(embedded[mine]), scores[mine]
        save_figure(score_maps(clouds), output)
        typer.echo(f"map: {output}")
        return
    with scoring_bar() as progress:
        tokens = visual_features(
            transformers_engine(model, max_pixels), [t.image for t in chosen], progress=progress
        )
    panels = {"visual tokens": (map_2d(tokens), groups), "rationales": (map_2d(embedded), groups)}
    save_figure(group_maps(panels), output)
    if len(set(groups)) > 1:
        typer.echo(
            f"silhouette of the {len(set(groups))} groups: visual tokens "
            f"{separation(tokens, groups):.3f}, rationales {separation(embedded, groups):.3f}"
        )
    typer.echo(f"map: {output}")


def transplant(
    vision: Annotated[
        str, typer.Option(metavar="MODEL", help=f"Whose vision tower is taken: {TEACHER_HELP}")
    ],
    language: Annotated[
        str, typer.Option(metavar="MODEL", help=f"Whose language model is taken: {TEACHER_HELP}")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the new teacher.")
    ],
    manifest: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A manifest with human scores to evaluate it on; repeat for more.",
            show_default="none",
        ),
    ] = None,
    samples: Samples = 5,
    split: Annotated[
        str, typer.Option(help="Only rows of this split: train, val or test.")
    ] = "test",
    prompt: PromptName = "visualquality-r1/score",
    max_tokens: MaxTokens = 512,
) -> None:
    """Join one teacher's vision tower and another's language model (RALI, Table 1).

    Example: rali teach transplant --vision nano --language runs/vq/model -o mixed
    """
    from rali.data.manifest import read_manifest
    from rali.teacher.analysis import transplant as run
    from rali.teacher.ask import agreement
    from rali.teacher.ask import score as ask_scores
    from rali.teacher.engines import Sampling
    from rali.teacher.examples import of_split
    from rali.teacher.questions import find_prompt

    folder = run(vision, language, output)
    typer.echo(f"teacher: {folder}")
    if not manifest:
        return
    loaded, names, cells = transformers_engine(str(folder)), [], []
    sampling = Sampling(1.0, max_new_tokens=max_tokens)
    for path in manifest:
        rows = [row for row in of_split(read_manifest(path), split) if row.score is not None]
        with scoring_bar() as progress:
            found = ask_scores(
                loaded, [row.image for row in rows], find_prompt(prompt), samples=samples,
                sampling=sampling, progress=progress,
            )  # fmt: skip
        values = agreement(list(zip(rows, found, strict=True)))
        names.append(path.stem)
        cells.append(f"{digits(values['plcc']) or '—'} / {digits(values['srcc']) or '—'}")
    typer.echo(f"| vision tower | language model | {' | '.join(names)} |")
    typer.echo(f"| --- | --- |{' ---: |' * len(names)}")
    typer.echo(f"| {vision} | {language} | {' | '.join(cells)} |")


def sheet(
    first: Annotated[
        Path, typer.Argument(metavar="FIRST", help="Folder of one teacher's triplets.")
    ],
    second: Annotated[
        Path, typer.Argument(metavar="SECOND", help="Folder of another teacher's triplets.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="HTML page to write.")
    ],
    count: Annotated[int, typer.Option(min=1, help="Show this many pictures at most.")] = 12,
) -> None:
    """Show pictures with the rationales of two teachers, side by side.

    Example: rali teach sheet triplets-vq triplets-ract -o sheet.html
    """
    from rali.teacher.sheets import write_sheet

    check_output(output, (".html", ".htm"))
    typer.echo(f"sheet: {write_sheet(first, second, output, count=count)}")
