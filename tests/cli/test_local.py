"""An address in the place of a path is refused by every command, before it does anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from rali.cli import app
from rali.cli._local import refuse_address
from rali.errors import InputError

SCORE = ["score", "a.png"]
COMMANDS = [
    [*SCORE, "-o", "s3://bucket/x"],
    [*SCORE, "-o", "gs://bucket/scores.csv"],
    [*SCORE, "--copy-to", "s3://bucket/x"],
    [*SCORE, "--move-to", "s3://bucket/x"],
    [*SCORE, "--map", "s3://bucket/maps"],
    [*SCORE, "--report", "s3://bucket/page.html"],
    [*SCORE, "--embeddings", "s3://bucket/v.npy"],
    ["evaluate", "builtin", "m.csv", "-o", "s3://bucket/x"],
    ["distill", "m.csv", "-o", "s3://bucket/x"],
    ["export", "builtin", "-o", "s3://bucket/x.onnx"],
    ["data", "degrade", "a.png", "-o", "s3://bucket/x"],
    ["data", "import", "koniq10k", ".", "-o", "s3://bucket/m.csv"],
    ["data", "import", "folder", ".", "-o", "https://example.org/m.csv"],
    ["teach", "harvest", "--manifest", "m.csv", "-o", "s3://bucket/x"],
    ["teach", "score", "a.png", "-o", "memory://x.csv"],
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    Path("m.csv").write_text("image,score,split\na.png,3,train\n")
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_outputs(words: list[str], here: Path) -> None:
    done = CliRunner().invoke(app, words)
    address = next(word for word in words if "://" in word)
    assert isinstance(done.exception, InputError), (done.exception, done.output)
    assert str(done.exception).startswith(
        f"{address} is an address, and here rali reads and writes"
    )
    assert {path.name for path in here.iterdir()} == {"a.png", "m.csv"}


def commands_of(some: typer.Typer, name: str = "rali") -> Iterator[tuple[str, Any]]:
    for command in some.registered_commands:
        yield f"{name} {command.name}", command.callback
    for group in some.registered_groups:
        assert group.typer_instance is not None
        yield from commands_of(group.typer_instance, f"{name} {group.name}")


def is_path(kind: Any) -> bool:
    return kind is Path or any(map(is_path, get_args(kind)))


COMMANDS_WITH_PATHS = [
    pytest.param(command, name, id=f"{text} {name}")
    for text, command in commands_of(app)
    for name, kind in get_type_hints(command).items()
    if is_path(kind)
]


@pytest.mark.parametrize(("command", "name"), COMMANDS_WITH_PATHS)
def test_every_path_of_every_command(command: Any, name: str) -> None:
    with pytest.raises(InputError, match="s3://bucket/x is an address"):
        command(**{name: Path("s3://bucket/x")})
    with pytest.raises(InputError, match="s3://bucket/x is an address"):
        command(**{name: [Path("a.png"), Path("s3://bucket/x")]})


@pytest.mark.parametrize("path", ["C:/photos", "C:\\photos", "a/s3:/x", "x:y.csv", "12:30/x.csv"])
def test_what_only_looks_like_one_is_a_path(path: str) -> None:
    refuse_address(path)


def test_a_folder_that_is_there_is_no_address() -> None:
    Path("Album:").mkdir()
    refuse_address("Album:/s.csv")
    with pytest.raises(InputError, match=r"Other://s.csv is an address"):
        refuse_address("Other:/s.csv")
