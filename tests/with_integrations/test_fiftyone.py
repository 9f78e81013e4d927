"""The zoo source in the real FiftyOne, with its database: registered, loaded, applied."""

from __future__ import annotations

import http.server
import shutil
import threading
from functools import partial

import pytest

from rali.errors import PictureError

from .conftest import INTEGRATIONS

fo = pytest.importorskip("fiftyone")

foz = pytest.importorskip("fiftyone.zoo")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """From an archive on a server, which is how FiftyOne's users get a model source."""
    folder = tmp_path_factory.mktemp("server")
    shutil.make_archive(str(folder / "rali"), "zip", INTEGRATIONS, "fiftyone_zoo")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/rali.zip"
    foz.register_zoo_model_source(url, overwrite=True)
    server.shutdown()
    assert url in foz.list_zoo_model_sources() and "rali" in foz.list_zoo_models(source=url)
    yield foz.load_zoo_model("rali", threads=1)
    foz.delete_zoo_model_source(url)


def test_a_data_set_gets_scores_and_intervals(model, files, expected):
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=path) for path in files])
    dataset.apply_model(model, label_field="quality", batch_size=2, progress=False)
    labels = {sample.filepath: sample.quality for sample in dataset}
    assert labels[files[-1]] is None, "FiftyOne skips what it cannot read"
    for path, score in zip(files[:-1], expected, strict=False):
        assert labels[path].value == pytest.approx(score, abs=0.02)  # its reader decodes for itself
        assert 1 <= labels[path].low < labels[path].value < labels[path].high <= 5
    ranked = dataset.exists("quality").sort_by("quality.value", reverse=True)
    best = max(zip(expected[:-1], files, strict=False))[1]
    assert ranked.first().filepath == best
    dataset.delete()


def test_what_is_no_picture_is_an_error(model):
    import numpy as np

    with pytest.raises(PictureError):
        model.predict(np.zeros((0, 4, 3), np.uint8))
