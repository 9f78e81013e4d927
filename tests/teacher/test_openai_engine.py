"""A teacher behind a server: a real process that does every fault, and nothing is lost or invented.

Each picture and seed has a text of its own there, so that the triplets can be checked one by one.
A real vLLM server is asked in with_vllm/.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from canned_server import NAME, Canned, canned_server, text_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rali.data.manifest import Row, write_manifest
from rali.data.triplets import read_triplets
from rali.errors import InputError
from rali.pictures.read import open_picture
from rali.teacher.answers import Description, Failure
from rali.teacher.ask import ask, score
from rali.teacher.data_urls import data_url
from rali.teacher.engines import load_engine
from rali.teacher.harvest import harvest
from rali.teacher.questions import find_prompt
from rali.teacher.requests import NoText, Request, Sampling, request_seed
from rali.teacher.server_bodies import BadBodyError, read_choices, read_usage, same_model

VQ = find_prompt("visualquality-r1/score")
QUICK = {"backoff": 0.02, "timeout": 60.0}
FAULTS = ["429", "500", "page", "page200", "hang", "cut", "drop", "garbage", "deep", "null",
          "empty", "error200", "other"]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Six small pictures with scores."""
    found = []
    for index in range(6):
        path = tmp_path / f"{index}.png"
        Image.fromarray(np.full((30, 40, 3), 40 * index, np.uint8)).save(path)
        found.append(Row(path, score=2.0 + index / 3))
    return found


def engine(server: Canned, batch_size: int = 4, **options):
    options = QUICK | {"base_url": server.url} | options
    return load_engine("openai", NAME, batch_size=batch_size, options=options)


def expected(rows: list[Row], seeds: int) -> dict[tuple[str, int], str]:
    """The one right text of each picture and seed."""
    return {
        (row.image.name, seed): text_of(
            row.image.read_bytes(), request_seed(Request((row.image,), VQ, seed))
        )
        for row in rows
        for seed in range(seeds)
    }


def written(folder: Path) -> dict[tuple[str, int], str]:
    triplets = read_triplets(folder)
    assert all(t.parse_ok and t.teacher == NAME for t in triplets)
    return {(t.image.name, t.seed): t.raw_text for t in triplets}


def test_every_fault_once_loses_doubles_and_invents_nothing(rows, tmp_path):
    with canned_server(tmp_path / "server", faults=FAULTS) as server:
        loaded = engine(server, timeout=5)
        summary = harvest(loaded, rows, VQ, tmp_path / "t", seeds=4, batch_size=12)
        log = server.log()
    assert written(tmp_path / "t") == expected(rows, 4)
    assert sorted(line["what"] for line in log if line["what"] != "answer") == sorted(FAULTS)
    once = Counter(server.answered())
    assert sum(once.values()) == 24 + 1 and len(once) == 24, "one is drawn twice, for its seed"
    used = summary.server
    assert used is not None
    assert used["requests"] == 25 + len(FAULTS) and used["retries"] == len(FAULTS)
    assert used["input_tokens"] == 100 * (25 + 2), "the empty and the other's answer cost as well"
    assert used["seeds"] == "held" and "cost" not in used


def test_retry_after_is_kept_to(rows, tmp_path):
    with canned_server(tmp_path / "server", faults=["429"]) as server:
        assert score(engine(server), [rows[0].image], VQ, samples=1)[0].score
        first, second = server.log()
    assert first["what"] == "429" and second["time"] - first["time"] >= 0.95


def test_a_harvest_that_is_killed_resumes_and_counts_what_it_paid(rows, tmp_path):
    write_manifest(rows, tmp_path / "m.csv")
    with canned_server(tmp_path / "server", delay=0.1, faults=["500", "cut"]) as server:
        command = [
            *(sys.executable, "-m", "rali", "teach", "harvest", "--manifest", tmp_path / "m.csv"),
            *("--engine", "openai", "--base-url", server.url, "-m", NAME, "--seeds", "6"),
            *("-o", tmp_path / "t", "--batch-size", "2", "--engine-set", "backoff=0.02"),
            *("--engine-set", "price_in=2", "--engine-set", "price_out=10"),
        ]
        # A server needs no torch here: the harvest runs where it cannot be imported.
        (tmp_path / "block").mkdir()
        (tmp_path / "block" / "torch.py").write_text("raise ImportError('no torch here')")
        env = os.environ | {"PYTHONPATH": str(tmp_path / "block")}
        for _ in range(2):
            before = len(server.answered())
            process = subprocess.Popen(command, env=env)
            while len(server.answered()) < before + 7:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        again = subprocess.run(command, env=env, capture_output=True, text=True)
        asked = Counter(server.answered())
    assert written(tmp_path / "t") == expected(rows, 6)
    assert "0 texts new" in again.stdout and "cost 0.0" in again.stdout
    assert sum(asked.values()) - 36 <= 2 * 4 + 3, "at most a batch in flight is asked again"
    used = json.loads((tmp_path / "t" / "summary.json").read_text())["server"]
    paid = used["input_tokens"] * 2 + used["output_tokens"] * 10
    assert used["cost"] == pytest.approx(paid / 1e6) and used["input_tokens"] >= 100 * 30


