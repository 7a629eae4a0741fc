"""The authors' numbers: parameters, noise and batches filled as the conformance vectors prescribe.

Every array is a closed form of its indices, so that an implementation in any framework can be compared. Parameters
of network n: kernel[i, j] = sin(0.7n + 1.3e + 2.1l + 0.9i + 1.7j + 0.13ij) / sqrt(fan-in) and so on; the k-th random
array that a loss consumes is filled from k and the flat index.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from agents.base import Agent, Batch, Draw, State

B, O, D, H, A = 6, 4, 2, 3, 6
COMMON = dict(discount=0.99, pessimism=0.5, chunk_length=H, batch_size=B, hidden=(8, 8), ensemble=3)
VECTORS = json.loads((Path(__file__).parents[1] / "data" / "conformance_g1.json").read_text())
PRECISION = 1e-9  # relative; the vectors are printed in full float64


def dense(n: int, layer: int, member: int, shape) -> dict:
    """One linear layer of network n, (I, J)."""
    i, j = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    kernel = np.sin(0.7 * n + 1.3 * member + 2.1 * layer + 0.9 * i + 1.7 * j + 0.13 * i * j) / np.sqrt(shape[0])
    return {"kernel": kernel, "bias": 0.1 * np.cos(n + member + layer + j[0])}


def norm(n: int, layer: int, width: int) -> dict:
    """The LayerNorm after hidden layer `layer` of network n."""
    j = np.arange(width)
    return {"scale": 1 + 0.05 * np.sin(j + layer), "bias": 0.05 * np.cos(j + layer + n)}


def fill(tree: dict, identity) -> dict:
    """Fill a parameter tree. `identity` is the network's number, or for networks of several parts a function from
    the path of a layer to (number, layer)."""
    if isinstance(identity, int):
        number = identity

        def identity(path):
            return number, int(path[-1].split("_")[1])

    return _fill(tree, identity, ())


def tanh_normal(path) -> tuple[int, int]:
    """(number, layer) of a TanhNormal's parts: trunk, mean head, log-std head."""
    if path[0] == "trunk":
        return 11, int(path[-1].split("_")[1])
    return {"mean": 12, "log_std": 13}[path[0]], 0


def noise_network(path) -> tuple[int, int]:
    """(number, layer) of a denoising policy's parts: features of the step, and the rest."""
    return 15 if path[0] == "embedding" else 16, int(path[-1].split("_")[1])


def _fill(tree, identity, path):
    if path[-1:] == ("frequencies",):
        return jnp.asarray(0.2 * np.sin(0.7 * 14 + 1.9 * np.arange(tree.size) + 0.4))
    if "log_temperature" in tree:
        return {"log_temperature": jnp.asarray(-0.3)}
    if "kernel" not in tree and "scale" not in tree:
        return {name: _fill(child, identity, (*path, name)) for name, child in tree.items()}
    number, layer = identity(path)
    if "scale" in tree:
        members, width = tree["scale"].shape[:-1], tree["scale"].shape[-1]
        filled = norm(number, layer, width)
        return {k: jnp.asarray(np.broadcast_to(v, (*members, width))) for k, v in filled.items()}
    if tree["kernel"].ndim == 2:
        return jax.tree.map(jnp.asarray, dense(number, layer, 0, tree["kernel"].shape))
    members = [dense(number, layer, e, tree["kernel"].shape[1:]) for e in range(tree["kernel"].shape[0])]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def fill_draw(k: int, draw: Draw) -> np.ndarray:
    """The k-th random array."""
    p = np.arange(np.prod(draw.shape))
    if draw.law == "normal":
        values = 1.5 * np.sin(1.1 * k + 2.3 * p + 0.5 * np.sin(p))
    elif draw.law == "uniform":
        values = (0.5 + 0.618033988749895 * (p + 1) + 0.1 * k) % 1.0
    else:
        values = draw.low + (3 * p + k) % (draw.high - draw.low)
    return values.reshape(draw.shape)


def fill_noise(draws: dict[str, Draw], start: int = 0) -> dict:
    """All arrays in order, the first being number `start`; a stack of several counts as that many arrays."""
    noise, k = {}, start
    for name, draw in draws.items():
        if draw.count is None:
            noise[name] = jnp.asarray(fill_draw(k, draw))
            k += 1
        else:
            noise[name] = jnp.asarray(np.stack([fill_draw(k + i, draw) for i in range(draw.count)]))
            k += draw.count
    return noise


def sequence_batch() -> Batch:
    """The batch of the agents that sample sequences."""
    b = np.arange(B)
    arrays = dict(
        observations=0.8 * np.sin(1 + 0.7 * np.arange(B * O)).reshape(B, O),
        actions=0.6 * np.cos(0.3 + 1.9 * np.arange(B * A)).reshape(B, A),
        rewards=-(b % 4.0),
        masks=np.where(b % 3 == 2, 0.0, 1.0),
        next_observations=0.7 * np.cos(2 + 0.9 * np.arange(B * O)).reshape(B, O),
        valid=np.array([1.0, 1, 0, 1, 0, 1]),
        action_weights=np.ones((B, A)),
    )
    return Batch(**{k: jnp.asarray(v) for k, v in arrays.items()})


