"""Is an agent ready for the benchmark? `python -m benchmark.check path/to/my_agent.py` says, in two minutes on a CPU.

Each check prints a line: what was found, or in plain words what is wrong and where. The first three (interface, shapes,
purity) are conditions of the others; where one of them fails, the rest is not run. The exit code is 1 if any fails.

Correctness is checked with small networks and the hyperparameters that the agent would have on each domain; speed at
the quickstart's sizes, beside FQL; learning on the toy suite, beside behaviour cloning, in a process of its own
meanwhile. An agent in a file of its own says in `suite_settings = {"toy": {...}}` which hyperparameters it wants on the
toy tasks, whose rewards are small (a good action is worth about 1 more than a bad one there).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import subprocess
import sys
import tempfile
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from agents.base import Agent, Batch, Config, Draw, State, numeric_fields
from benchmark.configure import agent_class, agent_names, configure, parse_settings
from benchmark.errors import UserError, check_choice, printable, run_main
from benchmark.options import Parser
from benchmark.options import names as names_in
from benchmark.plan import known_settings, plan, settings_for
from benchmark.records import Table
from benchmark.repeats import take_turns
from benchmark.suites import get_protocol, get_suite
from benchmark.throughput import dimensions
from benchmark.timing import measure_peak, segment_loop, synthetic_data
from benchmark.train import RunSpec, run_path
from benchmark.training import Checkpoints, act, call, init_states, parts_of, run_segment, sample
from envs.dataset import SAMPLERS, Dataset, from_transitions
from envs.tasks import OGBENCH_DOMAINS, Domain, Task, get_domain

ROOT = Path(__file__).resolve().parent.parent
SMALL = dict(hidden=(16,), ensemble=2, batch_size=8)
"""Networks of the checks of correctness; an agent without one of these options goes without."""
ENOUGH_UPDATES = 4
REWARD_CYCLES = 20
"""Patterns of updates after which an agent whose rewards have changed nothing is taken not to use them."""
AFTER_WARM_UP = 100_000
"""Updates after which schedules of an agent, e.g. of a target that follows late, have begun."""
SAME_PROGRAM = 0.02
"""Most that two programs may differ after a few updates, as a share of how far the parameters moved: rounding is at
most a hundredth of this, a different computation moves them elsewhere."""
TRACKING = 1e-5
"""Most by which a target may miss the line towards its network, as a share of their distance; rounding is 1e-7."""
TOY_MARGIN = 0.1
"""Success by which an agent that uses rewards must exceed cloning on each toy task; one seed's error is 0.05."""
LONGEST_PROGRAM = 10
"""Most operations of an update, as a multiple of FQL's: unrolled loops have more. Counted, not timed, so that a busy
machine fails nobody.
"""


class Fault(Exception):
    """What an agent does wrong, in plain words."""


# ---------------------------------------------------------------------------------------------------- subject


class Subject:
    """The agent under examination, and what several checks want of it."""

    def __init__(self, name: str, settings: Mapping[str, Any] | None = None):
        """`name` as on the command line: an agent's name or a file's path; `settings` win over all others."""
        self.name = str(Path(name).resolve()) if name.endswith(".py") else name
        self.own = dict(settings or {})
        self.cls = agent_class(self.name)
        self.file = sys.modules[self.cls.__module__].__file__

    def small(self, domain: Domain, **settings: Any) -> Agent:
        """The agent with small networks, and otherwise as on that domain, chunk length included."""
        layers = settings_for(self.cls, Task(domain, 1), known_settings(self.cls, SMALL), self.own, settings)
        return self.cls(configure(self.cls, layers), *dimensions(domain))

    @functools.cached_property
    def agent(self) -> Agent:
        """A small agent of a domain with chunks."""
        return self.small(get_domain("cube-double-play"))

    @functools.cached_property
    def data(self) -> Dataset:
        """Random data for `agent`."""
        return random_data(self.agent.observation_dim, self.agent.action_dim)

    @functools.cached_property
    def uses_rewards(self) -> bool:
        """Whether rewards change what the agent learns."""
        batch = batch_for(self.agent, self.data, 8)
        state = init_states(self.agent, jnp.zeros(1, jnp.uint32))
        state = jax.tree.map(lambda leaf: leaf[0], state)
        low = batch._replace(rewards=batch.rewards - 5)
        one = other = state
        for _ in range(REWARD_CYCLES):  # an update may draw what it teaches, and rewards count for some of it only
            one, other = one_cycle(self.agent, one, batch), one_cycle(self.agent, other, low)
            if distance(one.params, other.params) > 0:
                return True
        return False


