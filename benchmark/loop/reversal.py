"""Flow reversal by a trained policy: data actions to noise and back; see `benchmark.reversal`."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.common.errors import UserError
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.segments import init_states
from benchmark.planning.configure import configure
from benchmark.planning.registry import agent_class
from benchmark.runs.reading import read_records
from benchmark.runs.record import KEPT, RunDirectory
from envs.data.samplers import sample_trajectories
from envs.data.shards import shard_files
from envs.family import family_of
from envs.tasks import get_task


def write_trajectories(path: Path, out: Path, count: int, coordinates: tuple[int, int]) -> float:
    """Write trajectories of a run's policy; return the mean distance of the returned actions per coordinate."""
    agent, states, data, config = load_run(path, coordinates)
    state = jax.tree.map(lambda leaf: leaf[0], states)
    batch = sample_trajectories(data, jax.random.PRNGKey(0), count, agent.config.chunk_length, agent.config.discount)
    flow = agent.bind(state.params).actor
    backward, forward = trajectories(
        lambda x, f: flow(batch.observations, x, f), batch.actions, agent.config.flow_steps
    )
    try:
        np.savez(
            out,
            reversed=backward[..., coordinates],
            forward=forward[..., coordinates],
            coordinates=np.asarray(coordinates),
            agent=config["agent"],
            task=config["task"],
        )
    except OSError as error:
        raise UserError(f"cannot write '{out}': {error.strerror or error}") from error
    return float(np.abs(forward[:, -1] - backward[:, 0]).mean())


def trajectories(field, actions, steps: int):
    """Reversed (n, F + 1, A), from action to noise, and forward (n, F + 1, A), from that noise: F Euler steps each."""

    def time(k):
        return jnp.full((len(actions), 1), k / steps)

    backward = [actions]
    for k in range(steps, 0, -1):
        backward.append(backward[-1] - field(backward[-1], time(k)) / steps)
    forward = [backward[-1]]
    for k in range(steps):
        forward.append(forward[-1] + field(forward[-1], time(k)) / steps)
    return np.stack(backward, 1), np.stack(forward, 1)


def load_run(path: Path, coordinates: tuple[int, int] = (0, 1), agents: tuple[str, ...] = ("rql", "tfql")):
    """Return (agent, states of its seeds, dataset, config) of a run that has a checkpoint and such coordinates.

    Raises a UserError, before the dataset is loaded, where there is no such run.
    """
    records = read_records(path)
    if records.config is None or not records.starts:
        raise UserError(f"{path} is not the folder of a run")
    config, source = records.config, records.starts[-1].get("dataset", {})
    name, task_name, seeds, settings = (config[key] for key in ("agent", "task", "seeds", "hyperparameters"))
    if name not in agents:
        raise UserError(f"{path} is a run of {name}; what is asked belongs to {' and '.join(agents)}")
    if "path" not in source:
        raise UserError(f"{path} was trained on data made in code; choose a run on a dataset file")
    task, file = get_task(task_name), Path(source["path"])
    sharded = bool(task.domain.shards) and not file.is_file()
    file = shard_files(file)[0] if sharded else file
    if not file.is_file():
        raise UserError(f"no dataset at {file}, which the run was trained on")
    if not any(RunDirectory(path).checkpoints.glob("[0-9]*")):
        raise UserError(f"{path} has no checkpoint, which this reads: {KEPT}")

    cls, family = agent_class(name), family_of(task)
    env = family.make_env(task)
    hyperparameters = configure(cls, settings)
    chunk_length, chunk_dim = hyperparameters.chunk_length, hyperparameters.chunk_length * env.action_space.shape[-1]
    if max(coordinates) >= chunk_dim:
        raise UserError(f"--coordinates must be two numbers from 0 to {chunk_dim - 1}, e.g. 0,1")
    data = family.load(task, file, env, clip_actions=not sharded, sampler="trajectories", chunk_length=chunk_length)
    agent = cls(hyperparameters, data.observation_dim, data.action_dim)
    checkpoints = Checkpoints(RunDirectory(path).checkpoints, read_only=True)
    found = checkpoints.restore(init_states(agent, jnp.asarray(seeds), data), print)
    if found is None:
        raise UserError(f"{path} has no checkpoint")
    return agent, found[1], data, config
