"""The examples as modules, and a few photographs of very different quality."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageFilter

INTEGRATIONS = Path(__file__).parents[2] / "examples" / "integrations"


@pytest.fixture(scope="session")
def integration() -> Callable[[str], ModuleType]:
    """Imports a file of examples/integrations/ by its name, as whoever copied it does."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, INTEGRATIONS / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def folder(photographs, tmp_path_factory) -> Path:
    """Three sharp photographs, the same blurred, and half a file: 0.png … 5.png and broken.png."""
    folder = tmp_path_factory.mktemp("mixed")
    for number, rgb in enumerate(list(photographs.values())[:3]):
        sharp = Image.fromarray(rgb)
        sharp.save(folder / f"{number}.png")
        sharp.filter(ImageFilter.GaussianBlur(6)).save(folder / f"{number + 3}.png")
    whole = (folder / "0.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def files(folder) -> list[str]:
    """The seven files; the last is broken."""
    return sorted(str(path) for path in folder.iterdir())


@pytest.fixture(scope="session")
def expected(files) -> list[float | None]:
    """What `Scorer` says of the seven; None of the last."""
    from rali import Scorer

    scores = [result.score for result in Scorer(threads=1).score_many(files)]
    assert scores[-1] is None
    return scores


@pytest.fixture(scope="session")
def middle(expected) -> float:
    """A threshold with some pictures on either side."""
    scores = sorted(expected[:-1])
    return (scores[2] + scores[3]) / 2
