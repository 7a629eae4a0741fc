"""The paper's claims, measured on trained policies: rows of numbers, which `analysis.figures --claims FILE` draws.

From runs of one task, with their checkpoints: one of rql for what is said of reversal, targets and values on partial
actions; of fbrac and bam besides for what backpropagation through time costs; of rql and tfql with several numbers of
flow steps for what a longer horizon does to values. Runs that differ in one hyperparameter are compared besides.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from agents.base import Agent, Batch, State
from benchmark.common.errors import UserError
from benchmark.common.files import write_json
from benchmark.loop.reversal import load_run
from benchmark.paper.ablations import ablations
from benchmark.paper.measures import (
    gradient_norm,
    horizon_error,
    interval,
    rank_agreement,
    return_error,
    target_spread,
    values_along,
)
from envs.data.samplers import sample_sequences

STEPS = (3, 5, 10, 20, 50)
"""Flow steps at which cost and errors are measured; parameters do not depend on them."""
DEPTHS = (0.1, 0.25, 0.5, 0.75, 1.0)
DRAWS, SAMPLES = 64, 32
TRAINED = {"rql": "actor", "fbrac": "flow", "bam": "fast"}
"""Whose cost is measured, and the network that their policy is."""
BY_LEVELS = ("rql", "tfql")
"""Whose values are of partial actions: what a run of them gives is told apart by its number of flow steps."""
Row = dict[str, Any]


def measure(
    runs: Sequence[Path],
    out: Path,
    states: int = 256,
    ablated: Sequence[Path] = (),
    say: Callable[[str], None] = print,
    on_progress: Callable[[int, str], None] = lambda done, what: None,
) -> Path:
    """Measure what these runs can tell, write it to `out`, and return that; a sentence a claim goes to `say`.

    Of several runs of an agent the first is taken for all but the horizon; final evaluations alone are taken of those
    `ablated` (`benchmark.paper.ablations`). `on_progress` is told how many runs are done and what is under way. Raises
    a UserError for a run of another agent or of another task, or without its checkpoint.
    """
    found: dict[str, Any] = {"runs": [], "reversal": [], "targets": [], "ranking": [], "horizon": [], "cost": []}
    found["ablations"] = ablations(ablated) if ablated else []
    for done, path in enumerate(runs):
        on_progress(done, f"loading {path}")
        agent, trained, data, config = load_run(path, agents=tuple(dict.fromkeys((*TRAINED, *BY_LEVELS))))
        first = agent.name not in {run["agent"] for run in found["runs"]}
        if found["runs"] and config["task"] != found["runs"][0]["task"]:
            raise UserError(f"{path} is of {config['task']}, the run before it of {found['runs'][0]['task']}")
        c = agent.config
        found["runs"].append({name: config[name] for name in ("agent", "task", "seeds", "protocol")})
        batch = sample_sequences(data, jax.random.PRNGKey(0), states, c.chunk_length, c.discount)
        seeds = {seed: jax.tree.map(lambda leaf, i=i: leaf[i], trained) for i, seed in enumerate(config["seeds"])}
        for seed, state in seeds.items():
            on_progress(done, f"{agent.name}, {c.flow_steps} steps, seed {seed}: values")
            if agent.name in BY_LEVELS:
                found["horizon"] += horizon(agent, state, batch, seed)
            if agent.name == "rql" and first:
                found["reversal"] += reversal(agent, state, batch, seed)
                found["targets"] += targets(agent, state, batch, seed)
                found["ranking"] += ranking(agent, state, batch, seed)
        if agent.name in TRAINED and first:
            on_progress(done, f"{agent.name}: cost of an update")
            found["cost"] += cost(agent, next(iter(seeds.values())), batch)
    for sentence in sentences(found):
        say(sentence)
    write_json(out, found)
    return out


def reversal(agent: Agent, state: State, batch: Batch, seed: int) -> list[Row]:
    """How far reversing and going forward again misses, by flow steps and depth."""
    rows = []
    for steps in STEPS:
        for depth in DEPTHS:
            error = return_error(agent, state, batch, steps, depth)
            rows.append(dict(seed=seed, steps=steps, depth=depth, **_of(error)))
    return rows


def targets(agent: Agent, state: State, batch: Batch, seed: int) -> list[Row]:
    """How much bootstrap values spread over noise within a state, and over states."""
    within, means = target_spread(agent, state, batch, jax.random.PRNGKey(1), DRAWS)
    return [dict(seed=seed, within=float(within.mean()), between=float(means.std()))]


def ranking(agent: Agent, state: State, batch: Batch, seed: int) -> list[Row]:
    """How well values along the flow order samples by the value of where they end, by f."""
    along, ends = values_along(agent, state, batch, jax.random.PRNGKey(2), SAMPLES)
    agreement = rank_agreement(np.asarray(along), np.asarray(ends))
    return [dict(seed=seed, f=k / (len(agreement) - 1), **_of(row)) for k, row in enumerate(agreement)]


def horizon(agent: Agent, state: State, batch: Batch, seed: int) -> list[Row]:
    """How far the value of noise is from that of the action that it becomes, in spreads of the latter over states."""
    along, ends = values_along(agent, state, batch, jax.random.PRNGKey(3), SAMPLES)
    bias, error = horizon_error(np.asarray(along), np.asarray(ends))
    return [dict(agent=agent.name, steps=agent.config.flow_steps, seed=seed, bias=bias, error=error)]


def cost(agent: Agent, state: State, batch: Batch) -> list[Row]:
    """Seconds and scratch memory of an update, and the norm of its gradient in the policy, by flow steps."""
    rows = []
    for steps in STEPS:
        config = dataclasses.replace(agent.config, flow_steps=steps)
        other = type(agent)(config, agent.observation_dim, agent.action_dim)
        compiled = jax.jit(lambda agent, state, batch: agent.update(state, batch)).lower(other, state, batch).compile()
        analysis = compiled.memory_analysis()
        seconds = _seconds(partial(compiled, other, state, batch))
        norm = gradient_norm(other, state, batch, TRAINED[agent.name])
        rows.append(dict(agent=agent.name, steps=steps, seconds=seconds, gradient_norm=norm))
        rows[-1]["scratch_bytes"] = analysis.temp_size_in_bytes if analysis is not None else None
    return rows


def _seconds(update: Callable[[], Any], repeats: int = 15) -> float:
    """Median time of an update."""
    jax.block_until_ready(update())
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(update())
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _of(values: Any) -> Row:
    mean, low, high = interval(np.asarray(values, float))
    return dict(mean=mean, low=low, high=high)


def sentences(found: dict[str, Any]) -> list[str]:
    """What the numbers say, a sentence a claim."""
    said = []
    whole = [row for row in found["reversal"] if row["depth"] == 1.0]
    if whole:
        errors = {steps: np.mean([r["mean"] for r in whole if r["steps"] == steps]) for steps in STEPS}
        text = ", ".join(f"{error:.3f} with {steps}" for steps, error in errors.items())
        said.append(f"Reversed to noise and back, actions miss by (per coordinate, of a range of 2): {text} steps.")
    if found["targets"]:
        within, between = (np.mean([row[name] for row in found["targets"]]) for name in ("within", "between"))
        said.append(f"Bootstrap values spread by {within:.3g} over noise within a state, by {between:.3g} over states.")
    if found["ranking"]:
        by_f = {f: np.mean([r["mean"] for r in found["ranking"] if r["f"] == f]) for f in (0.0, 0.5, 1.0)}
        text = ", ".join(f"{value:.2f} at f = {f:g}" for f, value in by_f.items() if np.isfinite(value))
        said.append(f"Rank correlation of the value of a partial action with that of where it ends: {text}.")
    for agent in dict.fromkeys(row["agent"] for row in found["horizon"]):
        rows = [row for row in found["horizon"] if row["agent"] == agent]
        text = ", ".join(
            f"{np.mean([r['error'] for r in rows if r['steps'] == s]):.2g} "
            f"({np.mean([r['bias'] for r in rows if r['steps'] == s]):+.2g}) with {s}"
            for s in sorted({row["steps"] for row in rows})
        )
        said.append(f"{agent}: noise's value misses its action's by (bias), in spreads over states: {text} steps.")
    for agent in dict.fromkeys(row["agent"] for row in found["cost"]):
        first, last = (next(r for r in found["cost"] if (r["agent"], r["steps"]) == (agent, s)) for s in (3, 50))
        times, norms = (last[name] / first[name] for name in ("seconds", "gradient_norm"))
        said.append(
            f"{agent}: from 3 to 50 steps an update takes {times:.1f} times as long, its gradient is {norms:.2g} times."
        )
    for agent, option in dict.fromkeys((row["agent"], row["option"]) for row in found["ablations"]):
        own = pd.DataFrame([row for row in found["ablations"] if (row["agent"], row["option"]) == (agent, option)])
        means = own.groupby("value")[["success", "return"]].mean()
        text = ", ".join(f"{100 * won:.3g}% ({got:.5g}) at {value:g}" for value, (won, got) in means.iterrows())
        said.append(f"{agent}: success (return) by {option}: {text}.")
    return said
