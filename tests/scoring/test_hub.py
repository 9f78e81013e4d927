"""Models on the Hugging Face Hub: what is uploaded is what the client's cache then loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from rali import Scorer, Student
from rali.errors import InputError
from rali.scoring.hub import download
from rali.scoring.model_folder import find_model


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `push_to_hub("me/student")` would upload; the Hub itself cannot be reached here."""
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
    commit = Student.from_pretrained("builtin").push_to_hub(
        "me/student", onnx=find_model("builtin"), private=True, token="secret"
    )
    assert commit == "commit in me/student"
    return target


def test_the_card_keeps_the_numbers_and_names_the_repository(uploaded: Path) -> None:
    card = (uploaded / "README.md").read_text("utf-8")
    assert 'Scorer("me/student")' in card
    evaluation = Student.from_pretrained("builtin").config.evaluation
    assert evaluation is not None
    assert f"{evaluation.datasets['biq2021'].values['srcc']:.3f}" in card


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


def test_the_message_tells_why_the_hub_has_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import httpx2 as httpx  # what huggingface_hub 2 asks with
    except ImportError:
        import httpx

    response = httpx.Response(404, request=httpx.Request("GET", "https://example.org"))
    for problem, word in (
        (errors.LocalEntryNotFoundError("x"), "local cache"),
        (errors.RepositoryNotFoundError("x", response=response), "no such repository"),
        (errors.RevisionNotFoundError("x", response=response), "no revision v2"),
        (errors.EntryNotFoundError("x"), "it has no onnx"),
        (ConnectionError("cable cut\nmore"), r"cable cut\.$"),
    ):

        def fail(*_: object, problem: Exception = problem, **__: object) -> str:
            raise problem

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        with pytest.raises(InputError, match=word):
            download("owner/name", "onnx/model.onnx", revision="v2")


def test_what_the_hub_said_is_not_there_is_known_offline(tmp_path: Path) -> None:
    """The client notes a 404 in `.no_exist`; what nobody looked for is told, and left out."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--me--student"
    for folder in (f"snapshots/{commit}", "refs", f".no_exist/{commit}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / ".no_exist" / commit / "interval.json").touch()
    code = (
        "import warnings; from rali.export.checked import take_along;"
        "from rali.scoring.model_folder import find_file;"
        "warnings.simplefilter('error', UserWarning);"
        "print([find('me/student', 'interval.json') for find in (find_file, take_along)]);"
        "take_along('me/student', 'phrases.npz')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    assert run.stdout == "[None, None]\n"
    assert "UserWarning: phrases.npz is left out: There is no folder me/student" in run.stderr


def test_a_hub_id_offline_is_a_sentence(tmp_path: Path) -> None:
    """The real client with HF_HUB_OFFLINE, in a process of its own: it reads the variable once."""
    code = "from rali import Scorer; Scorer('owner/name-that-nobody-has')"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert "HubError: There is no folder owner/name-that-nobody-has here" in run.stderr