def random_data(observation_dim: int, action_dim: int, seed: int = 0) -> Dataset:
    """A few hundred random transitions, of trajectories longer and shorter than a chunk, solved now and then."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 40, 40)
    size = lengths.sum()
    terminals = np.zeros(size)
    terminals[np.cumsum(lengths) - 1] = 1
    solved = rng.uniform(size=size) < 0.1
    observations = rng.standard_normal((size, observation_dim))
    return from_transitions(
        observations=observations,
        actions=rng.uniform(-1, 1, (size, action_dim)),
        rewards=solved - 1.0,
        masks=1.0 - solved,
        terminals=terminals,
        next_observations=rng.standard_normal((size, observation_dim)),
    )


def batch_for(agent: Agent, data: Dataset, size: int) -> Batch:
    """A batch of another size than the configuration's."""
    config = agent.config
    draw = jax.jit(SAMPLERS[agent.sampler], static_argnums=(2, 3))
    return draw(data, jax.random.PRNGKey(0), size, config.chunk_length, config.discount)


@jax.jit
def initial(agent: Agent, seed: int) -> State:
    """The state of one seed before the first update."""
    return agent.init(jax.random.PRNGKey(seed))


def random_state(agent: Agent, seed: int = 0) -> State:
    """A state with random parameters, without compiling the agent's own initialisation."""
    rng = np.random.default_rng(seed)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    )

    def fill(leaf):
        return jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype)

    return zeros.replace(params=jax.tree.map(fill, zeros.params), targets=jax.tree.map(fill, zeros.targets))


def phases(agent: Agent) -> list[tuple[int, tuple[str, ...]]]:
    """Where each pattern of updates begins, and the pattern; the last goes on to the end of training."""
    found, start = [], 0
    while True:
        names, until = agent.cycle(start)
        found.append((start, tuple(names)))
        if until is None:
            return found
        if until <= start:
            raise Fault(f"cycle({start}) says that its pattern ends at {until}, which is not later")
        start = until


def kinds_of_update(agent: Agent, patterns: Sequence[tuple[int, tuple[str, ...]]]) -> list[str]:
    """Each update of the patterns once, but none that is looked at as the first part of a composed one anyway."""
    names = dict.fromkeys(name for _, pattern in patterns for name in pattern)
    parts = {agent.composed[name][0] for name in names if name in agent.composed}
    return [name for name in names if name not in parts]


def one_cycle(agent: Agent, state: State, batch: Batch) -> State:
    """The state after one pattern of the updates that last to the end, all on one batch."""
    for name in phases(agent)[-1][1]:
        state, _ = compiled(name)(agent, state, batch)
    return state


@functools.cache
def compiled(name: str) -> Callable[..., Any]:
    """An update method, jitted as a function of (agent, state, batch)."""
    return jax.jit(lambda agent, state, batch: getattr(agent, name)(state, batch))


def distance(a: Any, b: Any) -> float:
    """Euclidean distance of two pytrees."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(sum(((np.asarray(x, np.float64) - np.asarray(y, np.float64)) ** 2).sum() for x, y in pairs) ** 0.5)


def differing(a: Any, b: Any, same: Callable[[Any, Any], bool]) -> list[str]:
    """Names of the leaves of two pytrees of one structure that are not the same."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for (path, x), y in pairs if not same(x, y)]


def equal(a: Any, b: Any) -> bool:
    """Whether two arrays are the same to the bit, NaN equal to NaN."""
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)


# --------------------------------------------------------------------------------------------------- the checks


def check_interface(subject: Subject) -> str:
    """Config, sampler, networks, targets and draws are declared as the harness reads them."""
    cls, agent = subject.cls, subject.agent
    check_config(cls)
    if cls.sampler not in SAMPLERS:
        raise Fault(f"sampler is '{cls.sampler}'; it must be one of {', '.join(SAMPLERS)}")
    check_survives_flattening(cls, agent)
    networks = agent.networks()
    for name, entry in networks.items():
        module, inputs = entry
        unknown = sorted(set(inputs.split()) - {"observation", "action", "time"})
        if not hasattr(module, "init") or unknown:
            raise Fault(f"networks()['{name}'] must be (module, inputs among 'observation action time'), not {entry}")
    missing = [name for name in cls.targets if name not in networks]
    if missing:
        raise Fault(f"targets names {', '.join(missing)}, of which networks() has none; it has {', '.join(networks)}")
    wrong = [name for name, draw in agent.draws(8).items() if not isinstance(draw, Draw)]
    if wrong:
        raise Fault(
            f"draws() must give normal(...), uniform(...) or integers(...); {', '.join(wrong)} is none of these"
        )
    for _, names in phases(agent):
        for name in names:
            for part in (name, *agent.composed.get(name, ())):
                if not callable(getattr(agent, part, None)):
                    where = "cycle()" if part == name else f"composed['{name}']"
                    raise Fault(f"{where} names the update '{part}', which the agent does not have")
    numeric = ", ".join(numeric_fields(cls.Config))
    return f"networks {', '.join(networks)}; targets {', '.join(cls.targets) or 'none'}; can be swept: {numeric}"


