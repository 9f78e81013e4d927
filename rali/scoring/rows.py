"""What a row of scores holds: its columns, their types, and the settings that decide its values.

In: results of a `Scorer`. Out: dicts by column, which `journal` and `ledger` write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rali.errors import require
from rali.files import image_sha256
from rali.pictures.listed import ENCODER

if TYPE_CHECKING:
    from rali.pictures.entry import Entry

    from .scorer import Result, Scorer

COLUMNS = ("image", "score", "low", "high", "why", "embedding", "error")
DIGITS = 6  # of a score, after the point


def columns_of(*, interval: bool = False, why: bool = False, embedding: bool = False) -> list[str]:
    """The columns of a row, in their order."""
    left_out = {"low": not interval, "high": not interval, "why": not why}
    left_out["embedding"] = not embedding
    return [name for name in COLUMNS if not left_out.get(name)]


def score_rows(
    scorer: Scorer, entries: Iterable[Entry], columns: Sequence[str], interval: float | None = None
) -> Iterator[dict[str, Any]]:
    """A row for each entry, in order."""
    results = scorer.score_many(
        entries, interval=interval, explain="why" in columns, embed="embedding" in columns
    )
    return (row_of(result.source.key, result, columns) for result in results)


def row_of(key: str, result: Result, columns: Sequence[str]) -> dict[str, Any]:
    """A result as a row; without a score, all but `image` and `error` are None."""
    row: dict[str, Any] = {}
    for name in columns:
        value: Any = key if name == "image" else getattr(result, name)
        if name == "why":
            value = None if result.score is None else [asdict(reason) for reason in value]
        elif name == "embedding" and value is not None:
            value = value.tolist()
        elif isinstance(value, float):
            value = round(value, DIGITS)
        row[name] = value
    return row


def arrow_schema(columns: Sequence[str]) -> Any:
    """The `pyarrow.Schema` of rows with these columns."""
    pa = require("pyarrow", "data")
    reason = pa.struct(
        [
            ("phrase", pa.string()),
            ("meaning", pa.string()),
            ("probability", pa.float64()),
        ]
    )
    types = {
        "image": pa.string(),
        "why": pa.list_(reason),
        "embedding": pa.list_(pa.float32()),
        "error": pa.string(),
    }
    return pa.schema([(name, types.get(name, pa.float64())) for name in columns])


def encoder_of(columns: Sequence[str], settings: Mapping[str, Any]) -> dict[bytes, bytes]:
    """What a Parquet file with vectors says of their encoder, so that two are not mixed.

    Args:
        settings: as `settings_of` gives them.
    """
    return {ENCODER: f"rali-{settings['weights'][:8]}".encode()} if "embedding" in columns else {}


def settings_of(
    scorer: Scorer, *, interval: float | None = None, why: bool = False, embedding: bool = False
) -> dict[str, Any]:
    """What decides the values of a scorer's rows, so that rows of other settings are not mixed."""
    return {
        "weights": scorer.weights_sha256 or image_sha256(scorer.path),
        "precision": scorer.metadata.get("precision", "fp32"),
        "max_pixels": scorer.max_pixels,
        "interval": interval,
        "explain": why,
        "embeddings": embedding,
    }


_SPOKEN = {
    "weights": "another model (weights {})",
    "precision": "--precision {}",
    "max_pixels": "a limit of {} pixels",
    "interval": "--interval {}",
    "explain": "--explain",
    "embeddings": "--embeddings",
    "maps": "--map",
    "xmp": "--xmp {}",
    "provider": "--provider {}",
}
_SINCE = ("provider",)  # what older outputs do not say, which may have been anything


def differences(noted: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words, what of the `noted` settings is not as `now`; empty where all is the same."""
    words = []
    then = {**dict.fromkeys(name for name in now if name not in _SINCE), **noted}
    for name, value in then.items():
        if value == now.get(name) or (not value and not now.get(name)):
            continue
        spoken = _SPOKEN.get(name, f"{name} {{}}")
        if not value and name in ("interval", "explain", "embeddings", "maps", "xmp", "provider"):
            words.append(f"no {spoken.split()[0]}")
        else:
            words.append(spoken.format(value[:8] if name == "weights" else value))
    return " and ".join(words)
