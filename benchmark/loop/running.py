"""Doing what is left of a run, or of several that train together: the world is opened, the agents are made, the loop
started.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp

from agents.base import Agent, numeric_fields
from benchmark.loop.compiled import forget_programs_if_many, keep_programs
from benchmark.loop.device import device_name
from benchmark.loop.display import RunDisplay
from benchmark.loop.evaluator import Evaluator
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.offline import Training
from benchmark.loop.online import OnlineTraining
from benchmark.loop.recorder import Recorder
from benchmark.loop.stopping import signals_for_this_process_alone, stop_asked
from benchmark.loop.tracking import Tracker
from benchmark.planning.run import Run
from benchmark.runs import provenance
from benchmark.runs.record import RunDirectory
from envs.family import family_of
from envs.tasks import Task
from envs.world import World, environments_for


def train(run: Run, quiet: bool) -> None:
    """Do what is left of a run."""
    title = f"{run.spec.label} {run.task.name}"
    train_together([run], run.directory, title, lambda watch: Recorder(run.directory, run.spec.seeds, watch), quiet)


def train_together(
    runs: Sequence[Run],
    directory: RunDirectory,
    title: str,
    recorder_of: Callable[[Watch], Recorder],
    quiet: bool,
) -> None:
    """Do what is left of runs that are alike but for numeric hyperparameters, as one compiled program.

    `directory` holds their checkpoints and log; `title` names them in it; `recorder_of` makes what records them.
    """
    keep_programs()
    forget_programs_if_many()
    run, spec, cls = runs[0], runs[0].spec, runs[0].agent_class
    configs = [each.hyperparameters for each in runs]
    seeds = tuple(seed for each in runs for seed in each.spec.seeds)
    with opened(run, run.ensure_data(), len(seeds)) as world:
        directory.refuse_other_data(world.source.get("fingerprint", ""))  # before this start is on record
        made = provenance.collect({"source": run.data_source, **world.source}, device_name(), spec.agent)
        with RunDisplay(title, directory.path / "log.txt", quiet) as display:
            watch = Watch(display.say, display.update, stop_asked.is_set)
            recorder = recorder_of(watch)
            start = {"start": dataclasses.asdict(spec.start)} if spec.start else {}
            recorder.start({**made, "hyperparameters": spec.origins, **start})
            data = world.data_for(0)
            agents = [cls(config, data.observation_dim, data.action_dim) for config in configs]
            del data  # one shard of several: only the world may hold it
            experiment = Experiment(
                *(stacked(agents, len(spec.seeds)), seeds, spec.protocol, world, spec.online, spec.start),
                *(spec.keep_checkpoints, spec.keep_policies),
            )
            with tracked(run, recorder, watch) as watch:
                loop(experiment, recorder, watch, run.task)


def loop(experiment: Experiment, recorder: Recorder, watch: Watch, task: Task) -> None:
    """The loop, and where there is an online phase, environments that end with it."""
    evaluator = Evaluator(experiment, watch)
    if experiment.online is None:
        Training(experiment, evaluator, recorder, watch).run()
        return
    with signals_for_this_process_alone():
        live = family_of(task).open_live(task, experiment.seeds)
    with contextlib.closing(live):
        OnlineTraining(experiment, evaluator, recorder, watch, live).run()


@contextlib.contextmanager
def tracked(run: Run, recorder: Recorder, watch: Watch) -> Iterator[Watch]:
    """A watch under which what is recorded is sent to W&B too, where the run asks for that."""
    if run.spec.wandb is None:
        yield watch
        return
    tracker = Tracker(run.spec.wandb, recorder.directory.path, run.config, watch.say)

    def send() -> None:
        tracker.send(train=recorder.train_table, eval=recorder.eval_table)

    def on_progress(*progress) -> None:
        watch.on_progress(*progress)
        send()

    try:
        yield dataclasses.replace(watch, on_progress=on_progress)
    finally:
        send()  # an evaluation beside training ends after the last row of it
        tracker.close()


@contextlib.contextmanager
def opened(run: Run, data: Path | None, members: int) -> Iterator[World]:
    """The world of a run on the data at that place, None for a toy, for so many that train together."""
    environments = environments_for(members, run.spec.protocol.eval_episodes)
    with signals_for_this_process_alone():
        world = family_of(run.task).open_world(
            run.task, data, environments, run.agent_class.sampler, run.hyperparameters.chunk_length
        )
    with contextlib.closing(world):
        yield world


def stacked(agents: Sequence[Agent], seeds: int) -> Agent:
    """One agent for so many seeds of each of these, which must be alike but for numeric hyperparameters: those of
    several get an axis over all seeds of all.
    """
    first = agents[0]
    if len(agents) == 1:
        return first
    values = {
        name: jnp.asarray([getattr(agent.config, name) for agent in agents for _ in range(seeds)], jnp.float32)
        for name in numeric_fields(first.config)
    }
    return type(first)(dataclasses.replace(first.config, **values), first.observation_dim, first.action_dim)
