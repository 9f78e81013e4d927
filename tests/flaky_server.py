"""An HTTP server of a folder, with ranges, that counts what it is asked and fails as it is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Flaky:
    """A running server.

    Attributes:
        url: its address.
        faults: what goes wrong, by the file's name: "busy" (503), "cut" (half the answer comes),
            "empty" (nothing of it) or "drop" (not even its head). Each fault is made once, in
            order; one that begins with "always " for ever.
        asked: "HEAD name" or "GET name" and the range, of each request.
        sent: bytes of bodies.
        ranges: whether it knows them; else each answer is the whole file.
    """

    folder: Path
    url: str = ""
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    ranges: bool = True

    def fault(self, name: str) -> str:
        left = self.faults.get(name, [])
        if not left:
            return ""
        return left[0].removeprefix("always ") if left[0].startswith("always ") else left.pop(0)

    def gets(self, name: str) -> list[str]:
        """The ranges that were asked of a file, "" for all of it."""
        return [one.partition(f" {name}")[2].strip() for one in self.asked if f"GET {name}" in one]


class _Handler(BaseHTTPRequestHandler):
    flaky: Flaky
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.lstrip("/").replace("%20", " ")
        place, span = self.flaky.folder / name, self.headers.get("Range", "")
        self.flaky.asked.append(f"{self.command} {name} {span}".strip())
        fault = self.flaky.fault(name)
        if fault == "busy":
            self.send_error(503)
            return
        if fault == "drop":
            self._hang_up()
            return
        if place.is_dir():
            data = "".join(f'<a href="{each.name}">x</a>' for each in place.iterdir()).encode()
        elif place.is_file():
            data = place.read_bytes()
        else:
            self.send_error(404)
            return
        first, _, last = span.removeprefix("bytes=").partition("-")
        whole, partial = len(data), bool(span) and self.flaky.ranges
        if partial:
            data = data[int(first) : int(last) + 1 if last else None]
        self.send_response(206 if partial else 200)
        if partial:
            end = int(first) + len(data) - 1
            self.send_header("Content-Range", f"bytes {first}-{end}/{whole}")
        self.send_header("Accept-Ranges", "bytes" if self.flaky.ranges else "none")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = data[: {"cut": len(data) // 2, "empty": 0}.get(fault)]
        with contextlib.suppress(OSError):
            for start in range(0, len(body), 1 << 16):
                self.wfile.write(body[start : start + (1 << 16)])
                self.flaky.sent += len(body[start : start + (1 << 16)])
        if fault in ("cut", "empty"):
            self._hang_up()

    do_HEAD = do_GET  # noqa: N815

    def _hang_up(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)  # a reset instead of an end
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def flaky_server(folder: Path) -> Iterator[Flaky]:
    """Serve a folder during a block."""
    flaky = Flaky(folder)
    handler = type("Handler", (_Handler,), {"flaky": flaky})
    serving = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    flaky.url = f"http://127.0.0.1:{serving.server_address[1]}"
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield flaky
    finally:
        serving.shutdown()
        serving.server_close()
