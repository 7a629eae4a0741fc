"""The loops whose speed is measured: compiled segments of the harness, and the loop of the public code.

Rates are medians over repeats of a second, each ended by waiting for the device, after a warm-up; loops that are
compared take turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.base import Agent, Batch, State
from benchmark.loop.segments import init_states, named_precision, run_segment
from benchmark.speed.arithmetic import update_flop
from benchmark.speed.turns import Loop, Spread, random_transitions
from envs.data.dataset import Dataset, from_transitions

SEGMENT_SECONDS = 2.0  # what a segment should last: on a CPU one of few updates pays for copying the states
EXPECTED_SHARE = 0.3  # of the peak; decides only how many updates a segment has
FASTEST_UPDATE = 5e-5  # seconds; bounds the length of a segment where there is next to no arithmetic
LONGEST_SEGMENT = 5000  # updates, as between two rows of a run's log
PROFILED_CYCLES = 10

# --------------------------------------------------------------------------------------------- synthetic data


def synthetic_data(observation_dim: int, action_dim: int, transitions: int, seed: int = 0) -> Dataset:
    """`random_transitions` as a data set."""
    return from_transitions(**random_transitions(observation_dim, action_dim, transitions, seed))


# ------------------------------------------------------------------------------------------------------ rates


def steady_cycle(agent: Agent) -> tuple[str, ...]:
    """The pattern of updates that lasts until the end of training, after pretraining and warm-up."""
    cycle, until = agent.cycle(0)
    while until is not None:
        cycle, until = agent.cycle(until)
    return tuple(cycle)


def segment_length(flop: float | None, seeds: int, peak: float, cycle: tuple[str, ...]) -> int:
    """Updates, a multiple of the cycle, that should take about `SEGMENT_SECONDS`."""
    expected = max((flop or 0) * seeds / (EXPECTED_SHARE * peak), FASTEST_UPDATE)
    updates = min(SEGMENT_SECONDS / expected, LONGEST_SEGMENT)
    return len(cycle) * max(1, int(updates) // len(cycle))


def segment_loop(agent: Agent, data: Dataset, seeds: int, peak: float) -> tuple[Loop, dict[str, Any]]:
    """The harness's own segments with `seeds` seeds at once, compiled and run once; and what that took.

    `first_update_seconds` runs from nothing compiled to the first update done: initial states, tracing, lowering,
    compiling, and the first segment's mean time per update. `device_peak_bytes` (devices that count it) is the most
    that this process has held so far, so of all cases before it too.
    """
    cycle = steady_cycle(agent)
    flop = update_flop(agent, data, cycle)
    length = segment_length(flop, seeds, peak, cycle)
    started = time.perf_counter()
    states = jax.block_until_ready(init_states(agent, jnp.arange(seeds, dtype=jnp.uint32), data=data))
    initialised = time.perf_counter()
    lowered = run_segment.lower(agent, states, data, length, cycle)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    states, _ = jax.block_until_ready(compiled(agent, states, data))
    first = (time.perf_counter() - done) / length

    def advance() -> int:
        nonlocal states
        states, _ = compiled(agent, states, data)
        return length

    facts = {
        "segment_updates": length,
        "trace_seconds": traced - initialised,
        "compile_seconds": done - initialised,
        "first_update_seconds": done - started + first,
        "flop_per_update": flop,
        "peak_flop_per_second": peak,
        **memory(compiled),
    }
    return Loop(advance, lambda: jax.block_until_ready(states)), facts


def segment_rates(facts: dict[str, Any], spread: Spread, seeds: int) -> dict[str, Any]:
    """What a row says of segments: `facts` of `segment_loop`, and rates of its repeats."""
    rate, flop = spread.median, facts["flop_per_update"]
    return {
        "updates_per_second": rate,
        "seed_updates_per_second": rate * seeds,
        "spread": asdict(spread),
        **facts,
        "peak_share": None if flop is None else flop * seeds * rate / facts["peak_flop_per_second"],
    }


def memory(compiled: Any) -> dict[str, int | None]:
    """Bytes that a compiled segment holds on the device (states, data and scratch), and the process's peak."""
    analysis = compiled.memory_analysis()
    statistics_ = jax.devices()[0].memory_stats() or {}
    held = None
    if analysis is not None:
        held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
        held += analysis.temp_size_in_bytes - analysis.alias_size_in_bytes
    return {"memory_bytes": held, "device_peak_bytes": statistics_.get("peak_bytes_in_use")}


