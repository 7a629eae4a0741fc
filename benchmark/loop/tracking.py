"""A copy of a run's records in W&B, for those who want it.

The run's own files remain the record: W&B is told what is in them, and what goes wrong there does not touch the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError, check_choice, summary
from benchmark.runs.reading import read_starts
from benchmark.runs.table import Table

MODES = ("online", "offline")
PLACES = ("step", "seed", "episodes")
"""Columns of a table that are no measures."""


def wandb_options(project: str | None, offline: bool) -> dict[str, str] | None:
    """What the front door was asked, for a RunSpec; None without W&B. Raises a UserError where it is not installed."""
    if project is None:
        if offline:
            raise UserError("--wandb-offline needs --wandb=PROJECT")
        return None
    _wandb()
    return {"project": project, "mode": "offline" if offline else "online"}


def _wandb() -> Any:
    """The package, which is imported for nobody else."""
    try:
        import wandb  # noqa: PLC0415  (an optional package)
    except ImportError as error:
        raise UserError("--wandb needs the package: pip install -r requirements-wandb.txt") from error
    return wandb


class Tracker:
    """Sends the rows of a run's tables to W&B as they come: metric x of seed k as train/x/seed-k or eval/x/seed-k.

    A resumed run goes on in the same W&B run; rows that W&B has already are sent again, with the same numbers. One that
    is begun anew in its folder is a new run there too.
    """

    def __init__(
        self, options: dict[str, str], directory: Path, config: dict[str, Any], say: Callable[[str], None] = print
    ):
        """Open the run of `directory`; `options` as `wandb_options` gives them."""
        self.say = say
        self.sent = {"train": 0, "eval": 0}
        self.run: Any = None
        self.failed = False
        wandb = _wandb()
        about = dict(project=options["project"], mode=check_choice("W&B mode", options["mode"], MODES), config=config)
        shown = config.get("label", config["agent"])
        about |= dict(name=f"{shown} {config['task']}", group=shown, dir=str(directory))
        begun = [start.get("time") for start in read_starts(directory / "provenance.json")][:1]
        identity = hashlib.sha256(f"{directory.absolute()} {begun}".encode()).hexdigest()[:16]

        def begin() -> None:
            self.run = wandb.init(id=identity, resume="allow", **about)
            self.run.define_metric("step")
            self.run.define_metric("*", step_metric="step")

        self._safely(begin)

    def send(self, **tables: Table) -> None:
        """Send the rows that are new in the tables `train` and `eval`."""
        for kind, table in tables.items():
            new, self.sent[kind] = table.rows[self.sent[kind] :], len(table.rows)
            for step, values in _by_step(kind, new).items():
                self._safely(partial(self._log, {"step": step, **values}))

    def _log(self, values: dict[str, float]) -> None:
        self.run.log(values)

    def close(self) -> None:
        """Have W&B finish."""
        self._safely(lambda: self.run.finish())

    def _safely(self, do: Callable[[], Any]) -> None:
        """Do something with W&B; after an error of its own nothing more."""
        if self.failed:
            return
        try:
            do()
        except Exception as error:
            self.failed = True
            self.say(f"W&B: {summary(error)}; the run goes on without it")


def _by_step(kind: str, rows: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        values = {f"{kind}/{name}/seed-{row['seed']}": value for name, value in row.items() if name not in PLACES}
        steps.setdefault(row["step"], {}).update(values)
    return steps
