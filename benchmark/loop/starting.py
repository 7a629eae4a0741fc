"""Starting from another run (`--start-from`): networks that a finished run trained, as what another begins with.

One policy is trained once and serves many runs: the source's first seed is given to every seed, on whatever task of its
domain (or of its sizes). Each network takes the parameters, and where it has a target the target, of the source's
network of its own name, or of the one that `Agent.begins_as` says, where all shapes are equal. Optimisers and the extra
state begin anew. Pretraining goes on from what was taken, or, where all that it trains was (`Agent.pretrains`), is
skipped; then what was taken stays as it was when training begins, and only the others are made of it, as an actor that
begins as a clone. From its first checkpoint on a run needs its source no more.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from agents.base import Agent, State
from benchmark.common.errors import UserError
from benchmark.common.options import input_folder
from benchmark.loop.checkpoints import read_networks
from benchmark.loop.segments import agent_axis
from benchmark.planning.run import Run
from benchmark.runs.policies import CARD, PARAMETERS, policy_folder, read_card, read_parameters, read_shapes
from benchmark.runs.reading import read_records
from benchmark.runs.record import KEPT, RunDirectory
from benchmark.runs.run import RunSpec, Start
from envs.tasks import dimensions, get_task


@dataclass(frozen=True)
class Source:
    """A finished run's first seed, on the host."""

    start: Start
    """Without networks: what is taken depends on who takes it."""
    params: dict[str, Any]
    targets: dict[str, Any]


def starting_from(text: str, specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs, each starting from the run in a folder, as --start-from asks.

    Raises a UserError where that is not finished or damaged, or has nothing that one of them could begin with.
    """
    source = read_source(input_folder("--start-from", text).absolute())
    taken: dict[str, dict[str, str]] = {}
    started = []
    for spec in specs:
        if spec.path.absolute() == Path(source.start.folder):
            raise UserError(f"--start-from: {spec.path} is the run itself; choose another --out or --label")
        run = Run(spec)
        kind = f"{spec.agent} {run.task.domain.name} {spec.settings}"
        if kind not in taken:
            taken[kind] = networks_taken(run, source)
        started.append(dataclasses.replace(spec, start=dataclasses.replace(source.start, networks=taken[kind])))
    return started


def read_source(folder: Path) -> Source:
    """Read the newest checkpoint of a finished run, or, where it kept none, its first seed's policy if that has all
    that was trained, as of a clone. Raises a UserError where there is none that is whole.
    """
    records = read_records(folder)
    config, status = records.config, records.status
    if config is None:
        raise UserError(f"--start-from: {folder} is not the folder of a run, it has no config.json")
    if status.get("state") != "done":
        where = f"{status.get('state', 'not begun')} at step {status.get('step', 0):,}"
        raise UserError(f"--start-from: {folder} is not finished, it is {where}")
    seed = config["seeds"][0]
    if str(seed) in status.get("diverged", {}):
        raise UserError(f"--start-from: the first seed of {folder}, {seed}, diverged")
    kept = sorted(RunDirectory(folder).checkpoints.glob("[0-9]*"), key=lambda path: int(path.name))
    if kept:
        trees, updates = jax.tree.map(lambda leaf: leaf[0], read_networks(kept[-1])), int(kept[-1].name)
    else:
        trees, updates = networks_of_policy(folder, seed)
    start = Start(str(folder), config["agent"], config["task"], seed, updates, digest(trees), {})
    return Source(start, *trees)


def networks_of_policy(run: Path, seed: int) -> tuple[tuple[dict[str, Any], dict[str, Any]], int]:
    """((parameters, targets), updates) of the policy that a finished run left of a seed.

    Raises a UserError where there is none, or it lacks networks, which acting does not need.
    """
    folder = policy_folder(run, seed)
    if not (folder / CARD).is_file():
        raise UserError(f"--start-from: {run} has no checkpoint; {KEPT}")
    card = read_card(folder)
    if card.left_out:
        raise UserError(
            f"--start-from: {run} has no checkpoint, and its policy lacks {', '.join(card.left_out)}; {KEPT}"
        )
    arrays = read_parameters(folder, card, read_shapes(folder / PARAMETERS))
    trees = traverse_util.unflatten_dict({tuple(name.split("/")): array for name, array in arrays.items()})
    return (trees.get("params", {}), trees.get("targets", {})), card.updates


def digest(trees: Any) -> str:
    """SHA-256 over names, shapes, types and numbers of all arrays."""
    made = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(trees)[0]:
        made.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        made.update(np.ascontiguousarray(leaf).tobytes())
    return f"sha256:{made.hexdigest()}"


def networks_taken(run: Run, source: Source) -> dict[str, str]:
    """The networks that a run takes of the source, and their names there. Raises a UserError where there are none."""
    sizes, others = dimensions(run.task.domain), dimensions(get_task(source.start.task).domain)
    if sizes != others:
        raise UserError(
            f"--start-from: {source.start.folder} is a run on {source.start.task}, which has observations of "
            f"{others[0]} and actions of {others[1]} numbers; {run.task.name} has {sizes[0]} and {sizes[1]}"
        )
    agent = run.agent_class(run.hyperparameters, *sizes)
    own = jax.eval_shape(agent.init_params, jax.random.PRNGKey(0))
    shapes = {name: shapes_of(tree) for name, tree in own.items()}
    theirs = {name: shapes_of(tree) for name, tree in source.params.items()}
    taken = {}
    for name in agent.networks():
        other = name if name in theirs else agent.begins_as.get(name, name)
        if shapes[name] and theirs.get(other) == shapes[name]:
            taken[name] = other
    if not taken:
        names = [f"{name} ({agent.begins_as[name]})" if name in agent.begins_as else name for name in agent.networks()]
        raise UserError(
            f"--start-from: no network of {agent.name} ({', '.join(names)}) has name and shapes of one of "
            f"{source.start.agent} ({', '.join(theirs)}) in {source.start.folder}; "
            "hidden and chunk_length must be the same"
        )
    return taken


def shapes_of(tree: Mapping[str, Any]) -> dict[str, tuple]:
    """Shape and type of every array of a network, by its name."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}


def started(agent: Agent, states: State, start: Start) -> tuple[int, State]:
    """(updates that are skipped, states of all seeds) with what a run starts from, where none has made an update yet.

    Raises a UserError where its source is not what it was when the run was planned.
    """
    source = read_source(input_folder("--start-from", start.folder))
    if source.start.digest != start.digest:
        raise UserError(f"--start-from: {start.folder} has changed: it holds {source.start}, planned was {start}")
    count = len(states.step)

    def repeated(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), tree)

    params = states.params | {name: repeated(source.params[other]) for name, other in start.networks.items()}
    targets = states.targets | {
        name: repeated(source.targets.get(other, source.params[other]))
        for name, other in start.networks.items()
        if name in states.targets
    }
    skipped = agent.pretraining_steps if start.gives_all(agent.pretrains) else 0
    optimizer = jax.jit(jax.vmap(lambda agent, own: agent.init_optimizer(own), (agent_axis(agent), 0)))(agent, params)
    step = jnp.full_like(states.step, skipped)
    return skipped, dataclasses.replace(states, step=step, params=params, targets=targets, optimizer=optimizer)


def kept_for_training(agent: Agent, start: Start | None) -> tuple[str, ...]:
    """Networks that stay as a run was given them when training begins: all of them where it goes without pretraining,
    else none, since `Agent.begin` may make others of what pretraining has trained.
    """
    return tuple(start.networks) if start and start.gives_all(agent.pretrains) else ()
