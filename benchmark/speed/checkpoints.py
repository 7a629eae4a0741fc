"""Measuring how long training waits for checkpoints: where they are written in turn with it, and beside it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmark.common.files import make_folder
from benchmark.common.terminal import console
from benchmark.loop.checkpoints import Checkpoints, on_host, written
from benchmark.loop.device import device_name
from benchmark.loop.segments import init_states, run_segment
from benchmark.planning.configure import configure
from benchmark.planning.plan import settings_for
from benchmark.planning.registry import agent_class
from benchmark.speed.loops import steady_cycle, synthetic_data
from envs.tasks import Domain, Task, dimensions

TRANSITIONS = 20_000
ALONE = 2
"""Segments that are timed without a checkpoint."""


def measure(name: str, domain: Domain, counts: Sequence[int], out: Path) -> Iterator[dict[str, Any]]:
    """For each number of seeds, with the domain's tuned settings on random data, checkpoints in a folder of `out`:

    seeds; bytes of a checkpoint; `update_seconds` of all seeds; `whole_seconds` until a checkpoint is written and
    verified, for which training waits where it is not written beside it; `copy_seconds` from device to host alone;
    `wait_seconds` for which training waits where it is; `beside_seconds` that it then takes, and `slower`, how many
    times longer an update takes meanwhile.
    """
    cls = agent_class(name)
    agent = cls(configure(cls, settings_for(cls, Task(domain, 1))), *dimensions(domain))
    data, cycle = synthetic_data(*dimensions(domain), TRANSITIONS), steady_cycle(agent)
    make_folder(out)
    for seeds in counts:
        states = init_states(agent, jnp.arange(seeds, dtype=jnp.uint32), data)

        def update(states):
            return jax.block_until_ready(run_segment(agent, states, data, len(cycle), cycle)[0])

        states = update(states)  # compiled
        folder = Path(tempfile.mkdtemp(prefix=".checkpoints-", dir=out))
        try:
            checkpoints = Checkpoints(folder)
            started = time.perf_counter()
            for _ in range(ALONE):
                states = update(states)
            alone = (time.perf_counter() - started) / ALONE
            _, copy = timed(lambda: on_host(written(states)))
            started = time.perf_counter()
            checkpoints.save(1, states, {})
            checkpoints.wait()
            whole = time.perf_counter() - started
            started = time.perf_counter()
            checkpoints.save(2, states, {})
            wait = time.perf_counter() - started
            meanwhile = []
            while checkpoints.under_way and not checkpoints.under_way.done():
                states, seconds = timed(lambda: update(states))
                meanwhile.append(seconds)
            checkpoints.wait()
            beside = time.perf_counter() - started
            size = sum(path.stat().st_size for path in (folder / "2").rglob("*") if path.is_file())
            checkpoints.close()
        finally:
            shutil.rmtree(folder)
        slower = sum(meanwhile) / len(meanwhile) / alone if meanwhile else 1.0
        yield dict(
            seeds=seeds,
            bytes=size,
            update_seconds=alone / len(cycle),
            whole_seconds=whole,
            copy_seconds=copy,
            wait_seconds=wait,
            beside_seconds=beside,
            slower=slower,
        )


def timed(work) -> tuple[Any, float]:
    """What work() returns, and its seconds."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def measure_and_print(name: str, domain: Domain, counts: Sequence[int], every: int, out: Path) -> None:
    """Measure, and print a row for each number of seeds; shares are of training with a checkpoint `every` updates."""
    console.print(f"checkpoints of {name} on {device_name()}, each {every:,} updates", soft_wrap=True)
    for row in measure(name, domain, counts, out):
        between = every * row["update_seconds"]
        turn, beside = (f"{row[key]:.2f} s ({share(row[key], between)})" for key in ("whole_seconds", "wait_seconds"))
        console.print(
            f"{row['seeds']} seeds, {row['bytes'] / 1e9:.2f} GB, {row['update_seconds']:.2f} s an update: training "
            f"waits {turn} where they are written in turn, {beside} where beside it; a copy from the device takes "
            f"{row['copy_seconds']:.2f} s; written after {row['beside_seconds']:.1f} s, in which an update takes "
            f"{row['slower']:.2f} times as long",
            soft_wrap=True,
        )


def share(wait: float, between: float) -> str:
    """The share of wall time that is spent waiting so long after each `between` seconds of training, as text."""
    return f"{100 * wait / (wait + between):.3g}%"
