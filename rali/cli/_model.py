"""Models on the command line: how they are described, and which predictor a word means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rali.errors import InputError

if TYPE_CHECKING:
    from rali.evaluation.predictors import Predictor

STUDENT_HELP = "`builtin`, a model folder or a Hub id."
SCORER_HELP = "`builtin`, a model folder, an ONNX file or a Hub id."
TEACHER_HELP = "`nano`, a teacher's folder or a Hub id."
PREDICTOR_HELP = (
    "`builtin`, a model folder, an ONNX file or a Hub id; a teacher's folder or `teacher:NAME`; a "
    "CSV file of predictions (columns image and predicted); or `pyiqa:METRIC`."
)


def predictor(model: str, batch_size: int = 8, prompt: str | None = None) -> str | Predictor:
    """What `model`, as typed, means to `rali.evaluation.evaluate`.

    Args:
        model: as `PREDICTOR_HELP` says.
        batch_size: for a teacher, texts generated side by side.
        prompt: the prompt by which a teacher is asked for a score; None takes VisualQuality-R1's.

    Returns:
        A teacher as a predictor; any other word as it is, for `find_predictor`.

    Raises:
        InputError: a prompt for something that is not a teacher.
    """
    from rali.teacher.predictor import TeacherPredictor, is_teacher

    kind, _, name = model.partition(":")
    named = kind == "teacher" and name
    if named or is_teacher(Path(model)):
        teacher = name if named else model
        return TeacherPredictor(
            teacher, prompt=prompt or "visualquality-r1/score", batch_size=batch_size
        )
    if prompt is not None:
        raise InputError(f"--prompt is for a teacher, which {model} is not.")
    return model
