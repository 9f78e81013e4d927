"""A teacher's folder that is damaged, or that names another model, is refused in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.teacher.models import NANO, load_teacher
from rali.teacher.saving import last_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "teacher"))


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b'{"a":', b"", b"null", b"[" * 100_000, b"\xff\xfe"])
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is damaged.*Copy the teacher's folder again"):
        load_teacher(str(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"model_type": []}'),
        ("model.safetensors", b""),
        ("chat_template.jinja", b"nothing"),
        ("chat_template.jinja", b"{% if %}"),
    ],
)
def test_a_file_of_another_kind_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded as a teacher: "):
        load_teacher(str(folder))


def test_weights_that_are_missing_are_no_random_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "mlp" in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of its weights, such as .*mlp"):
        load_teacher(str(folder))


@pytest.mark.parametrize("base", ["somebody/else", str(NANO)])
def test_an_adapter_leads_nowhere(folder: Path, base: str) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    with pytest.raises(InputError, match=r"holds an adapter .*Give the whole one"):
        load_teacher(str(folder))


def test_a_checkpoint_with_a_damaged_state_is_passed_over(tmp_path: Path) -> None:
    for step, text in enumerate(('{"global_step": 3}', "[]", "{", '{"global_step": []}'), 1):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
