"""Models on the Hugging Face Hub: what is uploaded is what the client's cache then loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from rali import Scorer, Student
from rali.errors import InputError

BUILTIN = Path(__file__).parents[2] / "rali" / "builtin"


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `push_to_hub("me/student")` would upload; the hub itself cannot be reached here."""
    target = tmp_path / "uploaded"

    class Api:
        def __init__(self, token: str | None) -> None:
            assert token == "secret"

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            assert (repo_id, private, exist_ok) == ("me/student", True, True)

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> str:
            shutil.copytree(folder_path, target)
            return f"commit in {repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    said = Student.from_pretrained("builtin").push_to_hub(
        "me/student", onnx=BUILTIN / "onnx" / "model.onnx", private=True, token="secret"
    )
    assert said == "commit in me/student"
    return target


def test_the_card_keeps_the_numbers_and_names_the_repository(uploaded: Path) -> None:
    card = (uploaded / "README.md").read_text("utf-8")
    assert 'Scorer("me/student")' in card
    measured = Student.from_pretrained("builtin").config.evaluation["datasets"]["biq2021"]
    assert f"{measured['srcc']:.3f}" in card


def test_the_real_client_loads_both_from_its_cache(
    uploaded: Path, tmp_path: Path, photograph_files: list[Path]
) -> None:
    """In a process of its own, offline: the client reads its environment once."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "home" / "hub" / "models--me--student"
    shutil.copytree(uploaded, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = (
        "import sys; from rali import Scorer, Student; picture = sys.argv[1];"
        "print(Scorer('me/student')(picture),"
        " Student.from_pretrained('me/student').score([picture])[0])"
    )
    picture = str(photograph_files[0])
    done = subprocess.run(
        [sys.executable, "-c", code, picture], capture_output=True, text=True, check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    by_onnx, by_torch = map(float, done.stdout.split())
    assert by_onnx == Scorer()(picture)
    assert by_torch == pytest.approx(by_onnx, abs=1e-4)


def test_a_teacher_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    """As Q-Insight publishes its two."""
    from rali.teacher.models import NANO, teacher_place

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "home" / "hub" / "models--me--teachers"
    shutil.copytree(NANO, repository / "snapshots" / commit / "score")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = (
        "from rali.errors import InputError; from rali.teacher.models import load_teacher\n"
        "print(load_teacher('me/teachers/score')[0].config.model_type)\n"
        "try: load_teacher('me/teachers/degradation')\n"
        "except InputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "qwen2_5_vl",
        "me/teachers on the Hugging Face Hub has no degradation.",
    ]
    with pytest.raises(InputError, match="no teacher's folder"):
        teacher_place(f"{tmp_path}/run/modle")
