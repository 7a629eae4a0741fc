"""Import the experiment archive of the QAM paper: per-seed curves of 16 baselines.

    python -m analysis.import_archive qam-exp-data.pkl --out qam_curves.csv
    python -m analysis.tables --runs runs/mine --archive qam_curves.csv

Tables, figures and the report take the archive, or the CSV made of it, with `--archive` and show its curves beside
one's own runs, by the same statistics; "fql (QAM archive)" is the name of FQL's there.

The archive is a pickle from the paper's public repository, and loading a pickle runs whatever its author put there.
So it is not loaded: `read_arrays` walks its opcodes (`pickletools.genops` decodes them without acting on any) and
itself does the few things a dict of numpy arrays consists of. No name is imported, nothing is called or allocated on
the file's word, and the first thing that does not belong to such a dict is named and refused.
"""

from __future__ import annotations

import os
import pickletools
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.load import EVALUATION_COLUMNS, Selection
from analysis.names import AGENT_LABELS, DOMAINS, TASKS, domain_of
from analysis.published import QAM_ARCHIVE
from benchmark.common.errors import UserError, nearest, run_main
from benchmark.common.options import Parser, output_file

if TYPE_CHECKING:
    import pandas as pd

LARGEST_FILE = 256 * 2**20
EVAL_EVERY = 50_000
OFFLINE, ONLINE = 20, 10
"""Evaluations in the offline phase (to 1M updates) and in the online phase after it (to 1.5M)."""
EPISODES = 50
LABELS: dict[str, str] = {
    name: agent for agent, name in AGENT_LABELS.items() if agent not in ("rql", "tfql", "bdpo", "diffusion_ql", "bc")
}
"""The archive's method labels (they are our labels in print) to agent names."""
NOT_OURS = {"RLPD": "trains online from scratch and is not one of the 20 agents"}


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


def _check_file(path: str | Path) -> None:
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
    _check_file(path)
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


@dataclass(frozen=True)
class Archive:
    """What an archive holds."""

    curves: pd.DataFrame
    """Columns of `analysis.load`'s evaluations; length and return are NaN, provenance is empty."""
    notes: list[str]
    """One sentence per thing left out."""


def read_archive(path: str | Path, online: bool = False) -> Archive:
    """Read the archive into per-seed curves.

    Args:
        path: the pickle.
        online: take the online phase too (steps above 1M); without it a curve ends at 1M updates, where the
            published figures were taken.

    Raises:
        UserError: what `read_arrays` refuses; a label, task or shape that is not known; values outside [0, 1]; a
            domain's or the overall entry that is not the mean of its tasks.
    """
    import pandas as pd

    arrays = read_arrays(path)
    _check(path, arrays)
    evaluations = OFFLINE + (ONLINE if online else 0)
    parts = []
    for (task, label), values in arrays.items():
        if task in TASKS and label in LABELS:
            used = values[:evaluations]
            steps, seeds = np.indices(used.shape)
            columns: dict[str, Any] = {"agent": LABELS[label], "task": task, "domain": domain_of(task), "suite": "qam"}
            columns |= {"seed": seeds.ravel(), "step": (steps.ravel() + 1) * EVAL_EVERY, "success": used.ravel()}
            parts.append(pd.DataFrame(columns))
    if not parts:
        raise UserError(f"'{path}': no task of any agent in it")
    curves = pd.concat(parts, ignore_index=True).assign(
        **{"return": np.nan, "length": np.nan, "episodes": EPISODES, "source": QAM_ARCHIVE, "run": str(path)},
        **{"state": "complete", "commit": "", "clean": False, "mujoco": "", "jax": "", "device": ""},
    )
    notes = [f"{label} left out: it {why}." for label, why in NOT_OURS.items() if any(label == k[1] for k in arrays)]
    grouped = sum(key[0] not in TASKS for key in arrays)
    if grouped:
        notes.append(
            f"{grouped} entries for domains and 'all' left out: they are means of the tasks', whose seeds are "
            "ordered differently, so that seeds must not be paired across tasks."
        )
    return Archive(curves, notes)