def check_config(cls: type[Agent]) -> None:
    """Every hyperparameter is typed and says what it does."""
    config = cls.Config
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise Fault(f"{cls.__name__}.Config must be a subclass of agents.base.Config")
    own = inspect.get_annotations(config)
    values = [
        name
        for name, value in vars(config).items()
        if not name.startswith("_") and isinstance(value, int | float | str)
    ]
    loose = [name for name in values if name not in {field.name for field in dataclasses.fields(config)}]
    if own and "__dataclass_fields__" not in config.__dict__:
        raise Fault(f"{config.__name__} needs @dataclass(frozen=True), or {', '.join(own)} cannot be set")
    if loose:
        raise Fault(
            f"{config.__name__}.{loose[0]} has no type: write {loose[0]}: float = option(...), or it is not read"
        )
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Fault(f"{config.__name__} must be frozen: @dataclass(frozen=True)")
    allowed = (float, int, bool, str)
    for name, kind in typing.get_type_hints(config).items():
        if kind not in allowed and typing.get_origin(kind) is not tuple:
            raise Fault(f"hyperparameter {name} has type {kind}; allowed are float, int, bool, str and tuple[int, ...]")
    silent = [field.name for field in dataclasses.fields(config) if not field.metadata.get("text")]
    if silent:
        raise Fault(f"hyperparameter {silent[0]} does not say what it does: declare it with option(default, 'text')")


def check_survives_flattening(cls: type[Agent], agent: Agent) -> None:
    """jax takes agents apart and puts them together again; what is not a declared field does not survive."""
    lost = sorted(set(vars(agent)) - {"config", "observation_dim", "action_dim"})
    if lost:
        raise Fault(
            f"self.{lost[0]} is set in __init__ but lost when jax takes the agent apart: only config, observation_dim "
            "and action_dim survive; compute it in a property or method"
        )


def check_shapes(subject: Subject) -> str:
    """Updates keep the state's form, metrics are scalars, actions are chunks; with chunks and without, batch of one."""
    for domain in ("cube-double-play", "antmaze-large-navigate"):
        agent = subject.small(get_domain(domain))
        data = random_data(agent.observation_dim, agent.action_dim)
        state = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
        if not isinstance(state, State):
            raise Fault(f"init returns {type(state).__name__}, not agents.base.State")
        for size in (8, 1):
            where = f"with chunks of {agent.config.chunk_length} actions and a batch of {size}"
            with told(where):
                check_update_shapes(agent, state, batch_for(agent, data, size), where)
                check_act_shape(agent, state, size, where)
    return "chunks of 5 and single actions, batches of 8 and of one"


def check_update_shapes(agent: Agent, state: State, batch: Batch, where: str) -> None:
    """Every kind of update maps a state to one of the same form, and gives scalars to log."""
    for name in dict.fromkeys(name for _, names in phases(agent) for name in names):
        made = jax.eval_shape(getattr(agent, name), state, batch)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)):
            raise Fault(f"{name} must return (state, dictionary of metrics), {where}")
        after, metrics = made
        if jax.tree.structure(after) != jax.tree.structure(state):  # type: ignore[operator]
            raise Fault(f"{name} returns a state of another structure than it was given, {where}")
        changed = differing(state, after, lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype))
        if changed:
            raise Fault(f"{name} changes the shape or type of state.{changed[0]}, {where}")
        for metric, value in metrics.items():
            if getattr(value, "shape", ()) != ():
                raise Fault(f"the metric '{metric}' has shape {value.shape}, not a scalar, {where}")


def check_act_shape(agent: Agent, state: State, size: int, where: str) -> None:
    """Acting gives chunks of the right shape."""
    observations = jax.ShapeDtypeStruct((size, agent.observation_dim), jnp.float32)
    chunk = (agent.config.chunk_length, agent.action_dim)
    flat = jax.eval_shape(
        lambda state, s, rng: (
            agent.sample_actions(agent.bind(state.params), agent.bind(state.targets), s, rng)
            if type(agent).act is Agent.act
            else agent.act(state, s, rng)
        ),
        state,
        observations,
        jax.random.PRNGKey(0),
    )
    wanted = (size, agent.chunk_dim) if type(agent).act is Agent.act else (size, *chunk)
    what = "sample_actions" if type(agent).act is Agent.act else "act"
    if flat.shape != wanted or not jnp.issubdtype(flat.dtype, jnp.floating):
        raise Fault(f"{what} gives {flat.dtype} {flat.shape} for {size} observations, not floats {wanted}, {where}")


