"""A pickle's opcodes carried out on notes: nothing that the pickle names is looked up or called.

In: a file and the names that may occur in it. Out: numbers, text, bytes, lists, tuples, dicts and
stand-ins. Every class or function that the opcodes ask for becomes a note of its name, so no object
of numpy's is built: an array is its bytes, its shape and the name of its type.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_BYTES = 2**28  # of all that is made
MOST_OPCODES = 20_000  # a PCA takes some 300; they bound the number and the depth of what is made
MOST_PICKLES = 20  # one inside the other
TYPES = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
OBJECTS = "O8"

Name = tuple[str, str]
"""A module and a name in it."""

DTYPE = ("numpy", "dtype")
BYTES = {("_codecs", "encode"), ("builtins", "bytearray")}
WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
NEW = {("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")}


class PickleRefusedError(ValueError):
    """The pickle asks for something else than a PCA's arrays, or is damaged; the text says what."""


@dataclass(eq=False, slots=True)
class Made:
    """Notes the name that was called, its arguments, the state it was given; makes nothing.

    Attributes:
        name: module and name, both empty for a name that was not called.
        data: an array's bytes, where they followed it in the file.
    """

    name: Name
    args: tuple[Any, ...] = ()
    state: Any = None
    data: bytes | None = None


@dataclass(eq=False, slots=True)
class Named:
    """Stands for a class or a function."""

    name: Name


class Machine:
    """Carries out a pickle's opcodes on numbers, text, bytes, lists, tuples, dicts and stand-ins.

    Args:
        file: at the pickle's first byte; afterwards behind its last.
        admitted: the names that it may ask for.
        outer: the machine whose caps this one shares, where an array of objects is a pickle in a
            pickle.
    """

    def __init__(
        self, file: io.BytesIO, admitted: Collection[Name], outer: Machine | None = None
    ) -> None:
        self.file = file
        self.admitted = admitted
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left: dict[str, int] = outer.left if outer else {
            "opcodes": MOST_OPCODES, "bytes": MOST_BYTES, "pickles": MOST_PICKLES
        }  # fmt: skip
        self._spend("pickles")

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.file):
            self._spend("opcodes")
            name = opcode.name
            if name == "STOP":
                return self._pop()
            if opcode.arg is not None and name in LITERALS:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name]())
            elif name in STEPS:
                STEPS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise PickleRefusedError(f"it holds {name}, which no pickle of a PCA does")
        raise PickleRefusedError("it is damaged: it has no end")

    def _spend(self, what: str, amount: int = 1) -> None:
        self.left[what] -= amount
        if self.left[what] < 0:
            raise PickleRefusedError(f"it asks for more {what} than a PCA needs")

    def _pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise PickleRefusedError("it is damaged: its stack is empty")
        return self.stack.pop()

    def _since_mark(self) -> list[Any]:
        if not self.marks:
            raise PickleRefusedError("it is damaged: a mark is missing")
        place = self.marks.pop()
        items = self.stack[place:]
        del self.stack[place:]
        return items

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def _extend(self, items: list[Any]) -> None:
        target = self._pop()
        if type(target) is not list:
            raise PickleRefusedError("it is damaged: it appends to something else than a list")
        target += items
        self.stack.append(target)

    def _set(self, items: list[Any]) -> None:
        target = self._pop()
        if type(target) is not dict or len(items) % 2:
            raise PickleRefusedError("it sets items of something else than a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # the hash of nested tuples may take for ever
                raise PickleRefusedError("it holds a dict whose keys are not names")
            target[key] = value
        self.stack.append(target)

    def _name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleRefusedError("it is damaged: a name is not text")
        if (module, name) not in self.admitted:
            raise PickleRefusedError(f"it asks for {module[:99]}.{name[:99]}")
        self.stack.append(Named((module, name)))

    def _call(self) -> None:
        args, called = self._pop(), self._pop()
        if not (isinstance(called, Named) and type(args) is tuple):
            raise PickleRefusedError("it is damaged: it calls what is not a name")
        if called.name in NEW and args and isinstance(args[0], Named):
            self.stack.append(Made(args[0].name))
        elif called.name in BYTES:
            self.stack.append(self._bytes(args))
        else:
            self.stack.append(Made(called.name, args))

    def _bytes(self, args: tuple[Any, ...]) -> bytes:
        """Bytes as protocols 0 to 2 write them: text whose letters are the bytes."""
        if len(args) == 1 and isinstance(args[0], bytes):
            made = args[0]
        elif len(args) == 2 and isinstance(args[0], str) and args[1] in ("latin1", "latin-1"):
            made = args[0].encode("latin-1")
        elif not args:
            made = b""
        else:
            raise PickleRefusedError("it encodes bytes in another way than latin-1")
        self._spend("bytes", len(made))
        return made

    def _build(self) -> None:
        state, target = self._pop(), self._pop()
        if not isinstance(target, Made):
            raise PickleRefusedError("it is damaged: it sets the state of what has none")
        target.state = state
        self.stack.append(target)
        if target.name == WRAPPER:
            self._read_array(target)

    def _read_array(self, wrapper: Made) -> None:
        """The bytes of an array, which joblib writes into the pickle after its description."""
        state = wrapper.state
        if not isinstance(state, dict):
            raise PickleRefusedError("it is damaged: an array of joblib's has no description")
        dtype = state.get("dtype")
        if isinstance(dtype, Made) and dtype.args[:1] == (OBJECTS,):
            Machine(self.file, self.admitted, self).run()  # names of columns; no PCA's numbers
            return
        size = count(state.get("shape")) * np.dtype(type_of(dtype)).itemsize
        self._spend("bytes", size)
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.read(self.file.read(1)[0])
        wrapper.data = self.file.read(size)


LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}


