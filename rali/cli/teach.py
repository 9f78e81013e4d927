"""`rali teach`: train a reasoning teacher, let it write rationales, ask it, look inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError

if TYPE_CHECKING:
    from rali.teacher.ask import Told
    from rali.teacher.engines import Engine, Sampling, TransformersEngine

app = typer.Typer(
    no_args_is_help=True,
    help="Train a reasoning teacher (GRPO, RL2R, RACT), harvest its rationales, ask it.",
)

Model = Annotated[
    str, typer.Option("--model", "-m", help="nano, a folder or a hub id of a Qwen2.5-VL.")
]
EngineName = Annotated[str, typer.Option("--engine", help="transformers or vllm.")]
Prompt = Annotated[str, typer.Option(help="Name of the prompt.")]
Temperature = Annotated[
    float, typer.Option(min=0, help="Of the sampling; 0 takes the likeliest text.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest text, in tokens.")]
MaxPixels = Annotated[
    int | None, typer.Option(help="Of a picture after its resize.", show_default="the model's own")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Texts side by side.")]
Config = Annotated[Path, typer.Option("--config", help="Settings as YAML, as in recipes/.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Run folder.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, as in lora.rank=64; repeat for more."),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder that the config's manifests and triplets are relative to."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]


@app.command("train")
def train(
    config: Config,
    output: Output,
    set_: Set = None,
    data: Data = None,
    dry_run: DryRun = False,
    processes: Annotated[
        int | None, typer.Option(help="With --dry-run: for so many GPUs, which share the model.")
    ] = None,
) -> None:
    """Train a teacher by reinforcement learning: GRPO with RL2R's or Q-Insight's rewards.

    Several processes: accelerate launch -m rali teach train … The same command started again goes
    on where it was stopped.

    Example: rali teach train --config recipes/visualquality-r1-kadid.yaml --data DATA -o runs/vq
    """
    import os
    from dataclasses import asdict

    from rali.config import from_dict
    from rali.progress import StageProgress
    from rali.teacher.grpo import GrpoConfig, ordered_examples
    from rali.teacher.grpo import train as run
    from rali.teacher.report import write_teacher_report

    settings = from_dict(GrpoConfig, _settings(config, set_, data))
    world = int(os.environ.get("WORLD_SIZE", 1))
    plan = settings.plan(processes or world if dry_run else world)
    if dry_run:
        from rali.teacher.memory import describe_memory

        examples = ordered_examples(settings, plan)
        _show(asdict(settings))
        typer.echo(plan.words())
        typer.echo(
            f"{len(examples) // plan.prompts:,} steps over {len(set(examples)):,} examples of "
            f"{len({e.dataset for e in examples})} data sets, {settings.epochs:g} epochs."
        )
        typer.echo(describe_memory(settings, plan))
        return
    with StageProgress() as progress:
        folder = run(settings, output, report=progress)
    if int(os.environ.get("RANK", 0)) == 0:
        typer.echo(f"report:  {write_teacher_report(output)}")
        typer.echo(f"teacher: {folder}")
        typer.echo(f"try:     rali teach harvest --model {folder} --manifest … -o triplets/")


@app.command("sft")
def sft(
    config: Config, output: Output, set_: Set = None, data: Data = None, dry_run: DryRun = False
) -> None:
    """Fine-tune a teacher on rationales: RACT's second stage, or the plain baseline.

    Example: rali teach sft --config recipes/ract-sft.yaml --set model=runs/rl/model -o runs/ract
    """
    import os
    from dataclasses import asdict

    from rali.config import from_dict
    from rali.progress import StageProgress
    from rali.teacher.report import write_teacher_report
    from rali.teacher.sft import SftConfig, sft_examples, train_sft

    settings = from_dict(SftConfig, _settings(config, set_, data))
    examples = sft_examples(settings)
    if dry_run:
        _show(asdict(settings))
        steps = round(settings.epochs * len(examples) / settings.batch_size)
        typer.echo(f"{len(examples):,} examples, {steps:,} steps of {settings.batch_size}.")
        return
    with StageProgress() as progress:
        folder = train_sft(settings, output, examples, report=progress)
    if int(os.environ.get("RANK", 0)) == 0:
        typer.echo(f"report:  {write_teacher_report(output)}")
        typer.echo(f"teacher: {folder}")


@app.command("harvest")
def harvest(
    manifest: Annotated[list[Path], typer.Option(help="Pictures (CSV or Parquet); repeatable.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of triplets.")],
    model: Model = "nano",
    seeds: Annotated[int, typer.Option(min=1, help="Rationales per picture.")] = 8,
    split: Annotated[
        str | None, typer.Option(help="Only this split.", show_default="all rows")
    ] = None,
    engine: EngineName = "transformers",
    prompt: Prompt = "visualquality-r1/score",
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="Tries per rationale, where one cannot be parsed.")
    ] = 4,
    batch_size: BatchSize = 32,
) -> None:
    """Let a teacher write rationales of a manifest's pictures: triplets for `rali distill`.

    The same command started again writes only what is missing.

    Example: rali teach harvest --model runs/vq/model --manifest koniq.csv --seeds 8 -o triplets/
    """
    from rali.manifest import read_manifest
    from rali.progress import StageProgress
    from rali.teacher.harvest import harvest as run
    from rali.teacher.prompts import find_prompt

    rows = [row for path in manifest for row in read_manifest(path)]
    rows = [row for row in rows if split is None or row.split == split]
    if not rows:
        raise InputError(f"no row of {', '.join(map(str, manifest))} is in split {split!r}.")
    asked = find_prompt(prompt)
    loaded = _engine(engine, model, batch_size, max_pixels)
    with StageProgress() as progress:
        summary = run(
            loaded, rows, asked, output, seeds=seeds, attempts=attempts,
            batch_size=2 * batch_size, sampling=_sampling(temperature, max_tokens),
            progress=lambda done, total: progress("harvest", done, total),
        )  # fmt: skip
    typer.echo(
        f"{summary.texts:,} rationales of {summary.pictures:,} pictures in {output} "
        f"({summary.written:,} texts new); {summary.failure_rate:.1%} of {summary.attempts:,} "
        "could not be parsed"
        + (f", {summary.given_up} were given up" if summary.given_up else "")
        + "."
    )
    for line in summary.unreadable:
        typer.echo(f"rali: left out {line}", err=True)
    if summary.unreadable:
        raise typer.Exit(1)


@app.command("score")
def score(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, folders or manifests.")],
    model: Model = "nano",
    samples: Annotated[int, typer.Option(min=1, help="Texts per picture; the mean counts.")] = 5,
    engine: EngineName = "transformers",
    prompt: Prompt = "visualquality-r1/score",
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV to write instead of the screen.")
    ] = None,
) -> None:
    """Score pictures with a teacher: mean and spread of several texts.

    Of a manifest with scores it also says SRCC and PLCC, on standard error.

    Example: rali teach score photo.jpg --model nano
    """
    from rali.cli._bar import scoring_bar
    from rali.teacher.ask import score as run
    from rali.teacher.prompts import find_prompt

    paths, truth = _pictures(pictures)
    asked = find_prompt(prompt)
    with scoring_bar() as bar:
        found = run(
            _engine(engine, model, batch_size, max_pixels), paths, asked, samples=samples,
            sampling=_sampling(temperature, max_tokens), progress=bar,
        )  # fmt: skip
    header = ["image", "score", "spread", "parsed", "samples", "reasoning", "error"]
    rows = [
        [str(f.image), _digits(f.score), _digits(f.spread), f.parsed, f.samples, f.reasoning,
         f.error or ""]
        for f in found
    ]  # fmt: skip
    _table(header, rows, output)
    pairs = [(f.score, truth[f.image]) for f in found if f.score and truth.get(f.image)]
    if len(pairs) > 2:
        from rali.metrics import plcc, srcc

        given, human = zip(*pairs, strict=True)
        typer.echo(
            f"SRCC {srcc(given, human):.3f}, PLCC {plcc(given, human):.3f}, n {len(pairs)}",
            err=True,
        )
    if any(f.error for f in found):
        raise typer.Exit(1)


@app.command("perceive")
def perceive(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, folders or manifests.")],
    model: Model = "nano",
    engine: EngineName = "transformers",
    all_classes: Annotated[
        bool, typer.Option("--all-classes", help="Twelve classes instead of Q-Insight's four.")
    ] = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.")] = None,
) -> None:
    """Ask a teacher which degradation a picture has, and how severe it is.

    Example: rali teach perceive photo.jpg --all-classes
    """
    from rali.degradations import DISTORTIONS
    from rali.teacher.answers import Degradation
    from rali.teacher.prompts import degradation_prompt

    prompt = degradation_prompt(DISTORTIONS) if all_classes else degradation_prompt()
    told = _ask_each(
        pictures, prompt, _engine(engine, model, batch_size, max_pixels),
        _sampling(temperature, max_tokens),
    )  # fmt: skip
    rows = []
    for each in told:
        answer = each.answer
        known = isinstance(answer, Degradation)
        severity = answer.severity if known else None
        rows.append(
            [str(each.images[0]), answer.distortion if known else "",
             "" if severity is None else severity, _reasoning(each), each.error or ""]
        )  # fmt: skip
    _table(["image", "distortion", "severity", "reasoning", "error"], rows, output)
    if any(each.error for each in told):
        raise typer.Exit(1)


@app.command("describe")
def describe(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, folders or manifests.")],
    model: Model = "nano",
    engine: EngineName = "transformers",
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = 32,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.")] = None,
) -> None:
    """Let a teacher describe the quality of pictures in its own words.

    Example: rali teach describe photo.jpg
    """
    from rali.teacher.prompts import find_prompt

    told = _ask_each(
        pictures, find_prompt("ract/description"), _engine(engine, model, batch_size, max_pixels),
        _sampling(temperature, max_tokens),
    )  # fmt: skip
    rows = [[str(each.images[0]), _reasoning(each), each.error or ""] for each in told]
    _table(["image", "description", "error"], rows, output)
    if any(each.error for each in told):
        raise typer.Exit(1)


@app.command("compare")
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
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.")] = None,
) -> None:
    """Ask a teacher which of two pictures is better, in both orders.

    Example: rali teach compare a.jpg b.jpg --reference original.png
    """
    from rali.manifest import read_pairs
    from rali.teacher.answers import Comparison
    from rali.teacher.ask import compare_both_ways
    from rali.teacher.prompts import find_prompt

    if second is None:
        pairs = read_pairs(first)
        shown = [(p.image_a, p.image_b, Path(p.reference) if p.reference else None) for p in pairs]
    else:
        shown = [(first, second, reference)]
    loaded = _engine(engine, model, batch_size, max_pixels)
    rows, failed = [], False
    for a, b, of in shown:
        name = "q-insight/compare-reference" if of else "q-insight/compare"
        both = compare_both_ways(
            loaded, a, b, find_prompt(name), reference=of, sampling=_sampling(0, max_tokens)
        )
        choices = [
            each.answer.choice if isinstance(each.answer, Comparison) else "" for each in both
        ]
        agreed = choices[0] if choices[0] == choices[1] else ""
        error = next((each.error for each in both if each.error), "") or ""
        failed |= bool(error)
        rows.append([str(a), str(b), agreed, *choices, _reasoning(both[0]), error])
    _table(["a", "b", "better", "as_a_b", "as_b_a", "reasoning", "error"], rows, output)
    if failed:
        raise typer.Exit(1)


@app.command("attention")
def attention(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, folders or manifests.")],
    model: Model = "nano",
    prompt: Prompt = "visualquality-r1/score",
    max_tokens: MaxTokens = 512,
    max_pixels: MaxPixels = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures to look at, at most.")] = 50,
) -> None:
    """Say where a teacher looks while it writes its score: at its reasoning or at the picture.

    Example: rali teach attention photos/ --model runs/vq/model
    """
    from rali.cli._bar import scoring_bar
    from rali.teacher.analysis import attention_share
    from rali.teacher.prompts import find_prompt

    paths, _ = _pictures(pictures)
    with scoring_bar() as bar:
        share = attention_share(
            _transformers(model, max_pixels), paths[:count], find_prompt(prompt),
            max_new_tokens=max_tokens, progress=bar,
        )  # fmt: skip
    for name in ("reasoning", "visual", "prompt", "answer"):
        typer.echo(f"{name:10} {getattr(share, name):.1%}")
    typer.echo(
        f"Without the fixed words {share.reasoning_against_visual:.1%} goes to the reasoning and "
        f"{1 - share.reasoning_against_visual:.1%} to the picture ({share.pictures} texts)."
    )


@app.command("map")
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
) -> None:
    """Map pictures of several data sets as visual tokens and as rationales, with t-SNE.

    Example: rali teach map triplets-koniq/ triplets-spaq/ --model runs/vq/model -o map.png
    """
    import numpy as np

    from rali.cli._bar import scoring_bar
    from rali.encoders import load_encoder
    from rali.plots import maps, save_png
    from rali.teacher.analysis import map_2d, separation, visual_features
    from rali.triplets import read_triplets

    chosen, groups = [], []
    for folder in triplets:
        own = {t.image: t for t in read_triplets(folder) if t.parse_ok}
        picks = np.random.default_rng(0).permutation(len(own))[:count]
        chosen += [list(own.values())[pick] for pick in sorted(picks)]
        groups += [folder.name] * len(picks)
    text = load_encoder(encoder, pretrained).text
    assert text is not None
    said = text.encode([triplet.reasoning for triplet in chosen]).numpy()
    with scoring_bar() as bar:
        seen = visual_features(
            _transformers(model, max_pixels), [t.image for t in chosen], progress=bar
        )
    panels = {"visual tokens": (map_2d(seen), groups), "rationales": (map_2d(said), groups)}
    save_png(maps(panels), output)
    if len(set(groups)) > 1:
        typer.echo(
            f"silhouette of the {len(set(groups))} groups: visual tokens "
            f"{separation(seen, groups):.3f}, rationales {separation(said, groups):.3f}"
        )
    typer.echo(f"map: {output}")


@app.command("transplant")
def transplant(
    vision: Annotated[str, typer.Option(help="Teacher whose vision tower is taken.")],
    language: Annotated[str, typer.Option(help="Teacher whose language model is taken.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new teacher.")],
    manifest: Annotated[
        list[Path] | None, typer.Option(help="Scored pictures to evaluate it on; repeatable.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Texts per picture; the mean counts.")] = 5,
    split: Annotated[str, typer.Option(help="Part of the manifests.")] = "test",
    prompt: Prompt = "visualquality-r1/score",
    max_tokens: MaxTokens = 512,
) -> None:
    """Put one teacher's vision tower to another's language model (RALI, Table 1).

    Example: rali teach transplant --vision base --language runs/vq/model -o runs/mixed
    """
    from rali.cli._bar import scoring_bar
    from rali.manifest import read_manifest
    from rali.metrics import plcc, srcc
    from rali.teacher.analysis import transplant as run
    from rali.teacher.ask import score as ask_scores
    from rali.teacher.prompts import find_prompt
    from rali.teacher.tasks import of_split

    folder = run(vision, language, output)
    typer.echo(f"teacher: {folder}")
    if not manifest:
        return
    loaded, names, cells = _transformers(str(folder), None), [], []
    for path in manifest:
        rows = [row for row in of_split(read_manifest(path), split) if row.score is not None]
        with scoring_bar() as bar:
            found = ask_scores(
                loaded, [row.image for row in rows], find_prompt(prompt), samples=samples,
                sampling=_sampling(1.0, max_tokens), progress=bar,
            )  # fmt: skip
        pairs = [(f.score, r.score) for f, r in zip(found, rows, strict=True) if f.score]
        given, human = zip(*pairs, strict=True)
        names.append(path.stem)
        cells.append(f"{plcc(given, human):.3f} / {srcc(given, human):.3f}")
    typer.echo(f"| vision tower | language model | {' | '.join(names)} |")
    typer.echo(f"| --- | --- |{' ---: |' * len(names)}")
    typer.echo(f"| {vision} | {language} | {' | '.join(cells)} |")


@app.command("sheet")
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

    typer.echo(f"sheet: {write_sheet(first, second, output, count=count)}")


def _transformers(model: str, max_pixels: int | None) -> TransformersEngine:
    from rali.teacher.engines import TransformersEngine, load_engine

    engine = load_engine("transformers", model, max_pixels=max_pixels)
    assert isinstance(engine, TransformersEngine)
    return engine


def _settings(config: Path, set_: list[str] | None, data: Path | None) -> dict[str, Any]:
    """A config's values, its relative files found under `data`."""
    from rali.config import read_yaml, with_overrides

    values = with_overrides(read_yaml(config), set_ or [])
    if data is None:
        return values

    def found(path: Any) -> Any:
        return str(data / path) if isinstance(path, str) else path

    for part in [*(values.get("tasks") or []), values.get("watch") or {}]:
        if "manifests" in part:
            part["manifests"] = [found(path) for path in part["manifests"]]
    for source in values.get("sources") or []:
        source["triplets"] = found(source.get("triplets", ""))
    return values


