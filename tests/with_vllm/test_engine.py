"""The vLLM engine on the nano teacher: it sees what transformers sees, and seeds hold.

Run by `make test-vllm` in an environment of its own.
"""

from __future__ import annotations

import pytest

pytest.importorskip("vllm")

from rali.data.manifest import Row
from rali.data.triplets import read_triplets
from rali.teacher.answers import Failure
from rali.teacher.completions import parse
from rali.teacher.engines import Request, Sampling, VllmEngine, filled, load_engine
from rali.teacher.harvest import harvest
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import find_prompt

SCORE = find_prompt("visualquality-r1/score")
SAMPLING = Sampling(temperature=1.0, max_new_tokens=256)
MAX_PIXELS = 140 * 140  # below those of the photographs, so that it has an effect


@pytest.fixture(scope="module")
def engine() -> VllmEngine:
    options = {"max_model_len": 1024, "enforce_eager": True}
    loaded = load_engine("vllm", "nano", dtype="float32", max_pixels=MAX_PIXELS, options=options)
    assert isinstance(loaded, VllmEngine)
    return loaded


def requests(files, prompt) -> list[Request]:
    shown = len(prompt.images)
    return [Request(tuple(files[i : i + shown]), prompt) for i in range(len(files) - shown + 1)]


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=lambda prompt: prompt.name)
def test_prompts_are_as_long_as_the_processors(engine, photograph_files, prompt):
    """Fails if an image token is expanded twice, or not at all."""
    asked = requests(photograph_files, prompt)
    from vllm import SamplingParams

    outputs = engine.llm.generate(
        engine.inputs(asked), SamplingParams(max_tokens=1), use_tqdm=False
    )
    for request, output in zip(asked, outputs, strict=True):
        wanted = engine.processor.apply_chat_template(
            [filled(request)], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"][0]
        assert list(output.prompt_token_ids) == list(wanted)


def test_one_seed_gives_one_text_whatever_the_batch(engine, photograph_files):
    asked = [Request((path,), SCORE, seed) for path in photograph_files for seed in range(3)]
    first = engine.generate(asked, SAMPLING)
    assert first == engine.generate(asked, SAMPLING)
    assert len(set(first)) > len(photograph_files), "another seed, another text"


def test_the_likeliest_text_is_that_of_transformers(engine, photograph_files):
    other = load_engine("transformers", "nano", dtype="float32", max_pixels=MAX_PIXELS)
    asked = requests(photograph_files, SCORE)
    certain = Sampling(temperature=0, max_new_tokens=256)
    pairs = list(zip(engine.generate(asked, certain), other.generate(asked, certain), strict=True))
    # Sums in another order may turn a near tie; the texts agree far beyond that.
    assert sum(a == b for a, b in pairs) >= len(pairs) - 1, pairs


def test_a_harvest_has_the_same_schema_and_parser(engine, photograph_files, tmp_path):
    rows = [Row(path, score=3.0) for path in photograph_files]
    summary = harvest(engine, rows, SCORE, tmp_path / "t", seeds=2, sampling=SAMPLING)
    triplets = read_triplets(tmp_path / "t")
    assert summary.texts >= 0.9 * 2 * len(rows)
    assert {t.teacher for t in triplets} == {"nano"}
    for triplet in triplets:
        assert triplet.parse_ok == (
            not isinstance(parse(triplet.raw_text, SCORE), Failure) and bool(triplet.reasoning)
        )


def test_a_judges_score_is_that_of_transformers(engine, photograph_files):
    other = load_engine("transformers", "nano", dtype="float32", max_pixels=MAX_PIXELS)
    asked = requests(photograph_files, find_prompt("q-realign/score"))
    pairs = zip(engine.generate(asked, SAMPLING), other.generate(asked, SAMPLING), strict=True)
    for ours, theirs in pairs:
        score = parse(ours, asked[0].prompt).value
        assert score == pytest.approx(parse(theirs, asked[0].prompt).value, abs=1e-2)
