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
        A predictor; what a `rali.Scorer` or a student loads stays the word that it is.

    Raises:
        InputError: a CSV file without predictions, a metric that pyiqa does not have, or a prompt
            for something that is not a teacher.
    """
    from rali.evaluation.predictors import CsvPredictor, PyiqaMetric
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
    if kind == "pyiqa" and name:
        return PyiqaMetric(name)
    if model.lower().endswith(".csv"):
        return CsvPredictor(model)
    return model
