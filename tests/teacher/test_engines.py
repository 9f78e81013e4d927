"""Requests, sampling and what identifies a teacher; generation itself is in test_teacher.py."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rali.errors import InputError, PictureError
from rali.files import read_json
from rali.teacher.engines import Request, Sampling, filled, load_engine, request_seed
from rali.teacher.models import NANO, load_teacher, teacher_mark
from rali.teacher.questions import find_prompt

VQ = find_prompt("visualquality-r1/score")


def test_request_seeds_differ_by_picture_prompt_and_seed(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    other = find_prompt("q-insight/score")
    requests = [Request((a,), VQ), Request((b,), VQ), Request((a,), VQ, 1), Request((a,), other)]
    assert len({request_seed(request) for request in requests}) == 4
    assert request_seed(Request((Path("/elsewhere/a.png"),), VQ)) == request_seed(requests[0])


def test_an_unreadable_picture_names_itself(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(PictureError, match=r"x\.png: "):
        filled(Request((tmp_path / "x.png",), VQ))


@pytest.mark.parametrize(
    "values", [{"top_p": 0}, {"top_k": -1}, {"temperature": -1}, {"max_new_tokens": 0}]
)
def test_sampling_that_draws_nothing_is_refused(values):
    with pytest.raises(InputError, match="expected 0 or more"):
        Sampling(**values)


def test_the_mark_of_a_teacher_is_of_its_weights(tmp_path):
    for name, content in (("a", b"1" * 100), ("b", b"1" * 100), ("c", b"1" * 99 + b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    marks = [teacher_mark(str(tmp_path / name)) for name in "abc"]
    assert marks[0] == marks[1] != marks[2]
    assert teacher_mark("nano") == "nano"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> str:
    """A model of the Hub in the cache, whose `v1` takes pictures of at most 10,000 pixels."""
    folder = tmp_path / "models--nobody--teacher"
    for commit, name in (("0a1b", "v1"), ("2c3d", "main")):
        shutil.copytree(NANO, folder / "snapshots" / commit)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / name).write_text(commit)
    file = folder / "snapshots" / "0a1b" / "processor_config.json"
    settings = read_json(file, "")
    settings["image_processor"]["size"]["longest_edge"] = 10_000
    file.write_text(json.dumps(settings))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return "nobody/teacher"


@pytest.mark.parametrize("kind", ["transformers", "vllm", "ray"])
def test_a_revision_is_of_the_weights_and_of_the_processor(hub, kind, monkeypatch):
    """The newest processor beside an older model would show it other pictures, and say nothing."""
    pytest.importorskip("ray" if kind == "ray" else "transformers")
    given: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=given.update))
    old, new = load_engine(kind, hub, options={"revision": "v1"}), load_engine(kind, hub)
    assert old.pixels[1] == 10_000 < new.pixels[1]
    assert new.mark == f"{kind.replace('ray', 'vllm')} {hub}"
    assert old.mark == f"{new.mark} revision v1"
    if kind != "transformers":  # older harvests noted it in this order
        both = load_engine(kind, hub, options={"revision": "v1", "dtype": "float16"})
        assert both.mark == f"{new.mark} dtype float16 revision v1"
    if kind == "vllm":
        load_engine(kind, hub, options={"revision": "v1"})
        assert Path(given["model"]).name == "0a1b" and "revision" not in given
    if kind == "ray":
        assert old.config["model_source"] == hub, "as each machine downloads it"
        assert old.config["engine_kwargs"]["revision"] == "v1"
        assert "revision" not in new.config["engine_kwargs"]


def test_what_changes_the_texts_of_transformers_is_in_its_mark(monkeypatch):
    taken: dict[str, Any] = {}

    def load(model: str, **how: Any) -> tuple[Any, Any]:
        taken.update(how)
        return load_teacher(model)

    with pytest.raises(InputError, match="revision is for a model of the Hub, and nano is none"):
        load_engine("transformers", "nano", options={"revision": 1234567})
    monkeypatch.setattr("rali.teacher.engines.load_teacher", load)
    how = {"attn_implementation": "eager", "quantization": "4bit", "dtype": "bfloat16"}
    assert (
        load_engine("transformers", "nano", options=how).mark == "transformers nano bfloat16 4bit"
    )
    assert taken["attn_implementation"] == "eager" and taken["quantization"] == "4bit"
    with pytest.raises(InputError, match="seed: the transformers engine takes dtype, revision, at"):
        load_engine("transformers", "nano", options={"seed": 1})


def test_top_k_then_top_p_leave_the_tokens_that_they_say():
    import torch

    from rali.teacher.engines import SeededSampling

    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()

    def kept(**narrow) -> set[int]:
        drawn = [
            SeededSampling([seed], Sampling(**narrow))(torch.zeros(1, 1), scores).argmax().item()
            for seed in range(300)
        ]
        return set(drawn)

    assert kept() == {0, 1, 2, 3} and kept(top_k=9) == {0, 1, 2, 3}
    assert kept(top_k=2) == {0, 1}
    # Of the two that are left, the first has 4/7 of the probability: 0.5 is reached by it alone.
    assert kept(top_k=2, top_p=0.5) == {0}
    assert kept(top_p=0.5) == {0, 1}
