"""`rali teach`: train a reasoning teacher, harvest its rationales, ask it, look into it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError, require

from . import teach_analyse as analyse
from . import teach_ask as ask
from ._config import Config
from ._teacher import (
    BaseUrl,
    BatchSize,
    EngineName,
    EngineSet,
    MaxPixels,
    MinPixels,
    Model,
    OwnMaxTokens,
    OwnPrompt,
    OwnTemperature,
    TopK,
    TopP,
    engine_of,
    server_config,
    show_requests,
)
from ._teacher import DryRun as ServerDryRun
from .teach_compare import compare

if TYPE_CHECKING:
    from rali.teacher.dry_run import DryRun

app = typer.Typer(
    no_args_is_help=True,
    help="Train a reasoning teacher (GRPO, RL2R, RACT), harvest its rationales, or ask it.\n\n"
    "Example: rali teach score photo.jpg",
)
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Run folder, which gets the teacher.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting that overrides the config's, such as lora.rank=64; repeat for more.",
        show_default="none",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder that the config's manifests and triplets are relative to.",
        show_default="the current folder",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the settings, the batch in words, GPU memory and all that would stop the "
        "training, in seconds and without a network, and stop.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --dry-run, the number of processes (GPUs) that would share the model.",
        show_default="those of accelerate launch, or the config's gpus",
    ),
]


@app.command("train")
def train(
    config: Config,
    output: Output,
    set_: Set = None,
    data: Data = None,
    dry_run: DryRun = False,
    processes: Processes = None,
) -> None:
    """Train a teacher by reinforcement learning: GRPO with RL2R's, Q-Insight's or other rewards.

    The same command resumes a training that was stopped. For several GPUs, type `accelerate launch
    -m rali teach train` and the same options.

    Example: rali teach train --config q-insight --data DATA -o runs/q-insight
    """
    from rali.runs.config import from_dict
    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress
    from rali.teacher.grpo import GrpoConfig
    from rali.teacher.grpo import train as run

    settings = from_dict(GrpoConfig, _settings(config, set_, data))
    if dry_run:
        from rali.teacher.dry_run import grpo_dry_run

        found = grpo_dry_run(settings, _counted(processes, settings.gpus))
        _say(settings, found, launched=bool(processes))
        return
    with alone_in(output), StageProgress("reward") as progress:
        folder = run(settings, output, progress=progress)
    from rali.teacher.report import write_teacher_report

    if int(os.environ.get("RANK", 0)) == 0:
        typer.echo(f"report:  {write_teacher_report(output)}")
        typer.echo(f"teacher: {folder}")
        typer.echo(f"try:     rali teach harvest --model {folder} --manifest … -o triplets/")


@app.command("sft")
def sft(
    config: Config,
    output: Output,
    set_: Set = None,
    data: Data = None,
    dry_run: DryRun = False,
    processes: Processes = None,
) -> None:
    """Fine-tune a teacher on rationales: RACT's third stage, or the plain baseline.

    The same command resumes a training that was stopped. For several GPUs, type `accelerate launch
    -m rali teach sft` and the same options.

    Example: rali teach sft --config ract-sft --data DATA -o runs/ract
    """
    from rali.runs.config import from_dict
    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress
    from rali.teacher.sft import SftConfig, train_sft

    settings = from_dict(SftConfig, _settings(config, set_, data))
    if dry_run:
        from rali.teacher.dry_run import sft_dry_run

        found = sft_dry_run(settings, _counted(processes, settings.gpus))
        _say(settings, found, launched=bool(processes))
        return
    with alone_in(output), StageProgress() as progress:
        folder = train_sft(settings, output, progress=progress)
    from rali.teacher.report import write_teacher_report

    if int(os.environ.get("RANK", 0)) == 0:
        typer.echo(f"report:  {write_teacher_report(output)}")
        typer.echo(f"teacher: {folder}")


@app.command("harvest")
def harvest(
    manifest: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="A manifest (CSV or Parquet); repeat for more."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of triplets to write.")
    ],
    model: Model = "nano",
    seeds: Annotated[int, typer.Option(min=1, help="Rationales per picture.")] = 8,
    split: Annotated[
        str | None,
        typer.Option(help="Only rows of this split: train, val or test.", show_default="all rows"),
    ] = None,
    engine: EngineName = "transformers",
    prompt: OwnPrompt = None,
    temperature: OwnTemperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: OwnMaxTokens = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="At most this many tries for a text that cannot be parsed.")
    ] = 4,
    batch_size: BatchSize = 32,
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    dry_run: ServerDryRun = False,
) -> None:
    """Let a teacher write rationales of a manifest's pictures: triplets for `rali distill`.

    The same command resumes a harvest that was stopped, and writes only what is missing.

    Example: rali teach harvest -m runs/vq/model --manifest koniq.csv -o triplets
    """
    from rali.data.manifest import read_manifest, select
    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress
    from rali.teacher.decoding import decoding_of
    from rali.teacher.harvest import first_requests
    from rali.teacher.harvest import harvest as run
    from rali.teacher.meter import server_line
    from rali.teacher.requests import different

    rows = select([row for path in manifest for row in read_manifest(path)], split)
    if not rows:
        within = "" if split is None else f" in split {split!r}"
        raise InputError(f"There is no picture{within} of {', '.join(map(str, manifest))}.")
    how = decoding_of(
        model, prompt=prompt, samples=seeds, temperature=temperature, top_p=top_p, top_k=top_k,
        max_new_tokens=max_tokens, served=engine == "openai",
    )  # fmt: skip
    asked = how.find_prompt()
    if (differ := different(asked, how.sampling, seeds)) < seeds:
        typer.echo(
            f"rali: all {seeds} texts of a picture would be the same; asking once.", err=True
        )
        seeds = differ
    if dry_run:
        together = server_config(engine_set, base_url).texts_per_request
        requests = first_requests(rows, asked, output, seeds, together)
        show_requests(
            engine, model, requests, how.sampling, max_pixels, min_pixels, engine_set, base_url
        )
    loaded = engine_of(engine, model, batch_size, max_pixels, min_pixels, engine_set, base_url)
    with alone_in(output), StageProgress() as progress:
        summary = run(
            loaded, rows, asked, output, seeds=seeds, attempts=attempts,
            sampling=how.sampling, progress=progress,
        )  # fmt: skip
    typer.echo(
        f"{summary.texts:,} rationales of {summary.pictures:,} pictures in {output} "
        f"({summary.written:,} texts new); {summary.failure_rate:.1%} of {summary.attempts:,} "
        "could not be parsed"
        + (f", {summary.given_up} were given up" if summary.given_up else "")
        + "."
    )
    typer.echo(f"asked: {how.words()}")
    if summary.server:
        typer.echo(server_line(summary.server))
    for line in summary.unreadable:
        typer.echo(f"rali: left out {line}", err=True)
    if summary.unreadable:
        raise typer.Exit(1)


app.command("score")(ask.score)
app.command("perceive")(ask.perceive)
app.command("describe")(ask.describe)
app.command("compare")(compare)
app.command("attention")(analyse.attention)
app.command("map")(analyse.map_)
app.command("transplant")(analyse.transplant)
app.command("sheet")(analyse.sheet)


def _settings(config: Path, set_: list[str] | None, data: Path | None) -> dict[str, Any]:
    """A config's values, with its relative files below `data`; wrong values are found later."""
    from rali.runs.config import read_yaml, with_overrides

    values = with_overrides(read_yaml(config), set_ or [])
    if data is None:
        return values

    def below(place: Any, key: str) -> None:
        given = place.get(key) if isinstance(place, dict) else None
        if isinstance(given, str):
            place[key] = str(data / given)
        elif isinstance(given, list):
            place[key] = [str(data / path) if isinstance(path, str) else path for path in given]

    for name, key in (("tasks", "manifests"), ("sources", "triplets")):
        listed = values.get(name)
        for part in listed if isinstance(listed, list) else []:
            below(part, key)
    below(values.get("watch"), "manifests")
    return values


def _counted(processes: int | None, gpus: int) -> int:
    """The number of processes that a dry run counts with."""
    return processes or int(os.environ.get("WORLD_SIZE", gpus))


def _say(settings: Any, found: DryRun, *, launched: bool) -> None:
    """Print what a training would do; then an error, where something would stop it.

    Args:
        launched: whether the number of processes was given, not taken from the recipe.
    """
    typer.echo(require("yaml", "data").safe_dump(asdict(settings), sort_keys=False).rstrip())
    typer.echo()
    for line in found.lines:
        typer.echo(line)
    if settings.gpus > 1 and not launched and "WORLD_SIZE" not in os.environ:
        typer.echo(
            f"Counted with the recipe's {settings.gpus} GPUs, which take: accelerate launch "
            f"--num_processes {settings.gpus} -m rali teach …; typed alone, the command trains on "
            "one (--processes 1 counts with it)."
        )
    found.check()
