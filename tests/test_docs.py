"""What README and docs tell a reader to type is run: with small files in place of the reader's own.

Each command and each block of Python is a test of its own, in a folder where all names that a
reader has (photos/, manifest.csv, runs/mine/model, …) exist. What takes longer than seconds is not
run; then the real command line parses it, and the reason is given here.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from rali.cli import app
from rali.recipes import recipes

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "recipes" / "sweeps" / "README.md",
]

# Commands that are parsed but not run as they stand: how they begin, and why.
NOT_RUN = {
    "rali quickstart": "it trains for six minutes; tests/cli/test_quickstart.py runs it",
    "rali bench": "it takes minutes; tests/export/test_speed.py runs it",
    "rali probe": "it climbs gradients for minutes; tests/rewards/test_probe.py runs it",
    "rali serve": "it runs until it is stopped; the test of curl starts it",
    "rali export builtin --web": "npm fetches ONNX Runtime; tests/export/test_web.py runs it",
    "rali export runs/mine/model --web": "npm fetches ONNX Runtime, as above",
    "rali export runs/mine/model --format tflite": "tests/export/test_formats.py",
    "rali export runs/mine/model --format coreml": "as above",
    "rali export runs/mine/model --format openvino": "as above",
    "rali export runs/mine/model --hub": "it writes three files; tests/export/test_hub.py",
    "rali convert official-rali": "tests/student/test_convert.py runs it on a small release",
    "rali figure scores": "it needs a run; tests/evaluation/test_analysis.py runs it",
    "rali figure efficiency": "it starts many processes; tests/evaluation/test_analysis.py runs it",
    "rali teach train --config visualquality-r1-kadid --data DATA -o runs/vq --set trl.use_vllm": (
        "it needs vLLM; tests/with_vllm/test_rollouts.py trains so"
    ),
    "rali teach sft": "it trains; tests/teacher/test_training.py runs it",
    "rali teach harvest --model runs/vq/model": "RACT's harvest runs, of fewer texts",
    "rali teach harvest --model DATA/teacher/model": "as above",
    "rali teach harvest --engine ray": "it needs GPUs; with_vllm/test_ray_engine.py asks nano",
    "rali teach harvest --engine openai": "it needs a server; tests/teacher/test_openai_engine.py",
    "rali teach score photos/ --engine openai": "as above",
    "rali evaluate teacher:MODEL": "as above",
    "rali export runs/mine/model --image": "README's export runs",
    "rali data import biq2021": "tests/data/test_releases.py runs it on a small release",
}
# Run with --dry-run added: they check everything and stop where the training would begin.
DRY = ("rali distill", "rali teach train", "rali sweep")
SLOW = ("rali teach", "rali figure", "rali export", "rali distill", "accelerate")

# In place of what this machine does not have.
STAND_INS = {
    '("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"})': '"CPUExecutionProvider"',
    '"cuda"': '"cpu"',
    '"CUDAExecutionProvider", ': "",
    '("OpenVINOExecutionProvider", {"device_type": "CPU"})': '"CPUExecutionProvider"',
}
# Blocks that import one of these run where it is installed; `make test-integrations` has most.
ENGINES = ("ray", "daft", "pyspark", "cleanvision", "fiftyone", "nemo_curator", "pyiqa")
LANGUAGES = {
    "sh": "each command is run or parsed",
    "python": "each block is run",
    "yaml": "read, and a prompt's question is asked for; Data-Juicer's recipe has its own test",
    "csv": "read as a manifest",
    "text": "a formula or a folder, nothing to type",
    "bibtex": "nothing to type",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    found, start, language, lines = [], 0, "", list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif not start:
            start, language, lines = number, line[3:].strip(), []
        else:
            found.append(Block(page, start, language, "\n".join(lines)))
            start = 0
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command; a `$(…)` stays one word."""
    text = block.text.replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def marks(text: str) -> list[pytest.MarkDecorator]:
    return (
        [pytest.mark.slow]
        if text.startswith(SLOW) or re.search("--engine ray|import ray|rali.teacher", text)
        else []
    )


FIRST: dict[str, Block] = {}  # a command that several pages have is run once
for each in of("sh"):
    for words in commands_of(each):
        FIRST.setdefault(shlex.join(words), each)
COMMANDS = [
    pytest.param(block, shlex.split(text), id=f"{block} {text[:60]}", marks=marks(text))
    for text, block in FIRST.items()
]


