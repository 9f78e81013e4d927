"""What can be evaluated: a student, an ONNX file, a teacher, a CSV of predictions, a pyiqa metric.

In: what was typed. Out: what `rali.evaluation.evaluate.predict` takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.evaluation.predictors import Predictions, PyiqaMetric
from rali.teacher.predictor import TeacherJudge, is_teacher

MODEL_HELP = (
    "`builtin`, a model folder, an ONNX file, a hub id; a teacher's folder, or `teacher:NAME`; a "
    "CSV of predictions (image, predicted or score); `pyiqa:METRIC`."
)


def judge(model: str, batch_size: int = 8, prompt: str | None = None) -> Any:
    """What the words on the command line mean.

    Args:
        prompt: by which a teacher is asked for a score; None takes VisualQuality-R1's.

    Raises:
        InputError: a CSV that holds no predictions, a metric that pyiqa does not have, or a prompt
            for something that is no teacher.
    """
    kind, _, name = model.partition(":")
    named = kind == "teacher" and name
    if named or is_teacher(Path(model)):
        teacher = name if named else model
        return TeacherJudge(teacher, batch_size, prompt or "visualquality-r1/score")
    if prompt is not None:
        raise InputError(f"--prompt is for a teacher, which {model} is not.")
    if kind == "pyiqa" and name:
        return PyiqaMetric(name)
    if model.lower().endswith(".csv"):
        return Predictions(Path(model))
    return model
