"""All settings of a sweep on one task, trained together by the ordinary loop as one compiled program."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.base import Agent, State
from benchmark.common.terminal import console
from benchmark.loop.experiment import Watch
from benchmark.loop.keeping import keep_policies
from benchmark.loop.recorder import Recorder
from benchmark.loop.running import train_together
from benchmark.loop.worker import early_end_recorded
from benchmark.planning.run import Run
from benchmark.runs.code import own_files
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds
from benchmark.runs.table import Table


class SweepRecorder(Recorder):
    """Records several runs that train together: its "seeds" are members, a setting and a seed each.

    Its own directory holds the tables of all members, for which the checkpoints vouch; each run's directory is written
    from them.
    """

    def __init__(self, directory: RunDirectory, runs: Sequence[Run], own: Sequence[RunDirectory], watch: Watch):
        """`own[i]` is the directory of `runs[i]`."""
        self.runs, self.own = runs, own
        self.members = [(i, seed) for i, run in enumerate(runs) for seed in run.spec.seeds]
        super().__init__(directory, range(len(self.members)), watch)

    def start(self, made: dict[str, Any]) -> None:
        """As of any run, for the sweep and for every run of it."""
        made |= {"sweep": {"settings": len(self.runs), "members": len(self.members)}}
        super().start({name: value for name, value in made.items() if name != "hyperparameters"})
        for run, own in zip(self.runs, self.own, strict=True):
            own.add_start({**made, "hyperparameters": run.spec.origins})

    def called(self, member: int) -> str:
        """A member's name in the log."""
        run, seed = self.members[member]
        return f"{Path(self.runs[run].spec.out).name} seed {seed}"

    def keep_policies(self, agent: Agent, states: State, step: int, at_end: bool) -> None:
        """Write every run's own policies."""
        for i, own in enumerate(self.own):
            mine = {seed: place for place, (run, seed) in enumerate(self.members) if run == i}
            rows = [row for row in self.eval_table.rows if row["seed"] in mine.values()]
            rows = [row | {"seed": self.members[row["seed"]][1]} for row in rows]
            active = {seed: place for seed, place in mine.items() if self.active[place]}
            keep_policies(own.path, agent, states, active, step, rows, at_end)

    def set_status(self, state: str, step: int, steps: int, rate: float | None = None) -> None:
        """Record where the sweep is, and write every run's own records."""
        super().set_status(state, step, steps, rate)
        status = self.directory.status
        for i, own in enumerate(self.own):
            mine = {member: seed for member, (run, seed) in enumerate(self.members) if run == i}
            for name, table in self.tables.items():
                rows = Table(own.path / name)
                rows.rows = [row | {"seed": mine[row["seed"]]} for row in table.rows if row["seed"] in mine]
                rows.save()
            diverged = {str(mine[member]): at for member, at in self.diverged.items() if member in mine}
            shares = {name: round(status[name] / len(self.runs), 2) for name in self.clocks}
            own.set_status(**{**status, **shares, "diverged": diverged})


def sweep_path(spec: RunSpec, folder: Path) -> Path:
    """Where the sweep that a run belongs to keeps its own records."""
    return folder / ".sweeps" / spec.agent_name / spec.task / f"seeds-{format_seeds(spec.seeds)}"


def train_settings(specs: Sequence[RunSpec], folder: Path, quiet: bool = False) -> None:
    """Do the runs of all settings on one task, from their start or their last checkpoint.

    What goes wrong is recorded in the status of the sweep and of every run, and raised.
    """
    runs = [Run(spec) for spec in specs]
    name, task, agent = runs[0].agent_class.name, runs[0].task.name, runs[0].spec.agent
    if all([run.is_done() for run in runs]):  # a list: each is checked for another configuration
        console.print(f"{len(runs)} settings of {name} on {task} are finished already")
        return
    with contextlib.ExitStack() as held:
        directory = held.enter_context(RunDirectory(sweep_path(specs[0], folder)))
        common = runs[0].config | {"hyperparameters": [run.config["hyperparameters"] for run in runs]}
        directory.check_config(common, own_files(agent))
        own = [held.enter_context(run.directory) for run in runs]
        for run, each in zip(runs, own, strict=True):
            each.check_config(run.config, own_files(agent))
        held.enter_context(early_end_recorded(f"the sweep of {name} on {task}", directory, *own))

        def recorder_of(watch: Watch) -> Recorder:
            return SweepRecorder(directory, runs, own, watch)

        train_together(runs, directory, f"{name} {task} x {len(runs)}", recorder_of, quiet)
