"""Pretraining nano: it learns, resumes and loads; its batches and shortened texts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rali.distill.pretrain_nano import PretrainConfig, _grouped, _some_sentences, pretrain
from rali.errors import InputError
from rali.student.encoders import load_encoder
from small import SMALL


def test_pretraining_learns_resumes_and_loads(photograph_files, tmp_path, saved_every_step):
    texts = [[f"picture number {i} is {w}" for w in ("fine", "good")] for i in range(5)]
    contents = [path.stem for path in photograph_files]
    config = PretrainConfig(epochs=8, batch_size=5, lr=5e-3, nano=SMALL)
    losses: list[float] = []
    whole = pretrain(
        photograph_files, texts, contents, config, tmp_path / "whole",
        progress=lambda stage, done, total, loss: losses.append(loss),
    )  # fmt: skip
    assert losses[-1] < losses[0]

    def stop(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done == 6:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        pretrain(photograph_files, texts, contents, config, folder, progress=stop)
    first: list[int] = []
    pretrain(
        photograph_files, texts, contents, config, folder,
        progress=lambda stage, done, total, loss: first.append(done),
    )  # fmt: skip
    assert first[0] == 6 and not (folder / "pretrain.pt").exists()
    weights, same = (load_file(f / "image.safetensors") for f in (folder, whole))
    for name, value in weights.items():
        torch.testing.assert_close(value, same[name])
    encoder = load_encoder("nano", str(folder))
    assert encoder.dim == SMALL.image.embed_dim and encoder.text is not None
    assert encoder.text.encode(["a", ""]).isfinite().all()


def test_shortened_texts_keep_whole_sentences_in_order():
    text = "Here is a blur. I would rate it around 1.9 out of 5. Overall, it is poor."
    sentences = ["Here is a blur.", "I would rate it around 1.9 out of 5.", "Overall, it is poor."]
    possible = {
        " ".join(chosen) for n in (1, 2, 3) for chosen in itertools.combinations(sentences, n)
    }
    draw = np.random.default_rng(0)
    assert {_some_sentences(text, draw) for _ in range(200)} == possible


def test_versions_of_one_photograph_meet_in_a_batch():
    contents = [f"photograph {i // 6}" for i in range(60)]
    order = _grouped(contents, 4, np.random.default_rng(0))
    assert sorted(order) == list(range(60))
    runs = [len(list(run)) for _, run in itertools.groupby(contents[i] for i in order)]
    assert max(runs) >= 4 and set(runs) <= {2, 4, 6, 8}, "groups of 4 and 2, some side by side"
    assert not np.array_equal(order, _grouped(contents, 4, np.random.default_rng(1)))


def test_too_few_pictures_to_pretrain_is_a_sentence(photograph_files, tmp_path):
    with pytest.raises(InputError, match="at least one batch of 96"):
        pretrain(photograph_files, [["x"]] * 5, ["c"] * 5, PretrainConfig(), tmp_path)
