"""A real vLLM server with the nano teacher: the wire format, the seeds and the pictures it sees.

Run by `make test-vllm` in an environment of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("vllm")

from rali.data.manifest import Row
from rali.data.triplets import read_triplets
from rali.errors import InputError
from rali.teacher.ask import ask
from rali.teacher.engines import load_engine
from rali.teacher.harvest import harvest
from rali.teacher.models import NANO
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import find_prompt
from rali.teacher.requests import Request, Sampling

SCORE = find_prompt("visualquality-r1/score")
MAX_PIXELS = 140 * 140
CERTAIN = Sampling(temperature=0, max_new_tokens=256)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Address of a server process, which is killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "log.txt"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(NANO)),
        *("--served-model-name", "nano-7b", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"),
        *("--limit-mm-per-prompt", '{"image": 3}'),
        # The CPU build dies where a seeded request's prompt is cut in two: one batch takes all.
        *("--max-num-batched-tokens", "16384"),
    ]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=dict(os.environ))
        try:
            end = time.monotonic() + 400
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def engine(url):
    return load_engine("openai", "nano-7b", max_pixels=MAX_PIXELS, options={"base_url": url})


def test_the_server_tells_its_models_and_weights(engine, url):
    assert engine.mark == f"openai nano-7b {NANO}" and "top_k" in engine._extra
    with pytest.raises(InputError, match="no model 'nano'; it has nano-7b"):
        load_engine("openai", "nano", options={"base_url": url})


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=lambda prompt: prompt.name)
def test_prompts_are_as_long_as_the_processors(engine, photograph_files, prompt):
    """Fails if a picture is sent in another size, or the chat template is another."""
    from rali.teacher.engines import filled
    from rali.teacher.models import load_processor

    processor = load_processor("nano", max_pixels=MAX_PIXELS)
    request = Request(tuple(photograph_files[: len(prompt.images)]), prompt)
    engine.usage({})  # takes what was counted so far
    assert ask(engine, [request], CERTAIN)[0].text
    wanted = processor.apply_chat_template(
        [filled(request)], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"][0]
    assert engine.usage({})["input_tokens"] == len(wanted)


def test_the_likeliest_text_is_that_of_transformers(engine, photograph_files):
    local = load_engine("transformers", "nano", dtype="float32", max_pixels=MAX_PIXELS)
    asked = [Request((path,), SCORE) for path in photograph_files]
    pairs = list(zip(engine.generate(asked, CERTAIN), local.generate(asked, CERTAIN), strict=True))
    # The picture is resized by Pillow here and by torch there, which may turn a near tie.
    assert sum(a == b for a, b in pairs) >= len(pairs) - 2, pairs


def test_a_harvest_resumes_and_seeds_hold(engine, photograph_files, tmp_path: Path):
    rows = [Row(path, score=3.0) for path in photograph_files]
    sampling = Sampling(temperature=1.0, max_new_tokens=256)
    summary = harvest(engine, rows, SCORE, tmp_path / "t", seeds=2, sampling=sampling)
    assert summary.texts >= 0.9 * 2 * len(rows)
    assert summary.server is not None and summary.server["seeds"] == "held"
    assert summary.server["uncounted"] == summary.server["retries"] == 0
    again = harvest(engine, rows, SCORE, tmp_path / "t", seeds=2, sampling=sampling)
    assert again.written == 0 and again.texts == summary.texts
    assert {t.teacher for t in read_triplets(tmp_path / "t")} == {"nano-7b"}


def test_several_texts_per_request(url, photograph_files, tmp_path: Path):
    together = load_engine(
        "openai", "nano-7b", options={"base_url": url, "texts_per_request": 4},
        max_pixels=MAX_PIXELS,
    )  # fmt: skip
    # A prompt that vLLM reads in parts ends its CPU build, where a text has a seed: so only two.
    rows = [Row(path) for path in photograph_files[:2]]
    summary = harvest(together, rows, SCORE, tmp_path / "t", seeds=4, attempts=1)
    assert summary.attempts == 4 * len(rows) and summary.server is not None
    assert summary.server["requests"] == len(rows) + 1