# ── the reader's files ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, photographs) -> Path:
    """A folder with everything that the pages name."""
    from rali.data.manifest import Row, write_manifest
    from rali.data.reference_rationales import build_reference_triplets
    from rali.pictures.degrade import degrade

    here = tmp_path_factory.mktemp("workshop")
    small = {
        name: np.asarray(Image.fromarray(rgb).resize((96, 72))) for name, rgb in photographs.items()
    }
    kinds = ("blur", "noise", "compression", "darken", "pixelate")
    pictures = {
        f"{name}_{kind.replace(' ', '_')}{severity}": degrade(rgb, kind, severity)
        for name, rgb in small.items()
        for kind in kinds
        for severity in (1, 4)
    }
    (here / "labelled").mkdir()
    rows = []
    for number, (name, rgb) in enumerate(pictures.items()):
        path = here / "labelled" / f"{name}.png"
        Image.fromarray(rgb).save(path)
        split = ("train", "val", "val", "test", "test")[number // 10]
        score = 1 + 4 * (number * 37 % 50) / 50
        rows.append(Row(path, score, score, "mine", name.partition("_")[0], split))
    for name, dataset in {"koniq": "koniq10k", "csiq": "csiq"}.items():
        named = [dataclasses.replace(row, dataset=dataset) for row in rows]
        write_manifest(named, here / f"{name}.csv")
    for name in ("manifest", "all"):
        write_manifest(rows, here / f"{name}.csv")
    (here / "photos").mkdir()
    for row in rows[::9]:
        shutil.copy(row.image, here / "photos")
    for name in ("photo.jpg", "a.jpg", "holiday.jpg"):
        Image.fromarray(small["coffee"]).save(here / name)
    _save_heic(small["china"], here / "b.heic")
    (here / "broken.jpg").write_text("no picture")
    table = [
        "image,mos,scene",
        *(f"{row.image.name},{row.score / 5},{row.content}" for row in rows[::9]),
    ]
    (here / "index.csv").write_text("\n".join(table))
    predicted = ["image,predicted", *(f"labelled/{row.image.name},{row.score}" for row in rows)]
    (here / "predictions.csv").write_text("\n".join(predicted))
    _make_koniq10k(here / "koniq10k", small["flower"])
    _make_csiq(here / "CSIQ", small["flower"])
    train = [row for row in rows if row.split == "train"]
    texts = ("triplets", "triplets-koniq", "triplets-spaq", "DATA/triplets", "DATA/harvested")
    for name in texts:
        build_reference_triplets(train, here / name, count=2)
    _make_data(here / "DATA", rows)
    write_manifest(rows, here / "runs" / "data" / "biq2021.csv")
    for name in ("PHOTOGRAPHS", "OTHER_PHOTOGRAPHS"):
        (here / name).mkdir()
        shutil.copy(here / "a.jpg", here / name)
    for model in ("runs/mine/model", "model"):
        shutil.copytree(ROOT / "rali" / "builtin", here / model)
    for name in ("openvino_int8.onnx", "coreml.onnx"):
        shutil.copy(here / "model" / "onnx" / "model.onnx", here / name)
    shutil.copytree(ROOT / "examples" / "integrations", here, dirs_exist_ok=True)
    shutil.make_archive(str(here / "photos"), "zip", here / "photos")
    for name in ("vq", "nano", "ract-rl-koniq"):
        shutil.copytree(ROOT / "teacher" / "nano_weights", here / "runs" / name / "model")
    for name in ("results", "other"):
        evaluate = ["rali", "evaluate", here / "predictions.csv", here / "manifest.csv"]
        run([*map(str, evaluate), "--output", str(here / name)])
    run(["rali", "score", str(here / "photos"), "--output", str(here / "scores")])
    (here / "bad.txt").write_text("\n".join(map(str, sorted((here / "photos").iterdir()))))
    (here / "part-07").write_text("photos.zip\n")
    _make_head(here, rows)
    shutil.copy(recipes()["nano-biq2021"], here / "mine.yaml")
    shutil.copy(recipes()["visualquality-r1-kadid"], here / "teacher.yaml")
    return here


def _make_head(here: Path, rows: list[Any]) -> None:
    """Embeddings of the manifest, the head over them and scores by it."""
    from rali.data.features import Features
    from rali.distill.head import HeadConfig, distill_head

    vectors = np.random.default_rng(0).normal(size=(len(rows), 8)).astype(np.float32)
    table = {"image": [row.image.name for row in rows], "embedding": vectors.tolist()}
    parquet.write_table(pa.table(table), here / "embeddings.parquet")
    distill_head(HeadConfig(), rows, Features(here / "embeddings.parquet"), here / "runs" / "head")
    shutil.copy(here / "predictions.csv", here / "scored.csv")


def _make_data(data: Path, rows: list[Any]) -> None:
    """Data sets large enough for a step of the papers' trainings, which compare 128 pictures."""
    from rali.data.manifest import write_manifest

    contents = dict.fromkeys(row.content for row in rows)
    splits = dict(zip(contents, ("train", "train", "train", "val", "test"), strict=True))
    many = []
    for number in range(240):
        row = rows[number % len(rows)]
        image = data / "pictures" / f"{number}.png"
        split = splits[row.content]
        many.append(dataclasses.replace(row, image=image, split=split))
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.image, image)
    for name in ("biq2021", "kadid", "koniq", "spaq", "degraded/manifest", "held-out/manifest"):
        (data / name).parent.mkdir(exist_ok=True)
        write_manifest(many, data / f"{name}.csv")