def check_purity(subject: Subject) -> str:
    """The same inputs give the same outputs, traced again or run again, and nothing is kept on the side."""
    agent, data, cls = subject.agent, subject.data, subject.cls
    state = initial(agent, 0)
    batch = batch_for(agent, data, 8)
    before = side_state(cls)
    for name in kinds_of_update(agent, phases(agent)):
        first, second = (program(getattr(agent, name), state, batch) for _ in range(2))
        if first != second:
            raise Fault(
                f"{name} is another program each time that it is traced: it uses Python's or numpy's random numbers, "
                "the time, or a counter of its own; draw noise in draws(), count with state.step"
            )
        update = compiled(name)
        once, again = update(agent, state, batch), update(agent, state, batch)
        changed = differing(once, again, equal)
        if changed:
            raise Fault(
                f"{name} gives two results for the same state and batch ({changed[0]}): something outside changes"
            )
        if int(once[0].step) != 1:
            raise Fault(f"{name} takes state.step from 0 to {int(once[0].step)}; it must count one update")
        if not equal(once[0].rng, state.rng):
            raise Fault(
                f"{name} changes state.rng; it never changes: update k draws from fold_in(state.rng, state.step)"
            )
    observations = batch.observations
    if program(agent.act, state, observations, jax.random.PRNGKey(1)) != program(
        agent.act, state, observations, jax.random.PRNGKey(1)
    ):
        raise Fault("act is another program each time that it is traced: take all randomness from its rng")
    changed = [name for name, text in side_state(cls).items() if before.get(name, text) != text]
    new = [name for name in side_state(cls) if name not in before]
    if changed or new:
        raise Fault(f"state is kept on the side: {(changed + new)[0]} changed while updating; it belongs in State")
    return "no state on the side; traced twice and run twice, the same"


def program(function: Callable, *arguments: Any) -> str:
    """What a function computes, as text, constants included."""
    jaxpr = jax.make_jaxpr(lambda *a: function(*a))(*arguments)
    return f"{jaxpr.jaxpr}{[np.asarray(constant).tobytes() for constant in jaxpr.consts]}"


def side_state(cls: type[Agent]) -> dict[str, str]:
    """Values of the class's and its module's variables that could hold state, as text."""
    ignored = (
        type,
        types.FunctionType,
        types.ModuleType,
        property,
        classmethod,
        staticmethod,
        functools.cached_property,
    )
    places = {cls.__name__: vars(cls), cls.__module__.rpartition(".")[2]: vars(sys.modules[cls.__module__])}
    return {
        f"{place}.{name}": repr(value)
        for place, values in places.items()
        for name, value in values.items()
        if not name.startswith("__") and not isinstance(value, ignored)
    }


