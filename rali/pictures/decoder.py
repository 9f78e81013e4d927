"""A process that decodes pictures for another one, which can end it whatever a picture does.

    python -m rali.pictures.decoder PREPROCESS MAX_PIXELS

On stdin come an 8-byte length and a picture's file; out go two JSON lines. The first is the size
that the file announces, `[width, height]` or null. After one byte more on stdin, which says that
there is memory for so many pixels and what is wanted, the second is `[height, width]` of what is,
and height · width · 3 bytes follow it: what `Preprocess.pixels` makes, or the whole picture. Or it
is the reason why there are none. The end of stdin ends it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from rali.errors import PictureError

from .preprocess import Preprocess
from .read import announced_size, open_picture

BYTES_PER_PIXEL = 30  # from file to pixels; measured at most 26 (benchmarks/decoding_memory.md)
PREPARED, WHOLE = b"\1", b"\2"  # what may be wanted
_SPARE = 64 * 2**20  # beside the pixels: what a decoder takes for itself


def main(preprocess: Preprocess, max_pixels: int) -> None:
    """Answer until stdin ends; what ends a server is the server's business."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    given, told = sys.stdin.buffer, sys.stdout.buffer
    _widen(given, told)
    told.write(b"ready\n")
    told.flush()
    while len(length := given.read(8)) == 8:
        picture = given.read(int.from_bytes(length, "big"))
        size = announced_size(picture)
        told.write(json.dumps(size).encode() + b"\n")
        told.flush()
        if not (wanted := given.read(1)):
            return
        width, height = size or (max_pixels, 1)
        _bound_memory(min(width * height, max_pixels))
        answer: Any
        pixels = b""
        try:
            # The whole picture has no name here, which would keep its memory while it is resized.
            if wanted == PREPARED:
                seen = preprocess.pixels(open_picture(picture, max_pixels=max_pixels))
            else:
                seen = open_picture(picture, max_pixels=max_pixels)
            answer, pixels = seen.shape[:2], seen.tobytes()
            del seen
        except PictureError as reason:
            answer = str(reason)
        except MemoryError:
            answer = "There is not enough memory to resize the picture."
        told.write(json.dumps(answer).encode() + b"\n")
        told.write(pixels)
        told.flush()
        del pixels  # while the next picture is waited for


def _widen(*pipes: Any) -> None:
    """Pipes of 1 MiB, where the system has them: else each picture takes dozens of turns."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        for pipe in pipes:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 2**20)


def _bound_memory(pixels: int) -> None:
    """Let the system refuse more than twice what a picture of its announced size may take."""
    if sys.platform == "linux":
        import resource

        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = held + 2 * BYTES_PER_PIXEL * pixels + _SPARE
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main(Preprocess.from_dict(json.loads(sys.argv[1])), int(sys.argv[2]))