def _save_heic(rgb: np.ndarray, path: Path) -> None:
    import pillow_heif

    pillow_heif.from_pillow(Image.fromarray(rgb)).save(path)


def _make_koniq10k(root: Path, rgb: np.ndarray) -> None:
    (root / "1024x768").mkdir(parents=True)
    lines = ["image_name,MOS,SD,set"]
    for number, part in enumerate(("training", "validation", "test")):
        Image.fromarray(rgb).save(root / "1024x768" / f"{number}.jpg")
        lines.append(f"{number}.jpg,{30 + 20 * number},0.5,{part}")
    (root / "koniq10k_distributions_sets.csv").write_text("\n".join(lines))


def _make_csiq(root: Path, rgb: np.ndarray) -> None:
    from openpyxl import Workbook

    (root / "dst_imgs" / "blur").mkdir(parents=True)
    (root / "src_imgs").mkdir()
    book = Workbook()
    page = book.active
    page.title = "all_by_image"
    page.append(["image", "dst_type", "dst_lev", "dmos_std", "dmos"])
    Image.fromarray(rgb).save(root / "src_imgs" / "boston.png")
    for level in (1, 2):
        Image.fromarray(rgb).save(root / "dst_imgs" / "blur" / f"boston.BLUR.{level}.png")
        page.append(["boston", "blur", level, 0.05, 0.3 * level])
    book.save(root / "csiq.DMOS.xlsx")


@pytest.fixture
def here(workshop, tmp_path, monkeypatch) -> Path:
    """A copy of the workshop, which is the working directory."""
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `rali` would run, and what it is given."""
    command, rest = typer.main.get_command(app), words[1:]
    while rest and (known := commands_in(command)):
        assert rest[0] in known, f"{command.name} has no command {rest[0]!r}"
        command, rest = known[rest[0]], rest[1:]
    return command, rest


def commands_in(command: Any) -> dict[str, Any]:
    """The commands of a group; none of a command."""
    if not hasattr(command, "list_commands"):
        return {}
    context = command.make_context(command.name, [], resilient_parsing=True)
    return {name: command.get_command(context, name) for name in command.list_commands(context)}


def parse(words: list[str]) -> None:
    """Every option is there and has a value that it takes.

    Raises:
        Exception: typer's, which says what is wrong.
    """
    command, rest = command_of(words)
    command.make_context(command.name, list(rest))


def run(words: list[str]) -> str:
    done = CliRunner().invoke(app, words[1:])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    close = 3 if words[1] == "compare" else 0  # too close to call
    assert done.exit_code in (0, close), done.output
    return done.stdout


def check_rali(words: list[str]) -> None:
    """Run a command for the first time, or parse it where `NOT_RUN` says why."""
    for option, value in itertools.pairwise(words):
        if option in ("-o", "--output") and Path(value).is_dir():
            shutil.rmtree(value)
        elif option in ("-o", "--output"):
            Path(value).unlink(missing_ok=True)
    if ">" in words:  # into a file
        words, target = words[: words.index(">")], Path(words[-1])
        target.write_text(run(words), "utf-8")
        return
    text = " ".join(words)
    if text.startswith(tuple(NOT_RUN)):
        parse(words)
    elif text.startswith(DRY) and "--dry-run" not in words:
        run([*words, "--dry-run"])
    else:
        run(words)


def check_accelerate(words: list[str]) -> None:
    """accelerate's own options, and behind `-m rali` a command of rali, which is not run: GPUs."""
    from accelerate.commands.launch import launch_command_parser

    substitution = re.compile(r"^\$\((rali .+)\)$")
    own = words[2 : words.index("-m")]
    for place, word in enumerate(own):
        if found := substitution.match(word):
            own[place] = run(shlex.split(found[1])).strip()
            assert Path(own[place]).is_file()
    launch_command_parser().parse_args([*own, "script"])
    rest = words[words.index("-m") + 1 :]
    run([*rest, "--dry-run"] if rest[1:3] == ["teach", "train"] else rest)


