"""The agent interface: a configuration, a state, and pure functions of them.

An algorithm subclasses `Agent` and says five things: its networks, which of them have a target copy, which random
arrays its loss consumes, the loss, and how it acts. Everything else (initialisation, the optimiser, target tracking)
is here, once; the harness jits, scans over updates and vmaps over seeds.

In a loss, networks come bound to parameters in three ways, and the name at the call says which are trained by it:
`train.critic(s, a)` receives gradient, `fixed.critic(s, a)` uses the current parameters as constants (gradient still
flows through its *inputs*), `target.critic(s, a)` uses the slowly tracking copy.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax import Array

from agents.networks import Value, VectorField

if TYPE_CHECKING:
    from agents.transitions import Transitions

# --------------------------------------------------------------------------------------------- configuration


def option(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices=None,
    off: bool = False,
    follows: str = "",
) -> Any:
    """Declare a hyperparameter: its default, a line on what it does, and the values allowed (ends included).

    `off` says that the default switches off what makes the algorithm: a run must be given a value, tuned or by hand.
    `follows` names a numeric hyperparameter that this one, a bool, is the switch of: a part of the algorithm is there
    exactly where that is above 0, unless whoever asks for the run sets the switch.
    """
    metadata = dict(text=text, low=low, high=high, choices=choices, off=off, follows=follows)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyperparameters that every agent has. Fields of type float are numeric: leaves of the agent's pytree, which can
    be batched and changed without compiling again. All others are structural and part of the compiled program.

    An agent to which one of these means nothing takes it away by `ensemble: ClassVar[Any] = None` in its own Config:
    then it is no setting, and no record has it.
    """

    learning_rate: float = option(3e-4, "Adam's step size", low=0)
    discount: float = option(0.99, "discount γ per environment step", low=0, high=1)
    target_rate: float = option(
        0.005, "τ: share of the online parameters that a target takes per update", low=0, high=1
    )
    pessimism: float = option(0.5, "ρ: standard deviations subtracted from the ensemble's mean value", low=0)
    chunk_length: int = option(5, "actions per chunk, H", low=1)
    batch_size: int = option(256, "samples per update", low=2)
    hidden: tuple[int, ...] = option((512, 512, 512, 512), "widths of the hidden layers of every network", low=1)
    ensemble: int = option(10, "members of the critic ensemble, E", low=1)
    matmul_precision: str = option(
        "default",
        "of matrix products: the device's default (a GPU's is TF32), or one of JAX's names; no effect on a CPU",
        choices=("default", "float32", "tensorfloat32", "bfloat16"),
    )


def numeric_fields(config: type[Config] | Config) -> list[str]:
    """Names of the numeric hyperparameters (annotated `float`), in order."""
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    return [field.name for field in dataclasses.fields(config) if hints[field.name] is float]


# ------------------------------------------------------------------------------------------------ data types


class Batch(NamedTuple):
    """What one update sees. The sampler that an agent names fills it (`agents.transitions` says how), or its own."""

    observations: Array
    """s, (B, O): at the start of the chunk."""
    actions: Array
    """a, (B, A): the chunk's H actions of d dimensions, flattened time-major, A = H d."""
    rewards: Array
    """R, (B,): discounted return of the chunk."""
    masks: Array
    """m, (B,): 0 where the task is solved and the bootstrap value is dropped, else 1."""
    next_observations: Array
    """s', (B, O): where the bootstrap value is taken."""
    valid: Array
    """v, (B,): 1 where the chunk lies within one trajectory, else 0."""
    action_weights: Array
    """w, (B, A): 1 for actions of the chunk's own trajectory, 0 for what lies beyond its end."""

    def extended(self, **fields: Array) -> Any:
        """The same with fields of the agent's own: `batch.extended(goals=g).goals`."""
        return wider_batch(self._fields + tuple(fields))(*self, *fields.values())


@cache
def wider_batch(fields: tuple[str, ...]) -> type:
    """A batch of these fields. Made once for each set of names: to JAX a tuple's class is part of its structure."""
    return type("Batch", (namedtuple("Batch", fields),), {"__slots__": (), "extended": Batch.extended})


@struct.dataclass
class State:
    """All that an agent learns. `rng` never changes: update k draws from `fold_in(rng, k)`."""

    step: Array
    rng: Array
    params: dict
    targets: dict
    optimizer: Any
    extra: dict = struct.field(default_factory=dict)
    """Arrays that no gradient trains, by name: see `Agent.init_extra` and `Agent.facts`."""


