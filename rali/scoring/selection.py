"""Which rows of scores are wanted, and in which order, without holding rows in memory.

In: a condition such as `score < 2.5 and not error`, an order, a number. Out: the places of rows in
a journal. Conditions are parsed, never evaluated: a name is a column, and nothing can be called.
"""

from __future__ import annotations

import ast
import operator
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rali.errors import InputError, shortened

NAMES = ("score", "low", "high", "error", "image")
ORDERS = ("best", "worst", "path")
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_TEXTS = ("error", "image")
Condition = Callable[[Mapping[str, Any]], bool]
_Value = Callable[[Mapping[str, Any]], Any]


def condition(text: str | None) -> Condition:
    """A function that tells whether a row meets a condition; all rows meet None.

    A condition compares the columns score, low, high, error and image with numbers and texts
    between quotes by < <= > >= == != and `in` (`"cat" in image`), joined by and, or, not and
    parentheses; `error` alone means that there is one. What compares a missing value is not met.

    Raises:
        InputError: it is no such condition; names the part.
    """
    if text is None:
        return lambda row: True
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        met = _truth(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, _NotAllowedError) else "it is not well formed"
        raise InputError(
            f"--where {shortened(text)!r} cannot be used: {reason}. Expected a condition on "
            f"{', '.join(NAMES)}, such as 'score < 2.5' or 'not error and \"beach\" in image'."
        ) from None
    return lambda row: bool(met(row))


class _NotAllowedError(ValueError):
    pass


def _truth(node: ast.expr) -> _Value:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part) for part in node.values]
        together = all if isinstance(node.op, ast.And) else any
        return lambda row: together(part(row) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        part = _truth(node.operand)
        return lambda row: not part(row)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        operators = [_COMPARE.get(type(op)) for op in node.ops]
        if None in operators:
            raise _NotAllowedError("it compares by is")
        kinds = {kind for side in sides if (kind := _kind(side))}
        if len(kinds) > 1:
            raise _NotAllowedError("it compares a number with a text")
        if "number" in kinds and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
            raise _NotAllowedError("only texts hold others")
        values = [_value(side) for side in sides]

        def compare(row: Mapping[str, Any]) -> bool:
            found = [value(row) for value in values]
            if None in found:
                return False
            return all(
                op(a, b)  # type: ignore[misc]
                for op, a, b in zip(operators, found, found[1:], strict=False)
            )

        return compare
    if isinstance(node, ast.Name):
        return _value(node)
    raise _NotAllowedError(f"{shortened(ast.unparse(node), 40)!r} is no comparison")


def _kind(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return "text" if node.id in _TEXTS else "number"
    return "text" if isinstance(node, ast.Constant) and isinstance(node.value, str) else "number"


def _value(node: ast.expr) -> _Value:
    if isinstance(node, ast.Name):
        if node.id not in NAMES:
            raise _NotAllowedError(f"there is no column {node.id!r}")
        name = node.id
        return lambda row: row.get(name)
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Constant):
        constant = node.value
        if isinstance(constant, str) and sign == 1:
            return lambda row: constant
        if isinstance(constant, int | float) and not isinstance(constant, bool):
            number = sign * constant
            return lambda row: number
    raise _NotAllowedError(f"{shortened(ast.unparse(node), 40)!r} is no column, number or text")


def selected(
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    *,
    where: str | None = None,
    sort: str | None = None,
    top: int | None = None,
) -> Iterator[int]:
    """The places of the rows that are wanted, in order; `top` alone takes the best.

    Rows without a score come last in an order by score. The places are sorted on disk where they
    are too many for memory.
    """
    wanted = condition(where)
    sort = sort or ("best" if top else None)
    if sort is None:
        yield from (place for place, row in rows if wanted(row))
        return
    index = sqlite3.connect("")  # a temporary file, which SQLite removes
    try:
        index.execute("CREATE TABLE rows (place INTEGER PRIMARY KEY, key)")
        index.executemany(
            "INSERT INTO rows VALUES (?, ?)",
            (
                (place, natural(row["image"]) if sort == "path" else row["score"])
                for place, row in rows
                if wanted(row)
            ),
        )
        direction = "DESC" if sort == "best" else "ASC"
        found = index.execute(
            f"SELECT place FROM rows ORDER BY key IS NULL, key {direction}, place LIMIT ?",
            (-1 if top is None else top,),
        )
        for (place,) in found:
            yield place
    finally:
        index.close()


def natural(name: str) -> bytes:
    """A key that sorts "a2" before "a10"."""
    padded = re.sub(r"[0-9]+", lambda n: f"{len(n[0].lstrip('0')):03d}{n[0].lstrip('0')}", name)
    return f"{padded.lower()}\0{name}".encode("utf-8", "surrogatepass")
