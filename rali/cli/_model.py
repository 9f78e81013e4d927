"""Models on the command line: how they are described, and which predictor a word means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError
from rali.scoring.model_folder import PRECISIONS

if TYPE_CHECKING:
    from rali.evaluation.predictors import Predictor
    from rali.teacher.requests import Engine

STUDENT_HELP = "`builtin`, a model folder or a Hub id."
SCORER_HELP = "`builtin`, a model folder, an ONNX file or a Hub id."
TEACHER_HELP = "`nano`, a teacher's folder or a Hub id."
PREDICTOR_HELP = (
    "`builtin`, a model folder, an ONNX file or a Hub id; `nano`, a teacher's folder or "
    "`teacher:NAME`; a CSV file of predictions (columns image and predicted); or `pyiqa:METRIC`."
)
Provider = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Execution provider of ONNX Runtime, such as CUDAExecutionProvider (from "
        "onnxruntime-gpu).",
        show_default="CPUExecutionProvider",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="CPU cores to use.", show_default="all")
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look into folders inside folders too.")
]
Column = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column of a table or data set that names or holds the pictures.",
        show_default="image, file_name, path or url",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        autocompletion=lambda: list(PRECISIONS),
        help=f"Which of the model's files to use: {', '.join(PRECISIONS)}.",
    ),
]


def predictor(
    model: str,
    batch_size: int = 8,
    asked: Mapping[str, Any] | None = None,
    provider: str | None = None,
    threads: int | None = None,
    engine: Callable[[str], Engine] | None = None,
    texts: Path | None = None,
    engine_options: Sequence[str] = (),
) -> str | Predictor:
    """What `model`, as typed, means to `rali.evaluation.evaluate`.

    Args:
        model: as `PREDICTOR_HELP` says.
        batch_size: for a teacher, texts generated side by side; else pictures per forward pass.
        asked: how a teacher is asked for a score, as for `teacher.decoding.decoding_of`; what is
            None or left out is as its authors do.
        provider, threads: where and on how many cores ONNX Runtime runs.
        engine: makes a teacher's engine of its name; None takes transformers.
        texts: a file in which a teacher's texts are kept; None keeps none.
        engine_options: the options that were typed for the engine, as `engine` or `max_pixels`.

    Returns:
        A teacher as a predictor, and with a provider or threads a `Scorer`; any other word as it
        is, for `find_predictor`.

    Raises:
        InputError: an engine or how to ask for something that is not a teacher, or a provider or
            threads for something that has no ONNX file.
    """
    from rali.evaluation.predictors import has_onnx
    from rali.scoring.scorer import Scorer
    from rali.teacher.decoding import decoding_of
    from rali.teacher.predictor import TeacherPredictor, is_teacher

    kind, _, name = model.partition(":")
    named = kind == "teacher" and name
    teaches = named or is_teacher(model)
    if (provider or threads) and (teaches or not has_onnx(model)):
        raise InputError(
            f"--provider and --threads are ONNX Runtime's, and {model} has no ONNX file. For a "
            "model folder, type: rali export MODEL_FOLDER"
        )
    if teaches:
        teacher, drawn = name if named else model, dict(asked or {})
        # A wrong prompt is told before a model loads; what the Hub knows can wait until then.
        decoding_of(teacher, served=True, **drawn).find_prompt()
        return TeacherPredictor(
            teacher, prompt=drawn.pop("prompt", None), samples=drawn.pop("samples", None),
            sampling=drawn, batch_size=batch_size,
            engine=engine(teacher) if engine else "transformers", texts=texts,
        )  # fmt: skip
    given = [name for name, value in (asked or {}).items() if value is not None]
    if options := [*engine_options, *given]:
        option = "--" + options[0].replace("_new_", "_").replace("_", "-")
        more = f" For one on the Hub or behind a server, type: teacher:{model}"
        known = model == "builtin" or Path(model).exists()
        raise InputError(f"{option} is for a teacher, which {model} is not.{'' if known else more}")
    if provider or threads:
        providers = [provider] if provider else None
        return Scorer(model, batch_size=batch_size, providers=providers, threads=threads)
    return model
