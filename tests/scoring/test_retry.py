"""Rows that failed are made again: one row per key, whenever the run is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rali.files import replace_atomically
from rali.scoring import ledger as ledger_module
from rali.scoring.journal import Journal
from rali.scoring.ledger import Ledger

COLUMNS = ("image", "score", "error")


def row(key: str, score: float | None) -> dict[str, Any]:
    return {"image": key, "score": score, "error": None if score else "There is no such file."}


FIRST = [row("a", 1.0), row("b", None), row("c", 3.0), row("d", None), row("e", None)]
# b has come back, d fails again, e is no source any more
AGAIN = [row("b", 2.0), row("d", None)]
WANTED = [row("a", 1.0), row("c", 3.0), row("e", None), row("b", 2.0), row("d", None)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("end", ["end", "read", "kill"])
def test_a_journal_keeps_one_row_per_key(tmp_path: Path, form: str, end: str) -> None:
    path = tmp_path / f"rows.{form}"
    with Journal(path, COLUMNS, form) as journal:
        for each in FIRST:
            journal.write(each)
    with Journal(path, COLUMNS, form, retry=True) as journal:
        assert [key for key in "abcdef" if key not in journal.done] == ["b", "d", "e", "f"]
        for each in AGAIN:
            journal.write(each)
        assert (journal.rows, journal.failed, journal.total) == (5, 2, 6.0)
        if end == "read":  # a table is made before the journal ends
            places = [place for place, _ in journal.read()]
            assert [journal.row_at(place) for place in places] == WANTED
        journal.flush()
        killed = path.read_bytes()
    if end == "kill":
        assert len(killed) > len(path.read_bytes())
        path.write_bytes(killed + b"half a li")
    with Journal(path, COLUMNS, form) as journal:
        assert [each for _, each in journal.read()] == WANTED
        assert (journal.rows, journal.failed, journal.total) == (5, 2, 6.0)
        assert [key for key in "abcdef" if key not in journal.done] == ["f"]


@pytest.mark.parametrize("end", ["end", "kill before", "kill after the note"])
def test_shards_keep_one_row_per_key(tmp_path: Path, end: str, monkeypatch: Any) -> None:
    said: list[str] = []
    with Ledger(tmp_path, {"weights": "0a"}, COLUMNS) as ledger:
        ledger.write(FIRST[:2])
        ledger.write(FIRST[2:])
    with Ledger(tmp_path, {"weights": "0a"}, COLUMNS, retry=True) as ledger:
        assert [key for key in "abcdef" if key not in ledger.done] == ["b", "d", "e", "f"]
        assert [key for key in "abcdef" if key in ledger.again] == ["b", "d", "e"]
        ledger.write(AGAIN)
        if end == "kill after the note":

            def killed(path: Path, write: Any, **options: Any) -> None:
                raise KeyboardInterrupt

            monkeypatch.setattr(ledger_module, "replace_atomically", killed)
            with pytest.raises(KeyboardInterrupt):
                ledger.drop_replaced()
            monkeypatch.setattr(ledger_module, "replace_atomically", replace_atomically)
        elif end == "end":
            ledger.drop_replaced()
            assert (ledger.rows, ledger.failed, ledger.total) == (5, 2, 6.0)
    with Ledger(tmp_path, {"weights": "0a"}, COLUMNS, say=said.append) as ledger:
        assert list(ledger.read()) == WANTED
        assert (ledger.rows, ledger.failed, ledger.total) == (5, 2, 6.0)
        assert [key for key in "abcdef" if key not in ledger.done] == ["f"]
    assert said == []
