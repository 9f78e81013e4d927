"""verl's reward from a server: scores, a server that is full, and what is refused."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import torch
from coroutines import finished

from rali.errors import InputError, PictureError
from rali.rewards.verl_remote import compute_score

ANSWERS = list[tuple[Any, ...]]  # status, body and, if others are wanted, headers


@pytest.fixture
def canned() -> Iterator[tuple[str, ANSWERS]]:
    """An address, and the answers that it gives, each once."""
    answers: ANSWERS = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body, *more = answers.pop(0)
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Retry-After": "0.01"}
            for name, value in (headers | dict(*more)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    server.server_close()


def scored(score: float | None, error: str | None = None) -> tuple[int, Any]:
    return 200, {"model": "builtin", "results": [{"score": score, "error": error}]}


BLACK = torch.zeros(3, 8, 8)


def test_many_at_once_get_the_scores_of_their_files(pictures, expected, server_url):
    async def ask() -> list[dict[str, float]]:
        planar = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        asked = [compute_score(solution_image=each, server_url=server_url) for each in planar]
        asked.append(compute_score(solution_image=planar / 255, server_url=f"{server_url}/"))
        return await asyncio.gather(*asked)

    found = finished(ask())
    assert [each["score"] for each in found[:4]] == pytest.approx(expected, abs=1e-4)
    assert found[4] == pytest.approx(dict.fromkeys(("score", "rali_raw"), expected.mean()))


def test_a_full_server_is_asked_again(canned):
    address, answers = canned
    answers += [(429, {"error": "full"}), (503, {"error": "stops"}), scored(3.5)]
    found = finished(compute_score(solution_image=BLACK, server_url=address))
    assert found == {"score": 3.5, "rali_raw": 3.5} and not answers


def test_a_reply_that_breaks_off_and_a_date_to_wait_until_are_asked_again(canned):
    address, answers = canned
    answers += [
        (200, b"{", {"Content-Length": "99"}),
        (503, b"", {"Retry-After": "Fri, 27 Nov 2026 16:00:00 GMT"}),
        scored(3.5),
    ]
    assert finished(compute_score(solution_image=BLACK, server_url=address))["score"] == 3.5
    assert not answers


@pytest.mark.parametrize("address", ["reward:8000", "ftp://reward", "http://reward:port", ""])
def test_what_is_no_address_is_a_sentence(address):
    with pytest.raises(InputError, match="server_url is the address of"):
        finished(compute_score(solution_image=BLACK, server_url=address))


@pytest.mark.parametrize("reply", [[], {}, {"results": []}, {"results": [{"score": "high"}]}])
def test_another_server_is_a_sentence(canned, reply):
    address, answers = canned
    answers += [(200, reply), (200, b"<html>")]
    with pytest.raises(InputError, match="answers as no `rali serve` does"):
        finished(compute_score(solution_image=BLACK, server_url=address))
    with pytest.raises(InputError, match="cannot be asked"):
        finished(compute_score(solution_image=BLACK, server_url=address))


def test_pictures_of_another_range_are_refused_and_not_sent(canned):
    address, answers = canned
    for picture, message in ((255 * (BLACK + 1), "divide 0–255 by 255"), (BLACK / 0, "NaN")):
        with pytest.raises(InputError, match=message):
            finished(compute_score(solution_image=picture, server_url=address))
    assert not answers


def test_what_is_not_scored_is_an_error_and_no_zero(canned):
    address, answers = canned
    answers += [(401, {"error": "Expected the header"}), scored(None, "It is damaged.")]
    with pytest.raises(InputError, match=r"401.*Expected the header"):
        finished(compute_score(solution_image=BLACK, server_url=address))
    with pytest.raises(PictureError, match="damaged"):
        finished(compute_score(solution_image=BLACK, server_url=address))
    with pytest.raises(InputError, match="did you mean 'server_url'"):
        finished(compute_score(solution_image=BLACK, server_ulr=address))
    with pytest.raises(InputError, match="caution takes pkg://rali"):
        finished(compute_score(solution_image=BLACK, server_url=address, caution=1.0))
    with pytest.raises(InputError, match="no picture"):
        finished(compute_score(extra_info={}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=r"no scores within 0\.3 seconds: .*connect"):
        address = f"http://127.0.0.1:{port}"
        finished(compute_score(solution_image=BLACK, server_url=address, timeout=0.3))
