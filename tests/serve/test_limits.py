"""What a server does about clients and pictures that hold it up: real processes on loopback."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from rali import Scorer

if TYPE_CHECKING:
    from .conftest import Server

PNG = {"content-type": "image/png"}
# A picture of 0.26 megapixels and a request of 1 MiB are the largest.
SMALL = ("--max-mib", "1", "--memory-mib", "12", "--max-megapixels", "0.26", "--threads", "1")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.perf_counter() + seconds
    while not holds():
        assert time.perf_counter() < end, "it did not come about"
        time.sleep(0.02)


def ended(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    told = b""
    try:
        while part := connection.recv(65536):
            told += part
    except ConnectionResetError:
        pass
    return told


def as_json(pictures: list[bytes]) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(picture).decode() for picture in pictures]}


def post(server: Server, picture: bytes) -> httpx.Response:
    return httpx.post(server.address, content=picture, headers=PNG, timeout=60)


def post_json(server: Server, pictures: list[bytes]) -> httpx.Response:
    return httpx.post(server.address, json=as_json(pictures), timeout=60)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def slow_picture() -> bytes:
    """A JPEG of 99 scans: little to send and seconds to decode."""
    file = encoded(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * (99 - file.count(b"\xff\xda")) + file[-2:]


def test_connections_that_send_nothing_or_little_are_closed(serve):
    server = serve("--idle-seconds", "0.4", "--threads", "1")
    begin = time.perf_counter()
    heads = [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"]
    after = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    connections = [server.connect(head) for head in [*heads, after, after + b"GET"] for _ in "abc"]
    drop = connections[5]
    for _ in range(4):  # a byte now and then is no request
        time.sleep(0.05)
        drop.sendall(b"E")
    told = [ended(connection) for connection in connections]
    assert time.perf_counter() - begin < 6
    assert [b"200 OK" in each for each in told] == 9 * [False] + 6 * [True]


def test_a_client_that_does_not_read_is_closed(serve):
    server = serve("--idle-seconds", "0.3", "--threads", "1")
    connection = server.connect()
    connection.setblocking(False)
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    begin = time.perf_counter()
    with pytest.raises(ConnectionError):
        while time.perf_counter() - begin < 60:
            try:
                connection.send(ask)
            except BlockingIOError:
                time.sleep(0.01)
    assert server.get("/healthz")


@LINUX
def test_more_silent_connections_than_descriptors_keep_nobody_out(serve, photographs):
    server = serve("--threads", "1", limit_files=256)
    silent = [server.connect(b"GET" * (n % 2)) for n in range(300)]
    begin = time.perf_counter()
    for _ in range(3):
        reply = post(server, photographs[0])
        assert reply.status_code == 200
    assert time.perf_counter() - begin < 6
    server.process.terminate()
    assert len(server.process.stderr.read()) < 1000
    for connection in silent:
        connection.close()


def test_busy_connections_are_not_closed_for_others(serve, photographs):
    server = serve("--connections", "2", "--threads", "1")
    busy = [server.stalled(len(photographs[0]), photographs[0][:9]) for _ in range(2)]
    time.sleep(0.2)
    reply = httpx.get(server.address.join("/healthz"), timeout=60)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "connections" in reply.json()["error"]
    for connection in busy:
        connection.sendall(photographs[0][9:])
        assert b"200 OK" in connection.recv(65536)
    idle = [server.connect() for _ in range(3)]
    assert json.loads(server.get("/healthz")) == {"status": "ok"}
    for connection in (*idle, *busy):
        connection.close()


def test_what_is_announced_and_not_sent_holds_nothing(serve, photographs):
    server = serve(*SMALL)
    announced = [server.stalled(2**20) for _ in range(3)]
    sent = [server.stalled(2**20, b"x" * 2**19) for _ in range(2)]  # 2 MiB of 3 with their copies
    until(lambda: server.metric("rali_held_bytes") == 2**21)
    assert post(server, photographs[0]).status_code == 200
    reply = post(server, b"x" * 2**20)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    assert "bytes of at most 3,145,728" in reply.json()["error"]
    for connection in (*announced, *sent):
        connection.close()
    until(lambda: server.metric("rali_held_bytes") == 0)


def test_a_body_that_stops_coming_is_ended(serve):
    server = serve(*SMALL, "--idle-seconds", "0.4")
    begin = time.perf_counter()
    for connection in [server.stalled(2**20, b"x" * size) for size in (0, 1, 2**19)]:
        told = ended(connection)
        assert b" 408 " in told and b"for 0.4" in told
    assert time.perf_counter() - begin < 6
    assert server.metric("rali_held_bytes") == 0


def test_a_body_that_drips_is_ended(serve):
    server = serve("--threads", "1", "--request-seconds", "0.6", "--idle-seconds", "0.5")
    connection = server.stalled(100)
    begin = time.perf_counter()
    connection.settimeout(0.1)
    told = b""
    while not told and time.perf_counter() - begin < 5:
        connection.sendall(b"x")
        with contextlib.suppress(TimeoutError):
            told = connection.recv(1000)
    assert b" 408 " in told and time.perf_counter() - begin < 5


def test_two_lengths_are_refused_and_chunks_are_counted(serve):
    server = serve(*SMALL)
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    both = head + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 400 " in ended(server.connect(both + chunk))
    connection = server.connect(head + b"Transfer-Encoding: chunked\r\n\r\n" + 20 * chunk)
    assert b" 413 " in connection.recv(65536)
    assert server.metric("rali_held_bytes") == 0


def worked(server: Server) -> float:
    """Seconds of a core that the server's own process has taken, whoever else is at work."""
    times = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


