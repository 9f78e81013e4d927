"""rali: image quality scores from 1 to 5, distilled from a reasoning judge.

`Scorer` needs numpy, pillow and onnxruntime only. `Student` (training, gradients) needs the
`distill` extra; it is imported when first asked for, so `import rali` never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Scorer", "Student", "__version__"]

if TYPE_CHECKING:
    from rali.scorer import Scorer
    from rali.student import Student


def __getattr__(name: str) -> Any:
    if name == "Scorer":
        from rali.scorer import Scorer

        return Scorer
    if name == "Student":
        from rali.errors import require

        require("torch", "distill")
        from rali.student import Student

        return Student
    raise AttributeError(f"module 'rali' has no attribute {name!r}")
