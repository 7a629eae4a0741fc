"""Errors that a person can act on: one line, no traceback, exit code 2."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something the caller can mend; its text is one line that says what is wrong and what is allowed."""


class Answered(SystemExit):
    """A command has said what was asked for, e.g. --help, and ends."""


class Stopped(Exception):
    """A run was asked to stop, and has saved where it is."""


def printable(text: str) -> str:
    """The text in one line, with all that a terminal would act on (control characters, line breaks) written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def summary(error: BaseException) -> str:
    """An error in a line: its own where it is a UserError, else its type and the first line of its text."""
    first = printable(next((line for line in str(error).splitlines() if line.strip()), ""))
    if isinstance(error, UserError):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the allowed name closest to `name`, or "" where none is close."""
    matches = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def check_choice(what: str, name: str, allowed: Iterable[str], most: int = 12) -> str:
    """Return `name` if it is among `allowed`, else raise a UserError that lists (at most `most` of) them."""
    allowed = list(allowed)
    if name in allowed:
        return name
    listed = ", ".join(allowed[:most]) + (f", … ({len(allowed)} in all)" if len(allowed) > most else "")
    raise UserError(f"unknown {what} '{name}'{nearest(name, allowed)}; allowed: {listed}")


def run_main(main: Callable[[], int | None]) -> None:
    """Run a command line's `main`; a UserError becomes one line on stderr and exit code 2."""
    try:
        code = main() or 0
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Answered:
        raise
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich ends so where the reader of our output went away
            sys.exit(0)
        # Code of others, e.g. an agent's, must not make a success of a failure.
        print(f"error: ended from within, by sys.exit({printable(repr(error.code))})", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(code)
