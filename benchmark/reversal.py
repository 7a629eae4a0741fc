"""What flow reversal does, from a trained policy: `python -m benchmark.reversal --run runs/.../seeds-0-1 --out FILE`.

Takes the newest checkpoint of an RQL or TFQL run, data actions and their observations, and writes the trajectories
that `analysis.figures --reversal FILE` draws: each data action carried back to noise by the reversed flow, and the
same noise carried forward again by the flow. Where the two meet, reversal is exact; the gap is the error of Euler
steps, since the explicit step backwards is not the inverse of the step forwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.errors import UserError, run_main
from benchmark.options import Parser


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


def load_run(path: Path):
    """Return (agent, state of its first seed, dataset, config) of a run that has a checkpoint."""
    import jax
    import jax.numpy as jnp

    from benchmark.configure import agent_class, configure
    from benchmark.records import RunDirectory, read_json
    from benchmark.training import Checkpoints, init_states
    from envs import dataset
    from envs.shards import shard_files
    from envs.tasks import get_task

    config = read_json(path / "config.json")
    starts = read_json(path / "provenance.json", {"starts": []})["starts"]
    if config is None or not starts:
        raise UserError(f"{path} is not the folder of a run")
    if config["agent"] not in ("rql", "tfql"):
        raise UserError(f"{path} is a run of {config['agent']}; flow reversal belongs to rql and tfql")
    task, cls = get_task(config["task"]), agent_class(config["agent"])
    file = starts[-1]["dataset"].get("path")
    if file is None:
        raise UserError(f"{path} was trained on data made in code; choose a run on a dataset file")
    file = shard_files(Path(file))[0] if task.domain.shards else Path(file)
    data = dataset.load(task, file, dataset.make_env(task), clip_actions=not task.domain.shards)
    agent = cls(configure(cls, config["hyperparameters"]), data.observation_dim, data.action_dim)
    checkpoints = Checkpoints(RunDirectory(path).checkpoints, read_only=True)
    found = checkpoints.restore(init_states(agent, jnp.asarray(config["seeds"])), print)
    if found is None:
        raise UserError(f"{path} has no checkpoint")
    return agent, jax.tree.map(lambda leaf: leaf[0], found[1]), data, config


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m benchmark.reversal", description=__doc__.split(":")[0])
    parser.add_argument("--run", required=True, help="folder of a run of rql or tfql")
    parser.add_argument("--out", help="file to write (default: reversal.npz in the run's folder)")
    parser.add_argument("--count", type=int, default=40, help="trajectories (default: 40)")
    parser.add_argument("--coordinates", default="0,1", help="the two action coordinates to draw (default: 0,1)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    path = Path(options.run)
    agent, state, data, config = load_run(path)
    coordinates = [int(part) for part in options.coordinates.split(",")]
    if len(coordinates) != 2 or not all(0 <= c < agent.chunk_dim for c in coordinates):
        raise UserError(f"--coordinates must be two numbers from 0 to {agent.chunk_dim - 1}, e.g. 0,1")

    import jax

    from envs.dataset import sample_trajectories

    batch = sample_trajectories(
        data, jax.random.PRNGKey(0), options.count, agent.config.chunk_length, agent.config.discount
    )
    flow = agent.bind(state.params).actor
    backward, forward = trajectories(
        lambda x, f: flow(batch.observations, x, f), batch.actions, agent.config.flow_steps
    )
    out = Path(options.out or path / "reversal.npz")
    np.savez(
        out,
        reversed=backward[..., coordinates],
        forward=forward[..., coordinates],
        coordinates=np.asarray(coordinates),
        agent=config["agent"],
        task=config["task"],
    )
    gap = np.abs(forward[:, -1] - backward[:, 0]).mean()
    print(f"{out}: {options.count} trajectories; mean distance of the returned action per coordinate {gap:.3f}")
    return 0


if __name__ == "__main__":
    run_main(main)
