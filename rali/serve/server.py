"""uvicorn with bounds: how many connections, how long each may be silent, how long stopping takes.

uvicorn limits requests, not connections, and waits for ever for a head that does not come. What is
added here knows no HTTP: it counts connections and looks at clocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from rali.errors import InputError

from .limits import Limits

BACKLOG = 32  # connections that asyncio accepts at a time, before any is counted
WAITING = 2048  # connections that the system keeps until they are accepted
READ = 2**14  # bytes of a connection before others have their turn: as chunks, they take 0.1 s
LINGER = 0.5  # seconds for a client to read that it is refused
OTHER_FILES = 128  # descriptors for all but connections
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b'Connection: close\r\n\r\n{"error": "Too many connections: try again in a second."}'
)


def run(app: ASGIApp, listening: socket.socket, limits: Limits, files: int = 0) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; what was accepted by then is answered.

    Args:
        listening: a bound socket.
        files: how many descriptors the application itself needs.
    """
    most = min(limits.connections, _descriptors(limits.connections + files) - files)

    class Guarded(_Guarded):
        connections_most, idle = max(1, most), limits.idle

    config = uvicorn.Config(
        app,
        http=Guarded,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=limits.idle,  # type: ignore[arg-type]
        timeout_graceful_shutdown=limits.stop,  # type: ignore[arg-type]
    )
    server = _Server(config)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup and signal.getsignal(hangup) != signal.SIG_IGN:  # as nohup sets it
        signal.signal(hangup, server.handle_exit)
    server.run(sockets=[listening])
    if not server.started:
        raise InputError("The server did not start.")


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or []:
            with contextlib.suppress(OSError):  # it is closed where starting failed
                each.listen(WAITING)


class _Guarded(H11Protocol):
    """A connection that is closed when it keeps the server waiting, or when there are too many."""

    connections: set[Any]
    connections_most: int
    idle: float
    transport: Any

    _deadline: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.max_size = READ  # asyncio's own is 256 KiB
        if len(self.connections) > self.connections_most:
            longest = min(
                (each for each in self.connections if each is not self and each.waits),
                key=lambda each: each.waits.when(),
                default=None,
            )
            if longest is None:
                self._refuse()
                return
            longest._close()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._no_deadline()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    @property
    def waits(self) -> asyncio.TimerHandle | None:
        """The end of the time in which the client owes a head, or the reading of a reply."""
        return None if self._refused or self.transport.is_closing() else self._deadline

    def _watch(self) -> None:
        """Begin the client's time where it owes something; it is not begun anew by part of it."""
        if self.transport.is_closing():
            self._end_after_idle()
        elif not (self.cycle is None or self.cycle.response_complete or self.flow.write_paused):
            self._no_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.idle, self._close)

    def _refuse(self) -> None:
        """Say that there are too many connections; if there are even more, say nothing."""
        self._refused = True
        if len(self.connections) > self.connections_most + BACKLOG:
            self.transport.abort()
            return
        self.transport.write(_FULL)
        self.transport.write_eof()
        # Were it closed before the client has sent its request, that would undo the reply.
        self._deadline = self.loop.call_later(LINGER, self.transport.abort)

    def _no_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self.transport.close()
        self._end_after_idle()

    def _end_after_idle(self) -> None:
        """What the client has not read by then is dropped."""
        self._no_deadline()
        self._deadline = self.loop.call_later(self.idle, self.transport.abort)


def _descriptors(wanted: int) -> int:
    """How many connections the process may have open, after asking the system for `wanted`."""
    if sys.platform == "win32":
        return wanted
    import resource

    spare = OTHER_FILES + 3 * BACKLOG
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + spare:
        soft = wanted + spare if hard == resource.RLIM_INFINITY else min(hard, wanted + spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft - spare
