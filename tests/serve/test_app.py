"""`rali serve`: replies, refusals, batches and a graceful end, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from starlette.testclient import TestClient
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.errors import InputError
from rali.serve import Limits, create_app
from rali.serve.batcher import Batcher, FullError


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(max_pixels=1_000_000)


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    """Crops of scikit-learn's photographs, lossless."""
    return [
        png(np.ascontiguousarray(image[y : y + 200, x : x + 240]))
        for image in load_sample_images().images
        for y in (0, 150)
        for x in (0, 200, 390)
    ]


@pytest.fixture(scope="module")
def client(scorer):
    with TestClient(create_app(scorer, Limits(body=2**22, queue=16))) as client:
        yield client


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
    large = base64.b64encode(png(np.zeros((1001, 1000, 3), np.uint8))).decode()
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
    with TestClient(create_app(scorer, Limits(body=2**17, memory=2**17))) as client:
        reply = client.post("/score", content=parts, headers={"content-type": "image/png"})
    assert (reply.status_code, "send fewer" in reply.json()["error"]) == (413, True), reply.text


def test_health_and_metrics(client, photographs):
    assert client.get("/healthz").json()["status"] == "ok"
    before = client.get("/metrics").text
    client.post("/score", json=as_json(photographs[:3]))
    after = client.get("/metrics").text

    def scored(text: str) -> float:
        lines = [line for line in text.splitlines() if 'pictures_total{outcome="scored"}' in line]
        return float(lines[0].split()[-1]) if lines else 0.0

    assert scored(after) == scored(before) + 3
    assert "rali_request_seconds_bucket" in after and "rali_batch_pictures_count" in after


def test_a_token_is_asked_for_everywhere_but_health(scorer, photographs):
    with TestClient(create_app(scorer, token="secret")) as client:
        for wrong in ({}, {"authorization": "Bearer other"}, {"authorization": "Bearer sécret"}):
            headers = {key: value.encode() for key, value in wrong.items()}
            assert client.post("/score", json={}, headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/healthz").status_code == 200
        right = {"authorization": "Bearer secret"}
        reply = client.post("/score", json=as_json(photographs[:1]), headers=right)
        assert reply.status_code == 200


def test_a_client_that_hangs_up_is_noticed(photographs):
    process, address = start("--batch", "1", "--threads", "1")
    try:
        many = as_json(photographs * 10)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address, json=many, timeout=httpx.Timeout(10, read=0.3))
        time.sleep(0.5)
        told = httpx.get(address[:-5] + "metrics").text
        assert 'rali_requests_total{status="499"} 1.0' in told
        begin = time.perf_counter()
        reply = httpx.post(address, json=as_json(photographs[:1]))
        assert reply.json()["results"][0]["score"] is not None
        assert time.perf_counter() - begin < 0.5  # nothing is scored for who has left
    finally:
        process.kill()


def stalled(address: str, size: int, sent: bytes = b"") -> socket.socket:
    """A request of `size` bytes that ends after `sent`."""
    url = httpx.URL(address)
    connection = socket.create_connection((url.host, url.port))
    connection.sendall(
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (size, sent)
    )
    return connection


def test_stalled_requests_and_idle_connections_hold_up_nobody(photographs):
    process, address = start("--queue", "2", "--max-mib", "1", "--memory-mib", "1")
    png_ = {"content": photographs[0], "headers": {"content-type": "image/png"}}
    url = httpx.URL(address)
    try:
        idle = [socket.create_connection((url.host, url.port)) for _ in range(20)]
        assert httpx.get(address[:-5] + "healthz").status_code == 200
        assert httpx.post(address, **png_).status_code == 200
        holder = stalled(address, 2**20 - 1000, b"x")
        while "rali_held_bytes 1.0" not in httpx.get(address[:-5] + "metrics").text:
            time.sleep(0.02)
        reply = httpx.post(address, **png_)
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
        assert "bytes of at most 1,048,576" in reply.json()["error"]
        assert httpx.get(address[:-5] + "healthz").status_code == 200
        holder.close()  # its room is free again
        while "rali_held_bytes 0.0" not in httpx.get(address[:-5] + "metrics").text:
            time.sleep(0.02)
        assert httpx.post(address, **png_).status_code == 200
        for connection in idle:
            connection.close()
    finally:
        process.kill()


