"""Do purity, programs, checkpoints, actions, finite numbers and speed hold?"""

from __future__ import annotations

import functools
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from agents.base import Agent, State
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
from envs.tasks import OGBENCH_DOMAINS, Domain, Task, dimensions, get_domain

ENOUGH_UPDATES = 4
SAME_PROGRAM = 0.02
"""Most that two programs may differ after a few updates, as a share of how far the parameters moved: rounding is at
most a hundredth of this, a different computation moves them elsewhere."""
LONGEST_PROGRAM = 10
"""Most operations of an update, as a multiple of FQL's: unrolled loops have more. Counted, not timed, so that a busy
machine fails nobody.
"""


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
