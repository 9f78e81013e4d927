"""The process that decodes: its two answers per picture, and its memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rali.pictures.decoder import PREPARED, WHOLE
from rali.pictures.preprocess import Preprocess


def test_each_picture_has_its_size_and_then_its_pixels_or_its_reason() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    preprocess = Preprocess(size=32)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    given = b"".join(
        len(picture).to_bytes(8, "big") + picture + wanted
        for picture, wanted in (
            (file.getvalue(), PREPARED),
            (b"no picture", PREPARED),
            (file.getvalue(), WHOLE),
        )
    )
    fields = json.dumps(preprocess.to_dict())
    command = [sys.executable, "-m", "rali.pictures.decoder", fields, "100000"]
    told = io.BytesIO(subprocess.run(command, input=given, capture_output=True, check=True).stdout)
    assert told.readline() == b"ready\n"
    for size, expected in (([60, 40], preprocess.pixels(rgb)), (None, None), ([60, 40], rgb)):
        assert json.loads(told.readline()) == size
        answer = json.loads(told.readline())
        if expected is None:
            assert "not a picture" in answer
            continue
        assert answer == list(expected.shape[:2])
        pixels = np.frombuffer(told.read(expected.size), np.uint8).reshape(expected.shape)
        assert np.array_equal(pixels, expected)
    assert not told.read()


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is Linux's")
def test_what_takes_more_memory_than_announced_gets_none() -> None:
    program = (
        "import numpy, rali.pictures.decoder as decoder\n"
        "decoder._bound_memory(1000)\n"
        "numpy.ones(2**25, numpy.uint8)\n"  # the spare memory
        "try: numpy.ones(2**27, numpy.uint8)\n"
        "except MemoryError: print('refused')\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.stdout == "refused\n", told.stderr