def _show(settings: dict[str, Any]) -> None:
    from rali.errors import require

    typer.echo(require("yaml", "data").safe_dump(settings, sort_keys=False).rstrip())
    typer.echo()


def _engine(engine: str, model: str, batch_size: int, max_pixels: int | None) -> Engine:
    from rali.teacher.engines import load_engine

    return load_engine(engine, model, batch_size=batch_size, max_pixels=max_pixels)


def _sampling(temperature: float, max_tokens: int) -> Sampling:
    from rali.teacher.engines import Sampling

    return Sampling(temperature=temperature, max_new_tokens=max_tokens)


def _pictures(paths: list[Path]) -> tuple[list[Path], dict[Path, float]]:
    """The pictures that paths and manifests name, and the scores that manifests give."""
    from rali.manifest import read_manifest
    from rali.pictures import find_pictures

    found: list[Path] = []
    truth: dict[Path, float] = {}
    for path in paths:
        if path.suffix.lower() in (".csv", ".parquet"):
            rows = read_manifest(path)
            found += [row.image for row in rows]
            truth |= {row.image: row.score for row in rows if row.score is not None}
        else:
            found += find_pictures([path])
    if not found:
        raise InputError(f"there are no pictures in {', '.join(map(str, paths))}.")
    return found, truth


def _ask_each(pictures: list[Path], prompt: Any, engine: Engine, sampling: Sampling) -> list[Told]:
    from rali.cli._bar import scoring_bar
    from rali.teacher.ask import ask
    from rali.teacher.engines import Request

    paths, _ = _pictures(pictures)
    with scoring_bar() as bar:
        return ask(engine, [Request((path,), prompt) for path in paths], sampling, progress=bar)


def _reasoning(told: Told) -> str:
    return getattr(told.answer, "reasoning", "")


def _digits(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


def _table(header: list[str], rows: list[list[Any]], output: Path | None) -> None:
    """CSV to a file; on the screen one block per picture, as texts are long."""
    import csv
    import io

    if output is not None:
        from rali.files import replace_atomically

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        replace_atomically(output, lambda path: path.write_text(buffer.getvalue(), "utf-8"))
        return
    for row in rows:
        for name, value in zip(header, row, strict=True):
            if value != "":
                shown = value if isinstance(value, str) else json.dumps(value)
                typer.echo(f"{name}: {shown}")
        typer.echo()
