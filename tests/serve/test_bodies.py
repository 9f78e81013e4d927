"""Bodies of requests: every part gives a result, or the request is refused."""

from __future__ import annotations

import base64
import gzip
import time
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from rali.serve import Limits, create_app

HEAD = 'Content-Disposition: form-data; name="a"'


def form(*parts: tuple[str, bytes], end: bytes = b"--xyz--\r\n") -> dict[str, Any]:
    body = b"".join(
        b"--xyz\r\n" + head.encode() + b"\r\n\r\n" + picture + b"\r\n" for head, picture in parts
    )
    headers = {"content-type": "multipart/form-data; boundary=xyz"}
    return {"content": body + end, "headers": headers}


@pytest.mark.parametrize(
    "head",
    [
        f'{HEAD}; filename="a.png"',
        f"{HEAD}; filename*=UTF-8''%e2%82%ac.png",
        f'{HEAD}; filename=""',
        HEAD,
        "Content-Disposition: form-data",
        'Content-Disposition: attachment; filename="a.png"',
        "Content-Type: image/png",
        f"{HEAD}\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary",
    ],
)
def test_every_part_of_a_form_is_a_picture(client, scorer, photographs, head):
    plain = f'{HEAD}; filename="b.png"'
    reply = client.post("/score", **form((plain, photographs[0]), (head, photographs[1])))
    scores = [each["score"] for each in reply.json()["results"]]
    assert scores == pytest.approx(scorer(photographs[:2]), abs=1e-5)


def test_a_part_that_is_no_picture_has_its_reason(client, photographs):
    reply = client.post("/score", **form((HEAD, b"go"), (HEAD, b""), (HEAD, photographs[0])))
    reasons = [each["error"] for each in reply.json()["results"]]
    assert "not a picture" in reasons[0] and "empty" in reasons[1] and reasons[2] is None


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (b"", "closing boundary"),
        (b"--xyz\r\n", "closing boundary"),
        (b"--xyz\r\nContent-Disposition: form-", "closing boundary"),
        (b"--xyz\r\nContent-Disposition: form-data\r\n\r\n\x89PNG", "closing boundary"),
        (b"--other--\r\n", "closing boundary"),
        (b"--xyz\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--xyz--", "part 3 has"),
        (b"--xyz\r\nContent-Encoding: gzip\r\n\r\nAAAA\r\n--xyz--", "content-encoding: gzip"),
        (b"--xyz\r\nX: " + b"x" * 10_000 + b"\r\n\r\nA\r\n--xyz--", "eader"),
        (b"--xyz\r\n\r\nA\r\n" * 20 + b"--xyz--", "1 to 16 pictures"),
    ],
)
def test_a_form_that_is_cut_or_coded_is_refused(client, photographs, end, words):
    parts = [(f'{HEAD}; filename="{n}.png"', photographs[n]) for n in range(2)]
    reply = client.post("/score", **form(*parts, end=end))
    assert reply.status_code in (400, 413) and words in reply.json()["error"], reply.text
    assert len(reply.text) < 400


def test_every_cut_of_a_form_is_refused(client):
    whole = form((f'{HEAD}; filename="a.png"', b"not a picture"))
    for length in range(0, len(whole["content"]) - 2, 5):
        cut = {**whole, "content": whole["content"][:length]}
        assert client.post("/score", **cut).status_code == 400, length


def test_a_coded_body_is_refused(client, photographs):
    for coding, body in (
        ("gzip", gzip.compress(photographs[0])),
        ("deflate", zlib.compress(photographs[0])),
        ("br", b"?"),
        ("gzip, gzip", b"?"),
        ("x" * 5000, b"?"),
    ):
        headers = {"content-type": "image/png", "content-encoding": coding}
        reply = client.post("/score", content=body, headers=headers)
        assert (reply.status_code, reply.headers["accept-encoding"]) == (415, "identity")
        assert "Content-Encoding is" in reply.json()["error"] and len(reply.text) < 400
    headers = {"content-type": "image/png", "content-encoding": "identity"}
    assert client.post("/score", content=photographs[0], headers=headers).status_code == 200


def test_pictures_in_json_may_be_written_in_every_usual_way(client, scorer, photographs):
    plain = base64.b64encode(photographs[0]).decode()
    safe = base64.urlsafe_b64encode(photographs[0]).decode()
    images: list[Any] = [
        plain,
        safe,
        safe.rstrip("="),
        f"DATA:image/png;base64,{plain}",
        f"data:image/png;base64,{quote(plain, safe='')}",
        f"data:image/png,{quote(photographs[0], safe='')}",
        {"bytes": plain, "path": "a.png"},
    ]
    results = client.post("/score", json={"images": images}).json()["results"]
    assert [each["score"] for each in results] == pytest.approx([scorer(photographs[0])] * 7)


def test_text_that_is_no_picture_is_not_followed_and_answered_shortly(client, tmp_path):
    (tmp_path / "a.png").write_bytes(b"secret")
    images = [str(tmp_path / "a.png"), {"path": str(tmp_path / "a.png")}, "data:x", "?" * 10**6]
    reply = client.post("/score", json={"images": images})
    reasons = [each["error"] for each in reply.json()["results"]]
    assert len(reasons) == 4 and all(0 < len(reason) < 200 for reason in reasons)


def test_text_that_takes_more_memory_than_bytes_is_counted(scorer):
    """`😀` makes four bytes of every character of its text."""
    with TestClient(create_app(scorer, Limits(body=2**20, memory=12 * 2**20))) as client:
        for letter, status in ((b"A", 200), (b"\\ud83d\\ude00", 429), ("é".encode(), 429)):
            body = b'{"images": ["%b"]}' % (b"A" * 900_000 + letter)
            headers = {"content-type": "application/json"}
            assert client.post("/score", content=body, headers=headers).status_code == status


@pytest.mark.parametrize("filling", [b"\r\n--xy", b"\r", b"\n", b"--", b"\r\n\r\n"])
def test_no_filling_makes_a_form_slow(client, filling):
    body = filling * (2**21 // len(filling))
    begin = time.perf_counter()
    reply = client.post("/score", **form((HEAD, body)))
    assert reply.status_code == 200 and time.perf_counter() - begin < 3


@pytest.mark.parametrize(
    "body",
    [
        b'{"images": ["AA=="], "images": ["AA==", "AA=="]}',
        b'{"images": [], "images": ["AA=="]}',
        b'{"images": ["AA=="], "im\\u0061ges": []}',
        b'{"images": [{"bytes": "AA==", "bytes": "AAA="}]}',
    ],
)
def test_a_name_twice_in_json_is_refused(client, body):
    reply = client.post("/score", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert "twice" in reply.text
