"""`rali serve`: what it answers, whom it refuses, and where it listens."""

from __future__ import annotations

import base64
import io
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.errors import InputError
from rali.serve import Limits, create_app


def as_png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def as_json(pictures: list[bytes]) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(picture).decode() for picture in pictures]}


def test_three_kinds_of_request_give_the_scores_of_the_command_line(client, scorer, photographs):
    offline = scorer(photographs)
    by_json = client.post("/score", json=as_json(photographs)).json()
    assert by_json["model"] == "builtin"
    assert [each["score"] for each in by_json["results"]] == pytest.approx(offline, abs=1e-6)
    files = [("file", ("a.png", picture, "image/png")) for picture in photographs]
    by_form = client.post("/score", files=files).json()
    assert by_form["results"] == by_json["results"]
    alone = client.post("/score", content=photographs[3], headers={"content-type": "image/png"})
    assert alone.json()["results"] == [by_json["results"][3]]
    address = "data:image/png;base64," + base64.b64encode(photographs[0]).decode()
    in_lines = base64.encodebytes(photographs[0]).decode()
    for image in (address, in_lines):
        reply = client.post("/score", json={"images": [image]}).json()
        assert reply["results"] == [by_json["results"][0]]


def test_a_picture_that_cannot_be_read_does_not_spoil_the_others(client, photographs):
    images = as_json(photographs[:2])["images"]
    large = base64.b64encode(as_png(np.zeros((1001, 1000, 3), np.uint8))).decode()
    given = [images[0], "????", base64.b64encode(b"text").decode(), 7, large, images[1]]
    results = client.post("/score", json={"images": given}).json()["results"]
    assert [each["score"] is not None for each in results] == [True, *[False] * 4, True]
    reasons = [each["error"] for each in results]
    assert "base64" in reasons[1] and "not a picture" in reasons[2] and "base64" in reasons[3]
    assert "1,000,000" in reasons[4]


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"json": {"pictures": []}}, 400, "images"),
        ({"json": {"images": []}}, 400, "1 to 16 pictures; got 0"),
        ({"json": {"images": ["AA=="] * 17}}, 413, "got 17"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "JSON"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "text/plain"),
        ({"content": b"x" * 2**23, "headers": {"content-type": "image/png"}}, 413, "larger"),
        (
            {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "multipart",
        ),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "multipart"),
        ({"json": {"images": [{}] * 60_000}}, 413, "more than 100,000 parts"),
    ],
)
def test_a_request_that_cannot_be_used_says_why(client, request_, status, words):
    reply = client.post("/score", **request_)
    assert (reply.status_code, words in reply.json()["error"]) == (status, True), reply.text


def test_a_body_too_large_and_not_announced_gets_no_retry(scorer):
    parts = iter([b"x" * 2**16] * 3)
    with TestClient(create_app(scorer, Limits(body=2**17, memory=12 * 2**17))) as client:
        reply = client.post("/score", content=parts, headers={"content-type": "image/png"})
    assert (reply.status_code, "send fewer" in reply.json()["error"]) == (413, True), reply.text


def test_health_and_metrics(client, photographs):
    assert client.get("/healthz").json() == {"status": "ok"}
    before = client.get("/metrics").text
    client.post("/score", json=as_json(photographs[:3]))
    after = client.get("/metrics").text

    def scored(text: str) -> float:
        lines = [line for line in text.splitlines() if 'pictures_total{outcome="scored"}' in line]
        return float(lines[0].split()[-1]) if lines else 0.0

    assert scored(after) == scored(before) + 3
    assert "rali_request_seconds_bucket" in after and "rali_batch_pictures_count" in after


def test_a_token_is_asked_for_everywhere_but_health(scorer, photographs):
    picture = {"content": photographs[0]}
    with TestClient(create_app(scorer, name="/home/me/model", token="sécret")) as client:
        for wrong in (b"", b"Bearer other", b"secret", b"Basic s\xc3\xa9cret", b"Bearer", b"\xff"):
            headers = {"authorization": wrong, "content-type": "image/png"}
            reply = client.post("/score", headers=headers, **picture)
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert client.get("/metrics", headers=headers).status_code == 401
        reply = client.get("/healthz")
        assert (reply.status_code, reply.json()) == (200, {"status": "ok"})
        for scheme in ("Bearer ", "bearer ", "BEARER  "):
            headers = {"authorization": f"{scheme}sécret".encode(), "content-type": "image/png"}
            assert client.post("/score", headers=headers, **picture).status_code == 200
            assert client.get("/metrics", headers=headers).status_code == 200


def test_limits_that_contradict_one_another_are_refused(scorer):
    with pytest.raises(InputError, match=r"give --memory-mib 12"):
        create_app(scorer, Limits(body=2**20, memory=2**20))
    with pytest.raises(InputError, match=r"picture of 64 megapixels: give --memory-mib 2442"):
        Limits().check(64_000_000)
    client = TestClient(create_app(Scorer(), Limits(body=2**14, memory=2**21)))
    with client:  # 1.5 MiB to decode: a picture of 52,428 pixels
        picture = as_png(np.zeros((230, 230, 3), np.uint8))
        headers = {"content-type": "image/png"}
        error = client.post("/score", content=picture, headers=headers).json()["results"][0]
        assert error["score"] is None and "limit of 52,428" in error["error"]


def refused(*arguments: str) -> str:
    error = CliRunner().invoke(app, ["serve", *arguments]).exception
    assert isinstance(error, InputError), error
    return str(error)


def test_listening_to_others_takes_a_token_and_a_port_that_is_free(serve, tmp_path: Path):
    assert "blank" in refused("builtin", "--token", " ")
    assert "--token" in refused("builtin", "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in refused("builtin", "--port", str(port))
    assert "There is no model" in refused(str(tmp_path / "nothing"))
    assert "NoProvider" in refused("builtin", "--provider", "NoProvider")
    assert "--memory-mib 1" in refused("builtin", "--memory-mib", "1")
    server = serve("--host", "0.0.0.0", RALI_TOKEN="secret\n")  # as a file of secrets ends
    url = server.address
    right = {"authorization": "bearer secret"}
    assert httpx.post(url, json={}, timeout=60).status_code == 401
    assert httpx.post(url, json={}, headers=right, timeout=60).status_code == 400
