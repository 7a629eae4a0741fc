"""What went wrong, in plain words, and on which line."""

from __future__ import annotations

import contextlib
import linecache
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from agents.base import Batch, Config
from benchmark.common.errors import nearest


class Fault(Exception):
    """What an agent does wrong, in plain words."""


WORDS = {
    "TracerBoolConversionError": "Python decides (if, while, and, or, max, ...) on a value that only the device knows; "
    "use jnp.where, for hyperparameters that change the program an int or bool, for a pattern of updates cycle()",
    "TracerArrayConversionError": "numpy or Python is given an array that only the device knows; use jnp",
    "ConcretizationTypeError": "float(), int() or a shape is made of a value that only the device knows; keep it an "
    "array, or make the hyperparameter an int",
    "TracerIntegerConversionError": "a Python index or length is made of a value that only the device knows; "
    "use jnp.take, or make the hyperparameter an int",
    "UnexpectedTracerError": "an array is kept from one compiled function and used in another: state is kept on the "
    "side; it belongs in State",
    "NotImplementedError": "something that every agent defines is missing: networks, draws, loss or sample_actions",
}


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Let what goes wrong inside say where."""
    try:
        yield
    except Fault:
        raise
    except Exception as error:
        error.where = where  # type: ignore[attr-defined]
        raise


def in_words(error: BaseException, file: str | None) -> str:
    """What went wrong, and on which line of the agent's file."""
    if isinstance(error, Fault):
        return str(error)
    kinds = [kind.__name__ for kind in type(error).__mro__]
    words = next((WORDS[kind] for kind in kinds if kind in WORDS), None) or misnamed(error)
    text = words or f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = at_line(frames[-1].filename, frames[-1].lineno, frames[-1].name, file) if frames else ""
    where = f", {error.where}" if hasattr(error, "where") else ""
    return f"{text}{where}{line}"


def at_line(file: str, number: int | None, function: str, own: str | None) -> str:
    """A line of code in brackets; `own` is the file that needs no name."""
    name = "line " if file == own else f"{Path(file).name}:"
    code = linecache.getline(file, number or 0).strip()
    return f" ({name}{number}, in {function.rpartition('.')[2]}: {code})"


def misnamed(error: BaseException) -> str | None:
    """Of an error about a key or an attribute that is not there: which one, the nearest, and those that are."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        *_, (frame, number) = traceback.walk_tb(error.__traceback__)
        code = linecache.getline(frame.f_code.co_filename, number)
        for name, value in frame.f_locals.items():
            if isinstance(value, Mapping) and f"{name}[" in code and error.args[0] not in value:
                return not_there(name, error.args[0], value)
    if isinstance(error, AttributeError) and isinstance(error.obj, types.SimpleNamespace):
        return not_there("train, fixed, target or online", str(error.name), vars(error.obj))
    if isinstance(error, AttributeError) and type(error.obj).__name__ == Batch.__name__:
        return not_there("a batch", str(error.name), getattr(error.obj, "_fields", ()))
    if isinstance(error, AttributeError) and isinstance(error.obj, Config):
        return not_there("self.config", str(error.name), vars(error.obj))
    return None


def not_there(what: str, name: str, names: Iterable[str]) -> str:
    """That there is no such name, and which there are."""
    names = list(names)
    source = " (as draws() names them)" if what == "noise" else ""
    return f"{what} has no '{name}'{nearest(name, names)}; there is: {', '.join(names) or 'nothing'}{source}"
