"""Does a batch that an agent draws itself hold what its fields say, offline and online?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from agents.base import Agent, Batch
from benchmark.checking.subject import Subject, drawn, initial, of_size
from benchmark.checking.words import Fault, told
from envs.data.dataset import Dataset, from_transitions
from envs.data.replay import Joined, Transition, empty, from_arrays

SIZE = 256
"""Samples that are drawn."""
OFFLINE = 40
"""Trajectories in the dataset, of those that are drawn from; as many again are in a replay."""


def check_batches(subject: Subject) -> str:
    """A sampler of the agent's own gives a batch's fields, of one trajectory a sample, and online what it does offline.

    Seen on numbered rows. Samples whose observations are none of the data's are not looked into. Of rewards and masks
    only that no other trajectory's are in them is, so that they may be relabelled.
    """
    if subject.cls.sample is Agent.sample:
        return "the harness draws them"
    agent, rows = of_size(subject.agent, SIZE), numbered_rows(subject.agent)
    state, rng = initial(subject.agent, 0, whole(rows)), jax.random.PRNGKey(1)
    found = {}
    for where, store in (("offline", whole), ("online", joined)):
        with told(f"drawn {where}"):
            batch = drawn(agent, store(rows), rng, state)
        check_form(agent, batch, where)
        check_rows(agent, whole(rows), batch, where)
        check_rewards(whole(rows), batch, drawn(agent, store(marked(rows)), rng, state), where)
        found[where] = {name: (value.shape, value.dtype) for name, value in batch._asdict().items()}
    if found["offline"] != found["online"]:
        raise Fault("sample gives other fields, shapes or types online than offline")
    own = [name for name in batch._fields if name not in Batch._fields]
    return f"rows of one trajectory, offline and online{'; its own: ' + ', '.join(own) if own else ''}"


# ---------------------------------------------------------------------------------------------------------- data


def numbered_rows(agent: Agent) -> dict[str, np.ndarray]:
    """Transitions of short and long trajectories; an observation's first number says which row it is."""
    rng = np.random.default_rng(0)
    longest = 3 * max(agent.config.chunk_length, agent.return_steps)
    lengths = rng.integers(1, longest, 2 * OFFLINE)
    size, last = lengths.sum(), np.cumsum(lengths) - 1
    states = rng.standard_normal((size + len(lengths), agent.observation_dim)).astype(np.float32)
    states[:, 0] = np.arange(len(states))
    trajectory = np.repeat(np.arange(len(lengths)), lengths)
    return dict(
        observations=states[np.arange(size) + trajectory],
        actions=rng.uniform(-1, 1, (size, agent.action_dim)).astype(np.float32),
        rewards=-rng.uniform(size=size).astype(np.float32),
        masks=np.ones(size, np.float32),
        terminals=np.isin(np.arange(size), last).astype(np.float32),
        next_observations=states[np.arange(size) + trajectory + 1],
    )


