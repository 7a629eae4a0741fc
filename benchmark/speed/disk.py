"""What runs write to disk: while they train, and what they leave; and whether the file system has that much free."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.base import Agent
from benchmark.common.errors import UserError
from benchmark.loop.acting import Layout, read_by_acting
from benchmark.planning.run import Run
from benchmark.runs.run import RunSpec
from benchmark.speed.loops import synthetic_data
from envs.tasks import dimensions

KEPT = 2
"""Checkpoints of a run that are there; while one is written it lies beside them."""
CARD = 10_000
"""Bytes of a policy besides its arrays: its card and the file's header."""
TRAIN_ROW, EVAL_ROW = 120, 60
"""Bytes of a row of train.csv and eval.csv, a seed each: most were 103 and 44 over 20 algorithms."""
OTHER_RECORDS = 100_000
"""Bytes of a run's other records: configuration, provenance, log."""


@dataclass(frozen=True)
class Disk:
    """Bytes of a run."""

    records: int = 0
    kept: int = 0
    """Of what its seeds have learned, when the run is finished: policies, and its last checkpoints if they are kept."""
    training: int = 0
    """Of what a run needs besides while it trains: the checkpoint that is written before the oldest is dropped, and
    those that go when it is finished."""

    @property
    def stays(self) -> int:
        """What is left in the end."""
        return self.records + self.kept


class Bytes(NamedTuple):
    """Of one seed."""

    state: int
    """All that training carries on, of which a checkpoint consists."""
    policy: int
    """What acting reads of it."""


class StateSizes:
    """Bytes of one seed's state and policy, from its arrays' shapes; each worked out once."""

    def __init__(self) -> None:
        self.known: dict[tuple, Bytes | None] = {}
        self.read: dict[str, frozenset[str]] = {}
        """Names of the arrays that acting reads, by agent: tracing it for every task would take minutes."""

    def __call__(self, run: Run) -> Bytes | None:
        """Of a run's agent; None where it cannot be told, as of an agent that does not import."""
        settings = tuple((name, value) for name, value in run.spec.settings.items() if not isinstance(value, float))
        case = (run.spec.agent, dimensions(run.task.domain), repr(settings))
        if case not in self.known:
            try:
                self.known[case] = self._bytes(run)
            except Exception:  # an agent of one's own may do anything; its run says what is wrong with it
                self.known[case] = None
        return self.known[case]

    def _bytes(self, run: Run) -> Bytes:
        agent, layout = _layout_of(run)
        size_of = {name: math.prod(sizes) * jnp.dtype(kind).itemsize for name, (kind, sizes) in layout.arrays}
        read = self.read.get(run.spec.agent, frozenset())
        if not read or not read <= size_of.keys():
            read = self.read[run.spec.agent] = frozenset(read_by_acting(agent, layout))
        return Bytes(sum(size_of.values()), sum(size_of[name] for name in read))


def _layout_of(run: Run) -> tuple[Agent, Layout]:
    sizes = dimensions(run.task.domain)
    agent = run.agent_class(run.hyperparameters, *sizes)
    data = synthetic_data(*sizes, transitions=1_000) if type(agent).facts is not Agent.facts else None
    if type(agent).init_params is Agent.init_params:
        shapes = _shapes_of_parameters(agent)
        agent.init_params = lambda rng: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)  # type: ignore[method-assign]
    return agent, Layout.of(jax.eval_shape(lambda seed: agent.init(jax.random.PRNGKey(seed), data), jnp.uint32(0)))


def _shapes_of_parameters(agent: Agent) -> dict[str, Any]:
    """What `Agent.init_params` gives, as shapes. Tracing networks takes most of the time, and agents share many."""
    sizes = agent.input_sizes()
    return {
        name: _shapes_of_network(module, tuple(sizes[each] for each in inputs.split()))
        for name, (module, inputs) in agent.networks().items()
    }


@functools.cache
def _shapes_of_network(module: Any, sizes: tuple[int, ...]) -> Any:
    inputs = [jax.ShapeDtypeStruct((1, size), jnp.float32) for size in sizes]
    return jax.eval_shape(module.init, jax.random.PRNGKey(0), *inputs).get("params", {})


