"""Doing what is left of a run, or of several that train together: the world is opened, the agents are made, the loop
started.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp

from agents.base import Agent, numeric_fields
from benchmark.loop.compiled import keep_programs
from benchmark.loop.device import device_name
from benchmark.loop.display import RunDisplay
from benchmark.loop.evaluator import Evaluator
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.online import OnlineTraining
from benchmark.loop.recorder import Recorder
from benchmark.loop.stopping import signals_for_this_process_alone, stop_asked
from benchmark.loop.tracking import Tracker
from benchmark.loop.training import Training
from benchmark.planning.asked import run_config
from benchmark.planning.configure import configure
from benchmark.planning.data import data_source, ensure_data
from benchmark.planning.registry import agent_class
from benchmark.runs import provenance
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from envs.play.live import open_live
from envs.tasks import Task, get_task
from envs.world import World, environments_for, open_world


def train(run: RunSpec, directory: RunDirectory, quiet: bool) -> None:
    """Do what is left of a run."""
    title = f"{run.shown_as or agent_class(run.agent).name} {run.task}"
    train_together([run], directory, title, lambda watch: Recorder(directory, run.seeds, watch), quiet)


def train_together(
    runs: Sequence[RunSpec],
    directory: RunDirectory,
    title: str,
    recorder_of: Callable[[Watch], Recorder],
    quiet: bool,
) -> None:
    """Do what is left of runs that are alike but for numeric hyperparameters, as one compiled program.

    `directory` holds their checkpoints and log; `title` names them in it; `recorder_of` makes what records them.
    """
    keep_programs()
    run, cls = runs[0], agent_class(runs[0].agent)
    configs = [configure(cls, each.settings) for each in runs]
    seeds = tuple(seed for each in runs for seed in each.seeds)
    with opened(run, len(seeds), cls.sampler, configs[0].chunk_length) as world:
        data = world.data_for(0)
        agents = [cls(config, data.observation_dim, data.action_dim) for config in configs]
        del data  # one shard of several: only the world may hold it
        experiment = Experiment(stacked(agents, len(run.seeds)), seeds, run.protocol, world, run.online)
        made = provenance.collect({"source": data_source(run), **world.source}, device_name(), run.agent)
        with RunDisplay(title, directory.path / "log.txt", quiet) as display:
            watch = Watch(display.say, display.update, stop_asked.is_set)
            recorder = recorder_of(watch)
            recorder.start({**made, "hyperparameters": run.origins})
            with tracked(run, recorder, watch) as watch:
                loop(experiment, recorder, watch, get_task(run.task))


def loop(experiment: Experiment, recorder: Recorder, watch: Watch, task: Task) -> None:
    """The loop, and where there is an online phase, environments that end with it."""
    evaluator = Evaluator(experiment, watch)
    if experiment.online is None:
        Training(experiment, evaluator, recorder, watch).run()
        return
    with signals_for_this_process_alone():
        live = open_live(task, experiment.seeds)
    with contextlib.closing(live):
        OnlineTraining(experiment, evaluator, recorder, watch, live).run()


@contextlib.contextmanager
def tracked(run: RunSpec, recorder: Recorder, watch: Watch) -> Iterator[Watch]:
    """A watch under which what is recorded is sent to W&B too, where the run asks for that."""
    if run.wandb is None:
        yield watch
        return
    tracker = Tracker(run.wandb, recorder.directory.path, run_config(run), watch.say)

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
def opened(run: RunSpec, members: int, sampler: str, chunk_length: int) -> Iterator[World]:
    """The world of a run, for so many that train together; its data is made or fetched where it is not there."""
    path = ensure_data(run)
    environments = environments_for(members, run.protocol.eval_episodes)
    with signals_for_this_process_alone():
        world = open_world(get_task(run.task), path, environments, sampler, chunk_length)
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
