"""Real servers and their applications, for the tests of `rali.serve`."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from starlette.testclient import TestClient

from rali import Scorer
from rali.serve import Limits, create_app


@pytest.fixture(autouse=True)
def no_running_loop() -> Iterator[None]:
    """The browser's driver leaves its event loop running in the thread that all tests share."""
    held = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(held)


@dataclass
class Server:
    """A process of `rali serve builtin`, and the address that it prints."""

    process: subprocess.Popen[str]
    address: httpx.URL

    def get(self, path: str) -> str:
        return httpx.get(self.address.join(path), timeout=60).text

    def metric(self, name: str) -> float:
        return float(self.get("/metrics").partition(f"\n{name} ")[2].split()[0])

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection((self.address.host, self.address.port), timeout=20)
        connection.sendall(sent)
        return connection

    def stalled(self, size: int, sent: bytes = b"") -> socket.socket:
        """A request of `size` bytes that ends after `sent`."""
        return self.connect(
            b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (size, sent)
        )

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers, which end with the test."""
    started = []

    def start(*arguments: str, limit_files: int = 0, **environment: str) -> Server:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit_files, limit_files))

        process = subprocess.Popen(
            [sys.executable, "-m", "rali", "serve", "builtin", "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            preexec_fn=limit if limit_files else None,
        )
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http://" in line, line + process.stderr.read()
        address = httpx.URL(line.split()[-1].replace("0.0.0.0", "127.0.0.1"))
        server = Server(process, address)
        assert "ok" in server.get("/healthz")
        return server

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photographs() -> list[bytes]:
    """Crops of scikit-learn's photographs, lossless."""
    return [
        png(np.ascontiguousarray(image[y : y + 200, x : x + 240]))
        for image in load_sample_images().images
        for y in (0, 150)
        for x in (0, 200, 390)
    ]


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return Scorer(max_pixels=1_000_000)


@pytest.fixture(scope="module")
def client(scorer: Scorer) -> Iterator[TestClient]:
    with TestClient(create_app(scorer, Limits(body=2**22, queue=16))) as client:
        yield client
