"""`rali serve`: a model behind HTTP, for trainers that run elsewhere."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import sys
from typing import Annotated

import typer

from rali.errors import InputError
from rali.scoring.model_folder import PRECISIONS

from ._model import SCORER_HELP


def serve(
    model: Annotated[str, typer.Argument(help=SCORER_HELP)] = "builtin",
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but loopback needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str,
        typer.Option(envvar="RALI_TOKEN", help="Clients must send Authorization: Bearer TOKEN."),
    ] = "",
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Let web pages of this origin ask, such as https://example.org; * is all. May be "
            "given several times."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help=f"Which ONNX file of the model: {', '.join(PRECISIONS)}.")
    ] = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU cores to use.", show_default="all")
    ] = None,
    provider: Annotated[
        str,
        typer.Option(
            help="Execution provider of ONNX Runtime, such as CUDAExecutionProvider (from "
            "onnxruntime-gpu)."
        ),
    ] = "CPUExecutionProvider",
    batch: Annotated[int, typer.Option(min=1, help="At most this many pictures per batch.")] = 16,
    wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds to wait for a batch to fill.")
    ] = 3.0,
    queue: Annotated[
        int,
        typer.Option(
            min=1, help="At most this many pictures wait. Beyond that clients get status 429."
        ),
    ] = 512,
    max_mib: Annotated[int, typer.Option(min=1, help="At most this many MiB per request.")] = 64,
    memory_mib: Annotated[
        int,
        typer.Option(
            min=1,
            help="At most this many MiB: a quarter for all requests (beyond that clients get 429), "
            "the rest for decoding (pictures wait for one another).",
        ),
    ] = 2048,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, help="At most this many megapixels per picture.")
    ] = 52.0,
    connections: Annotated[
        int,
        typer.Option(
            min=1, help="At most this many connections; the one idle for longest makes room."
        ),
    ] = 512,
    idle_seconds: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds without a byte after which a connection or a request is ended."
        ),
    ] = 10.0,
    request_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds in which a request has to arrive.")
    ] = 60.0,
    picture_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds that decoding a picture may take.")
    ] = 20.0,
    stop_seconds: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds to answer what was accepted, once it is to stop."),
    ] = 20.0,
) -> None:
    """Serve scores over HTTP: POST /score, GET /healthz, GET /metrics; /docs lists them all.

    ?explain=true, ?interval=0.9 and ?map=true add phrases, an interval and a map to the scores.
    POST /compute and GET /health are for Flow-Factory's remote reward model.

    After Ctrl-C, SIGTERM or SIGHUP it answers the requests it has accepted, then stops.

    Example: rali serve builtin --port 8000

    curl --data-binary @a.png -H Content-Type:image/png localhost:8000/score
    """
    from rali.scoring.scorer import Scorer
    from rali.serve import Limits, create_app
    from rali.serve.server import run

    token = _checked(token, host)
    limits = Limits(
        batch=batch,
        wait=wait / 1000,
        queue=queue,
        body=max_mib * 2**20,
        memory=memory_mib * 2**20,
        connections=connections,
        idle=idle_seconds,
        request=request_seconds,
        picture=picture_seconds,
        stop=stop_seconds,
    )
    limits.check(round(max_megapixels * 1e6))
    _share_heaps()
    scorer = Scorer(
        model,
        precision=precision,
        threads=threads,
        # On CPU each core scores a picture of the batch: runs of one picture are fastest.
        batch_size=1 if provider == "CPUExecutionProvider" else batch,
        providers=[provider],
        max_pixels=round(max_megapixels * 1e6),
    )
    app = create_app(scorer, limits, name=model, token=token, origins=cors_origin or ())
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"The server cannot listen on {host} port {port}: {error.strerror or error}. Give "
            "another --port."
        ) from error
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"{model} is served at http://{shown}:{listening.getsockname()[1]}/score", err=True)
    try:
        run(app, listening, limits, files=3 * scorer.threads)
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)


def _checked(token: str, host: str) -> str:
    """The token as a header can hold it: a file's last line break is no part of it."""
    if token and not token.strip():
        raise InputError("--token (or RALI_TOKEN) is blank: give one, or leave it out.")
    if not token and not _is_loopback(host):
        raise InputError(
            f"Anyone who reaches {host} could use this server. Give --token TOKEN (or RALI_TOKEN), "
            "or listen on 127.0.0.1."
        )
    return token.strip()


def _share_heaps(count: int = 2) -> None:
    """glibc gives each thread a heap that never shrinks; two shared heaps are as fast."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-8, count)  # M_ARENA_MAX


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