# ----------------------------------------------------------------------------------------- the public code's loop


def public_loop(agent: Agent, data: Dataset) -> Loop:
    """One seed driven as the authors' code does it: one jitted update per Python iteration, nothing donated, each
    batch drawn by numpy and copied to the device. The update itself is ours, and the same as in the segments.
    """
    cycle = steady_cycle(agent)
    updates = {name: jax.jit(getattr(agent, name)) for name in cycle}
    batches = numpy_batches(agent, data)
    state = jax.jit(agent.init)(jax.random.PRNGKey(0), data)

    def advance() -> int:
        nonlocal state
        with named_precision(agent.config.matmul_precision):
            for name in cycle:
                state, _ = updates[name](state, next(batches))
        return len(cycle)

    advance()
    jax.block_until_ready(state)
    return Loop(advance, lambda: jax.block_until_ready(state))


def numpy_batches(agent: Agent, data: Dataset, seed: int = 0) -> Iterator[Batch]:
    """Batches as `envs.data.dataset` draws them, by numpy on the host, going through the window step by step.

    Rows, shapes and cost are those of the agent's sampler; only what follows a trajectory's end is simplified.
    """
    rng = np.random.default_rng(seed)
    host: Dataset = jax.tree.map(np.asarray, data)
    config = agent.config
    trajectories = agent.sampler == "trajectories"
    while True:
        if trajectories:
            replace = config.batch_size >= len(host.first) or config.batch_size > len(host.candidates)
            trajectory = rng.choice(host.candidates, config.batch_size, replace=replace)
            start = rng.integers(host.first[trajectory], host.last[trajectory])
        else:
            start = rng.integers(0, host.size - config.chunk_length + 1, config.batch_size)
            trajectory = host.trajectory[start]
        yield _window(host, start, trajectory, config.chunk_length, config.discount)


def _window(host: Dataset, start: np.ndarray, trajectory: np.ndarray, length: int, discount: float) -> Batch:
    last = host.last[trajectory]
    rewards, masks = np.zeros(len(start), np.float32), np.ones(len(start), np.float32)
    actions, inside = [], []
    for step in range(length):
        rows = np.minimum(start + step, last)
        inside.append((start + step <= last).astype(np.float32))
        rewards += discount**step * host.rewards[rows] * inside[-1]
        masks = np.minimum(masks, host.masks[rows])
        actions.append(host.actions[rows])
    values: dict[str, Any] = dict(
        observations=host.observations[start + trajectory],
        actions=np.concatenate(actions, axis=-1),
        rewards=rewards,
        masks=masks.astype(np.float32),
        next_observations=host.observations[np.minimum(start + length, last + 1) + trajectory],
        valid=inside[-1],
        action_weights=np.repeat(np.stack(inside, 1), host.action_dim, axis=1),
    )
    return Batch(**values)


# ---------------------------------------------------------------------------------------------------- profile


def profile_segment(agent: Agent, data: Dataset, seeds: int, folder: Path) -> None:
    """Write a trace of one short segment, warmed up, for https://ui.perfetto.dev (`perfetto_trace.json.gz`)."""
    cycle = steady_cycle(agent)
    length = PROFILED_CYCLES * len(cycle)
    states: State = init_states(agent, jnp.arange(seeds, dtype=jnp.uint32), data=data)
    states, _ = jax.block_until_ready(run_segment(agent, states, data, length, cycle))
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        jax.block_until_ready(run_segment(agent, states, data, length, cycle))
