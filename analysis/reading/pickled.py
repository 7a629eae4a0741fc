"""A pickled dict of arrays, read without running anything of it.

Loading a pickle runs whatever its author put there. So it is not loaded: `read_arrays` walks its opcodes
(`pickletools.genops` decodes them without acting on any) and itself does the few things a dict of numpy arrays consists
of. No name is imported, nothing is called or allocated on the file's word, and the first thing that does not belong to
such a dict is named and refused.
"""

from __future__ import annotations

import os
import pickletools
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.common.errors import UserError

LARGEST_FILE = 256 * 2**20


class _Mark:
    """Where a run of items on the stack begins."""


@dataclass
class _Name:
    """A name the file asks for; it is compared, never imported."""

    name: str


@dataclass
class _Dtype:
    """An element type on its way: code ("f8"), then its byte order."""

    code: str
    order: str | None = None


@dataclass
class _Array:
    """An array on its way: made empty, its content follows."""

    value: np.ndarray | None = None


@dataclass
class _Reader:
    """What the opcodes of a dict of arrays do, and nothing more."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def take(self, count: int) -> tuple[Any, ...]:
        """Remove the last `count` items of the stack."""
        if len(self.stack) < count or any(isinstance(item, _Mark) for item in self.stack[-count:]):
            raise UserError("refused: not a well-formed pickle")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def take_to_mark(self) -> tuple[Any, ...]:
        """Remove the items since the last mark, and the mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[place], _Mark):
                items = tuple(self.stack[place + 1 :])
                del self.stack[place:]
                return items
        raise UserError("refused: not a well-formed pickle")

    def step(self, opcode: str, argument: Any, position: int) -> None:
        """Do one opcode."""
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "SHORT_BINUNICODE" | "BINUNICODE":
                self.stack.append(argument)
            case "SHORT_BINBYTES" | "BINBYTES":
                self.stack.append(argument)
            case "EMPTY_DICT":
                self.stack.append({})
            case "MARK":
                self.stack.append(_Mark())
            case "MEMOIZE" | "BINPUT" | "LONG_BINPUT":
                (item,) = self.take(1)
                self.memo[len(self.memo) if opcode == "MEMOIZE" else argument] = item
                self.stack.append(item)
            case "BINGET" | "LONG_BINGET":
                if argument not in self.memo:
                    raise UserError("refused: not a well-formed pickle")
                self.stack.append(self.memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(self.take(int(opcode[-1])))
            case "TUPLE":
                self.stack.append(self.take_to_mark())
            case "GLOBAL":
                self.stack.append(_admitted(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(_admitted(*self.take(2)))
            case "REDUCE":
                self.stack.append(_made(*self.take(2)))
            case "BUILD":
                item, state = self.take(2)
                self.stack.append(_filled(item, state))
            case "SETITEM":
                self.set_items(self.take(2))
            case "SETITEMS":
                self.set_items(self.take_to_mark())
            case _:
                raise UserError(f"refused: opcode {opcode} at byte {position} does not belong to a dict of arrays")

    def set_items(self, items: tuple[Any, ...]) -> None:
        """Put (task, label): array pairs into the dict on top of the stack."""
        (target,) = self.take(1)
        if not isinstance(target, dict) or len(items) % 2:
            raise UserError("refused: not a well-formed pickle")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Types first: hashing a tuple of tuples of tuples can take for ever.
            if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(part, str) for part in key)):
                raise UserError(f"refused: a key is not a pair of texts but a {type(key).__name__}")
            if not isinstance(value, _Array) or value.value is None:
                raise UserError(f"refused: the value of {key} is not an array but a {type(value).__name__.lstrip('_')}")
            target[key] = value.value
        self.stack.append(target)


def _admitted(module: Any, name: Any) -> _Name:
    """Return the name if an array of numbers needs it, else refuse."""
    if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
        return _Name("_reconstruct")
    if module == "numpy" and name in ("ndarray", "dtype"):
        return _Name(name)
    asked = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "something without a name"
    raise UserError(f"refused: the file asks for {asked[:80]!r}; only numpy arrays are admitted")


def _made(function: Any, arguments: Any) -> _Array | _Dtype:
    """Return the empty array or element type that a call stands for."""
    if isinstance(function, _Name) and isinstance(arguments, tuple):
        if function.name == "_reconstruct" and arguments == (_Name("ndarray"), (0,), b"b"):
            return _Array()
        if function.name == "dtype" and arguments in (("f8", False, True), ("f4", False, True)):
            return _Dtype(arguments[0])
    raise UserError("refused: a call that does not make an array of floats")


def _filled(item: Any, state: Any) -> _Array | _Dtype:
    """Give an empty array its content, or an element type its byte order; the content must fit the shape."""
    if isinstance(item, _Dtype) and isinstance(state, tuple) and state[:1] == (3,) and len(state) == 8:
        if state[1] in ("<", ">") and state[2:] == (None, None, None, -1, -1, 0):
            item.order = state[1]
            return item
    elif isinstance(item, _Array) and item.value is None and isinstance(state, tuple) and len(state) == 5:
        version, shape, dtype, fortran, content = state
        known = isinstance(dtype, _Dtype) and dtype.order is not None and isinstance(content, bytes)
        sizes = isinstance(shape, tuple) and len(shape) <= 4 and all(type(n) is int and n >= 0 for n in shape)
        if version == 1 and known and sizes and isinstance(fortran, bool):
            kind = np.dtype(dtype.order + dtype.code)
            count = 1
            for n in shape:
                count *= n
            if count * kind.itemsize != len(content):
                raise UserError(f"refused: an array of shape {shape} does not have {len(content)} bytes")
            # A view of the bytes that were read: no memory is taken on the file's word.
            item.value = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
            return item
    raise UserError("refused: the content of something that is not an array of floats")


def check_file(path: str | Path) -> None:
    """Raise a UserError unless there is a regular file of at most `LARGEST_FILE` bytes: a device has no end."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"'{path}' is not a regular file")
    if found.st_size > LARGEST_FILE:
        raise UserError(f"'{path}' has {found.st_size:,} bytes; an archive has at most {LARGEST_FILE:,}")


def read_arrays(path: str | Path) -> dict[tuple[str, str], np.ndarray]:
    """Read a pickled dict of float arrays keyed by pairs of texts, running nothing of it.

    Raises:
        UserError: the file cannot be read, is not a whole pickle, or holds anything else.
    """
    check_file(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    reader = _Reader()
    try:
        for opcode, argument, position in pickletools.genops(content):
            if opcode.name == "STOP":
                break
            reader.step(opcode.name, argument, position or 0)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    except (ValueError, RecursionError) as error:
        # genops raises ValueError for what is cut short and for bytes that are no opcode.
        raise UserError(f"'{path}' is cut short or is not a pickle: {str(error)[:120]}") from None
    if len(reader.stack) != 1 or not isinstance(reader.stack[0], dict):
        raise UserError(f"'{path}': refused: not a dict of arrays")
    return reader.stack[0]
