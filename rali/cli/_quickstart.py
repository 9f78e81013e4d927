"""From nothing to a scored picture: the whole pipeline on photographs that every install has.

scikit-image's and scikit-learn's photographs are degraded. On some of them the nano teacher is
trained and writes rationales, from which a nano student is distilled. It is exported, evaluated on
the other photographs (whole contents, never trained on) and shown in `report.html`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row, write_manifest
from rali.data.splits import assign_splits
from rali.data.triplets import Triplet, read_triplets
from rali.distill.align import AlignConfig
from rali.distill.fit import FitConfig
from rali.distill.pipeline import DistillConfig, distill
from rali.distill.splits import training_rows
from rali.errors import require
from rali.evaluation.evaluate import evaluate
from rali.files import write_text
from rali.pictures.samples import sample_files
from rali.report.evaluation import Evaluation
from rali.report.page import write_report
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, renamed, silent
from rali.scoring.model_folder import onnx_file
from rali.scoring.scorer import Scorer

SIZE = 512
RATIONALES = 4
CONFIG = DistillConfig(
    encoder="nano",
    views=2,
    keep_pixels=True,
    # Chosen on Kodak's photographs, five to train on and ten to evaluate on.
    align=AlignConfig(epochs=8, batch_size=64, lr=3e-4),
    fit=FitConfig(temperature=0.15, steps=600),
)
TEACHING: dict[str, Any] = {
    "epochs": 0.5,
    "prompts_per_step": 8,
    "num_generations": 6,
    "micro_batch": 48,
    "lr": 1e-4,
    "lr_schedule": "constant",
    "vision": False,
    "max_completion_length": 150,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "save_every": 5,
}


def quickstart(
    folder: str | Path,
    pictures: Sequence[Path] = (),
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run every stage that is not done yet; returns the summary that `summary.json` holds.

    Args:
        folder: the run folder; a stopped run in it is resumed.
        pictures: the user's own, scored at the end.
    """
    run = RunFolder(Path(folder))
    with run.timed("degrade"):
        rows = degrade_folder(
            sample_files(),
            run.folder / "pictures",
            size=SIZE,
            progress=progress,
        )
        rows = assign_splits(rows, (5, 1, 3), seed=CONFIG.seed)
        manifest = run.folder / "manifest.csv"
        write_manifest(rows, manifest)
    train, _ = training_rows(rows)
    with run.timed("teach"):
        teacher = _teach(run.folder / "teacher", manifest, progress)
    with run.timed("harvest"):
        triplets, failure_rate = harvest_rationales(
            teacher, train, run.folder / "triplets", progress
        )
    student = distill(
        CONFIG,
        rows,
        triplets,
        run.folder,
        trained_on="degraded photographs of scikit-image and scikit-learn (KADID-10k's mean "
        "score of each degradation)",
        progress=progress,
    )
    assert student is not None, "the quickstart is one process"
    model = run.folder / "model"
    with run.timed("export"):
        from rali.export import export_checked

        onnx = onnx_file(model)
        agreement = export_checked(student, onnx, progress=progress)
    with run.timed("evaluate"):
        evaluation, predictions = evaluate(
            onnx,
            [manifest],
            split="test",
            progress=renamed(progress, "evaluate"),
        )
        student.config.evaluation = replace(evaluation, model="")
        student.save_pretrained(model)
        text = json.dumps(evaluation.to_dict(), indent=2)
        write_text(run.folder / "evaluation.json", text)
    with run.timed("report"):
        from rali.teacher.report import training_section
        from rali.teacher.sheets import rationales_section

        progress("report", 0, 1)
        summary = _summary(run, rows, evaluation, agreement.max_difference, failure_rate)
        scored = [
            {"image": str(result.source), "score": result.score, "error": result.error}
            for result in (Scorer(onnx).score_many(pictures) if pictures else ())
        ]
        write_report(
            run.folder / "report.html",
            title="rali quickstart",
            intro="A nano student, distilled from what the nano teacher wrote about degraded "
            f"photographs and evaluated on {evaluation.n} versions of "
            f"{summary['held_out_photographs']} photographs that neither was trained on. A true "
            "score is people's mean (KADID-10k's) for the kind and level of the degradation, the "
            "same for every photograph.",
            summary={k: summary[k] for k in ("onnx_max_difference", "seconds")},
            stages=summary["stages"],
            metrics=run.metrics(),
            basis_vectors=student.basis_vectors.numpy(),
            basis_scores=student.basis_scores.numpy(),
            predictions=[
                {
                    "image": str(row.image),
                    "score": predictions[row.image],
                    "mos": row.score,
                    "distortion": row.distortion,
                    "severity": row.severity,
                }
                for row in rows
                if row.split == "test"
            ],
            evaluation=evaluation,
            user_pictures=scored,
            config=asdict(CONFIG),
            truth="score of the degradation",
            sections=[
                training_section(RunFolder(run.folder / "teacher"), "The teacher's training"),
                rationales_section([run.folder / "triplets"], count=6),
            ],
        )
        progress("report", 1, 1)
    summary = _summary(run, rows, evaluation, agreement.max_difference, failure_rate)
    summary["pictures"] = scored
    write_text(run.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _teach(folder: Path, manifest: Path, progress: Progress) -> Path:
    """A short reinforcement learning of the nano teacher on the training pictures."""
    require("trl", "teach")
    from rali.teacher.grpo import GrpoConfig, train
    from rali.teacher.tasks import TaskConfig

    config = GrpoConfig(
        model="nano",
        tasks=[TaskConfig(manifests=[str(manifest)])],
        **TEACHING,
    )
    return train(config, folder, progress=_without_reward(progress))


def _without_reward(progress: Progress) -> Progress:
    """The teacher's reward would stand where the loss of the other stages does."""
    return lambda stage, done, total, loss=None: progress("teach", done, total)


def harvest_rationales(
    teacher: str | Path, rows: Sequence[Row], folder: Path, progress: Progress
) -> tuple[list[Triplet], float]:
    """The teacher's rationales of the training pictures, and the share that cannot be parsed."""
    from rali.teacher.engines import Sampling, load_engine
    from rali.teacher.harvest import harvest
    from rali.teacher.questions import find_prompt

    summary = harvest(
        load_engine("transformers", str(teacher), batch_size=48),
        rows,
        find_prompt("visualquality-r1/score"),
        folder,
        seeds=RATIONALES,
        sampling=Sampling(max_new_tokens=150),
        progress=progress,
    )
    return read_triplets(folder), summary.failure_rate


def _summary(
    run: RunFolder,
    rows: Sequence[Row],
    evaluation: Evaluation,
    difference: float,
    failure_rate: float,
) -> dict[str, Any]:
    result = evaluation.datasets["degraded"]
    stages = run.seconds()
    return {
        "srcc": result.values["srcc"],
        "plcc": result.values["plcc"],
        "n": result.n,
        "held_out_photographs": len({row.content for row in rows if row.split == "test"}),
        "onnx_max_difference": difference,
        "rationales_not_parsed": round(failure_rate, 4),
        "seconds": round(sum(stages.values()), 2),
        "stages": stages,
    }
