"""One family of errors, each a sentence that the command line prints as it stands.

Anything else that reaches the command line is a bug and shows its traceback.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class RaliError(Exception):
    """Base of every error that rali raises on purpose."""


class InputError(RaliError):
    """The user's input cannot be used; the message says what to give instead."""


class HubError(InputError):
    """The Hugging Face Hub did not say whether it has a file; later it may."""


class PictureError(RaliError):
    """A file or array that cannot be read as a picture; `str(error)` is the reason."""


class MissingExtraError(RaliError, ImportError):
    """A package of an optional extra is not installed."""


EXTRAS = {  # by package; all others come with "distill"
    **dict.fromkeys(("pyarrow", "yaml", "openpyxl", "xlrd", "scipy"), "data"),
    **dict.fromkeys(("transformers", "trl", "peft", "datasets"), "teach"),
    "bitsandbytes": "4bit",
    "vllm": "vllm",
    "openai": "openai",
    **dict.fromkeys(("starlette", "uvicorn", "prometheus_client", "python_multipart"), "serve"),
    "diffusers": "rlhf",
    **dict.fromkeys(("fsspec", "aiohttp"), "remote"),
}


def shortened(text: Any, most: int = 160) -> str:
    """`text` for a message: its beginning and its length where it is longer than `most`."""
    text = str(text)
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def printable(text: str) -> str:
    r"""`text` for a terminal: control characters in it are written out, as in `\x1b[31m`."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def missing_extra(package: str, extra: str = "") -> str:
    """The sentence for a package that is not installed; the extra is looked up if not given."""
    extra = extra or EXTRAS.get(package, "distill")
    return f"This needs {package}, which is not installed. Type: pip install 'rali[{extra}]'"


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or name the extra of rali that installs it.

    Raises:
        MissingExtraError: the module is not installed; the message has the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(missing_extra(module.partition(".")[0], extra)) from error
