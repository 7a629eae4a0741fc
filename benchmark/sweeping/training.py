"""Several settings of an agent trained as one compiled program."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from agents.base import Agent, State, numeric_fields
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder
from benchmark.loop.compiled import keep_programs
from benchmark.loop.device import device_name
from benchmark.loop.progress import RunProgress
from benchmark.loop.segments import init_states
from benchmark.loop.training import Training
from benchmark.planning.asked import is_done, run_config
from benchmark.planning.configure import configure
from benchmark.planning.data import data_source, ensure_data
from benchmark.planning.registry import agent_class
from benchmark.runs import provenance
from benchmark.runs.code import own_files
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec, run_path
from benchmark.runs.seeds import format_seeds
from benchmark.runs.table import Table
from benchmark.sweeping.protocol import _task, console
from envs.world import World, environments_for, open_world


def stack(agents: Sequence[Agent]) -> Agent:
    """One agent whose numeric hyperparameters are batched: those of the agents, which must be alike in all else."""
    first = agents[0]
    values = {
        name: jnp.asarray([getattr(agent.config, name) for agent in agents], jnp.float32)
        for name in numeric_fields(first.config)
    }
    return type(first)(dataclasses.replace(first.config, **values), first.observation_dim, first.action_dim)


# ------------------------------------------------------------------------------------------------------ training


@dataclasses.dataclass(frozen=True)
class SeveralRuns:
    """A world for members, which stand for the seeds of several runs: each plays its seed's episodes."""

    world: World
    seeds: Sequence[int]
    """Seed of each member."""

    def evaluate(self, policy, members, episodes, step, active, on_progress=None):
        """See `World.evaluate`; settings are compared on the same episodes."""
        return self.world.evaluate(policy, self.seeds, episodes, step, active, on_progress)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)


class SweepTraining(Training):
    """Several runs, alike but for numeric hyperparameters, as one: its "seeds" are members, a setting and a seed each.

    Its own directory holds the tables of all members and the checkpoints; each run's directory is written from them.
    """

    def __init__(self, agents: Sequence[Agent], runs: Sequence[RunSpec], world: World, directory, say, on_progress):
        """`agents[i]` is that of `runs[i]`."""
        self.runs = [RunDirectory(run_path(run)) for run in runs]
        self.own_seeds = runs[0].seeds
        self.members = [(i, seed) for i in range(len(runs)) for seed in runs[0].seeds]
        self.labels = [setting_folder(run) for run in runs]
        batched = stack([agents[i] for i, _ in self.members])
        world = SeveralRuns(world, [seed for _, seed in self.members])
        seeds = range(len(self.members))
        super().__init__(batched, seeds, runs[0].protocol, world, directory, say, on_progress, agent_axis=0)

    def initial_states(self) -> State:
        """A member begins as its seed does alone."""
        seeds = jnp.asarray([seed for _, seed in self.members], jnp.uint32)
        return init_states(self.agent, seeds, 0, self.world.data_for(0))

    def called(self, member: int) -> str:
        """A member's name in the log."""
        run, seed = self.members[member]
        return f"{self.labels[run]} seed {seed}"

    def set_status(self, state: str, rate: float | None = None) -> None:
        """Record where the sweep is, and write every run's own records."""
        super().set_status(state, rate)
        status = self.directory.status
        for i, run in enumerate(self.runs):
            first = i * len(self.own_seeds)
            mine = range(first, first + len(self.own_seeds))
            for table in (self.train_table, self.eval_table):
                own = Table(run.path / table.path.name)
                own.rows = [row | {"seed": self.members[row["seed"]][1]} for row in table.rows if row["seed"] in mine]
                own.save()
            diverged = {str(self.members[m][1]): step for m, step in self.diverged.items() if m in mine}
            shares = {name: round(status[name] / len(self.runs), 2) for name in ("train_seconds", "eval_seconds")}
            run.set_status(**{**status, **shares, "diverged": diverged})


def setting_folder(run: RunSpec) -> str:
    """The folder's name that says a run's setting."""
    return Path(run.out).name


def sweep_path(run: RunSpec, folder: Path) -> Path:
    """Where the sweep that a run belongs to keeps its own records."""
    return folder / ".sweeps" / agent_class(run.agent).name / run.task / f"seeds-{format_seeds(run.seeds)}"


def sweep_task(runs: Sequence[RunSpec], folder: Path, quiet: bool = False) -> None:
    """Do the runs of all settings on one task, from their start or their last checkpoint."""
    cls = agent_class(runs[0].agent)
    if all([is_done(run) for run in runs]):  # a list: each is checked for another configuration
        console.print(f"{len(runs)} settings of {cls.name} on {runs[0].task} are finished already")
        return
    with RunDirectory(sweep_path(runs[0], folder)) as directory:
        common = run_config(runs[0]) | {"hyperparameters": [run_config(run)["hyperparameters"] for run in runs]}
        directory.check_config(common, own_files(runs[0].agent))
        for run in runs:
            make_folder(run_path(run))
            RunDirectory(run_path(run)).check_config(run_config(run), own_files(run.agent))
        try:
            _train(cls, runs, directory, quiet)
        except BaseException as error:
            reason = str(error) if isinstance(error, UserError) else traceback.format_exc()
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            for each in (directory, *(RunDirectory(run_path(run)) for run in runs)):
                each.set_status(state=state, error=reason)
            raise


def _train(cls: type[Agent], runs: Sequence[RunSpec], directory: RunDirectory, quiet: bool) -> None:
    keep_programs()
    task, protocol = _task(runs[0].task), runs[0].protocol
    path = ensure_data(runs[0])
    members = len(runs) * len(runs[0].seeds)
    longest = max(configure(cls, run.settings).chunk_length for run in runs)
    world = open_world(task, path, environments_for(members, protocol.eval_episodes), cls.sampler, longest)
    try:
        made = provenance.collect({"source": data_source(runs[0]), **world.source}, device_name(), runs[0].agent)
        made |= {"sweep": {"settings": len(runs), "members": members}}
        directory.add_start(made)
        for run in runs:
            RunDirectory(run_path(run)).add_start({**made, "hyperparameters": run.origins})
        data = world.data_for(0)
        agents = [cls(configure(cls, run.settings), data.observation_dim, data.action_dim) for run in runs]
        del data  # one shard of several: only the world may hold it
        title = f"{cls.name} {task.name} x {len(runs)}"
        with RunProgress(title, directory.path / "log.txt", quiet) as progress:
            SweepTraining(agents, runs, world, directory, progress.say, progress.update).run()
    finally:
        world.close()