def _check(path: str | Path, arrays: dict[tuple[str, str], np.ndarray]) -> None:
    """Raise a UserError for anything in the archive that is not known."""
    groups = (*TASKS, *DOMAINS, "all")
    for (group, label), values in arrays.items():
        if label not in LABELS and label not in NOT_OURS:
            raise UserError(f"'{path}': unknown method {label!r}{nearest(label, LABELS)}; it is not guessed")
        if group not in groups:
            raise UserError(f"'{path}': unknown task or domain {group!r}{nearest(group, groups)}; it is not guessed")
        rows = ONLINE if label in NOT_OURS else OFFLINE + ONLINE
        if values.ndim != 2 or values.shape[0] != rows or values.shape[1] < 1:
            raise UserError(f"'{path}': {group}, {label}: shape {values.shape} instead of ({rows}, seeds)")
        if not np.all((values >= 0) & (values <= 1)):
            raise UserError(f"'{path}': {group}, {label}: a success outside [0, 1]")
    for (group, label), values in arrays.items():
        members = [arrays.get((task, label)) for task in TASKS if group in ("all", domain_of(task))]
        if members and all(member is not None for member in members):
            mean = np.mean([member.mean(axis=1) for member in members if member is not None], axis=0)
            if not np.allclose(values.mean(axis=1), mean, atol=1e-6):
                raise UserError(f"'{path}': {group}, {label}: not the mean of its tasks")


def read_curves(path: str | Path) -> pd.DataFrame:
    """Read curves up to 1M updates from the archive itself or from the CSV that `main` writes of it.

    Raises:
        UserError: what `read_archive` refuses, or a CSV that `write_csv` did not write.
    """
    import pandas as pd

    if Path(path).suffix != ".csv":
        return read_archive(path).curves
    _check_file(path)
    try:
        curves = pd.read_csv(path, keep_default_na=False, na_values={"return": "", "length": ""})
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error
    missing = [name for name in EVALUATION_COLUMNS if name not in curves and name != "run"]
    if missing:
        raise UserError(f"'{path}' has no column {', '.join(missing)}; make it with python -m analysis.import_archive")
    numbers = all(np.issubdtype(curves[name].dtype, np.number) for name in ("seed", "step", "success"))
    if not numbers or not curves["success"].between(0, 1).all():
        raise UserError(f"'{path}': seed, step and success must be numbers, success in [0, 1]")
    unknown = [task for task in curves["task"].unique() if task not in TASKS]
    if unknown:
        raise UserError(f"'{path}': unknown task {unknown[0]!r}{nearest(unknown[0], TASKS)}; it is not guessed")
    return curves[curves["step"] <= OFFLINE * EVAL_EVERY].assign(run=str(path))


def beside(selection: Selection, path: str | Path) -> Selection:
    """Put the archive's curves beside one's own, each agent under a name of its own: "fql (QAM archive)".

    Where there are runs of one's own, only the tasks that they have are taken: a mean over other tasks would not
    compare.
    """
    import pandas as pd

    own, curves = selection.evaluations, read_curves(path)
    curves = curves.assign(agent=curves["agent"] + f" ({QAM_ARCHIVE})", imputed=False, regime="qam")
    tasks = set(own["task"]) & set(curves["task"])
    if own.empty:
        return Selection(curves.reset_index(drop=True), selection.notes)
    note = f"({QAM_ARCHIVE}): the published curves of 12 seeds each, imported"
    if set(own["task"]) != set(curves["task"]):
        note += f", of the {len(tasks)} tasks run here that it has"
    kept = curves[curves["task"].isin(tasks)]
    return Selection(pd.concat([own, kept], ignore_index=True), [*selection.notes, f"{note}."])


def write_csv(curves: pd.DataFrame, path: str | Path) -> None:
    """Write the curves, replacing the file in one step."""
    check_out(path)
    draft = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=Path(path).parent, suffix=".tmp", delete=False, newline="") as file:
            draft = Path(file.name)
            curves.drop(columns="run").to_csv(file, index=False)
        draft.chmod(0o644)
        os.replace(draft, path)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror}") from error
    finally:
        if draft:
            draft.unlink(missing_ok=True)


def check_out(path: str | Path) -> None:
    """Raise a UserError where no file of this name can be written."""
    if not str(path) or os.path.isdir(path):
        raise UserError(f"cannot write '{path}': not the name of a file")
    if not os.path.isdir(Path(path).parent):
        raise UserError(f"cannot write '{path}': there is no folder {Path(path).parent}")


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.import_archive", description=__doc__.split("\n")[0])
    parser.add_argument("file", help="the archive, qam-exp-data.pkl")
    parser.add_argument("--out", help="write the curves there as CSV (default: say what is in the archive)")
    parser.add_argument("--online", action="store_true", help="the online phase too, steps above 1,000,000")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parser().parse_args(arguments)
    if options.out is not None:
        check_out(output_file("--out", options.out))  # before reading
    archive = read_archive(options.file, options.online)
    curves = archive.curves
    print(
        f"{curves['agent'].nunique()} agents, {curves['task'].nunique()} tasks, {curves['seed'].nunique()} seeds, "
        f"steps {curves['step'].min():,} to {curves['step'].max():,}: {len(curves):,} evaluations"
    )
    for note in archive.notes:
        print(note)
    if options.out:
        write_csv(curves, options.out)
        print(f"written to {options.out}")


if __name__ == "__main__":
    run_main(main)
