"""`rali teach score | perceive | describe | compare -o x.csv`: nothing paid for is asked twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from canned_server import NAME, Canned, canned_server
from PIL import Image
from scripted import Script
from typer.testing import CliRunner

from rali.cli import app

# Whatever the tests themselves were started under.
STARTED = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from rali.cli import main
main()
"""


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Eight small pictures."""
    for index in range(8):
        picture = Image.fromarray(np.full((30, 40, 3), 30 * index, np.uint8))
        picture.save(tmp_path / f"{index}.png")
    return sorted(tmp_path.glob("*.png"))


def command(server: Canned, verb: str, pictures: list[Path], output: Path) -> list[str]:
    asked: list[str | Path] = [*pictures]
    if verb == "compare":
        pairs = output.with_name("pairs.csv")
        lines = [f"{a},{b},A" for a, b in zip(pictures[::2], pictures[1::2], strict=True)]
        pairs.write_text("\n".join(["image_a,image_b,result", *lines]) + "\n")
        asked = [pairs]
    more = ("--samples", "2") if verb == "score" else ()
    place = ("--engine", "openai", "--base-url", server.url, "-m", NAME, "--batch-size", "1")
    words = ["teach", verb, *asked, *more, *place, "-o", output]
    return [sys.executable, "-c", STARTED, *map(str, words)]


@pytest.mark.parametrize(
    ("verb", "name", "code"),
    [
        ("score", "SIGKILL", -9),
        ("score", "SIGTERM", 143),
        ("perceive", "SIGHUP", 129),
        ("describe", "SIGKILL", -9),
        ("compare", "SIGINT", 130),
    ],
)
def test_a_stopped_command_keeps_its_texts_and_the_file_of_an_earlier_run(
    verb, name, code, pictures, tmp_path
):
    output, side = tmp_path / "x.csv", tmp_path / ".x.csv.rali"
    output.write_text("of an earlier run\n")
    with canned_server(tmp_path / "server", delay=0.2) as server:
        words = command(server, verb, pictures, output)
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            while len(server.answered()) < 5:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(getattr(signal, name))
            told = process.communicate(timeout=60)[1]
        assert process.returncode == code
        assert output.read_text() == "of an earlier run\n"
        if code > 0:
            assert told.startswith("rali: stopped after ")
            assert told.endswith("the same command resumes.\n") and told.count("stopped") == 1
        kept = len((side / "texts.jsonl").read_text().splitlines())
        assert kept >= 4, "all but the two that were under way"
        before = len(server.answered())
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr  # these texts are scores alone
        texts = {"score": 16, "compare": 8}.get(verb, 8)
        assert not side.exists()
        assert len(server.answered()) - before == texts - kept
        whole = command(server, verb, pictures, tmp_path / "whole.csv")
        subprocess.run(whole, capture_output=True)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.fixture
def scripted(monkeypatch) -> Script:
    """The engine of every command."""
    engine = Script()
    engine.chunk = 2
    monkeypatch.setattr("rali.cli.teach_ask.engine_of", lambda *_, **__: engine)
    return engine


def ask(*words: object):
    return CliRunner().invoke(app, ["teach", "score", *map(str, words)])


def stopping(engine: Script, after: int) -> None:
    """Let a Ctrl-C come after so many more texts."""
    generate, most = engine.generate, len(engine.asked) + after

    def generate_some(requests, sampling):
        if len(engine.asked) >= most:
            engine.generate = generate
            raise KeyboardInterrupt
        return generate(requests, sampling)

    engine.generate = generate_some


def test_another_question_in_between_costs_nothing(scripted, pictures, tmp_path):
    words = (*pictures, "--samples", 1, "-o", tmp_path / "x.csv")
    stopping(scripted, 4)
    first = ask(*words)
    assert first.exit_code == 130
    assert "stopped after 4 of 8; the same command resumes." in first.stderr
    other = ask(pictures[0], "--samples", 1, "--prompt", "direct/score", "-o", tmp_path / "x.csv")
    assert other.exit_code == 0 and "keeps 4 texts of other questions" in other.stderr
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2
    asked = len(scripted.asked)
    assert ask(*words).exit_code == 0
    assert len(scripted.asked) == asked + 4
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 9
    assert not (tmp_path / ".x.csv.rali").exists()


def test_a_second_process_is_refused_and_the_folder_of_rali_score_stays(
    scripted, pictures, tmp_path
):
    side = tmp_path / ".x.csv.rali"
    side.mkdir()
    (side / "settings.json").write_text("{}")  # of `rali score`
    stopping(scripted, 0)
    assert ask(*pictures, "-o", tmp_path / "x.csv").exit_code == 130
    assert (side / "settings.json").exists()
    code = (
        "import sys; from pathlib import Path; from rali.runs.folder import alone_in;"
        "held = alone_in(Path(sys.argv[1])); held.__enter__(); print('held', flush=True);"
        "sys.stdin.read()"
    )
    other = [sys.executable, "-c", code, str(side)]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        refused = ask(*pictures, "-o", tmp_path / "x.csv")
        process.communicate()
    assert "Another process is at work in" in str(refused.exception)
    assert scripted.asked == []


def test_the_screen_shows_what_was_done_before_a_stop(scripted, pictures, tmp_path):
    stopping(scripted, 4)
    found = ask(*pictures, "--samples", 1)
    assert found.exit_code == 130 and "stopped after 4 of 8.\n" in found.stderr
    assert found.stdout.count("score: ") == 4
    assert not list(tmp_path.glob(".*.rali"))


def test_a_command_that_could_not_begin_leaves_nothing(scripted, pictures, tmp_path):
    stopping(scripted, 0)
    assert ask(*pictures, "-o", tmp_path / "x.csv").exit_code == 130
    assert not (tmp_path / ".x.csv.rali").exists() and not (tmp_path / "x.csv").exists()