class Draw(NamedTuple):
    """A random array that a loss consumes: its law, shape, and the bounds of integers."""

    law: str
    shape: tuple[int, ...]
    low: int = 0
    high: int = 0
    count: int | None = None  # type: ignore[assignment]
    """Where set, that many arrays stacked on a new leading axis (one per step of a rollout)."""

    def sample(self, rng: Array) -> Array:
        """Draw the array."""
        shape = self.shape if self.count is None else (self.count, *self.shape)
        if self.law == "normal":
            return jax.random.normal(rng, shape)
        if self.law == "uniform":
            return jax.random.uniform(rng, shape)
        return jax.random.randint(rng, shape, self.low, self.high)


def normal(*shape: int, count: int | None = None) -> Draw:
    """Standard normal array."""
    return Draw("normal", shape, count=count)


def uniform(*shape: int) -> Draw:
    """Uniform array on [0, 1)."""
    return Draw("uniform", shape)


def integers(low: int, high: int, *shape: int) -> Draw:
    """Integers from low to high - 1."""
    return Draw("integers", shape, low, high)


# ----------------------------------------------------------------------------------------------------- agent

REGISTRY: dict[str, type[Agent]] = {}
NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
"""What an agent may be called: results lie in a folder of its name."""
FACTS = 0xFAC7  # folded into the key of a seed's initialisation for the agent's facts of the data


