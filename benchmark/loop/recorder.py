"""What a run's training leaves in its folder: rows, clocks, which seeds diverged, which code made the numbers, and what
a checkpoint vouches for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from agents.base import Agent, State
from benchmark.loop.evaluator import Results
from benchmark.loop.experiment import Watch
from benchmark.loop.keeping import keep_policies
from benchmark.runs.record import RunDirectory
from benchmark.runs.table import Table
from envs.play.pool import EpisodeResults

BEFORE_ALL = -(1 << 62)
"""A step before all others; those of an algorithm's own pretraining are negative."""


class Vouched(Protocol):
    """Files beside the checkpoints that a run needs to go on from one: a checkpoint keeps what tells whether they are
    those that were written before it.
    """

    def vouch(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps of what belongs to steps up to its own, which JSON can hold."""

    def check(self, step: int, vouched: dict[str, Any]) -> None:
        """Raise a UserError where that is not what was vouched for."""

    def keep_until(self, step: int) -> None:
        """Drop what belongs to later steps."""


class Recorder:
    """Records one run, all its seeds."""

    def __init__(self, directory: RunDirectory, seeds: Sequence[int], watch: Watch):
        """`seeds` are written in the rows."""
        self.directory, self.seeds, self.say = directory, seeds, watch.say
        self.clocks = {"train_seconds": 0.0, "eval_seconds": 0.0}
        self.train_table = Table(directory.path / "train.csv")
        self.eval_table = Table(directory.path / "eval.csv")
        self.diverged: dict[int, int] = {}
        """The step at which each seed that diverged did."""
        self.code: list[str] = []
        """Digests of the code that made the numbers so far, in order: several where another code went on with them."""
        self.data = ""
        """The fingerprint of the data that it trains on, "" where that is not known."""
        self.further: dict[str, Vouched] = {}
        """What a checkpoint vouches for besides the tables, by its name in the checkpoint."""

    def start(self, made: dict[str, Any]) -> None:
        """Record what makes this (re)start."""
        self.data = made.get("dataset", {}).get("fingerprint", "")
        self.directory.add_start(made)

    # ---- going on

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by the names of their files."""
        return {table.path.name: table for table in (self.train_table, self.eval_table)}

    def vouch(self, step: int, clocks: dict[str, float]) -> dict[str, Any]:
        """What a checkpoint keeps beside the states: clocks, divergence, code, and digests of the rows up to it."""
        diverged = {str(seed): at for seed, at in self.diverged.items() if at <= step}
        tables = {name: table.vouch(step) for name, table in self.tables.items()}
        further = {name: files.vouch(step) for name, files in self.further.items()}
        return {"clocks": clocks, "diverged": diverged, "code": self.code, "tables": tables, **further}

    def go_on(self, step: int, vouched: dict[str, Any] | None) -> None:
        """Be where the checkpoint of a step was made, with what it keeps; at the beginning where there is none (None).

        Raises a UserError where files are not those that went with it.
        """
        if vouched:
            for name, table in self.tables.items():
                table.check(step, vouched["tables"][name])
            for name, own in self.further.items():
                own.check(step, vouched[name])
            self.clocks, self.code = vouched["clocks"], vouched["code"]
            self.diverged = {int(seed): at for seed, at in vouched["diverged"].items()}
            self.say(f"continuing from step {step}")
        elif self.train_table.rows:
            self.say("there is no checkpoint to continue from: beginning again")
        for each in (*self.tables.values(), *self.further.values()):
            each.keep_until(step if vouched else BEFORE_ALL)
        if self.directory.code and self.directory.code not in self.code[-1:]:
            if self.code:
                self.say("the code has changed since: the run is marked as made by several")
            self.code = [*self.code, self.directory.code]

    # ---- what happened

    @property
    def active(self) -> list[bool]:
        """Of each seed, whether it has not diverged."""
        return [seed not in self.diverged for seed in self.seeds]

    def called(self, seed: int) -> str:
        """A seed's name in the log."""
        return f"seed {seed}"

    def add_updates(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """Write rows of each metric's mean over the updates since the last, (S,); {} where there were none.

        A seed one of whose metrics, the loss among them, is no longer finite has diverged; the others go on.
        """
        if metrics:
            finite = np.all([np.isfinite(values) for values in metrics.values()], axis=0)
            for i, seed in enumerate(self.seeds):
                if seed in self.diverged:
                    continue
                if finite[i]:
                    self.train_table.add(step, seed, {name: float(values[i]) for name, values in metrics.items()})
                else:
                    self.diverged[seed] = step
                    bad = ", ".join(name for name, values in metrics.items() if not np.isfinite(values[i]))
                    self.say(f"{self.called(seed)} diverged: {bad} is not finite at step {step}")
        self.train_table.save()

    def add_evaluation(self, step: int, results: Results, seconds: float) -> None:
        """Write the rows of an evaluation. A seed that was to play and has no result has diverged."""
        for seed, result in zip(self.seeds, results, strict=True):
            if result is not None:
                self.eval_table.add(step, seed, summarise(result))
                self.say(f"step {step} {self.called(seed)}: success {result.success.mean():.2f}")
            elif self.diverged.get(seed, step + 1) > step:
                self._lose(seed, step)
        self.eval_table.save()
        self.clocks["eval_seconds"] += seconds

    def _lose(self, seed: int, step: int) -> None:
        """A seed's policy cannot play at a step: it diverged there. Rows that it was given since, by training that went
        on beside, are dropped, as they are not written where training waits.
        """
        self.diverged[seed] = step
        self.say(f"{self.called(seed)} diverged: the actions of its policy are not finite at step {step}")
        self.train_table.rows = [row for row in self.train_table.rows if row["seed"] != seed or row["step"] <= step]
        self.train_table.save()

    def keep_policies(self, agent: Agent, states: State, step: int, at_end: bool) -> None:
        """Write what the active seeds act with after an evaluation, or at the end of the run."""
        seeds = {seed: place for place, seed in enumerate(self.seeds) if self.active[place]}
        keep_policies(self.directory.path, agent, states, seeds, step, self.eval_table.rows, at_end)

    def set_status(self, state: str, step: int, steps: int, rate: float | None = None) -> None:
        """Record where the run is, of how many steps, on which data, and its updates per second."""
        values: dict[str, Any] = dict(state=state, step=step, steps=steps, error=None, data=self.data)
        if rate is not None:
            values["updates_per_second"] = round(rate, 2)
        diverged = {str(seed): at for seed, at in self.diverged.items()}
        clocks = {name: round(seconds, 2) for name, seconds in self.clocks.items()}
        self.directory.set_status(**values, diverged=diverged, code=self.code, **clocks)


def summarise(result: EpisodeResults) -> dict[str, float | int]:
    """An evaluation row: means over episodes."""
    return {
        "episodes": len(result.success),
        "success": float(result.success.mean()),
        "return": float(result.returns.mean()),
        "length": float(result.lengths.mean()),
    }
