"""Nano's parts: the cosine spectrum and the hashed tokens."""

from __future__ import annotations

import pytest
import torch

from rali.student.nano import _cosines, tokenize


def test_the_block_spectrum_is_scipys_cosine_transform():
    from scipy.fft import dctn

    blocks = torch.randn(5, 1, 8, 8)
    found = torch.nn.functional.conv2d(blocks, _cosines(8)).reshape(5, 8, 8)
    assert found.numpy() == pytest.approx(
        dctn(blocks[:, 0].numpy(), axes=(1, 2), norm="ortho"), abs=1e-5
    )


def test_tokens_are_stable_and_cut():
    ids = tokenize(["Sharp, 3.4!", ""], context=3, buckets=8192)
    assert ids.shape == (2, 3) and ids[1].tolist() == [0, 0, 0]
    again = tokenize(["sharp , 3.4 !"], context=3, buckets=8192)
    assert torch.equal(ids[0], again[0])
