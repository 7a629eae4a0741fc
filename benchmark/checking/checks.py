"""Do interface, shapes, purity, programs, checkpoints, actions, finite numbers, gradients and speed hold?"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import tempfile
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import jaxprs_in_params

from agents.base import Agent, Batch, Config, Draw, State, numeric_fields
from benchmark.checking.flows import as_text
from benchmark.checking.subject import (
    PHASES,
    Subject,
    batch_for,
    compiled,
    differing,
    distance,
    equal,
    initial,
    kinds_of_update,
    phases,
    random_data,
    random_state,
)
from benchmark.checking.words import Fault, told
from benchmark.common.errors import nearest
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.segments import act, call, init_states, run_segment, sample
from benchmark.planning.configure import configure
from benchmark.planning.plan import known_settings, settings_for
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import get_suite
from benchmark.speed.arithmetic import measure_peak
from benchmark.speed.loops import segment_loop, synthetic_data
from benchmark.speed.turns import take_turns
from envs.data.dataset import Dataset
from envs.data.samplers import SAMPLERS
from envs.tasks import OGBENCH_DOMAINS, Domain, Task, dimensions, get_domain

ENOUGH_UPDATES = 4
FIRST_STEPS = 2 * ENOUGH_UPDATES
"""Steps of an optimiser within which a network that is not frozen is trained."""
AFTER_WARM_UP = 100_000
"""Updates after which schedules of an agent, e.g. of a target that follows late, have begun."""
LONGEST_PERIOD = 100_000
"""Updates within which a target has to move."""
SAME_PROGRAM = 0.02
"""Most that two programs may differ after a few updates, as a share of how far the parameters moved: rounding is at
most a hundredth of this, a different computation moves them elsewhere."""
TRACKING = 1e-5
"""Most by which a target may miss the line towards its network, as a share of their distance; rounding is 1e-7."""
LONGEST_PROGRAM = 10
"""Most operations of an update, as a multiple of FQL's: unrolled loops have more. Counted, not timed, so that a busy
machine fails nobody.
"""


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
        known = agent.input_sizes()
        if not hasattr(module, "init") or not set(inputs.split()) <= set(known):
            among = " ".join(known)
            raise Fault(
                f"networks()['{name}'] must be (module, inputs among '{among}', which input_sizes() can add to), "
                f"not ({type(module).__name__}, '{inputs}')"
            )
    missing = [name for name in cls.targets if name not in networks]
    if missing:
        raise Fault(f"targets names {', '.join(missing)}, of which networks() has none; it has {', '.join(networks)}")
    for name in agent.optimizers():
        if name not in networks:
            raise Fault(f"optimizers() names '{name}'{nearest(name, networks)}; the networks are {', '.join(networks)}")
    extra = jax.eval_shape(agent.init_extra)
    both = sorted(set(extra) & set(networks))
    if both:
        raise Fault(f"init_extra() names '{both[0]}', which is a network: both would be fixed.{both[0]}")
    options = [field.name for field in dataclasses.fields(cls.Config)]
    strange = [name for name in cls.acting_options if name not in options]
    if strange:
        raise Fault(f"acting_options names '{strange[0]}', which the agent does not have{nearest(strange[0], options)}")
    wrong = [name for name, draw in agent.draws(8).items() if not isinstance(draw, Draw)]
    if wrong:
        raise Fault(
            f"draws() must give normal(...), uniform(...) or integers(...); {', '.join(wrong)} is none of these"
        )
    for _, names in phases(agent):
        for name in names:
            if not callable(getattr(agent, name, None)):
                raise Fault(f"cycle() names the update '{name}', which the agent does not have")
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
        if not name.startswith("_") and isinstance(value, int | float | str | None)
    ]
    fields = {field.name for field in dataclasses.fields(config)}
    loose = [name for name in values if name not in own or (config.__dict__[name] is not None and name not in fields)]
    if own and "__dataclass_fields__" not in config.__dict__:
        raise Fault(f"{config.__name__} needs @dataclass(frozen=True), or {', '.join(own)} cannot be set")
    if loose:
        raise Fault(
            f"{config.__name__}.{loose[0]} has no type: write {loose[0]}: float = option(...), or it is not read "
            f"(and {loose[0]}: ClassVar[Any] = None for what the agent does not have)"
        )
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Fault(f"{config.__name__} must be frozen: @dataclass(frozen=True)")
    allowed = (float, int, bool, str)
    for name, kind in ((name, kind) for name, kind in typing.get_type_hints(config).items() if name in fields):
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
        state = jax.eval_shape(agent.init, jax.random.PRNGKey(0), data)
        check_facts(agent, data)
        if not isinstance(state, State):
            raise Fault(f"init returns {type(state).__name__}, not agents.base.State")
        for size in (8, 1):
            where = f"with chunks of {agent.config.chunk_length} actions and a batch of {size}"
            with told(where):
                check_begin(agent, state, where)
                check_update_shapes(agent, state, batch_for(agent, data, size), where)
                check_act_shape(agent, state, size, where)
    return "chunks of 5 and single actions, batches of 8 and of one"


def check_facts(agent: Agent, data: Dataset) -> None:
    """What the agent knows of its data does not grow with them: each seed and each checkpoint has it."""
    rng = jax.random.PRNGKey(0)
    more = jax.tree.map(lambda array: jnp.concatenate([array, array]), data)
    facts, others = (jax.eval_shape(agent.facts, rows, rng) for rows in (data, more))
    for name in facts:
        if facts[name].shape != others[name].shape:
            raise Fault(
                f"the fact '{name}' has shape {facts[name].shape} of {data.size} transitions and "
                f"{others[name].shape} of {more.size}: each seed and each checkpoint would have a copy as long as the "
                "data; reduce it in facts(), or draw a number of rows with its rng"
            )


def check_update_shapes(agent: Agent, state: State, batch: Batch, where: str) -> None:
    """Every kind of update maps a state to one of the same form, and gives scalars to log."""
    for name in kinds_of_update(phases(agent)):
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


def check_begin(agent: Agent, state: State, where: str) -> None:
    """A phase begins with a state of the same form, whose count and key are as they were."""
    for phase in PHASES:
        after = jax.eval_shape(lambda state, phase=phase: agent.begin(state, phase), state)
        if jax.tree.structure(after) != jax.tree.structure(state):  # type: ignore[operator]
            raise Fault(f"begin(state, '{phase}') returns a state of another structure than it was given, {where}")
        changed = differing(state, after, lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype))
        if changed:
            raise Fault(f"begin(state, '{phase}') changes the shape or type of state.{changed[0]}, {where}")


def check_act_shape(agent: Agent, state: State, size: int, where: str) -> None:
    """Acting gives chunks of the right shape."""
    observations = jax.ShapeDtypeStruct((size, agent.observation_dim), jnp.float32)
    chunk = (agent.config.chunk_length, agent.action_dim)
    flat = jax.eval_shape(
        lambda state, s, rng: (
            agent.sample_actions(agent.bind(state.params, state.extra), agent.bind(state.targets), s, rng)
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
    state = initial(agent, 0, data)
    batch = batch_for(agent, data, 8)
    before = side_state(cls)
    for name in kinds_of_update(phases(agent)):
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
    for phase in PHASES:
        later = state.replace(step=state.step + 5)
        began = jax.jit(agent.begin, static_argnums=1)(later, phase)
        for part in ("step", "rng"):
            if not equal(getattr(began, part), getattr(later, part)):
                raise Fault(
                    f"begin(state, '{phase}') changes state.{part}; the count of updates and the key go on through all "
                    "phases, or updates would draw again what earlier ones drew"
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
    return as_text(jax.make_jaxpr(lambda *a: function(*a))(*arguments))


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

    begin = init_states(agent, seeds, data=data)
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
    mapped = init_states(batched, seeds, data)
    with told("with numeric hyperparameters as a batched axis, as a sweep has them"):
        for name in names:
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

    half, _ = go_on(init_states(agent, jnp.asarray([3, 7], jnp.uint32), data=data))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        with told("writing a checkpoint"):
            checkpoints.save(length, half, {})
            checkpoints.wait()
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
    states = init_states(agent, jnp.asarray([3, 7], jnp.uint32), data=subject.data)
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
        state = random_state(agent, data)
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
        for name in kinds_of_update(phases(agent)[0 if first else -1 :]):
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
    """Every network is trained by some update, or frozen and stays; targets move only towards their network.

    Where one stays, `target_rates` is asked for an update at which it moves, and that is made. Not seen: whether a
    network is trained whose optimiser acts less often than in its first few steps; a target that is moved seldom by
    other means than `target_rates` is taken for one that never moves.
    """
    agent = subject.agent
    batch = batch_for(agent, subject.data, 8)
    first, other = (initial(agent, seed, subject.data) for seed in (0, 1))
    start, cycle = phases(agent)[-1]
    state = dataclasses.replace(first, targets=other.targets, step=jnp.asarray(start + AFTER_WARM_UP, jnp.int32))
    frozen = {name for name, own in agent.optimizers().items() if holds_still(own, first.params[name])}
    moved: set[str] = set()
    followed: set[str] = set()
    for name in cycle * -(-FIRST_STEPS // len(cycle)):
        after, _ = compiled(name)(agent, state, batch)
        moving = {network for network in agent.networks() if distance(state.params[network], after.params[network]) > 0}
        if stirred := sorted(moving & frozen):
            raise Fault(
                f"{name} moves the network '{stirred[0]}', which its optimiser in optimizers() holds still: change "
                "parameters by optimisers only"
            )
        moved |= moving
        followed |= {target for target in state.targets if check_tracking(name, target, state, after)}
        state = after
    taught = [network for network in agent.networks() if network not in frozen]
    idle = [network for network in taught if jax.tree.leaves(state.params[network]) and network not in moved]
    if idle:
        raise Fault(
            f"the network '{idle[0]}' gets no gradient: no loss uses train.{idle[0]} (fixed.{idle[0]} is a constant)"
        )
    still = [target for target in state.targets if target not in followed]
    still = [target for target in still if not moves_seldom(agent, target, state, batch)]
    if still:
        raise Fault(
            f"the target of '{still[0]}' never moves, not in {LONGEST_PERIOD:,} updates: update it with track(), or "
            "leave it out of targets"
        )
    rewards = "" if subject.uses_rewards else "; rewards are not used"
    held = f"; frozen, or not trained in {FIRST_STEPS} steps: {', '.join(sorted(frozen))}" if frozen else ""
    return f"reach {', '.join(taught)}{held}; targets are only tracked{rewards}"


def holds_still(optimizer: optax.GradientTransformation, params: Any) -> bool:
    """Whether an optimiser's first steps are 0 whatever the gradient: of a frozen network, or one trained later or less
    often.
    """
    gradient = jax.tree.map(jnp.ones_like, params)
    kept = optimizer.init(params)
    for _ in range(FIRST_STEPS):
        steps, kept = optimizer.update(gradient, kept, params)
        if any(np.any(leaf) for leaf in jax.tree.leaves(steps)):
            return False
    return True


def moves_seldom(agent: Agent, target: str, state: State, batch: Batch) -> bool:
    """Whether a target moves at the next update at which `target_rates` says that it does; errors: `check_tracking`."""
    steps = state.step + jnp.arange(1, LONGEST_PERIOD + 1)
    rates = np.asarray(jax.vmap(agent.target_rates)(steps).get(target, jnp.zeros(steps.shape)))
    if not (rates > 0).any():
        return False
    before = dataclasses.replace(state, step=steps[(rates > 0).argmax()] - 1)
    names = kinds_of_update(phases(agent)[-1:])
    return any(check_tracking(name, target, before, compiled(name)(agent, before, batch)[0]) for name in names)


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
    state = jax.eval_shape(agent.init, jax.random.PRNGKey(0), data)
    batch = jax.eval_shape(functools.partial(sample, agent), state, data)

    def count(jaxpr) -> int:
        return sum(1 + sum(map(count, jaxprs_in_params(equation.params))) for equation in jaxpr.eqns)

    return sum(count(jax.make_jaxpr(getattr(agent, name))(state, batch).jaxpr) for name in set(phases(agent)[-1][1]))
