"""The ray engine on the nano teacher: the texts of the vllm engine, from another process."""

from __future__ import annotations

import pytest

pytest.importorskip("vllm")
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]' aiohttp")

from rali.teacher.engines import Request, Sampling, load_engine  # noqa: E402
from rali.teacher.questions import find_prompt  # noqa: E402
from rali.teacher.requests import NoText  # noqa: E402

SCORE = find_prompt("visualquality-r1/score")


def test_the_texts_are_those_of_the_vllm_engine(photograph_files, tmp_path):
    options = {"max_model_len": 1024, "enforce_eager": True}
    asked = [Request((path,), SCORE, seed) for path in photograph_files[:2] for seed in range(2)]
    sampling = Sampling(max_new_tokens=32)
    plain = load_engine("vllm", "nano", dtype="float32", max_pixels=140 * 140, options=options)
    wanted = plain.generate(asked, sampling)
    # Without a GPU, a replica of the model takes a core.
    options |= {"placement_group_config": {"bundles": [{"CPU": 1}]}, "batch_size": 2}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    engine = load_engine("ray", "nano", dtype="float32", max_pixels=140 * 140, options=options)
    assert engine.mark == plain.mark and engine.pixels == plain.pixels
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    *found, none = engine.generate([*asked, Request((broken,), SCORE)], sampling)
    assert found == wanted
    assert isinstance(none, NoText) and "broken" not in none.reason and not none.refused