@LINUX
def test_a_flood_of_tiny_chunks_leaves_others_their_turn(serve):
    server = serve(*SMALL)
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    flood = server.connect(head + b"Transfer-Encoding: chunked\r\n\r\n")
    flood.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            flood.send(b"1\r\nx\r\n" * 5000)
    begin = worked(server)
    assert "ok" in server.get("/healthz")
    assert worked(server) - begin < 0.6
    flood.close()


def held(server: Server) -> float:
    """The MiB that a server and its decoders hold."""
    total = 0
    for pid in (server.process.pid, *server.children()):
        with contextlib.suppress(FileNotFoundError, IndexError, ProcessLookupError):
            total += int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
    return total / 1024


@LINUX
def test_decoding_keeps_within_the_memory(serve):
    """Five pictures of 4 megapixels that take 0.1 GB each, in one request of some kB."""
    server = serve("--memory-mib", "180", "--max-mib", "1", "--max-megapixels", "4.1")
    image = Image.new("RGBA", (2000, 2000), (200, 100, 50, 0))
    bomb = encoded(image, "WEBP", lossless=True)
    assert len(bomb) < 3000
    post_json(server, [encoded(image.resize((9, 9)), "PNG")] * 8)
    before = most = held(server)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post_json, server, [bomb] * 5)
        while not reply.done():
            most = max(most, held(server))
            time.sleep(0.005)
    assert all(each["score"] for each in reply.result().json()["results"])
    assert 60 < most - before < 180
    assert held(server) - before < 20, "decoders keep what they have given back"


@LINUX
def test_a_picture_that_takes_too_long_is_ended_and_the_others_are_scored(serve, photographs):
    server = serve("--threads", "1", "--picture-seconds", "1")
    pictures = [photographs[0], slow_picture(), photographs[1]]
    results = post_json(server, pictures).json()["results"]
    assert "took more than 1 seconds" in results[1]["error"]
    scores = [results[0]["score"], results[2]["score"]]
    assert scores == pytest.approx(Scorer()(photographs[:2]), abs=1e-5)
    assert len(server.children()) == 1 and server.metric("rali_decoding_bytes") == 0


@LINUX
def test_nothing_is_decoded_for_who_has_left(serve, photographs):
    server = serve("--threads", "1")
    (child,) = server.children()
    with pytest.raises(httpx.ReadTimeout):
        pictures = as_json([slow_picture()] * 20)
        httpx.post(server.address, json=pictures, timeout=httpx.Timeout(60, read=1))
    until(lambda: child not in server.children(), 5)
    begin = time.perf_counter()
    reply = post(server, photographs[0])
    assert reply.status_code == 200 and time.perf_counter() - begin < 10
    assert 'rali_requests_total{status="499"} 1.0' in server.get("/metrics")


@LINUX
def test_a_decoder_that_crashes_costs_one_picture(serve, photographs):
    server = serve("--threads", "1")
    (child,) = server.children()
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post_json, server, [slow_picture()])
        until(lambda: server.metric("rali_decoding_bytes") > 0)
        os.kill(child, signal.SIGSEGV)
        assert "came to its end" in reply.result().json()["results"][0]["error"]
    reply = post(server, photographs[0])
    assert reply.json()["results"][0]["score"] is not None
    children = server.children()
    server.process.kill()
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in children), 10)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_server_that_is_stopped_answers_what_it_accepted(serve, photographs, sent):
    server = serve("--batch", "1")
    with ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(post_json, server, photographs[:8]) for _ in range(4)]
        until(lambda: server.metric("rali_pending_pictures") > 24)
        server.process.send_signal(sent)
        scores = [[each["score"] for each in reply.result().json()["results"]] for reply in replies]
    assert all(each == pytest.approx(Scorer()(photographs[:8]), abs=1e-5) for each in scores)
    server.process.wait(60)
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.address)
    assert "Traceback" not in server.process.stderr.read()


def test_stopping_waits_for_no_slow_client_and_no_slow_picture(serve):
    server = serve("--threads", "1", "--stop-seconds", "0.5")
    connection = server.stalled(100, b"x")
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post_json, server, [slow_picture()])
        until(lambda: server.metric("rali_decoding_bytes") > 0)
        begin = time.perf_counter()
        server.process.terminate()
        told = ended(connection)
        assert b" 503 " in told and b"The server stops" in told
        assert reply.result().status_code == 503
    server.process.wait(9)
    assert time.perf_counter() - begin < 9
    assert "Traceback" not in server.process.stderr.read()