def test_a_server_that_dies_ends_the_harvest_and_a_new_one_gets_the_rest(rows, tmp_path):
    with canned_server(tmp_path / "server", delay=0.05) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        loaded = engine(server, 2, retries=2)

        def kill(stage: str, done: int, total: int) -> None:
            if done >= 8:
                server.process.kill()

        with pytest.raises(InputError, match=r"in a row failed\. The last: The connection failed"):
            harvest(loaded, rows, VQ, tmp_path / "t", seeds=4, batch_size=8, progress=kill)
    kept = written(tmp_path / "t")
    assert 8 <= len(kept) < 24 and kept.items() <= expected(rows, 4).items()
    with canned_server(tmp_path / "server", port) as server:
        before = len(server.answered())
        harvest(engine(server), rows, VQ, tmp_path / "t", seeds=4)
        assert len(server.answered()) - before <= 24 - len(kept) + 1
    assert written(tmp_path / "t") == expected(rows, 4)


@pytest.mark.parametrize("fault", ["filter", "filter400"])
def test_a_refusal_is_a_failure_and_never_a_description(fault, rows, tmp_path):
    describe = find_prompt("ract/description")
    with canned_server(tmp_path / "server", always=fault) as server:
        loaded = engine(server)
        replies = ask(loaded, [Request((rows[0].image,), describe)])
        summary = harvest(loaded, rows[:2], describe, tmp_path / "t", seeds=1, attempts=2)
        assert len(server.log()) == 1 + 4, "a refusal is not asked again with the same seed"
    assert isinstance(replies[0].answer, Failure) and "filter" in str(replies[0].error)
    triplets = read_triplets(tmp_path / "t")
    assert len(triplets) == 4 and not any(t.parse_ok or t.raw_text for t in triplets)
    assert (summary.texts, summary.given_up, summary.failures) == (0, 2, 4)


def test_a_request_that_fails_is_left_out_and_asked_again_later(rows, tmp_path):
    with canned_server(tmp_path / "server", faults=["too large"]) as server:
        loaded = engine(server, 1)
        summary = harvest(loaded, rows, VQ, tmp_path / "t", seeds=1)
        left_out = summary.unreadable[0]
        assert left_out == f"{rows[0].image}: The server answered 400: The picture is too large."
        assert len(summary.unreadable) == 1
        assert len(written(tmp_path / "t")) == 5
        assert harvest(loaded, rows, VQ, tmp_path / "t", seeds=1).unreadable == ()
    assert written(tmp_path / "t") == expected(rows, 1)


@pytest.mark.parametrize(("fault", "said"), [("quota", "quota"), ("later", "wait for 86,400")])
def test_a_server_that_will_not_answer_soon_is_not_pressed(fault, said, rows, tmp_path):
    with canned_server(tmp_path / "server", always=fault) as server:
        found = score(engine(server, 1), [row.image for row in rows], VQ, samples=2)
        assert len(server.log()) == 1
    assert len(found) == 6 and all(said in str(f.error) and f.score is None for f in found)


def test_keys_are_read_from_the_environment_and_shown_nowhere(rows, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with canned_server(tmp_path / "server", key="sk-right-123") as server:
        with pytest.raises(InputError, match="the key in OPENAI_API_KEY is not set"):
            engine(server)
        monkeypatch.setenv("OTHER_KEY", "sk-wrong-456")
        with pytest.raises(InputError, match="the key in OTHER_KEY is wrong") as wrong:
            engine(server, api_key_env="OTHER_KEY")
        assert "sk-wrong" not in str(wrong.value) and "…" in str(wrong.value)
        monkeypatch.setenv("OTHER_KEY", "sk-right-123\n")
        loaded = engine(server, api_key_env="OTHER_KEY")
        harvest(loaded, rows, VQ, tmp_path / "t", seeds=1)
    for path in (tmp_path / "t").rglob("*"):
        assert path.is_dir() or b"sk-right" not in path.read_bytes()
    assert loaded.mark == f"openai {NAME}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "none was given. Type, for instance: --base-url"),
        ("localhost:8000/v1", "is none"),
        ("http://me:secret@127.0.0.1/v1", "must hold no user, password or query"),
        ("http://127.0.0.1:9/v1", r"does not list its models\. The connection failed"),
    ],
)
def test_an_address_without_a_server_is_one_sentence(url, said, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InputError, match=said) as refused:
        load_engine("openai", NAME, options={"base_url": url, "backoff": 0.01})
    assert "secret" not in str(refused.value)