def _dict(machine: Machine) -> None:
    items = machine._since_mark()
    machine.stack.append({})
    machine._set(items)


def _remember(machine: Machine, place: int) -> None:
    machine.memo[place] = machine.stack[-1]


STEPS: dict[str, Callable[[Machine, Any], object]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m._pop(),
    "POP_MARK": lambda m, _: m._since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "LIST": lambda m, _: m.stack.append(m._since_mark()),
    "APPEND": lambda m, _: m._extend([m._pop()]),
    "APPENDS": lambda m, _: m._extend(m._since_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m._since_mark())),
    "TUPLE1": lambda m, _: m._tuple(1),
    "TUPLE2": lambda m, _: m._tuple(2),
    "TUPLE3": lambda m, _: m._tuple(3),
    "DICT": lambda m, _: _dict(m),
    "SETITEM": lambda m, _: m._set([m._pop(), m._pop()][::-1]),
    "SETITEMS": lambda m, _: m._set(m._since_mark()),
    "GLOBAL": lambda m, names: m._name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m._name(*[m._pop(), m._pop()][::-1]),
    "REDUCE": lambda m, _: m._call(),
    "NEWOBJ": lambda m, _: m._call(),
    "BUILD": lambda m, _: m._build(),
    "PUT": _remember,
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": lambda m, _: _remember(m, len(m.memo)),
    "GET": lambda m, place: m.stack.append(m.memo[place]),
    "BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.stack.append(m.memo[place]),
}


def type_of(dtype: Any) -> str:
    """The name of an array's type with its byte order, such as `<f8`."""
    if not isinstance(dtype, Made) or dtype.name != DTYPE or not dtype.args:
        raise PickleRefusedError("it is damaged: an array has no type")
    name, state = dtype.args[0], dtype.state
    known = type(state) is tuple and len(state) > 4 and state[2:5] == (None, None, None)
    order = state[1] if known else "=" if state is None else None
    if not isinstance(name, str) or name not in TYPES or order not in ("<", ">", "=", "|"):
        raise PickleRefusedError("it holds an array of other types than numbers")
    return order + name


def count(shape: Any) -> int:
    """How many numbers an array of this shape has."""
    if type(shape) is not tuple or len(shape) > 8:
        raise PickleRefusedError("it is damaged: an array has no shape")
    if any(type(length) is not int or not 0 <= length <= MOST_BYTES for length in shape):
        raise PickleRefusedError("it is damaged: an array has an impossible shape")
    numbers = math.prod(shape)
    if numbers > MOST_BYTES:
        raise PickleRefusedError(f"it holds an array of {numbers:,} numbers")
    return numbers
