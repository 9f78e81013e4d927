"""Settings: wrong ones are named as the user types them, and each has a meaning."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from rali.distill.pipeline import DistillConfig
from rali.errors import InputError
from rali.runs.config import describe, from_dict, with_overrides


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("bases.count=0", r"bases\.count is 0"),
        ("align.temperature=0", r"align\.temperature is 0"),
        ("align.texts_per_picture=0", r"align\.texts_per_picture"),
        ("align.precision=half", r"align\.precision is 'half'"),
        ("align.lr=.nan", r"align\.lr is nan"),
        ("finetune.batch_size=0", r"finetune\.batch_size"),
        ("fit.temperature=-1", r"fit\.temperature is -1"),
        ("views=3", "views is 3"),
        ("align.lr=[1", "not YAML"),
    ],
)
def test_settings_that_cannot_work_are_named_before_any_work(setting, named):
    with pytest.raises(InputError, match=named):
        from_dict(DistillConfig, with_overrides({}, [setting]))


def test_a_setting_is_not_a_group():
    with pytest.raises(InputError, match=r"align is 5, not a group"):
        with_overrides({}, ["align=5", "align.lr=1"])


def test_an_item_of_a_list_is_set_by_its_place():
    values = {"tasks": [{"reward": "rl2r"}, {"reward": "threshold"}]}
    with_overrides(values, ["tasks.1.threshold=0.25"])
    assert values["tasks"][1] == {"reward": "threshold", "threshold": 0.25}
    for wrong in ("tasks.2.threshold=1", "tasks.x.threshold=1"):
        with pytest.raises(InputError, match="not a place in a list of 2"):
            with_overrides(values, [wrong])
    with pytest.raises(InputError, match="is a whole item"):
        with_overrides(values, ["tasks.0=1"])


def test_unknown_settings_are_named():
    with pytest.raises(InputError, match=r"align\.epoch is not a setting"):
        from_dict(DistillConfig, {"align": {"epoch": 3}})
    with pytest.raises(InputError, match=r"fit\.steps is 'many'"):
        from_dict(DistillConfig, {"fit": {"steps": "many"}})
    values = with_overrides({}, ["align.lr=1e-4", "encoder=nano"])
    assert from_dict(DistillConfig, values).align.lr == 1e-4


@dataclasses.dataclass
class Several:
    pixels: int | None = None
    rate: float | None = None
    prompt: str | dict[str, Any] = "score"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("pixels=1e6", "pixels is '1e6'; expected int or nothing."),
        ("pixels=1.0e+6", "pixels is 1000000.0; expected int or nothing."),
        ("pixels=true", "pixels is True; expected int or nothing."),
        ("rate=x", "rate is 'x'; expected float or nothing."),
        ("prompt=5", "prompt is 5; expected str or dict."),
        ("prompt=null", "prompt is None; expected str or dict."),
    ],
)
def test_a_setting_of_several_kinds_names_them_all(setting, message):
    with pytest.raises(InputError, match=re.escape(message)):
        from_dict(Several, with_overrides({}, [setting]))


def test_a_setting_of_several_kinds_takes_each():
    typed = ["pixels=100", "rate=1e-3", "prompt={low: 1}"]
    assert from_dict(Several, with_overrides({}, typed)) == Several(100, 1e-3, {"low": 1})
    assert from_dict(Several, with_overrides({}, ["pixels=null", "rate="])) == Several()


def test_every_setting_is_described_as_it_is_typed_with_meaning_and_default():
    changes = ["encoder=nano", "align.lr=1e-4", "fit.enabled=false", "seed=3"]
    config = from_dict(DistillConfig, with_overrides({}, changes))
    text = describe(config)
    settings = re.findall(r"^([\w.]+=.*?)(?:  \(default (.*)\))?$", text, re.MULTILINE)
    assert from_dict(DistillConfig, with_overrides({}, [typed for typed, _ in settings])) == config
    assert {typed: default for typed, default in settings if default} == {
        "encoder=nano": "ViT-L-14-336-quickgelu",
        "seed=3": "0",
        "align.lr=0.0001": "1.0e-05",
        "fit.enabled=false": "true",
    }
    lines = text.splitlines()
    fields = {typed.partition("=")[0] for typed, _ in settings}
    for place, line in enumerate(lines):
        assert len(line) < 80
        if line.partition("=")[0] in fields:
            assert re.match(r"    \S.*", lines[place + 1]), f"{line} has no meaning"


def test_meanings_come_from_the_docstring():
    @dataclasses.dataclass
    class Config:
        """How it is done.

        Attributes:
            first, second: two numbers. third: a third number,
                which is below the first.
        """

        first: int = 1
        second: int = 2
        third: int = 0

    assert describe(Config(third=-1)) == (
        "first=1\n    Two numbers.\nsecond=2\n    Two numbers.\n"
        "third=-1  (default 0)\n    A third number, which is below the first."
    )