def test_a_model_that_is_not_there_names_those_that_are(tmp_path):
    with canned_server(tmp_path / "server") as server:
        options = {"base_url": server.url}
        with pytest.raises(InputError, match="no model 'canned-70b'; it has canned-7b, other-3b"):
            load_engine("openai", "canned-70b", options=options)
        with pytest.raises(InputError, match="tensor_parallel_size is not a setting"):
            load_engine("openai", NAME, options=options | {"tensor_parallel_size": 2})
        with pytest.raises(InputError, match="--base-url is for --engine openai"):
            load_engine("vllm", NAME, options=options)


def test_parameters_that_a_server_does_not_know_are_left_out_and_seeds_looked_at(rows, tmp_path):
    with canned_server(tmp_path / "server", unknown=["max_tokens", "seed"]) as server:
        summary = harvest(engine(server), rows, VQ, tmp_path / "t", seeds=2)
    assert summary.texts == 12 and summary.server and summary.server["seeds"] == "not held"
    with canned_server(tmp_path / "other", seeds=False) as server:
        summary = harvest(engine(server), rows, VQ, tmp_path / "u", seeds=2)
    assert summary.texts == 12 and summary.server and summary.server["seeds"] == "not held"


@pytest.mark.parametrize("most", [1, 3, 4])
def test_several_texts_per_request_come_once_each_whatever_the_server_gives(most, rows, tmp_path):
    with canned_server(tmp_path / "server", most=most) as server:
        loaded = engine(server, texts_per_request=4)
        summary = harvest(loaded, rows, VQ, tmp_path / "t", seeds=5, batch_size=40)
        counts = Counter(line["n"] for line in server.log())
    texts = written(tmp_path / "t")
    assert texts.keys() == expected(rows, 5).keys() and summary.texts == 30
    assert len(set(texts.values())) == 30
    assert counts[4] == 7 and counts[1] == 6 + (4 - most) * 7, "seed 4 is alone; one group is twice"


def test_no_more_requests_are_under_way_than_allowed(rows, tmp_path):
    with canned_server(tmp_path / "server", delay=0.1) as server:
        score(engine(server, 5), [row.image for row in rows], VQ, samples=5)
        assert max(line["now"] for line in server.log()) == 5


def test_a_dry_run_shows_a_request_and_sends_none(rows, tmp_path, monkeypatch):
    write_manifest(rows, tmp_path / "m.csv")
    monkeypatch.setenv("OWN_KEY", "secret")
    place = ["--engine", "openai", "--base-url", "http://127.0.0.1:9/v1", "--dry-run"]
    place += ["--engine-set", "texts_per_request=2", "--engine-set", "api_key_env=OWN_KEY"]
    name = "TianheWu/VisualQuality-R1-7B"
    told = {}
    for command in (
        ["harvest", "--manifest", tmp_path / "m.csv", "-o", tmp_path / "t", "--seeds", "5"],
        ["score", rows[0].image, "--samples", "3", "--top-k", "7"],
    ):
        line = [sys.executable, "-m", "rali", "teach", *command, "-m", name, *place]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told[command[0]] = done.stdout
        assert "POST http://127.0.0.1:9/v1/chat/completions" in done.stdout
        assert "OWN_KEY is set" in done.stdout and "secret" not in done.stdout
    # Six pictures with seeds 0 and 1, 2 and 3, and 4; the authors' own draw.
    assert "18 requests for 30 texts" in told["harvest"] and not (tmp_path / "t").exists()
    assert "2 requests for 3 texts" in told["score"]
    body = json.loads(told["harvest"][told["harvest"].index("{") : told["harvest"].rindex("}") + 1])
    assert (body["top_k"], body["temperature"], body["max_tokens"], body["n"]) == (50, 1.0, 512, 2)
    parts = body["messages"][0]["content"]
    picture = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
    assert picture.startswith("data:image/png;base64,… (") and "0.png" in picture
    assert '"top_k": 7' in told["score"]