def test_a_request_that_does_not_arrive_is_ended(scorer):
    async def run() -> tuple[int, dict[str, str]]:
        app = create_app(scorer, Limits(patience=0.05))
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(60)
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"content-type", b"image/png"), (b"content-length", b"100")]
        scope = {"type": "http", "method": "POST", "path": "/score", "headers": headers,
                 "query_string": b"", "http_version": "1.1"}  # fmt: skip
        await app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    status, told = asyncio.run(run())
    assert status == 408 and "within 0.05 seconds" in told["error"]


class SlowScorer:
    """A scorer that remembers its batches; each takes a moment."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score_many(self, pictures):
        from rali.scoring.scorer import Result

        self.batches.append(len(pictures))
        time.sleep(0.05)
        return [Result(picture, float(picture), None) for picture in pictures]


def test_pictures_of_many_requests_share_batches_in_order():
    async def run() -> tuple[list[list[float]], list[int]]:
        scorer = SlowScorer()
        batcher = Batcher(scorer, size=8, wait=0.02, capacity=100)
        batcher.start()
        replies = await asyncio.gather(
            *(batcher.score([b"%d" % (10 * n + k) for k in range(3)]) for n in range(8))
        )
        await batcher.stop()
        assert batcher.pending == 0
        return [[result.score for result in reply] for reply in replies], scorer.batches

    replies, batches = asyncio.run(run())
    assert replies == [[10 * n + k for k in range(3)] for n in range(8)]
    assert batches == [8, 8, 8]


def test_what_has_no_room_is_refused_and_what_was_accepted_is_answered():
    async def run() -> None:
        batcher = Batcher(SlowScorer(), size=2, wait=0, capacity=4)
        batcher.start()
        accepted = asyncio.create_task(batcher.score([b"1", b"2", b"3"]))
        await asyncio.sleep(0)
        with pytest.raises(FullError):
            await batcher.score([b"4", b"5"])
        await batcher.stop()  # waits for them
        assert [result.score for result in await accepted] == [1, 2, 3]

    asyncio.run(run())


def test_a_client_that_left_is_not_scored_for():
    async def run() -> list[int]:
        scorer = SlowScorer()
        batcher = Batcher(scorer, size=1, wait=0, capacity=10)
        batcher.start()
        stays = [asyncio.create_task(batcher.score([b"1"])) for _ in range(2)]
        leaves = asyncio.create_task(batcher.score([b"2"]))
        await asyncio.sleep(0.02)  # both workers are busy
        leaves.cancel()
        await asyncio.gather(*stays)
        await batcher.stop()
        assert batcher.pending == 0
        return scorer.batches

    assert sum(asyncio.run(run())) == 2


def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The process of the command, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rali", "serve", "builtin", "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "http://" in line, line
    return process, line.split()[-1]


def test_a_server_that_is_stopped_answers_what_it_accepted(photographs):
    process, address = start("--batch", "1")
    request = as_json(photographs)
    try:
        with ThreadPoolExecutor(4) as pool:
            replies = [pool.submit(httpx.post, address, json=request) for _ in range(4)]
            accepted = 0.0
            while accepted <= 3 * len(photographs):  # some of each of the four
                told = httpx.get(address[:-5] + "metrics").text
                accepted = float(told.partition("\nrali_pending_pictures ")[2].split()[0])
            process.send_signal(signal.SIGTERM)
            scores = [
                [each["score"] for each in reply.result().json()["results"]] for reply in replies
            ]
        assert all(each == pytest.approx(Scorer()(photographs), abs=1e-5) for each in scores)
        process.wait(30)
        with pytest.raises(httpx.ConnectError):
            httpx.get(address)
    finally:
        process.kill()


def refused(*arguments: str) -> str:
    error = CliRunner().invoke(app, ["serve", *arguments]).exception
    assert isinstance(error, InputError), error
    return str(error)


def test_listening_to_others_takes_a_token_and_a_port_that_is_free(tmp_path: Path):
    assert "--token" in refused("builtin", "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in refused("builtin", "--port", str(port))
    assert "There is no model" in refused(str(tmp_path / "nothing"))
    assert "NoProvider" in refused("builtin", "--provider", "NoProvider")
    assert "--memory-mib 1" in refused("builtin", "--memory-mib", "1")
    process, address = start("--host", "0.0.0.0", RALI_TOKEN="secret")
    try:
        reply = httpx.post(address.replace("0.0.0.0", "127.0.0.1"), json={})
        assert reply.status_code == 401
    finally:
        process.kill()
