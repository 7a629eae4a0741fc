"""Measuring how fast environments are stepped, in the pool and as public code steps them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.table import Table

from benchmark.common.files import make_folder, write_json
from benchmark.common.machine import now, usable_cores
from benchmark.common.terminal import console
from benchmark.loop.device import device_name
from benchmark.loop.segments import act, init_states
from benchmark.planning.configure import configure
from benchmark.planning.plan import settings_for
from benchmark.planning.registry import agent_class
from benchmark.speed import rates
from benchmark.speed.loops import synthetic_data
from benchmark.speed.rates import rates_path
from envs.data.environment import make_env
from envs.play.pool import EvaluationPool
from envs.tasks import Domain, Task, dimensions
from envs.world import environments_for

EPISODE_STEPS = 100
"""Steps at which the measured episodes are cut."""
KEY = ("device", "cores", "agent", "domain", "seeds")
"""What identifies a row; the rest is what was measured."""


def evaluation_path(rates: Path | None = None) -> Path:
    """File of this machine's rows, or of those beside a file of rates."""
    path = rates or rates_path()
    return path.with_name(f"{path.stem}-evaluation.json")


def read_rows(path: Path | None = None) -> list[dict[str, Any]]:
    """Rows recorded on this machine's device, [] where there are none."""
    return rates.read_rows(path or evaluation_path(), _is_row)


def _is_row(row: Mapping[str, Any]) -> bool:
    texts = dict.fromkeys(("device", "agent", "domain"), str)
    return rates.has(row, **texts, cores=int, seeds=int, steps_per_second=int | float)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Merge rows into a file."""
    make_folder(path.parent)
    merged = {tuple(row[name] for name in KEY): row for row in [*read_rows(path), *rows]}
    write_json(path, {"schema": 1, "rows": [merged[key] for key in sorted(merged)]})


def steps_per_second(agent: str, domain: str, seeds: int, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Environment steps per second of the evaluation of so many seeds together; None where the domain was not measured.

    Stepping takes most of the time: where the agent or the number of seeds was not measured, the slowest row of the
    domain stands in.
    """
    known = [row for row in rows if row["domain"] == domain]
    exact = [row for row in known if (row["agent"], row["seeds"]) == (agent, seeds)]
    return min((row["steps_per_second"] for row in exact or known), default=None)


# ---------------------------------------------------------------------------------------------------- measuring


def untrained(name: str, domain: Domain, seeds: int):
    """(policy of `EvaluationPool`, agent, states) of an agent as its networks begin, with the domain's tuned sizes."""
    cls = agent_class(name)
    agent = cls(configure(cls, settings_for(cls, Task(domain, 1))), *dimensions(domain))
    data = synthetic_data(*dimensions(domain), 1_000)
    states = init_states(agent, jnp.arange(seeds, dtype=jnp.uint32), data=data)
    return (lambda observations, ids: act(agent, states, observations, ids)), agent, states


def measure_pool(name: str, domain: Domain, seeds: int, episodes: int) -> dict[str, float]:
    """Steps per second, and seconds until the environments were there, of one evaluation by the harness."""
    policy, agent, _ = untrained(name, domain, seeds)
    started = time.perf_counter()
    slots = environments_for(seeds, episodes)
    with EvaluationPool(Task(domain, 1).name, slots, max_episode_steps=EPISODE_STEPS) as pool:
        pool.ready()
        ready = time.perf_counter() - started
        shape = (seeds, slots // seeds)
        np.asarray(policy(np.zeros((*shape, agent.observation_dim), np.float32), np.zeros((*shape, 4), np.uint32)))
        started = time.perf_counter()
        results = pool.evaluate(policy, range(seeds), episodes, step=0)
        seconds = time.perf_counter() - started
    steps = sum(int(result.lengths.sum()) for result in results if result is not None)
    return {"steps_per_second": steps / seconds, "environments": slots, "ready_seconds": ready}


def measure_public_loop(name: str, domain: Domain, seconds: float) -> float:
    """Steps per second of one environment, asked one policy call of batch 1 a chunk, as the public code does it."""
    policy, _, _ = untrained(name, domain, 1)
    env = make_env(Task(domain, 1))
    ids = np.zeros((1, 1, 4), np.uint32)

    def episode() -> int:
        observation, _ = env.reset()
        steps = 0
        while steps < EPISODE_STEPS:
            for action in np.asarray(policy(observation[None, None].astype(np.float32), ids))[0, 0]:
                observation, _, ended, cut, _ = env.step(np.clip(action, -1, 1))
                steps += 1
                if ended or cut or steps == EPISODE_STEPS:
                    return steps
        return steps

    episode()
    played, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        played += episode()
    return played / (time.perf_counter() - started)


def measure(
    agent: str,
    domains: Sequence[Domain],
    seeds: Sequence[int],
    episodes: int,
    seconds: float,
    say: Callable[[str], None],
    path: Path | None = None,
) -> list[dict[str, Any]]:
    """A row for each case, each recorded in a file (default: this device's) as soon as it is there."""
    rows: list[dict[str, Any]] = []
    cores, name = len(usable_cores()), agent_class(agent).name
    for domain in domains:
        say(f"{domain.name}: one environment")
        public = measure_public_loop(agent, domain, seconds)
        for count in seeds:
            say(f"{domain.name}: {count} seeds of {episodes} episodes")
            found = measure_pool(agent, domain, count, episodes)
            row = dict(device=device_name(), cores=cores, agent=name, domain=domain.name, seeds=count)
            row |= {"episodes": episodes, **found, "public_loop_steps_per_second": public}
            rows.append({**row, "speedup": found["steps_per_second"] / public, "time": now()})
            write_rows(path or evaluation_path(), rows[-1:])
    return rows


def measure_and_print(
    agent: str,
    domains: Sequence[Domain],
    seeds: Sequence[int],
    episodes: int,
    seconds: float,
    path: Path | None = None,
) -> None:
    """Measure every case, and print a table of what was found."""
    rows = measure(agent, domains, seeds, episodes, seconds, console.print, path)
    table = Table("domain", "seeds", "environments", "steps/s", "public loop", "speed-up", "ready after s")
    for row in rows:
        numbers = (f"{row[name]:,.0f}" for name in ("steps_per_second", "public_loop_steps_per_second"))
        rest = (f"{row['speedup']:.2f}", f"{row['ready_seconds']:.1f}")
        table.add_row(row["domain"], str(row["seeds"]), str(row["environments"]), *numbers, *rest)
    console.print(table)
    console.print(f"written to {path or evaluation_path()}")
