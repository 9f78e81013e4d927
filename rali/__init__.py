"""rali: image quality scores from 1 to 5, distilled from a reasoning teacher.

`Scorer` needs numpy, Pillow and onnxruntime only. `Student`, `RaliReward` and `Metric` need the
`distill` extra. Everything here is imported when it is first asked for, so `import rali` imports
neither torch nor onnxruntime.

From version 1.32 on, onnxruntime reports to its makers which models are run: it queues what it
would send in the user's cache folder and looks up a host. Importing rali before onnxruntime
switches that off, unless `ORT_DISABLE_TELEMETRY` is set already.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rali.version import __version__

if TYPE_CHECKING:
    from rali.errors import InputError, PictureError
    from rali.rewards.reward import RaliReward
    from rali.scoring.batches import RaliScorer
    from rali.scoring.scorer import Scorer
    from rali.student.pyiqa_metric import Metric
    from rali.student.student import Student

# onnxruntime reads it when it is imported. Its telemetry also has a thread without which a forked
# process cannot end.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "InputError",
    "Metric",
    "PictureError",
    "RaliReward",
    "RaliScorer",
    "Scorer",
    "Student",
    "__version__",
]

_HOMES = {
    "InputError": "rali.errors",
    "Metric": "rali.student.pyiqa_metric",
    "PictureError": "rali.errors",
    "RaliReward": "rali.rewards.reward",
    "RaliScorer": "rali.scoring.batches",
    "Scorer": "rali.scoring.scorer",
    "Student": "rali.student.student",
}
_WITH_TORCH = {"Metric", "RaliReward", "Student"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rali' has no attribute {name!r}")
    if name in _WITH_TORCH:
        from rali.errors import require

        require("torch", "distill")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
