"""`rali serve`: a model behind HTTP, for trainers that run elsewhere."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import sys
from typing import Annotated

import typer

from rali.errors import InputError


def serve(
    model: Annotated[
        str, typer.Argument(help="builtin, a model folder, an ONNX file or a hub id.")
    ] = "builtin",
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than loopback need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str,
        typer.Option(envvar="RALI_TOKEN", help="What clients bring: Authorization: Bearer TOKEN."),
    ] = "",
    precision: Annotated[
        str, typer.Option(help="Which of the model's files: fp32, fp16, int8, int8-dynamic.")
    ] = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores to use.", show_default="all")
    ] = None,
    provider: Annotated[
        str,
        typer.Option(help="onnxruntime's, such as CUDAExecutionProvider (of onnxruntime-gpu)."),
    ] = "CPUExecutionProvider",
    batch: Annotated[int, typer.Option(min=1, help="Pictures per batch, at most.")] = 16,
    wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds to wait for a batch to fill.")
    ] = 3.0,
    queue: Annotated[
        int, typer.Option(min=1, help="Pictures waiting, at most; beyond, clients get 429.")
    ] = 512,
    max_mib: Annotated[int, typer.Option(min=1, help="MiB of a request, at most.")] = 64,
    memory_mib: Annotated[
        int, typer.Option(min=1, help="MiB of all requests at once; beyond, clients get 429.")
    ] = 512,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, help="Of a picture; larger ones are an error.")
    ] = 64.0,
) -> None:
    """Serve scores over HTTP: POST /score, GET /healthz, GET /metrics.

    Ctrl-C or SIGTERM: what was accepted is answered first.

    Example: rali serve builtin --port 8000
             curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" localhost:8000/score
    """
    from rali.scoring.scorer import Scorer
    from rali.serve import Limits, create_app

    if not token and not _is_loopback(host):
        raise InputError(
            f"Anyone who reaches {host} could use this server. Give --token TOKEN (or RALI_TOKEN), "
            "or listen at 127.0.0.1."
        )
    if memory_mib < max_mib:
        raise InputError(f"--memory-mib {memory_mib} holds no request of --max-mib {max_mib}.")
    _share_heaps()
    scorer = Scorer(
        model,
        precision=precision,
        threads=threads,
        # The processor scores a batch's pictures side by side, each core one: a run of one is best.
        batch_size=1 if provider == "CPUExecutionProvider" else batch,
        providers=[provider],
        max_pixels=round(max_megapixels * 1e6),
    )
    limits = Limits(
        batch=batch,
        wait=wait / 1000,
        queue=queue,
        body=max_mib * 2**20,
        memory=memory_mib * 2**20,
    )
    app = create_app(scorer, limits, name=model, token=token)

    import uvicorn

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"{host} port {port} cannot be listened at: {error.strerror or error}. Give another "
            "--port."
        ) from error
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"{model} is served at http://{shown}:{listening.getsockname()[1]}/score", err=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)


def _share_heaps(count: int = 2) -> None:
    """glibc has a heap for each thread, which stays as large as it ever was; two are as fast."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-8, count)  # M_ARENA_MAX


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