def marked(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with other rewards and masks in every second trajectory."""
    odd = trajectories(rows) % 2 == 1
    return rows | {"rewards": rows["rewards"] + 100 * odd, "masks": np.where(odd, 0, rows["masks"])}


def trajectories(rows: dict[str, np.ndarray]) -> np.ndarray:
    """The trajectory of each transition."""
    return np.cumsum(np.append(0, rows["terminals"][:-1])).astype(int)


def whole(rows: dict[str, np.ndarray]) -> Dataset:
    """All in a dataset."""
    return from_transitions(**rows)


def joined(rows: dict[str, np.ndarray]) -> Joined:
    """The first trajectories in a dataset, the others in a replay that has room for more."""
    trajectory = trajectories(rows)
    old = {name: value[trajectory < OFFLINE] for name, value in rows.items()}
    new = {name: value[trajectory >= OFFLINE] for name, value in rows.items()}
    arrays = {name: new[name][None] for name in Transition.__dataclass_fields__}
    arrays["masks"] = arrays["masks"] > 0
    arrays["episode"] = trajectory[trajectory >= OFFLINE][None].astype(np.int32) - OFFLINE
    room = empty(len(new["rewards"]) + 100, old["observations"].shape[1], old["actions"].shape[1])
    replay = from_arrays(jax.tree.map(lambda leaf: leaf[None], room), arrays)
    return Joined(from_transitions(**old), jax.tree.map(lambda leaf: leaf[0], replay))


# -------------------------------------------------------------------------------------------------------- checks


def check_form(agent: Agent, batch: Batch, where: str) -> None:
    """The fields of every batch have their shapes, and those of the agent's own begin with an axis of samples."""
    one, state, chunk = (SIZE,), (SIZE, agent.observation_dim), (SIZE, agent.chunk_dim)
    wanted = dict.fromkeys(Batch._fields, one) | dict.fromkeys(("observations", "next_observations"), state)
    wanted |= dict.fromkeys(("actions", "action_weights"), chunk)
    names = getattr(batch, "_fields", ())
    absent = [name for name in wanted if name not in names]
    if absent:
        raise Fault(f"sample's batch has no '{absent[0]}': make it by data.batch(...) and .extended(...)")
    for name, value in zip(names, batch, strict=True):
        shape = wanted.get(name, (SIZE, *value.shape[1:]))
        if value.shape != shape:
            raise Fault(f"the batch's '{name}', drawn {where}, has shape {in_b(value.shape)}, not {in_b(shape)}")
        if name in wanted and value.dtype != jnp.float32:
            raise Fault(f"the batch's '{name}', drawn {where}, is {value.dtype}, not float32")


def in_b(shape: tuple[int, ...]) -> str:
    """A shape, with B for the number of samples."""
    return str(shape).replace(str(SIZE), "B")


def check_rows(agent: Agent, data: Dataset, batch: Batch, where: str) -> None:
    """What belongs to one sample is of one trajectory, and as many steps ahead as the agent says."""
    H, n, host = agent.config.chunk_length, agent.return_steps, jax.tree.map(np.asarray, data)
    row, after = (row_of(host, values) for values in (batch.observations, batch.next_observations))
    of_row = np.repeat(np.arange(len(host.last)), host.last - host.first + 2)
    last_row = host.last + np.arange(len(host.last)) + 1
    for i in np.flatnonzero((row >= 0) & (row < last_row[of_row[row]])):
        trajectory = of_row[row[i]]
        start, left = row[i] - trajectory, last_row[trajectory] - row[i]
        weights = np.asarray(batch.action_weights[i]).reshape(H, -1)[:, 0] > 0
        valid = batch.valid[i] > 0
        if (valid and left < H) or weights[left:].any():
            name = "valid" if valid and left < H else "action_weights"
            raise Fault(
                f"'{name}' is not 0, drawn {where}, where the chunk runs past its trajectory's end, and what follows "
                "there is of another: take it from data.batch(...), or data.window(...).inside"
            )
        taken = np.asarray(batch.actions[i]).reshape(H, -1)[weights]
        if not np.array_equal(taken, host.actions[start + np.flatnonzero(weights)]):
            raise Fault(f"'actions', drawn {where}, are not those that follow 'observations' in the data")
        if after[i] < 0:
            continue
        if of_row[after[i]] != trajectory:
            raise Fault(
                f"'next_observations', drawn {where}, is of another trajectory than 'observations': stop at the end, "
                "start + jnp.minimum(steps, data.to_end(start)), or take it from data.batch(...)"
            )
        if valid and left >= n and after[i] - row[i] != n:
            raise Fault(
                f"'next_observations', drawn {where}, lies {after[i] - row[i]} steps after 'observations', but "
                f"td_target discounts by γ^{n}: say how many by return_steps"
            )


def row_of(data: Dataset, observations: jax.Array) -> np.ndarray:
    """Which row of the data each observation is, -1 for none."""
    values = np.asarray(observations)
    row = np.clip(np.nan_to_num(np.round(values[:, 0])), 0, len(data.observations) - 1).astype(int)
    return np.where((data.observations[row] == values).all(1), row, -1)


def check_rewards(data: Dataset, batch: Batch, other: Batch, where: str) -> None:
    """A sample's rewards and mask are those of its own trajectory, whatever others hold."""
    row = row_of(jax.tree.map(np.asarray, data), batch.observations)
    of_row = np.repeat(np.arange(len(data.last)), np.asarray(data.last - data.first) + 2)
    same = (np.asarray(batch.observations) == np.asarray(other.observations)).all(1)
    for name in ("rewards", "masks"):
        moved = np.asarray(getattr(batch, name) != getattr(other, name))
        if (moved & same & (row >= 0) & (of_row[row] % 2 == 0)).any():
            raise Fault(
                f"'{name}', drawn {where}, depends on rewards or masks of another trajectory: weigh each step by "
                "data.window(...).inside, or take it from data.batch(...)"
            )
