"""Commands that ask a teacher: nothing paid for is asked twice, and what was paid is said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from canned_server import NAME, Canned, canned_server
from PIL import Image
from scripted import Script, held
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import Row, write_manifest
from rali.errors import InputError
from rali.teacher.harvest import harvest
from rali.teacher.questions import find_prompt

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
        ("describe", "SIGHUP", 129),
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
            first = told.splitlines()[0]
            assert first.startswith("rali: stopped after ")
            assert first.endswith("; the same command resumes.") and told.count("stopped") == 1
        kept = len((side / "texts.jsonl").read_text().splitlines())
        assert kept >= 4, "all but the two that were under way"
        time.sleep(1)  # what was under way is answered, to nobody
        before = len(server.answered())
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr  # these texts are scores alone
        texts = {"score": 16, "compare": 8}.get(verb, 8)
        assert not side.exists()
        assert len(server.answered()) - before == texts - kept
        whole = command(server, verb, pictures, tmp_path / "whole.csv")
        CliRunner().invoke(app, whole[3:])
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
    with held(side):
        refused = ask(*pictures, "-o", tmp_path / "x.csv")
    assert "Another process is at work in" in str(refused.exception)
    assert scripted.asked == []


def test_rali_score_and_a_teacher_share_a_folder_beside_a_file(scripted, pictures, tmp_path):
    """Each deletes its own files there: rows of a stopped score, texts that were paid for."""
    output, side = tmp_path / "x.csv", tmp_path / ".x.csv.rali"
    stopping(scripted, 4)
    assert ask(*pictures, "--samples", 1, "-o", output).exit_code == 130
    texts = (side / "texts.jsonl").read_text()
    (tmp_path / "none").mkdir()
    empty = CliRunner().invoke(app, ["score", str(tmp_path / "none"), "-o", str(output)])
    assert "There are no pictures" in str(empty.exception)
    assert {path.name for path in side.iterdir()} - {".lock"} == {"texts.jsonl"}
    assert (side / "texts.jsonl").read_text() == texts and not output.exists()
    (side / "settings.json").write_text("{}")
    (side / "rows.jsonl").write_text("{}\n")
    assert ask(*pictures, "--samples", 1, "-o", output).exit_code == 0
    assert len(scripted.asked) == 8, "four before and four after"
    assert {path.name for path in side.iterdir()} - {".lock"} == {"settings.json", "rows.jsonl"}


def test_rali_score_leaves_a_teachers_table_that_took_its_place(scripted, pictures, tmp_path):
    output = tmp_path / "x.csv"
    assert CliRunner().invoke(app, ["score", str(pictures[0]), "-o", str(output)]).exit_code == 0
    assert ask(*pictures, "--samples", 1, "-o", output).exit_code == 0
    table = output.read_text()
    again = CliRunner().invoke(app, ["score", *map(str, pictures), "-o", str(output)])
    assert isinstance(again.exception, InputError) and output.read_text() == table


def test_the_help_of_evaluate_names_the_temperature_of_its_suite():
    help_ = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "300"}).output
    assert "as the teacher's authors do, else 1, for the suite degradation 0" in help_


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


# --- what a server takes --------------------------------------------------------------------------


def served(server: Canned, *words: object):
    """Run a command on a server whose tokens have a price."""
    place = ["--engine", "openai", "--base-url", server.url, "--batch-size", "2"]
    place += ["--engine-set", "price_in=2", "--engine-set", "price_out=10"]
    return CliRunner().invoke(app, [*map(str, words), *place])


def test_tokens_and_their_price_are_said_over_all_runs(pictures, tmp_path):
    words = ("teach", "score", *pictures, "-m", NAME, "--samples", 1, "-o", tmp_path / "x.csv")
    with canned_server(tmp_path / "server", faults=[""] * 5 + ["quota"]) as server:
        first = served(server, *words)
        assert "server: " in first.stderr and "cost 0.00" in first.stderr
        done = served(server, *words)
        answers = len(server.answered())
    assert done.exit_code == 0 and not (tmp_path / ".x.csv.rali").exists()
    line = next(line for line in done.stderr.splitlines() if line.startswith("server: "))
    assert line == (
        f"server: {answers + 1:,} requests (0 of them again), {100 * answers:,} tokens in, "
        f"{10 * answers:,} out, cost {300 * answers / 1e6:,.4f}."
    )
    shown = served_alone(tmp_path, "teach", "describe", pictures[0], "-m", NAME)
    assert "server: 1 requests" in shown.stderr and "server" not in shown.stdout


def served_alone(tmp_path: Path, *words: object):
    with canned_server(tmp_path / "other") as server:
        return served(server, *words)


def test_a_finished_question_is_not_counted_for_another_whose_texts_are_kept(pictures, tmp_path):
    words = ("teach", "score", *pictures, "-m", NAME, "--samples", 1, "-o", tmp_path / "x.csv")
    with canned_server(tmp_path / "server", faults=[""] * 5 + ["quota"]) as server:
        before = requests_said(served(server, *words).stderr)
    kept = len((tmp_path / ".x.csv.rali" / "texts.jsonl").read_text().splitlines())
    with canned_server(tmp_path / "again") as server:
        for _ in range(2):
            other = served(server, *words, "--prompt", "direct/score").stderr
            assert f"keeps {kept} texts of other questions" in other
            assert requests_said(other) == 8
        assert requests_said(served(server, *words).stderr) == before + 8 - kept


def requests_said(told: str) -> int:
    return int(told.partition("server: ")[2].split()[0])


def test_a_server_that_stops_answering_ends_a_command_as_it_ends_a_harvest(pictures, tmp_path):
    output = tmp_path / "x.csv"
    output.write_text("of an earlier run\n")
    words = ("teach", "describe", *pictures, "-m", NAME)
    with canned_server(tmp_path / "server", faults=[""] * 5 + ["quota"]) as server:
        kept = served(server, *words, "-o", output)
    assert "exceeded your current quota" in str(kept.exception)
    assert "are kept; the same command asks for the rest" in str(kept.exception)
    assert output.read_text() == "of an earlier run\n"
    with canned_server(tmp_path / "again") as server:
        assert served(server, *words, "-o", output).exit_code == 0
        assert len(server.answered()) < 8 and len(output.read_text().splitlines()) == 9
    with canned_server(tmp_path / "screen", faults=[""] * 5 + ["quota"]) as server:
        shown = served(server, *words)
    assert "with -o FILE it would be kept" in str(shown.exception)
    assert 4 <= shown.stdout.count("description: ") < 8, "what came is shown"


@pytest.fixture
def labelled(pictures, tmp_path) -> Path:
    rows = [Row(path, score=1 + index / 2) for index, path in enumerate(pictures)]
    write_manifest(rows, tmp_path / "m.csv")
    return tmp_path / "m.csv"


def test_an_evaluation_says_and_keeps_what_the_server_took(labelled, tmp_path):
    folder = tmp_path / "e"
    words = ("evaluate", f"teacher:{NAME}", labelled, "--samples", 2, "-o", folder, "--json")
    with canned_server(tmp_path / "server") as server:
        done = served(server, *words)
        answers = len(server.answered())
        used = json.loads((folder / "evaluation.json").read_text())["server"]
        assert done.exit_code == 0 and json.loads(done.stdout)["server"] == used
        assert used["requests"] == answers >= 16 and used["cost"] == pytest.approx(answers * 3e-4)
        assert "server: " in done.stderr and "cost 0.0" in done.stderr
        assert served(server, *words).exit_code == 0
        assert len(server.answered()) == answers, "its texts are kept"
    assert json.loads((folder / "evaluation.json").read_text())["server"] == used


def test_another_question_in_the_same_folder_has_a_cost_of_its_own(pictures, labelled, tmp_path):
    folder = tmp_path / "e"
    words = ("evaluate", f"teacher:{NAME}", labelled, "-o", folder, "--json")
    one = ("--prompt", "visualquality-r1/score")

    def took(server: Canned, *more: object) -> int:
        done = served(server, *words, *more)
        assert done.exit_code == 0, done.exception
        return json.loads((folder / "evaluation.json").read_text())["server"]["requests"]

    with canned_server(tmp_path / "server") as server:
        first = took(server, *one, "--samples", 2)
        assert took(server, "--prompt", "direct/score", "--samples", 2) == first
        assert took(server, *one, "--samples", 2, "--temperature", 0.5) == first
        assert took(server, *one, "--samples", 3) > first, "with those of before"
        assert took(server, "--prompt", "direct/score", "--samples", 2) == first, "as noted"


@pytest.mark.parametrize("more", [("--unscored", 3), ("--suite", "degradation")])
def test_an_evaluation_counts_no_picture_for_which_the_server_was_gone(more, labelled, tmp_path):
    if "--suite" in more:
        rows = [
            Row(path, dataset="degraded", distortion="blur", severity=3)
            for path in tmp_path.glob("?.png")
        ]
        write_manifest(rows, labelled)
    words = ("evaluate", f"teacher:{NAME}", labelled, "-o", tmp_path / "e", *more)
    with canned_server(tmp_path / "server", faults=[""] * 5 + ["quota"]) as server:
        done = served(server, *words)
    assert "exceeded your current quota" in str(done.exception)
    assert "the same command asks for the rest" in str(done.exception)
    assert "server: " in done.stderr and not (tmp_path / "e" / "evaluation.json").exists()
    assert len((tmp_path / "e" / "texts.jsonl").read_text().splitlines()) >= 4


def test_a_harvest_through_an_engine_that_streams_and_is_metered_counts(pictures, tmp_path):
    class Served(Script):
        together, stopped, requests = 2, "", 0

        def usage(self, before):
            told, self.requests = self.requests + before.get("requests", 0), 0
            return {"requests": told}

        def stream(self, requests, sampling):
            self.requests += len(requests)
            yield from enumerate(self.generate(requests, sampling))

    rows = [Row(path) for path in pictures]
    for seeds in (2, 4):
        summary = harvest(
            Served(), rows, find_prompt("visualquality-r1/score"), tmp_path / "t", seeds=seeds
        )
        assert summary.server == {"requests": 8 * seeds}
