"""The bases as k-means left them, kept beside the fitted ones to show what the fit does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rali.errors import InputError
from rali.files import replace_atomically

if TYPE_CHECKING:
    from rali.student.student import Student

    from .compress import Projection

UNFITTED = "bases.npz"


def save_unfitted(
    folder: Path,
    projection: Projection,
    vectors: np.ndarray,
    scores: np.ndarray,
    temperature: float,
) -> None:
    """Save the bases as k-means left them, to compare with the fitted ones."""

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.savez(
                file, mean=projection.mean, scale=projection.scale,
                components=projection.components, vectors=vectors, scores=scores,
                temperature=temperature,
            )  # fmt: skip

    replace_atomically(folder / UNFITTED, write)


def scores_before_and_after(
    student: Student, embeddings: np.ndarray, run: str | Path
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n] by the bases as k-means left them and by the fitted ones.

    Args:
        embeddings: [n, D], from `Student.embed`. run: the folder that `rali distill` wrote.

    Raises:
        InputError: the run kept no bases.
    """
    import torch

    from rali.student.student import score_from_bases

    file = Path(run) / UNFITTED
    if not file.is_file():
        raise InputError(f"{run} holds no {UNFITTED}; give a folder that `rali distill` wrote.")
    names = ("mean", "scale", "components", "vectors", "scores", "temperature")
    try:
        with np.load(file, allow_pickle=False) as kept:
            part: dict[str, Any] = {name: torch.from_numpy(kept[name]).float() for name in names}
    except Exception as error:  # a broken archive raises whatever it leads to
        raise InputError(
            f"{file} is damaged ({error}). Delete it and type the same `rali distill` again."
        ) from error
    points = torch.from_numpy(embeddings).float()
    with torch.inference_mode():
        space = (points - part["mean"]) / part["scale"] @ part["components"].T
        before = score_from_bases(
            space, part["vectors"], part["scores"], float(part["temperature"])
        )
        return before.numpy(), student.score_embeddings(points).numpy()