def test_evaluate_and_compare_ask_a_server(rows, tmp_path):
    write_manifest(rows, tmp_path / "m.csv")
    with canned_server(tmp_path / "server", delay=0.01) as server:
        place = ["--engine", "openai", "--base-url", server.url]
        command = [sys.executable, "-m", "rali", "evaluate", f"teacher:{NAME}", tmp_path / "m.csv"]
        done = subprocess.run([*command, "--json", *place], capture_output=True, text=True)
        assert done.returncode == 0 and json.loads(done.stdout)["average"]["srcc"], done.stderr
        a, b = rows[0].image, rows[1].image
        command = [sys.executable, "-m", "rali", "teach", "compare", a, b, "-m", NAME, *place]
        done = subprocess.run([*command, "-o", tmp_path / "c.csv"], capture_output=True, text=True)
    cells = next(csv.DictReader((tmp_path / "c.csv").open()))
    assert done.returncode == 1 and cells["error"] == "The answer is not a plain label."


def test_a_picture_goes_as_it_is_where_every_reader_sees_the_same(photographs, tmp_path):
    rgb = Image.fromarray(photographs["coffee"])
    for name in ("a.jpg", "a.png", "a.webp"):
        rgb.save(tmp_path / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb.save(tmp_path / "turned.jpg", exif=turned)
    rgb.convert("RGBA").save(tmp_path / "alpha.png")
    for name, kind, same in [
        ("a.jpg", "jpeg", True),
        ("a.png", "png", True),
        ("a.webp", "png", False),
        ("turned.jpg", "png", False),
        ("alpha.png", "png", False),
    ]:
        path = tmp_path / name
        head, _, data = data_url(path).partition(",")
        sent = base64.b64decode(data)
        assert head == f"data:image/{kind};base64" and (sent == path.read_bytes()) == same
        seen = np.asarray(Image.open(io.BytesIO(sent)).convert("RGB"))
        assert np.array_equal(seen, open_picture(path))


def test_a_cut_or_separate_reasoning_is_read_as_a_model_writes_it():
    def said(**message):
        choices = [{"index": 0, "message": message, "finish_reason": "length"}]
        return read_choices({"choices": choices, "model": NAME}, NAME, 1, reasons=True)[0]

    assert said(content="<think>It is sha") == "<think>It is sha"
    assert said(content=None) == ""
    assert said(content="", reasoning_content="It is sha") == "<think>It is sha"
    assert said(content="<answer>3</answer>", reasoning="Sharp.") == (
        "<think>Sharp.</think><answer>3</answer>"
    )
    # A Thinking model on a server without a parser: its template opened the thoughts.
    assert said(content="Sharp.\n</think>\n<answer>3</answer>") == (
        "<think>Sharp.\n</think>\n<answer>3</answer>"
    )
    refused = said(content=None, refusal="I cannot help with that.")
    assert refused == NoText("The teacher refused: I cannot help with that.", refused=True)


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("qwen2.5vl", "qwen2.5vl:latest", True),
        ("qwen2.5vl:7b", "qwen2.5vl:3b", False),
        ("Qwen/Qwen2.5-VL-7B-Instruct:host", "Qwen/Qwen2.5-VL-7B-Instruct", True),
        ("gemini-2.5-pro", "models/gemini-2.5-pro", True),
    ],
)
def test_an_answer_of_another_model_is_told(asked, answered, same):
    assert same_model(asked, answered) == same


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "index", "model", "error", "refusal",
                         "usage", "prompt_tokens", "completion_tokens", "finish_reason"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
CHOICES = st.fixed_dictionaries({"choices": st.lists(JSON | st.fixed_dictionaries(
    {"message": JSON | st.fixed_dictionaries({"content": JSON})}), max_size=3)})  # fmt: skip


@given(JSON | CHOICES)
def test_any_body_gives_texts_or_its_reason(body):
    try:
        texts = read_choices(body, NAME, 2, reasons=True)
    except BadBodyError as error:
        assert str(error)
    else:
        assert 1 <= len(texts) <= 2 and all(isinstance(text, str | NoText) for text in texts)
    used = read_usage(body)
    assert used is None or min(used) >= 0


def test_a_served_teacher_describes(rows, tmp_path):
    with canned_server(tmp_path / "server") as server:
        describe = find_prompt("ract/description")
        reply = ask(engine(server), [Request((rows[0].image,), describe)], Sampling(0))[0]
    assert isinstance(reply.answer, Description) and reply.answer.reasoning.startswith("It looks")