def disk_of(run: Run, seed: Bytes) -> Disk:
    """What a run writes, of whose seeds each has so many bytes."""
    spec = run.spec
    if not spec.protocol.steps:
        return Disk(OTHER_RECORDS)
    seeds, checkpoint = len(spec.seeds), len(spec.seeds) * seed.state
    checkpoints = min(KEPT, -(-spec.protocol.steps // spec.protocol.checkpoint_every)) * checkpoint
    times = 1 + (spec.protocol.evaluations if spec.keep_policies else 0)
    policies = times * seeds * (seed.policy + CARD)
    kept, passing = (checkpoints, 0) if spec.keep_checkpoints else (0, checkpoints)
    return Disk(_records(spec, *dimensions(run.task.domain)), policies + kept, checkpoint + passing)


def _records(spec: RunSpec, observation: int, action: int) -> int:
    """Bytes of rows and, of an online phase, of its transitions: s, a, s', r and whether it is over."""
    protocol, seeds = spec.protocol, len(spec.seeds)
    online = spec.online.steps if spec.online else 0
    rows = (protocol.steps + online) // protocol.log_every * TRAIN_ROW
    rows += (protocol.evaluations + -(-online // protocol.eval_every)) * EVAL_ROW
    transitions = online * (4 * (2 * observation + action + 1) + 2)
    return OTHER_RECORDS + seeds * (rows + transitions)


@dataclass(frozen=True)
class DiskPlan:
    """What several runs write."""

    stays: int
    """Bytes that they leave."""
    besides: int
    """Bytes that those that train at once need besides."""
    there: int
    """Bytes of checkpoints that runs which have begun have written already."""
    unknown: int
    """Runs of which nothing is known; they are not counted."""

    @property
    def needed(self) -> int:
        """Bytes that must be free."""
        return max(0, self.stays + self.besides - self.there)


def plan_disk(runs: Sequence[Run], at_once: int | None) -> DiskPlan:
    """What runs that are to do will write; so many train at once, None: all."""
    size_of = StateSizes()
    sizes = [size_of(run) if run.spec.protocol.steps else Bytes(0, 0) for run in runs]
    known = [disk_of(run, size) for run, size in zip(runs, sizes, strict=True) if size is not None]
    largest = sorted((disk.training for disk in known), reverse=True)[:at_once]
    there = sum(_bytes_under(run.directory.checkpoints) for run in runs)
    return DiskPlan(sum((disk.stays for disk in known), 0), sum(largest), there, len(runs) - len(known))


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def free_bytes(out: Path) -> int:
    """Bytes free on the file system of a folder, which need not be there yet."""
    there = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def describe_disk(runs: Sequence[Run], out: Path, at_once: int | None) -> Iterable[str]:
    """What the plan says of disk, line by line."""
    plan = plan_disk(runs, at_once)
    kept = f", and the last {KEPT} checkpoints" if any(run.spec.keep_checkpoints for run in runs) else ""
    training = "all at once" if at_once is None or at_once >= len(runs) else f"{at_once} at once"
    yield (
        f"disk: {size(plan.stays)} stay (policies and records{kept}), {size(plan.besides)} besides while runs train, "
        f"{training}"
        + (f"; {size(plan.there)} are there already" if plan.there else "")
        + (f"; {plan.unknown} runs of unknown size are not counted" if plan.unknown else "")
    )
    free = free_bytes(out)
    yield f"the file system of {out} has {size(free)} free" + ("" if plan.needed <= free else ", which is too little")


def check_disk(runs: Sequence[Run], out: Path, at_once: int | None) -> None:
    """Raise a UserError where the file system of the results has less free than the runs will write."""
    plan, free = plan_disk(runs, at_once), free_bytes(out)
    if plan.needed > free:
        raise UserError(
            f"these {len(runs)} runs write {size(plan.needed)}, of which {size(plan.stays)} stay, and the file system "
            f"of {out} has {size(free)} free; --dry-run says more, and another --out may have room"
        )


def size(count: float) -> str:
    """Bytes as a person reads them: at most three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 999.5 else f"{count:,.0f} TB"