def check_programs(subject: Subject) -> str:
    """Updates one by one, in a scan, and vmapped over seeds with hyperparameters of their own are the same updates."""
    agent, data = subject.agent, subject.data
    seeds = jnp.asarray([3, 7], jnp.uint32)
    _, cycle = phases(agent)[-1]
    names = cycle * -(-ENOUGH_UPDATES // len(cycle))

    begin = init_states(agent, seeds)
    singly = []
    for i in range(2):
        state = jax.tree.map(lambda leaf: leaf[i], begin)
        for name in names:
            state, _ = compiled(name)(agent, state, jax.jit(sample)(agent, state, data))
        singly.append(state)
    one_by_one = jax.tree.map(lambda *leaves: jnp.stack(leaves), *singly)
    scanned, _ = run_segment(agent, jax.tree.map(jnp.copy, begin), data, len(names), cycle)
    compare("scan over updates", begin, one_by_one, scanned)
    batched = jax.tree.map(lambda value: jnp.full(2, value, jnp.float32), agent)
    each = jax.jit(jax.vmap(call, (0, None, None, 0)), static_argnums=1)
    mapped = init_states(batched, seeds, agent_axis=0)
    with told("with numeric hyperparameters as a batched axis, as a sweep has them"):
        for name in parts_of(agent, names):
            mapped, _ = each(batched, name, data, mapped)
    compare("vmap over seeds and hyperparameters", begin, one_by_one, mapped)
    return f"{len(names)} updates of 2 seeds: one by one, scanned and vmapped (hyperparameters batched) agree"


def compare(what: str, begin: State, expected: State, found: State) -> None:
    """Raise a Fault where two ways to make the same updates end apart."""
    for part in ("params", "targets"):
        moved = distance(getattr(begin, part), getattr(expected, part))
        apart = distance(getattr(expected, part), getattr(found, part))
        if not apart <= SAME_PROGRAM * moved + 1e-6:
            raise Fault(
                f"{what} gives other numbers than updates one by one: {part} end {apart:.2g} apart after moving "
                f"{moved:.2g}; something in the update depends on how it is compiled"
            )


def check_resume(subject: Subject) -> str:
    """Going on from a checkpoint gives the same numbers to the bit."""
    agent, data = subject.agent, subject.data
    _, cycle = phases(agent)[-1]
    length = len(cycle) * -(-ENOUGH_UPDATES // len(cycle))

    def go_on(states):
        return run_segment(agent, states, data, length, cycle)

    half, _ = go_on(init_states(agent, jnp.asarray([3, 7], jnp.uint32)))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        with told("writing a checkpoint"):
            checkpoints.save(length, half, {})
        found = checkpoints.restore(half, lambda text: None)
        checkpoints.close()
    if found is None:
        raise Fault("its checkpoint cannot be read back: a state holds arrays only")
    lost = differing(half, found[1], equal)
    if lost:
        raise Fault(f"state.{lost[0]} is not the same after writing and reading a checkpoint")
    apart = differing(go_on(half), go_on(found[1]), equal)
    if apart:
        raise Fault(f"a run that goes on from a checkpoint ends with another {apart[0]} than one that was not stopped")
    return f"{length} updates, checkpoint, {length} more: the same bits"


def check_acting(subject: Subject) -> str:
    """Actions are a function of state, observation and rng, and within [-1, 1] whatever the parameters."""
    agent = subject.agent
    states = init_states(agent, jnp.asarray([3, 7], jnp.uint32))
    rng = np.random.default_rng(0)
    observations = jnp.asarray(rng.standard_normal((2, 16, agent.observation_dim)), jnp.float32)
    ids = jnp.asarray(np.stack(np.broadcast_arrays(*np.ogrid[3:5, 0:16]), -1), jnp.uint32)
    chunks = act(agent, states, observations, ids)
    if not equal(chunks, act(agent, states, observations, ids)):
        raise Fault("act gives two answers for the same state, observation and rng: take all randomness from its rng")
    other = act(agent, states, observations, ids + 1)
    large = states.replace(params=jax.tree.map(lambda leaf: 3 * leaf, states.params))
    large = large.replace(targets=jax.tree.map(lambda leaf: 3 * leaf, states.targets))
    for label, actions in (
        ("", chunks),
        (" once parameters are three times as large", act(agent, large, observations, ids)),
    ):
        if not np.isfinite(actions).all():
            raise Fault(f"act gives actions that are not finite{label}")
        if np.abs(actions).max() > 1:
            raise Fault(f"act leaves [-1, 1]{label}: {float(np.abs(actions).max()):.3g}; clip its result")
    return f"{'deterministic' if equal(chunks, other) else 'stochastic'}, repeatable given its rng, within [-1, 1]"


def check_domains(subject: Subject) -> str:
    """One update on every domain's dimensions and settings: finite losses, gradients and parameters.

    Of every kind that goes on to the end; those of earlier phases, e.g. pretraining, on one domain only.
    """
    seen: dict[tuple[int, ...], Domain] = {}
    for domain in OGBENCH_DOMAINS:
        seen.setdefault((*dimensions(domain), domain.chunk_length), domain)
    for (observation_dim, action_dim, _), domain in seen.items():
        agent = subject.small(domain)
        data = random_data(observation_dim, action_dim)
        state = random_state(agent)
        batch = batch_for(agent, data, 8)
        zero, one = jnp.zeros(8), jnp.ones(8)
        nothing = jnp.zeros_like(batch.action_weights)
        kinds = {
            "": batch,
            " where no chunk is valid": batch._replace(valid=zero, action_weights=nothing),
            " where all is solved": batch._replace(masks=zero, rewards=zero),
            " of equal rows": jax.tree.map(lambda x: jnp.repeat(x[:1], 8, axis=0), batch._replace(valid=one)),
        }
        first = domain is OGBENCH_DOMAINS[0]
        for name in kinds_of_update(agent, phases(agent)[0 if first else -1 :]):
            for kind, rows in kinds.items():
                with told(f"on {domain.name}"):
                    after, metrics = compiled(name)(agent, state, rows)
                unbounded = [metric for metric, value in metrics.items() if not np.isfinite(value)]
                if unbounded:
                    raise Fault(f"{unbounded[0]} is not finite on {domain.name} on a batch{kind}")
                bad = differing(after, after, lambda a, _: bool(np.isfinite(np.asarray(a, np.float64)).all()))
                if bad:
                    raise Fault(f"the gradient of {bad[0]} is not finite on {domain.name} on a batch{kind}")
    return (
        f"{len(seen)} sizes of observations and actions of {len(OGBENCH_DOMAINS)} domains; also on degenerate batches"
    )


def check_gradients(subject: Subject) -> str:
    """Every network is trained by some update; targets move only towards their network."""
    agent = subject.agent
    batch = batch_for(agent, subject.data, 8)
    first, other = (initial(agent, seed) for seed in (0, 1))
    start, cycle = phases(agent)[-1]
    state = dataclasses.replace(first, targets=other.targets, step=jnp.asarray(start + AFTER_WARM_UP, jnp.int32))
    moved: set[str] = set()
    followed: set[str] = set()
    for name in cycle * -(-2 * ENOUGH_UPDATES // len(cycle)):
        after, _ = compiled(name)(agent, state, batch)
        moved |= {network for network in agent.networks() if distance(state.params[network], after.params[network]) > 0}
        followed |= {target for target in state.targets if check_tracking(name, target, state, after)}
        state = after
    idle = [network for network in agent.networks() if jax.tree.leaves(state.params[network]) and network not in moved]
    if idle:
        raise Fault(
            f"the network '{idle[0]}' gets no gradient: no loss uses train.{idle[0]} (fixed.{idle[0]} is a constant)"
        )
    still = [target for target in state.targets if target not in followed]
    if still:
        raise Fault(f"the target of '{still[0]}' never moves: update it with track(), or leave it out of targets")
    rewards = "" if subject.uses_rewards else "; rewards are not used"
    return f"reach {', '.join(agent.networks())}; targets are only tracked{rewards}"


def check_tracking(name: str, target: str, state: State, after: State) -> bool:
    """Whether a target moved; raise a Fault where it did so other than towards its network, before or after."""
    tree, new = state.targets[target], after.targets[target]
    if distance(tree, new) == 0:
        return False
    misses = [missed(tree, new, parameters[target]) for parameters in (state.params, after.params)]
    if min(misses) > TRACKING:
        raise Fault(
            f"{name} trains the target of '{target}': it moves by more than its share of the way to its network; "
            "gradients must not reach targets"
        )
    return True


def missed(old: Any, new: Any, online: Any) -> float:
    """How far a step from `old` to `new` leads off the line to `online`, as a share of the line's length."""
    change, line = (
        np.concatenate([(np.asarray(b, np.float64) - np.asarray(a, np.float64)).ravel() for a, b in zip(*pair)])  # noqa: B905
        for pair in ((jax.tree.leaves(old), jax.tree.leaves(new)), (jax.tree.leaves(old), jax.tree.leaves(online)))
    )
    length = np.linalg.norm(line)
    if length == 0:
        return float("inf")
    share = np.clip(change @ line / length**2, 0, 1)
    return float(np.linalg.norm(change - share * line) / length)


# ------------------------------------------------------------------------------------------------- speed and toys


def check_speed(subject: Subject, seconds: float = 1.5) -> str:
    """Compile time and speed beside FQL, at the quickstart's sizes."""
    domain = get_domain("cube-double-play")
    data = synthetic_data(*dimensions(domain), 20_000)
    agents = []
    for name in ("fql", subject.name):
        cls = agent_class(name)
        sizes = known_settings(cls, get_suite("quickstart").settings)
        own = subject.own if cls is subject.cls else {}
        agents.append(cls(configure(cls, settings_for(cls, Task(domain, 1), sizes, own)), *dimensions(domain)))
    longer = program_length(agents[1], data) / program_length(agents[0], data)
    if longer > LONGEST_PROGRAM:
        raise Fault(
            f"an update is a program of {longer:.0f} times as many operations as FQL's, which takes as much longer to "
            "compile: a Python loop is unrolled somewhere, use jax.lax.scan"
        )
    peak = measure_peak(seconds=0.5)
    loops = [segment_loop(agent, data, 1, peak) for agent in agents[: 1 + (subject.name != "fql")]]
    rates = [spread.median for spread in take_turns([loop.repeat for loop, _ in loops], seconds)]
    compiling = [facts["compile_seconds"] for _, facts in loops]
    return (
        f"compiled in {compiling[-1]:.1f} s (FQL {compiling[0]:.1f} s); "
        f"{rates[-1]:.3g} updates/s, {rates[-1] / rates[0]:.2g} times FQL's {rates[0]:.3g}"
    )


def program_length(agent: Agent, data: Dataset) -> int:
    """Operations of one pattern of updates, each kind of update once and a loop's body once."""
    state = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    batch = jax.eval_shape(functools.partial(sample, agent), state, data)

    def count(jaxpr) -> int:
        return sum(1 + sum(map(count, jaxprs_in_params(equation.params))) for equation in jaxpr.eqns)

    return sum(count(jax.make_jaxpr(getattr(agent, name))(state, batch).jaxpr) for name in set(phases(agent)[-1][1]))


class ToyRuns:
    """The agent and behaviour cloning on the toy suite, in a process of their own."""

    def __init__(self, subject: Subject):
        """Start."""
        self.subject = subject
        self.folder = tempfile.TemporaryDirectory()
        suite, protocol = get_suite("toy"), get_protocol("toy")
        common = dict(tasks=suite.tasks, seeds=(0,), protocol=protocol, out=self.folder.name)
        own: list[RunSpec] = plan(suite, agents=[subject.name], settings=subject.own, **common)  # type: ignore[arg-type]
        floor: list[RunSpec] = plan(suite, agents=["bc"], **common)  # type: ignore[arg-type]
        self.pairs = list(zip(own, floor, strict=True))
        specs = {spec.to_json(): None for pair in self.pairs for spec in pair}
        path = Path(self.folder.name) / "specs.jsonl"
        path.write_text("".join(f"{line}\n" for line in specs))
        self.log = (Path(self.folder.name) / "log.txt").open("w")
        command = [sys.executable, "-m", "benchmark.train", "--specs", str(path), str(path.with_name("ends"))]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=self.log, stderr=subprocess.STDOUT
        )

    def result(self) -> str:
        """Wait, and compare. Raises a Fault where the agent does not learn."""
        code = self.process.wait()
        found, faults = [], []
        for own, floor in self.pairs:
            status = json.loads((run_path(own) / "status.json").read_text()) if run_path(own).is_dir() else {}
            if code or status.get("state") != "done":
                reason = (status.get("error") or Path(self.log.name).read_text()).strip().splitlines()[-1:]
                raise Fault(f"training on {own.task} failed: {''.join(reason)}")
            if status["diverged"]:
                raise Fault(f"its loss on {own.task} is not finite at step {status['diverged']['0']}")
            score, cloning = (final_success(spec) for spec in (own, floor))
            found.append(f"{own.task} {score:.2f} (bc {cloning:.2f})")
            wanted = cloning + (TOY_MARGIN if self.subject.uses_rewards else -TOY_MARGIN)
            if score < wanted:
                faults.append(own.task)
        text = ", ".join(found)
        if faults and not self.subject.uses_rewards:
            raise Fault(f"it uses no rewards, and clones worse than bc: success {text}")
        if faults:
            raise Fault(
                f"it does not learn from rewards on {' and '.join(faults)}: success {text}; check its losses' signs, "
                'or give suite_settings = {"toy": {...}} hyperparameters that suit rewards of size 1'
            )
        return f"success {text}"

    def close(self) -> None:
        """Stop the process and remove its files."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.log.close()
        self.folder.cleanup()


def final_success(spec: RunSpec) -> float:
    """Success at a run's last evaluation."""
    return Table(run_path(spec) / "eval.csv").rows[-1]["success"]


# ----------------------------------------------------------------------------------------------- in plain words

WORDS = {
    "TracerBoolConversionError": "Python decides (if, while, and, or, max, ...) on a value that only the device knows; "
    "use jnp.where, for hyperparameters that change the program an int or bool, for a pattern of updates cycle()",
    "TracerArrayConversionError": "numpy or Python is given an array that only the device knows; use jnp",
    "ConcretizationTypeError": "float(), int() or a shape is made of a value that only the device knows; keep it an "
    "array, or make the hyperparameter an int",
    "TracerIntegerConversionError": "a Python index or length is made of a value that only the device knows; "
    "use jnp.take, or make the hyperparameter an int",
    "UnexpectedTracerError": "an array is kept from one compiled function and used in another: state is kept on the "
    "side; it belongs in State",
    "NotImplementedError": "something that every agent defines is missing: networks, draws, loss or sample_actions",
}


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Let what goes wrong inside say where."""
    try:
        yield
    except Fault:
        raise
    except Exception as error:
        error.where = where  # type: ignore[attr-defined]
        raise


def in_words(error: BaseException, file: str | None) -> str:
    """What went wrong, and on which line of the agent's file."""
    if isinstance(error, Fault):
        return str(error)
    kinds = [kind.__name__ for kind in type(error).__mro__]
    words = next((WORDS[kind] for kind in kinds if kind in WORDS), None)
    text = words or f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = f" (line {frames[-1].lineno}, in {frames[-1].name}: {frames[-1].line})" if frames else ""
    where = f", {error.where}" if hasattr(error, "where") else ""
    return f"{text}{where}{line}"


# ------------------------------------------------------------------------------------------------------- running

CHECKS: dict[str, Callable[[Subject], str]] = {
    "interface": check_interface,
    "shapes": check_shapes,
    "purity": check_purity,
    "programs": check_programs,
    "resume": check_resume,
    "acting": check_acting,
    "domains": check_domains,
    "gradients": check_gradients,
    "speed": check_speed,
}
"""In order; `toy`, the last, runs beside them."""
CONDITIONS = ("interface", "shapes", "purity")
NAMES = (*CHECKS, "toy")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    passed: bool
    text: str
    seconds: float


def examine(
    name: str,
    settings: Mapping[str, Any] | None = None,
    checks: Sequence[str] = NAMES,
    report: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """Run checks on an agent, by name or path; `report` is told each finding as it comes. Ends early where a condition
    of the others fails.
    """
    findings: list[Finding] = []

    def run(check: str, work: Callable[[], str], file: str | None = None) -> bool:
        started = time.perf_counter()
        try:
            passed, text = True, work()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also where an agent calls sys.exit
            passed, text = False, in_words(error, file)
        findings.append(Finding(check, passed, text, time.perf_counter() - started))
        report(findings[-1])
        return passed

    try:
        subject = Subject(name, settings)
    except UserError as error:
        if not name.endswith(".py") or not Path(name).is_file():
            raise
        reason = str(error)

        def refuse() -> str:
            raise Fault(reason)

        run("interface", refuse)
        return findings
    toys = None
    try:
        for check in (check for check in CHECKS if check in checks):
            if check not in CONDITIONS and "toy" in checks and toys is None:
                toys = ToyRuns(subject)
            if check == "speed" and toys:  # nothing may run beside it
                toys.process.wait()
            light = jax.config.read("jax_disable_most_optimizations")
            jax.config.update("jax_disable_most_optimizations", light or check != "speed")
            try:
                passed = run(check, functools.partial(CHECKS[check], subject), subject.file)
            finally:
                jax.config.update("jax_disable_most_optimizations", light)
            if check in CONDITIONS and not passed:
                return findings
        if "toy" in checks:
            toys = toys or ToyRuns(subject)
            run("toy", toys.result)
        return findings
    finally:
        if toys:
            toys.close()


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.check",
        description="Check an agent: interface, numbers, speed, and whether it learns; within two minutes on a CPU.",
    )
    parser.add_argument(
        "agents", nargs="+", metavar="AGENT", help="path of a file that defines an agent, or a name, or all"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--only", help=f"checks, separated by commas: {', '.join(NAMES)} (default: all)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns 1 where a check fails."""
    options = parser().parse_args(arguments)
    checks = NAMES
    if options.only:
        checks = tuple(check_choice("check", name, NAMES) for name in names_in("--only", options.only))
    names = agent_names() if options.agents == ["all"] else names_in("AGENT", ",".join(options.agents))
    settings = parse_settings(options.set)
    for name in names:
        if settings or not name.endswith(".py"):
            configure(agent_class(name), settings)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    failed = []
    for name in names:
        if not examine_and_print(name, settings, checks, console):
            failed.append(name)
        jax.clear_caches()  # some hundred programs an agent: a process can hold only so many
        compiled.cache_clear()
    if len(names) > 1:
        console.print(
            f"{len(names) - len(failed)} of {len(names)} agents pass"
            + (f"; not {escape(', '.join(failed))}" if failed else "")
        )
    return 1 if failed else 0


def examine_and_print(name: str, settings: Mapping[str, Any], checks: Sequence[str], console: Console) -> bool:
    """Examine one agent, print a line for each finding as it comes, and return whether all passed."""
    console.print(f"[bold]{escape(name)}[/bold]")
    started = time.perf_counter()

    def show(finding: Finding) -> None:
        grid = Grid.grid(padding=(0, 1))
        for width in (6, 9, 7):
            grid.add_column(width=width, justify="right" if width == 7 else "left")
        grid.add_column()
        verdict = "[green]ok[/green]" if finding.passed else "[bold red]FAILED[/bold red]"
        grid.add_row(verdict, finding.check, f"{finding.seconds:.1f} s", escape(printable(finding.text)))
        console.print(grid)

    findings = examine(name, settings, checks, show)
    bad = [finding.check for finding in findings if not finding.passed]
    skipped = [check for check in checks if check not in {finding.check for finding in findings}]
    verdict = f"{len(bad)} failed: {', '.join(bad)}" if bad else "all passed"
    later = f"; not run before that is mended: {', '.join(skipped)}" if skipped else ""
    console.print(f"{len(findings)} checks in {time.perf_counter() - started:.0f} s, {verdict}{later}")
    return not bad


if __name__ == "__main__":
    run_main(main)
