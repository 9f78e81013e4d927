"""A small OpenAI-compatible server, run as a process of its own: `python canned_server.py FOLDER`.

It answers each picture and seed with a text of their own, so that a lost, doubled or swapped text
shows. `FOLDER/settings.json` says what it does wrong: `faults` come once each, in order, before any
answer; `delay` is seconds per answer, `key` the key it wants. It writes its port to `FOLDER/port`
and one line per request to `FOLDER/log.jsonl`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAME = "canned-7b"
PAGE = b"<html><title>502</title><body><h1>Bad gateway</h1></body></html>"


def text_of(picture: bytes, seed: int) -> str:
    """What the server says about a picture's bytes with a seed."""
    digest = hashlib.sha256(picture + str(seed).encode()).hexdigest()
    score = 1 + int(digest[:4], 16) % 400 / 100
    return f"<think>It looks {digest[:12]}.</think><answer>{score:.2f}</answer>"


@dataclass
class Canned:
    """A running server."""

    folder: Path
    process: subprocess.Popen[bytes]
    url: str

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def answered(self) -> list[tuple[str, int]]:
        """(SHA-256 of the picture, seed) of each answer that was sent whole."""
        return [(line["picture"], line["seed"]) for line in self.log() if line["what"] == "answer"]


@contextlib.contextmanager
def canned_server(folder: Path, port: int = 0, **settings: Any) -> Iterator[Canned]:
    """Run the server during a block; a second one on the same folder continues its log."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings | {"port": port}))
    (folder / "port").unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, __file__, folder])
    try:
        while not (folder / "port").exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield Canned(folder, process, f"http://127.0.0.1:{(folder / 'port').read_text()}/v1")
    finally:
        process.kill()
        process.wait()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    settings: dict[str, Any]
    folder: Path
    lock = threading.Lock()
    now = number = 0

    def log_message(self, *_: Any) -> None:
        pass

    def _send(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, message: str, code: str = "", **headers: str) -> None:
        self._send(status, {"error": {"message": message, "code": code or None}}, **headers)

    def _log(self, what: str, **more: Any) -> None:
        with self.lock, (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"what": what, "time": time.time()} | more) + "\n")

    def _has_key(self) -> bool:
        given, wanted = self.headers["Authorization"], self.settings.get("key")
        if wanted and given != f"Bearer {wanted}":
            self._error(401, f"Incorrect API key provided: {given}")
            return False
        return True

    def do_GET(self) -> None:
        if self._has_key():
            models = self.settings.get("models", [NAME, "other-3b"])
            self._send(200, {"data": [{"id": name, "object": "model"} for name in models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._has_key():
            return
        url = next(
            part["image_url"]["url"]
            for part in body["messages"][-1]["content"]
            if part["type"] == "image_url"
        )
        picture = base64.b64decode(url.partition(",")[2])
        about = {
            "picture": hashlib.sha256(picture).hexdigest(),
            "seed": body.get("seed"),
            "n": body.get("n", 1),
            "head": url[:22],
        }
        with self.lock:
            Handler.now += 1
            Handler.number += 1
            about |= {"now": Handler.now, "number": Handler.number}
            faults = self.settings["faults"]
            fault = faults.pop(0) if faults else ""
        try:
            time.sleep(self.settings.get("delay", 0))
            for name in self.settings.get("unknown", []):
                if name in body:
                    self._log("unknown", **about)
                    return self._error(400, f"Unsupported parameter: {name}." + (
                        " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                    ))  # fmt: skip
            if fault or self.settings.get("always"):
                self._log(fault or self.settings["always"], **about)
                return self._fault(fault or self.settings["always"], body, picture)
            count = min(body.get("n", 1), self.settings.get("most", 1))
            seed = body.get("seed", about["number"])
            texts = [text_of(picture, seed + index) for index in range(count)]
            if not self.settings.get("seeds", True):
                texts = [text_of(picture, seed + 10**10 * about["number"])]
            self._log("answer", **about)
            self._send(200, completion(texts))
        finally:
            with self.lock:
                Handler.now -= 1

    def _fault(self, fault: str, body: dict[str, Any], picture: bytes) -> None:
        said = text_of(picture, body.get("seed", 0))
        right = json.dumps(completion([said])).encode()
        if fault == "429":
            self._error(429, "Slow down.", Retry_After="1")
        elif fault == "500":
            self._error(500, "Out of memory.")
        elif fault == "page":
            self._send(502, PAGE, "text/html")
        elif fault == "page200":
            self._send(200, PAGE, "text/html")
        elif fault == "hang":
            time.sleep(20)
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(right)))
            self.end_headers()
            self.wfile.write(right[:-20])
            self.close_connection = True
        elif fault == "drop":
            self.close_connection = True
        elif fault == "garbage":
            self._send(200, right[:-1])
        elif fault == "deep":
            self._send(200, b"[" * 100_000)
        elif fault == "null":
            self._send(200, None)
        elif fault == "empty":
            self._send(200, completion([]))
        elif fault == "error200":
            self._send(200, {"error": {"message": "Upstream failed."}})
        elif fault == "other":
            self._send(200, completion([said]) | {"model": f"{NAME}-mini"})
        elif fault == "filter":
            self._send(200, completion([said], finish_reason="content_filter"))
        elif fault == "filter400":
            self._error(400, "The response was filtered.", "content_filter")
        elif fault == "too large":
            self._error(400, "The picture is too large.")
        elif fault == "quota":
            self._error(429, "You exceeded your current quota.", "insufficient_quota")
        elif fault == "later":
            self._error(429, "Come back tomorrow.", Retry_After="86400")


def completion(texts: list[str], **more: Any) -> dict[str, Any]:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        | more
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 100, "completion_tokens": 10 * len(texts)}
    return {"object": "chat.completion", "model": NAME, "choices": choices, "usage": usage}


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    Handler.settings = json.loads((Handler.folder / "settings.json").read_text())
    Handler.settings.setdefault("faults", [])
    server = ThreadingHTTPServer(("127.0.0.1", Handler.settings["port"]), Handler)
    partial = Handler.folder / "port.partial"
    partial.write_text(str(server.server_port))
    partial.replace(Handler.folder / "port")
    server.serve_forever()