def trajectory_rows(distances=(1, 2, 3, 9, 9, 2)) -> dict:
    """Rows 0..H (step-major) of the agents that sample trajectories; the distance to each trajectory's last row."""
    p = np.arange((H + 1) * B).reshape(H + 1, B)
    rows = np.arange(H + 1)[:, None]
    return dict(
        observations=0.8 * np.sin(1 + 0.7 * np.arange((H + 1) * B * O)).reshape(H + 1, B, O),
        actions=0.6 * np.cos(0.3 + 1.9 * np.arange((H + 1) * B * D)).reshape(H + 1, B, D),
        rewards=-(p % 4.0),
        masks=np.where(p % 5 == 3, 0.0, 1.0),
        terminals=(rows >= np.asarray(distances)).astype(float),
    )


def filled_state(agent: Agent, numbers: dict, data=None) -> State:
    """A state whose networks are filled: numbers = {"critic": 1, "target critic": 2, ...}, with the facts of data."""
    rng = jax.random.PRNGKey(0)
    state = jax.eval_shape(lambda rng: agent.init(rng, data), rng)  # shapes are enough
    params = {name: fill(tree, numbers[name]) for name, tree in state.params.items()}
    targets = {name: fill(tree, numbers[f"target {name}"]) for name, tree in state.targets.items()}
    extra = agent.init_extra() | agent.facts(data, rng)
    return State(jnp.zeros((), int), rng, params, targets, agent.optimizer().init(params), extra)


def loss_and_gradient(agent: Agent, state: State, batch: Batch, noise: dict | None = None):
    """Total, metrics and gradient of the agent's loss under the given or the prescribed noise."""
    noise = fill_noise(agent.draws(B)) if noise is None else noise

    def objective(params):
        fixed = agent.bind(jax.lax.stop_gradient(state.params), state.extra)
        return agent.loss(agent.bind(params), fixed, agent.bind(state.targets), batch, noise)

    (total, metrics), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(state.params)
    assert total.dtype == jnp.float64
    return total, metrics, gradient


def inner_product(gradient, params) -> float:
    """⟨g, θ⟩ over all parameters of one network."""
    leaves = (jax.tree.leaves(jax.device_get(tree)) for tree in (gradient, params))  # numpy compiles nothing for a sum
    return sum(float((g * p).sum()) for g, p in zip(*leaves, strict=True))


def sums(parameters, filled) -> list[float]:
    """Σθ, Σθ² and Σθ·θ_fill over all parameters of one network."""
    return [
        sum(float(leaf.sum()) for leaf in jax.tree.leaves(jax.device_get(parameters))),
        inner_product(parameters, parameters),
        inner_product(parameters, filled),
    ]


def norm_of(gradient) -> float:
    """Euclidean norm of one network's gradient."""
    return inner_product(gradient, gradient) ** 0.5


def errors(
    agent: Agent,
    numbers: dict,
    batch: Batch,
    expected: dict,
    metrics_of: dict,
    networks_of: dict,
    state: State | None = None,
    noise: dict | None = None,
) -> dict:
    """Relative errors of the total, the components, and each network's ⟨g, θ⟩ and gradient norm.

    `metrics_of` maps the vectors' component names to functions of our metrics (or their names), `networks_of` their
    network names to ours. Every component and network of the vectors must be mapped. `state` and `noise`, where given,
    are used instead of the prescribed ones.
    """
    state = filled_state(agent, numbers) if state is None else state
    total, metrics, gradient = loss_and_gradient(agent, state, batch, noise)
    pairs = {"total": (float(total), expected["total"])}
    for name, value in expected["components"].items():
        ours = metrics_of[name]
        pairs[name] = (float(ours(metrics) if callable(ours) else metrics[ours]), value)
    for name, value in expected["g_theta"].items():
        ours = networks_of.get(name, name)
        pairs[f"<g,θ> {name}"] = (inner_product(gradient[ours], state.params[ours]), value)
        pairs[f"|g| {name}"] = (norm_of(gradient[ours]), expected["g_norm"][name])
    assert len(gradient) == len(expected["g_theta"]), "a network is missing from the comparison"
    return {name: abs(ours - theirs) / max(abs(theirs), 1e-3) for name, (ours, theirs) in pairs.items()}


def update_of(agent: Agent, noise: dict, batch: Batch):
    """The agent's update on a batch under noise that is given, compiled: state to (state, metrics)."""

    @jax.jit
    def update(state):
        agent.draw_noise = lambda rng, batch_size: noise  # type: ignore[method-assign]
        return agent.update(state, batch)

    return update


def common(cls: type[Agent]) -> dict:
    """Those of the vectors' common settings that an agent has."""
    return {name: COMMON[name] for field in dataclasses.fields(cls.Config) if (name := field.name) in COMMON}
