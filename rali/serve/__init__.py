"""The scorer behind HTTP: `rali serve`."""

from rali.errors import require

require("starlette", "serve")

from .app import create_app  # noqa: E402
from .limits import Limits  # noqa: E402

__all__ = ["Limits", "create_app"]
