"""What flow reversal does, from a trained policy: `python -m benchmark.reversal --run runs/.../seeds-0-1 --out FILE`.

Takes the newest checkpoint of an RQL or TFQL run, data actions and their observations, and writes the trajectories
that `analysis.figures --reversal FILE` draws: each data action carried back to noise by the reversed flow, and the
same noise carried forward again by the flow. Where the two meet, reversal is exact; the gap is the error of Euler
steps, since the explicit step backwards is not the inverse of the step forwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, whole_number
from envs.family import family_of

MOST_TRAJECTORIES = 10_000


def trajectories(field, actions, steps: int):
    """Reversed (n, F + 1, A), from action to noise, and forward (n, F + 1, A), from that noise: F Euler steps each."""
    import jax.numpy as jnp

    def time(k):
        return jnp.full((len(actions), 1), k / steps)

    backward = [actions]
    for k in range(steps, 0, -1):
        backward.append(backward[-1] - field(backward[-1], time(k)) / steps)
    forward = [backward[-1]]
    for k in range(steps):
        forward.append(forward[-1] + field(forward[-1], time(k)) / steps)
    return np.stack(backward, 1), np.stack(forward, 1)


def load_run(path: Path, coordinates: tuple[int, int] = (0, 1)):
    """Return (agent, state of its first seed, dataset, config) of a run that has a checkpoint and such coordinates.

    Raises a UserError, before the dataset is loaded, where there is no such run.
    """
    from benchmark.runs.reading import read_records
    from benchmark.runs.record import RunDirectory

    records = read_records(path)
    if records.config is None or not records.starts:
        raise UserError(f"{path} is not the folder of a run")
    config, source = records.config, records.starts[-1].get("dataset", {})
    name, task_name, seeds, settings = (config[key] for key in ("agent", "task", "seeds", "hyperparameters"))
    if name not in ("rql", "tfql"):
        raise UserError(f"{path} is a run of {name}; flow reversal belongs to rql and tfql")
    if "path" not in source:
        raise UserError(f"{path} was trained on data made in code; choose a run on a dataset file")
    from envs.data.shards import shard_files
    from envs.tasks import get_task

    task, file = get_task(task_name), Path(source["path"])
    sharded = bool(task.domain.shards) and not file.is_file()
    file = shard_files(file)[0] if sharded else file
    if not file.is_file():
        raise UserError(f"no dataset at {file}, which the run was trained on")
    if not any(RunDirectory(path).checkpoints.glob("[0-9]*")):
        raise UserError(f"{path} has no checkpoint")

    import jax
    import jax.numpy as jnp

    from benchmark.loop.checkpoints import Checkpoints
    from benchmark.loop.segments import init_states
    from benchmark.planning.configure import configure
    from benchmark.planning.registry import agent_class

    cls, family = agent_class(name), family_of(task)
    env = family.make_env(task)
    hyperparameters = configure(cls, settings)
    chunk_length, chunk_dim = hyperparameters.chunk_length, hyperparameters.chunk_length * env.action_space.shape[-1]
    if max(coordinates) >= chunk_dim:
        raise UserError(f"--coordinates must be two numbers from 0 to {chunk_dim - 1}, e.g. 0,1")
    data = family.load(task, file, env, clip_actions=not sharded, sampler="trajectories", chunk_length=chunk_length)
    agent = cls(hyperparameters, data.observation_dim, data.action_dim)
    checkpoints = Checkpoints(RunDirectory(path).checkpoints, read_only=True)
    found = checkpoints.restore(init_states(agent, jnp.asarray(seeds), data=data), print)
    if found is None:
        raise UserError(f"{path} has no checkpoint")
    return agent, jax.tree.map(lambda leaf: leaf[0], found[1]), data, config


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m benchmark.reversal", description=__doc__.split(":")[0])
    parser.add_argument("--run", required=True, help="folder of a run of rql or tfql")
    parser.add_argument("--out", help="file to write (default: reversal.npz in the run's folder)")
    parser.add_argument("--count", default="40", help="trajectories (default: 40)")
    parser.add_argument("--coordinates", default="0,1", help="the two action coordinates to draw (default: 0,1)")
    return parser


def _parse(arguments: list[str] | None) -> tuple[Path, Path, int, tuple[int, int]]:
    """The run's folder, the file to write, the count and the coordinates that the command line asks for."""
    options = parser().parse_args(arguments)
    count = whole_number("--count", options.count, high=MOST_TRAJECTORIES)
    parts = [part.strip() for part in options.coordinates.split(",")]
    if len(set(parts)) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UserError(f"--coordinates must be two different whole numbers, such as 0,1, not '{options.coordinates}'")
    path = Path(options.run)
    out = path / "reversal.npz" if options.out is None else Path(options.out)
    if out.suffix != ".npz" or out.is_dir():
        raise UserError(f"--out must be the name of a file ending in .npz, not '{options.out}'")
    if options.out and not out.parent.is_dir():
        raise UserError(f"cannot write '{out}': there is no folder {out.parent}")
    return path, out, count, (int(parts[0]), int(parts[1]))


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    path, out, count, coordinates = _parse(arguments)
    agent, state, data, config = load_run(path, coordinates)

    import jax

    from envs.data.samplers import sample_trajectories

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
    gap = np.abs(forward[:, -1] - backward[:, 0]).mean()
    print(f"{out}: {count} trajectories; mean distance of the returned action per coordinate {gap:.3f}")
    return 0


if __name__ == "__main__":
    run_main(main)