def check_pip(words: list[str]) -> None:
    """The extras exist. Nothing is installed."""
    from packaging.requirements import Requirement

    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.M))
    assert words[1] == "install"
    for word in words[2:]:
        requirement = Requirement(word)
        if requirement.name == "rali":
            assert requirement.extras <= extras


def check_python(words: list[str]) -> None:
    """A program of the repository: it is there and knows the options. Most train for long."""
    program = ROOT / words[1]
    assert program.is_file()
    beside = [program, *program.parent.glob("*.py")] if "rlhf" in words[1] else [program]
    text = "".join(path.read_text("utf-8") for path in beside)
    for option in (word for word in words[2:] if word.startswith("-")):
        assert f'"{option}"' in text, f"{words[1]} has no {option}"


def check_make(words: list[str]) -> None:
    """The target exists. It sets up an environment and takes minutes."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert words[1] in targets, f"there is no make {words[1]}"


def check_curl(words: list[str]) -> None:
    """A real server answers it."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl here")
    command = [sys.executable, "-m", "rali", "serve", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = server.stderr.readline().split()[-1]
        port = address.split(":")[2].partition("/")[0]
        asked = [word.replace(":8000", f":{port}") for word in words[1:]]
        reply = subprocess.run([curl, "-s", *asked], capture_output=True, text=True, check=True)
        assert 1 <= json.loads(reply.stdout)["results"][0]["score"] <= 5
    finally:
        server.kill()


def check_server(words: list[str]) -> None:
    """Another project's command, for a machine with a GPU: it starts a model's server."""
    assert words[:2] in (["vllm", "serve"], ["ollama", "pull"])


def check_data_juicer(words: list[str]) -> None:
    """tests/with_integrations/test_data_juicer.py runs it, on the page's recipe."""
    assert words == ["dj-process", "--config", "recipe.yaml"]


CHECKS = {
    "dj-process": check_data_juicer,
    "vllm": check_server,
    "ollama": check_server,
    "rali": check_rali,
    "accelerate": check_accelerate,
    "make": check_make,
    "pip": check_pip,
    "python": check_python,
    "curl": check_curl,
}


@pytest.mark.parametrize(("block", "words"), COMMANDS)
def test_command(block, words, here, monkeypatch):
    while "=" in words[0]:  # RALI_TOKEN=secret rali …
        name, _, value = words[0].partition("=")
        monkeypatch.setenv(name, value)
        words = words[1:]
    CHECKS[words[0]](words)


def test_every_reason_not_to_run_is_needed():
    for begin in (*NOT_RUN, *DRY, *SLOW):
        assert any(begin in text for text in FIRST), f"{begin} is in no page"


# ── blocks of other languages ────────────────────────────────────────────────────────────────────


def test_every_block_says_its_language():
    assert {block.language for block in BLOCKS} == set(LANGUAGES)


@pytest.mark.parametrize(
    "block", [pytest.param(b, id=str(b), marks=marks(b.text)) for b in of("python")]
)
def test_python_block_runs(block, here, monkeypatch):
    """Names that a reader has already are a batch of pictures and of a model's inputs."""
    import torch

    text = block.text
    for engine in ENGINES:
        if re.search(rf"^(import|from) {engine}\b", text, re.MULTILINE):
            pytest.importorskip(engine)
            if engine == "pyspark" and not shutil.which("java"):
                pytest.skip("Spark needs Java: apt-get install default-jre-headless")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # else python3, of another environment
    for asked, stand_in in STAND_INS.items():
        text = text.replace(asked, stand_in)
    monkeypatch.syspath_prepend(here)  # examples/integrations/ has been copied there
    monkeypatch.setenv("PYTHONPATH", str(here))
    names = {
        "decoded": torch.rand(1, 3, 64, 80, requires_grad=True),
        "pixel_values": torch.rand(1, 3, 512, 512),
        "vectors": np.ones((2, 8), np.float32),
    }
    exec(compile(text, str(block), "exec"), names)


@pytest.mark.parametrize("block", [b for b in of("yaml") if "process:" not in b.text], ids=str)
def test_a_yaml_block_is_a_question_or_part_of_a_recipe(block, here, monkeypatch):
    from rali.runs.config import from_dict, read_yaml
    from rali.teacher.grpo import GrpoConfig
    from rali.teacher.questions import find_prompt

    (here / "own.yaml").write_text(block.text, "utf-8")
    values = read_yaml("own.yaml")
    if "question" in values:
        assert find_prompt("own.yaml").task == "score"
        return
    (here / "my_rewards.py").write_text("def short(completion):\n    return 0.0\n")
    monkeypatch.syspath_prepend(here)
    assert from_dict(GrpoConfig, {"tasks": [values]} if "prompt" in values else values).tasks


@pytest.mark.parametrize("block", of("csv"), ids=str)
def test_a_table_is_a_manifest(block, here):
    from rali.data.manifest import read_manifest

    (here / "table.csv").write_text(block.text, "utf-8")
    assert read_manifest("table.csv")


# ── prose ────────────────────────────────────────────────────────────────────────────────────────


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def words_in_code(page: Path) -> list[str]:
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))


