"""Pictures in text and in tables' cells, and JPEGs of too many scans."""

from __future__ import annotations

import base64
import io
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
import pytest
from PIL import Image

from rali import Scorer
from rali.errors import PictureError, shortened
from rali.pictures.inline import from_base64
from rali.pictures.jpeg_scans import MAX_SCANS
from rali.pictures.read import open_picture

RGB = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def encoded(kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


PNG = encoded()
PLAIN = base64.b64encode(PNG).decode()
URL_SAFE = base64.urlsafe_b64encode(PNG).decode()
URLS = [
    f"data:image/png;base64,{PLAIN}",
    f"DATA:image/png;BASE64,{PLAIN}",
    f"  data:;base64,{PLAIN}\n",
    f"data:image/png;charset=x;base64,{PLAIN.replace('+', '%2B').replace('/', '%2f')}",
    f"data:image/png;base64,{PLAIN[:80]}\r\n {PLAIN[80:]}",
    f"data:image/png;base64,{URL_SAFE}",
    f"data:image/png;base64,{URL_SAFE.rstrip('=')}",
    f"data:image/png,{quote_from_bytes(PNG, safe='')}",
    f"data:,{quote_from_bytes(PNG, safe='')}#part",
]


@pytest.mark.parametrize("url", URLS, ids=[url[:24] for url in URLS])
def test_data_urls_are_read(url: str) -> None:
    assert np.array_equal(open_picture(url), RGB)


def test_what_python_reads_in_a_data_url_is_the_same() -> None:
    for url in (URLS[0], URLS[3], URLS[7]):
        with urllib.request.urlopen(url) as reply:
            assert reply.read() == PNG


def test_both_alphabets_of_base64_and_nothing_else() -> None:
    raw = bytes(range(256)) + b"\xfb\xff\xfe"
    for text in (base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")):
        assert from_base64(text) == from_base64(text.decode()) == raw
    for wrong in ("????", "a", "AA=A", "é", "AAAA=AAA"):
        with pytest.raises(PictureError, match="not base64"):
            from_base64(wrong)


@pytest.mark.skipif(sys.platform == "win32", reason="no file can have this name")
def test_a_file_may_be_called_like_a_data_url(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data:a,b.png").write_bytes(PNG)
    assert np.array_equal(open_picture("data:a,b.png"), RGB)


@pytest.mark.parametrize(
    "source",
    [
        f"data:image/png;base64,{'A' * 300_000}",
        f"data:image/png;base64{'A' * 300_000}",
        "A" * 300_000,
        f"https://example.org/{'a' * 300_000}",
        [PNG, "x" * 5000],
        Path("x" * 5000),
    ],
)
def test_messages_stay_short(source: Any) -> None:
    with pytest.raises(PictureError) as told:
        Scorer()(source)
    assert len(str(told.value)) < 400
    assert shortened("x" * 1000, 10) == "xxxxxxxxxx… (1,000 characters)"


def test_cells_of_a_data_set_are_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    scorer = Scorer()
    wanted = scorer(RGB)
    cells: list[dict[str, Any]] = [
        {"bytes": PNG, "path": None},
        {"bytes": PNG, "path": "not-there.png"},
        {"bytes": bytearray(PNG)},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        {"path": tmp_path / "a.png"},
    ]
    for cell in cells:
        assert scorer(cell) == pytest.approx(wanted)
    assert scorer(cells) == pytest.approx([wanted] * len(cells))
    assert [each.score for each in scorer.score_many(cells)] == pytest.approx([wanted] * 5)
    for empty in ({}, {"bytes": None, "path": None}, {"array": RGB}):
        with pytest.raises(PictureError, match="cell holds no picture"):
            scorer(empty)
    assert [each.score for each in scorer.score_many(cells[0])] == pytest.approx([wanted])


def test_floats_a_rounding_error_outside_are_clipped() -> None:
    floats = (RGB / 255).astype(np.float32)
    floats.flat[:2] = 0, 1
    wanted = open_picture(floats)
    for off in (floats + 1e-6, floats - 1e-6, (floats * 1.001).astype(np.float16)):
        got = open_picture(off)
        assert np.abs(got.astype(int) - wanted).max() <= 1
        assert got.flat[0] == 0 and got.flat[1] == 255  # nothing wraps
    for wrong in (floats + 0.01, floats - 0.01, floats * 255):
        with pytest.raises(PictureError, match="0–1"):
            open_picture(wrong)


def with_scans(file: bytes, more: int) -> bytes:
    """The JPEG with its last scan repeated."""
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * more + file[-2:]


@pytest.mark.parametrize("options", [{"progressive": True}, {"progressive": True, "quality": 95}])
def test_a_jpeg_of_many_scans_is_refused_at_once(options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 3000), "grey").save(buffer, "JPEG", **options)
    begin = time.perf_counter()
    with pytest.raises(PictureError, match=f"more than {MAX_SCANS} scans"):
        open_picture(with_scans(buffer.getvalue(), 400))
    assert time.perf_counter() - begin < 1


def test_scans_are_counted_only_where_they_are(tmp_path: Path) -> None:
    file = encoded("JPEG", progressive=True)
    wanted = open_picture(file)
    film = b"\xff\xda" * 500  # after the picture's end, as a phone's motion photo
    comment = b"\xff\xfe" + (len(film) + 2).to_bytes(2, "big") + film
    for other in (file + film, file[:2] + comment + file[2:]):
        assert np.array_equal(open_picture(other), wanted)
        (tmp_path / "a.jpg").write_bytes(other)
        assert np.array_equal(open_picture(tmp_path / "a.jpg"), wanted)