class Agent:
    """Base of all algorithms: immutable, a pytree whose leaves are the numeric hyperparameters.

    Subclasses set `name` (which registers them), `Config`, `sampler` and `targets`, and define `networks`, `draws`,
    `loss` and `sample_actions`.
    """

    name: ClassVar[str]
    """What the command line calls it."""
    Config: ClassVar[type[Config]] = Config
    """Its hyperparameters."""
    sampler: ClassVar[str] = "sequences"
    """How batches are drawn: "sequences" (uniform over flat indices) or "trajectories" (first a trajectory)."""
    targets: ClassVar[tuple[str, ...]] = ("critic",)
    """Networks that have a target copy, tracked at `Config.target_rate` unless `target_rates` says otherwise."""
    max_gradient_norm: ClassVar[float | None] = None
    """Where set, the joint gradient of all networks that share Adam is scaled down to this global norm before it."""
    acting_options: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters that only acting reads: one trained state can be evaluated at several values of them."""
    begins_as: ClassVar[Mapping[str, str]] = {}
    """For a run that starts from another (`--start-from`): the name in other agents of what a network begins as, e.g.
    {"slow": "flow"}, where the other agent has none of the network's own name. All others take that of their own name.
    """
    pretrains: ClassVar[tuple[str, ...]] = ()
    """All that pretraining trains, where a run that was given these networks by another is to go without it."""
    run_length_options: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters that are the run's number of updates where nobody sets them, such as a schedule's length."""
    suite_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Hyperparameters for suites other than the benchmark's own, e.g. {"toy": {"alpha": 0.3}}, of an agent in a file
    outside the repository; those of the agents here stand with the suites."""

    config: Any
    observation_dim: int
    action_dim: int

    def __init__(self, config: Any, observation_dim: int, action_dim: int):
        """Make an agent for observations of size O and single actions of size d."""
        self.config = config
        self.observation_dim = observation_dim
        self.action_dim = action_dim

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__ and not (isinstance(cls.name, str) and NAMES.fullmatch(cls.name)):
            raise ValueError(f"an agent's name has letters, digits, '_' and '-' only, at most 100: not {cls.name!r}")
        if "Config" in cls.__dict__:
            _register_config(cls.Config)
        jax.tree_util.register_pytree_node(cls, _flatten_agent, _unflatten_agent)
        if "name" in cls.__dict__:
            REGISTRY[cls.name] = cls

    # ---- what an algorithm defines

    def networks(self) -> dict[str, tuple[nn.Module, str]]:
        """Trainable networks: name -> (module, its inputs among those of `input_sizes`, in order)."""
        raise NotImplementedError

    def input_sizes(self) -> dict[str, int]:
        """What networks may take as inputs, and how many numbers each is: a return, a goal or a latent are added so:
        `super().input_sizes() | {"return": 1}`.
        """
        return {"observation": self.observation_dim, "action": self.chunk_dim, "time": 1}

    def facts(self, data: Any, rng: Array) -> dict[str, Array]:
        """What the agent is to know of its training data, by name: a range of rewards, statistics, a pool of n rows.

        Computed once, before the first update, on the device, and a part of the extra state. `data` is what is trained
        on (`envs.data.dataset.Dataset`; of several files the first, and without what an online phase adds): `rewards`
        and `masks` (N,), `actions` (N, d), `observations` (N + T, O), of which row i + `trajectory`[i] is that of
        transition i, `first` and `last` (T,) of each trajectory. What is drawn with `rng` differs between seeds; each
        seed, and each checkpoint, has a copy of all.
        """
        return {}

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Random arrays that `loss` consumes, in the order in which the authors' code draws them."""
        raise NotImplementedError

    def loss(self, train, fixed, target, batch: Batch, noise: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Return the scalar to minimise and a dictionary of scalars to log."""
        raise NotImplementedError

    def sample_actions(self, online, target, observations: Array, rng: Array) -> Array:
        """Return flattened action chunks (B, A) in [-1, 1] for observations (B, O)."""
        raise NotImplementedError

    def sample(self, data: Transitions, rng: Array, state: State) -> Batch:
        """The batch of one update of one seed, offline and online alike. Overridden, built of the pieces that `data`
        gives, it may weigh by `state`, and have further fields (`Batch.extended`).
        """
        c = self.config
        return data.draw(self.sampler, rng, c.batch_size, c.chunk_length, c.discount, self.return_steps)

    @property
    def return_steps(self) -> int:
        """n, environment steps from s to s' that the rewards R of a batch add up: the chunk's H."""
        return self.config.chunk_length

    def optimizers(self) -> dict[str, optax.GradientTransformation]:
        """The optimiser of each network that has one of its own, with its own count of steps, e.g. `self.adam(rate)`,
        `optax.set_to_zero()` for one that is frozen, `optax.conditionally_mask(self.adam(rate), lambda step: step % 2
        == 1)` for one that is trained at every second update. The others share one Adam.
        """
        return {}

    def cycle(self, step: int) -> tuple[tuple[str, ...], int | None]:
        """Which updates run from update `step` (0-based, pretraining included) on: the names of the methods that follow
        one another in a fixed pattern, and the step at which another cycle begins (None: never). Algorithms that delay
        their actor or begin with another loss override this; a pattern compiles to no condition inside the loop.
        """
        return ("update",), None

    @property
    def pretraining_steps(self) -> int:
        """Updates before step 0 of the protocol, e.g. of a behaviour-cloning phase."""
        return 0

    def init_extra(self) -> dict[str, Array]:
        """State that is no network, by name: a multiplier, a running mean. `fixed` and `online` have it beside the
        networks, as constants; only `after_update` and `begin` change it.
        """
        return {}

    def after_update(self, extra: dict[str, Array], batch: Batch, metrics: dict) -> tuple[dict[str, Array], dict]:
        """Return the extra state after an update, and what is logged of it, from what the loss gave beside its value.

        The loss, and so its metrics, saw the parameters and the extra state from before the update.
        """
        return extra, metrics

    def begin(self, state: State, phase: str) -> State:
        """Return the state with which a phase of a run begins: "training", after pretraining where the agent has it, or
        "online", after the offline updates. Whatever is to be copied, reset or to take another value is so here.
        """
        return state

    def target_rates(self, step: Array) -> dict[str, Array | float]:
        """Rate of each target network at the update that brings the count to `step` (1-based)."""
        return dict.fromkeys(self.targets, self.config.target_rate)

    # ---- what the harness calls

    def init(self, rng: Array, data: Any = None) -> State:
        """Return the initial state; targets start as copies of their networks. Only `facts` look at the data."""
        init_rng, rng = jax.random.split(rng)
        params = self.init_params(init_rng)
        targets = {name: jax.tree.map(jnp.copy, params[name]) for name in self.targets}
        optimizer = self.init_optimizer(params)
        extra = self.init_extra() | self.facts(data, jax.random.fold_in(init_rng, FACTS))
        return State(jnp.zeros((), jnp.int32), rng, params, targets, optimizer, extra)

    def init_params(self, rng: Array) -> dict[str, Any]:
        """Initial parameters, a tree by network."""
        example = {name: jnp.zeros((1, size)) for name, size in self.input_sizes().items()}
        networks = self.networks()
        params = {}
        for key, (name, (module, inputs)) in zip(jax.random.split(rng, len(networks)), networks.items(), strict=True):
            params[name] = module.init(key, *(example[i] for i in inputs.split())).get("params", {})
        return params

    def update(self, state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        """One step of Adam on the joint loss, then targets track the parameters from *before* the step."""
        after, metrics = self.minimise(self.loss, state, batch)
        rates = self.target_rates(after.step)
        targets = {name: track(state.targets[name], state.params[name], rate) for name, rate in rates.items()}
        extra, metrics = self.after_update(state.extra, batch, metrics)
        return dataclasses.replace(after, targets=targets, extra=extra), metrics

    def minimise(self, loss: Callable, state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        """One counted step of Adam on a loss of `loss`'s form, and nothing else: for phases with another loss."""
        noise = self.draw_noise(jax.random.fold_in(state.rng, state.step), batch.actions.shape[0])

        def objective(params):
            fixed = self.bind(jax.lax.stop_gradient(state.params), state.extra)
            return loss(self.bind(params), fixed, self.bind(state.targets), batch, noise)

        (total, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        steps, optimizer = self.optimizer().update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, steps)
        after = dataclasses.replace(state, step=state.step + 1, params=params, optimizer=optimizer)
        return after, {"loss": total, **metrics}

    def act(self, state: State, observations: Array, rng: Array) -> Array:
        """Return action chunks (B, H, d) in [-1, 1] for observations (B, O)."""
        online = self.bind(state.params, state.extra)
        actions = self.sample_actions(online, self.bind(state.targets), observations, rng)
        return actions.reshape(-1, self.config.chunk_length, self.action_dim)

    # ---- what algorithms use

    @property
    def chunk_dim(self) -> int:
        """A = H d, the size of a flattened action chunk."""
        return self.config.chunk_length * self.action_dim

    def optimizer(self) -> optax.GradientTransformation:
        """Adam over all trainable networks at once, after joint clipping where the algorithm has it; apart from it each
        of `optimizers`. Raises a ValueError where one of these is of no network.
        """
        shared, own = self.adam(self.config.learning_rate, self.max_gradient_norm), self.optimizers()
        if not own:
            return shared
        names = list(self.networks())
        if unknown := [name for name in own if name not in names]:
            raise ValueError(f"optimizers() names '{unknown[0]}'; the networks are {', '.join(names)}")
        return optax.partition({**own, "": shared}, {name: name if name in own else "" for name in names})

    def init_optimizer(self, params: dict) -> Any:
        """The state of the optimisers before the first step, for parameters of all networks."""
        return self.optimizer().init(params)

    def adam(self, rate: Any, max_norm: float | None = None) -> optax.GradientTransformation:
        """Adam of a step size or schedule, on a gradient scaled down to a global norm where one is given."""
        adam = optax.adam(rate)
        return adam if max_norm is None else optax.chain(optax.clip_by_global_norm(max_norm), adam)

    def draw_noise(self, rng: Array, batch_size: int) -> dict[str, Array]:
        """Draw every array that `draws` names."""
        draws = self.draws(batch_size)
        keys = jax.random.split(rng, max(len(draws), 1))
        return {name: draw.sample(key) for key, (name, draw) in zip(keys, draws.items(), strict=False)}

    def bind(self, params: dict, extra: Mapping[str, Array] = types.MappingProxyType({})) -> Any:
        """Return a namespace of callables: `bound.critic(s, a)` applies that network with these parameters. The arrays
        of the extra state are in it as they are.
        """
        networks = self.networks()
        bound = {name: partial(networks[name][0].apply, {"params": tree}) for name, tree in params.items()}
        return types.SimpleNamespace(**bound, **extra)

    def td_target(self, batch: Batch, next_value: Array) -> Array:
        """y = R + γ^n m V', (B,), from the value (B,) at s', n steps away (`return_steps`: the chunk's H)."""
        return batch.rewards + self.config.discount**self.return_steps * batch.masks * next_value

    def critic(self) -> Value:
        """An ensemble of values with this agent's widths."""
        return Value(self.config.hidden, self.config.ensemble)

    def vector_field(self, layer_norm: bool = False) -> VectorField:
        """A vector field (or one-step policy) with this agent's widths."""
        return VectorField(self.config.hidden, self.chunk_dim, layer_norm)


def _flatten_agent(agent: Agent) -> tuple[tuple, tuple]:
    """Leaves and structure. The class is part of the structure: JAX (0.10.2) takes two dataclasses that are registered
    with equal meta fields for equal, and would now and then run one algorithm's compiled program for another's.
    """
    return (agent.config,), (type(agent), agent.observation_dim, agent.action_dim)


def _unflatten_agent(structure: tuple, leaves: tuple) -> Agent:
    cls, observation_dim, action_dim = structure
    agent = object.__new__(cls)
    agent.config, agent.observation_dim, agent.action_dim = leaves[0], observation_dim, action_dim
    return agent


def track(target: Any, online: Any, rate: Array | float) -> Any:
    """θ̄ <- τ θ + (1 - τ) θ̄."""
    return jax.tree.map(lambda t, o: rate * o + (1 - rate) * t, target, online)


def _register_config(cls: type[Config]) -> None:
    """Make a configuration a pytree: floats are leaves, the rest is static."""
    numeric = numeric_fields(cls)
    static = [field.name for field in dataclasses.fields(cls) if field.name not in numeric]
    jax.tree_util.register_dataclass(cls, data_fields=numeric, meta_fields=static)