def options_of(command: Any) -> set[str]:
    options = {name for parameter in command.params for name in parameter.opts}
    options |= {name for p in command.params for name in getattr(p, "secondary_opts", ())}
    for inner in commands_in(command).values():
        options |= options_of(inner)
    return options | {"--help", "-h"}


def resolve(name: str) -> Any:
    """A dotted name: a module, or an attribute of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no {name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_in_prose_exist(page):
    everything = options_of(typer.main.get_command(app))
    for code in words_in_code(page):
        if code.startswith("rali "):
            words = shlex.split(code.partition(" > ")[0])
            command, rest = command_of(words)
            given = [word for word in rest if word.startswith("-")]
            assert set(given) <= options_of(command), code
            if words[1] == "sweep":
                assert words[2] in recipes()
        elif code.startswith("--"):
            assert re.split(r"[ =]", code)[0] in everything, code
        elif code.startswith("python "):
            check_python(shlex.split(code.partition(" > ")[0]))
        elif code.startswith("make "):
            check_make(code.split())
        elif found := re.match(r"from (rali\S*) import (\w+)", code):
            resolve(f"{found[1]}.{found[2]}")
        elif re.fullmatch(r"rali(\.\w+)+", code) and not code.endswith((".toml", ".yaml")):
            resolve(code)
        elif re.fullmatch(r"(docs|examples|benchmarks|recipes|tests)/[\w./-]+", code):
            assert "NAME" in code or (ROOT / code).exists(), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_api_pages_name_what_there_is(page):
    for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE):
        module = name.removeprefix("rali.").replace(".", "/")
        inside = module.partition("/")[0] in ("teacher", "export", "recipes")
        path = ROOT / module if inside else ROOT / "rali" / module
        if not (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()):
            resolve(name)


def test_every_module_is_on_an_api_page():
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    # The first page shows these by their public names.
    shown |= {"rali.scoring.scorer", "rali.student.student", "rali.rewards.reward"}
    shown |= {"rali.student.pyiqa_metric", "rali.version"}
    for package, folder in (
        ("rali", "rali"),
        ("rali.teacher", "teacher"),
        ("rali.export", "export"),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if parts[0] != "cli" and not path.stem.startswith("_"):
                own = ".".join([package, *parts])
                importer = own.startswith("rali.data.importers.")
                assert own in shown or importer, f"{own} is on no page of docs/api"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_readme_is_short_and_names_both_commands_early():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 800
    assert text.index("`make quickstart`") < text.index("`make test`") < text.index("```")
    assert (ROOT / "docs" / "explain.png").stat().st_size <= 300_000


def test_every_benchmark_is_in_the_index():
    index = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    for path in (ROOT / "benchmarks").rglob("*.md"):
        if path.name != "README.md":
            name = path.relative_to(ROOT / "benchmarks").as_posix()
            row = next((line for line in index.splitlines() if f"({name})" in line), "")
            assert "`" in row.partition(f"({name})")[2], f"{name} has no command in the index"
