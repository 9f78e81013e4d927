"""`rali probe`: how a model scores patterns, artefacts and adversaries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError, PictureError
from rali.files import replace_atomically

from ._model import STUDENT_HELP
from ._output import check_output

if TYPE_CHECKING:
    from rali.rewards.probe import Probe


def probe(
    model: Annotated[str, typer.Argument(help=STUDENT_HELP)] = "builtin",
    photographs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of good photographs that the model was not trained on.",
            show_default="samples from scikit-learn and scikit-image",
        ),
    ] = None,
    caution: Annotated[
        float,
        typer.Option(min=0, help="Guard: subtract this many standard deviations over five crops."),
    ] = 1.0,
    cutoff: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Guard: distance from the bases beyond which the score falls.",
            show_default="the distance that 99 % of real photographs keep within",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of gradient ascent per adversary.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the noise and text in patterns.")] = 0,
    device: Annotated[str, typer.Option(help="Device of the model, such as cpu or cuda.")] = "cpu",
    sheet: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="PNG file to write, with one picture per probe."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Try a reward with patterns, mosaics, artefacts and adversaries.

    The table shows the mean and highest score of each probe's pictures, the
    highest with guards, the score they are compared with, and a verdict.
    The exit status is 1 if a probe fails.

    Example: rali probe builtin --sheet probes.png
    """
    from rali.errors import require

    require("torch", "distill")
    from rali.pictures.read import find_pictures, open_picture
    from rali.pictures.samples import IN_COLOUR, sample_photographs
    from rali.rewards import RaliReward
    from rali.rewards.probe import contact_sheet
    from rali.rewards.probe import probe as run
    from rali.runs.progress import StageProgress

    if sheet:
        check_output(sheet, (".png",))
    reward = RaliReward(model, device=device)
    if photographs is None:
        given = sample_photographs(IN_COLOUR)
    else:
        given = []
        for path in find_pictures([photographs]):
            try:
                given.append(open_picture(path))
            except PictureError as error:
                typer.echo(f"{path}: {error} It is left out.", err=True)
    if len(given) < 2:
        raise InputError(f"{photographs} holds {len(given)} pictures; expected 2 or more.")
    guards = {"caution": caution, "cutoff": "familiar" if cutoff is None else cutoff}
    found: list[Probe] = []
    try:
        with StageProgress(resumes=False) as progress:
            probes = run(reward, given, guards=guards, seed=seed, steps=steps, progress=progress)
            for each in probes:
                found.append(each)
    finally:  # also print what was found before a stop
        if found and sheet:
            image = contact_sheet(found)
            replace_atomically(sheet, lambda path: image.save(path, "PNG"))
        if found and as_json:
            rows = [
                {key: value for key, value in asdict(each).items() if key != "picture"}
                for each in found
            ]
            typer.echo(json.dumps({"model": model, "guards": guards, "probes": rows}, indent=1))
        elif found:
            typer.echo(table(found))
    if any(each.passed is False for each in found):
        raise typer.Exit(1)


def table(found: Sequence[Probe]) -> str:
    """Markdown, a line per probe."""
    lines = [
        "| probe | | score | highest | guarded | beside | verdict | |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for each in found:
        verdict = {True: "passed", False: "FAILED", None: ""}[each.passed]
        lines.append(
            f"| {each.group} | {each.name} | {each.score:.2f} | {each.highest:.2f} | "
            f"{each.guarded:.2f} | {each.reference:.2f} | {verdict} | {each.note} |"
        )
    return "\n".join(lines)
