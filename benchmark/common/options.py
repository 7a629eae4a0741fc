"""Command lines: what all commands' options have in common, so that every mistake in one is a line with its name.

Options are read as text; the functions here turn text into values, and raise a UserError for what cannot be.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from benchmark.common.errors import Answered, UserError, nearest

LONGEST_VALUE = 4096
"""Characters of an option's value: no path may be longer."""
MOST = 2**31 - 1
"""Largest whole number where nothing less is the limit: updates and steps are counted in 32 bits."""
MOST_JOBS = 1_000
"""Processes of one machine."""
MOST_EPISODES = 100_000
"""Episodes of an evaluation."""
MOST_TRANSITIONS = 100_000_000
"""Transitions of a dataset that is made, and steps of an online phase: as many as the largest published one has."""
PRECISIONS = ("default", "float32", "tensorfloat32", "bfloat16")
"""Of matrix products, as `agents.base.Config` has them: said here for those who may not import JAX."""
MOST_SECONDS = 86_400
"""Seconds that a measurement may take."""
MOST_MINUTES = 366 * 24 * 60
"""Minutes that a run may be given: a year."""


class Parser(argparse.ArgumentParser):
    """A command's options. A mistake is a UserError; an empty value (of a shell variable that is not set) is one."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Read the command line, `sys.argv` by default."""
        arguments = sys.argv[1:] if args is None else list(args)
        named = "an argument"
        for argument in arguments:
            name, equals, value = argument.partition("=")
            option = argument.startswith("--")
            if option:
                named = name
            _check_text(named, value if option and equals else argument)
            if option and equals:
                named = "an argument"
        options, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            close = nearest(unknown[0].partition("=")[0], self._option_string_actions)
            raise UserError(f"unknown argument '{unknown[0]}'{close}; --help lists all")
        return options

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End after --help."""
        raise Answered(status)

    def error(self, message: str) -> NoReturn:
        """What argparse finds wrong."""
        raise UserError(message.removeprefix("argument "))


def add_keeping(parser: argparse._ActionsContainer) -> None:
    """Options of what a run keeps besides its records and the policies of its end."""
    parser.add_argument(
        "--keep-checkpoints", action="store_true", help="keep the state of training of finished runs, to go on from it"
    )
    parser.add_argument("--keep-policies", action="store_true", help="keep the policies of every evaluation")


def refuse(options: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Raise a UserError that names the first of these options that is given."""
    for name in names:
        if getattr(options, name) not in (None, False, []):
            raise UserError(f"--{name.replace('_', '-')} {why}")


def refuse_all_but(options: argparse.Namespace, names: Collection[str], why: str) -> None:
    """`refuse` all options but these."""
    refuse(options, [name for name in vars(options) if name not in names], why)


def _check_text(named: str, text: str) -> None:
    """Raise a UserError for text that is no value of any option."""
    if not text.strip():
        raise UserError(f"{named} is empty (a shell variable that is not set?); leave it out for the default")
    if len(text) > LONGEST_VALUE:
        raise UserError(f"{named} has {len(text):,} characters; at most {LONGEST_VALUE:,} are allowed")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise UserError(f"{named} has a line break or another control character in it: {text!r}")


def whole_number(what: str, text: str, low: int = 1, high: int = MOST) -> int:
    """Parse a whole number from `low` to `high`; 1_000_000 and 1e6 are numbers too."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if number.is_integer() and low <= number <= high:
        return int(number)
    bound = f"at most {high:,}" if number > high else f"at least {low}"
    raise UserError(f"{what} must be a whole number of {bound}, not '{text}'")


def names(what: str, text: str) -> list[str]:
    """Parse names separated by commas, all of them different; a comma in parentheses is part of a name."""
    found = [name.strip() for name in re.split(r",(?![^()]*\))", text)]
    if not all(found):
        raise UserError(f"{what} has an empty name in it: '{text}'")
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{what} names '{twice}' twice")
    return found


def folder(what: str, text: str | Path) -> Path:
    """A folder that is there or can be made. Raises a UserError where something else is in its place."""
    path = Path(text)
    there = _nearest_there(what, path)
    if not there.is_dir():
        raise UserError(f"{what}: '{there}' is not a folder")
    return path


def output_file(what: str, text: str | Path) -> Path:
    """A file that can be written. Raises a UserError where a folder has its name, or its folder's name is a file's."""
    path = Path(text)
    there = _nearest_there(what, path)
    if there == path.absolute() and not path.is_file():
        raise UserError(f"{what}: cannot write '{path}': it is not a file")
    if there != path.absolute() and not there.is_dir():
        raise UserError(f"{what}: cannot write '{path}': '{there}' is not a folder")
    return path


def input_folder(what: str, text: str | Path) -> Path:
    """A folder that is there. Raises a UserError where there is none."""
    path = Path(text)
    if _nearest_there(what, path) != path.absolute() or not path.is_dir():
        raise UserError(f"{what}: there is no folder '{path}'")
    return path


def input_file(what: str, text: str | Path) -> Path:
    """A file that can be read. Raises a UserError where there is none."""
    path = Path(text)
    if _nearest_there(what, path) != path.absolute() or not path.is_file():
        raise UserError(f"{what}: there is no file '{path}'")
    return path


def _nearest_there(what: str, path: Path) -> Path:
    """The path where it exists, else the folder nearest to it that does; absolute."""
    try:
        return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    except OSError as error:  # a name that no file can have
        raise UserError(f"{what}: '{path}': {error.strerror}") from None
