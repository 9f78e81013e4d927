"""Files that appear whole or not at all, even if the process is stopped in between."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rali.errors import InputError

_LONGEST = 200  # bytes of a name that its temporary one repeats; systems allow 255
_LEFT_OVER = 24 * 3600  # seconds after which nobody writes a temporary file any more


def replace_atomically(
    path: Path, write: Callable[[Path], object], *, durable: bool = False
) -> None:
    """Call `write` with a temporary name beside `path`, then rename; a failure leaves no trace.

    A link is followed: what it points to is replaced. A device or a pipe is written to, as nothing
    can take its place. What a killed process left of this name a day ago or more is removed.

    Args:
        durable: the bytes are on the disk before the name is, for what a resumed run relies on.
    """
    path = Path(path)
    if _is_special(path):
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole"
            write(whole)
            with whole.open("rb") as made, path.open("wb") as target:
                shutil.copyfileobj(made, target)
        return
    if path.is_symlink():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
    _sweep(path.parent, name)
    temporary = path.with_name(f".{name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary)
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text in UTF-8, its line ends as they are, by `replace_atomically`."""
    replace_atomically(
        path, lambda target: target.write_text(text, "utf-8", newline=""), durable=durable
    )


def _is_special(path: Path) -> bool:
    """Whether it is there and is neither a file nor a folder; links are followed."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _sweep(folder: Path, name: str) -> None:
    pattern = f".{glob.escape(name)}.{'[0-9a-f]' * 8}.tmp"
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another process may sweep too
            if time.time() - left.stat().st_mtime > _LEFT_OVER:
                left.unlink()


def from_json(text: str | bytes) -> Any:
    """The values of a JSON text that somebody else may have written.

    Raises:
        ValueError: it is not JSON, or is nested deeper than Python goes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def image_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
