"""A command that a command starts ends with it, even when a kill ends it that nobody can catch.

The parent holds a pipe to the child's standard input, and never writes to it. The system closes
it with the parent, which works on every system, and the child ends as SIGTERM ends it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

_WATCHED = "RALI_ENDS_WITH_STDIN"  # in the child's environment
GRACE = 10.0  # seconds that a child has for its end


def start_child(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command of rali that ends with this process.

    Args:
        options: of `subprocess.Popen`, other than its standard input and environment.
    """
    environment = {**os.environ, _WATCHED: "1"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **options)


def end_with_parent() -> None:
    """In a child of `start_child`, begin to watch for the parent's end; else do nothing."""
    if os.environ.pop(_WATCHED, None):
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)  # what is done is kept as after a kill
