"""Keeping a run's policies: of every seed what acting reads, with a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.base import Agent, State
from benchmark.loop.acting import Layout, read_by_acting
from benchmark.runs.policies import policy_folder, remove_policy, write_policy
from benchmark.runs.reading import read_config, read_starts

MADE = ("time", "commit", "clean", "code", "versions", "python", "device")
DATA = ("name", "fingerprint", "source", "transitions", "environment")


def keep_policies(
    run: Path,
    agent: Agent,
    states: State,
    seeds: Mapping[int, int],
    step: int,
    evaluations: Sequence[Mapping[str, Any]],
    at_end: bool,
) -> None:
    """Write the policies of a run's seeds, each with its place in `states`; what a seed that diverged left is removed.

    `evaluations` are the rows of eval.csv. Where the folder holds no run, as where a loop is tried alone, nothing is
    written: no card could say what it is.
    """
    config, starts = read_config(run / "config.json"), read_starts(run / "provenance.json")
    if config is None:
        return
    layout = Layout.of(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states))
    read = read_by_acting(agent, layout)
    leaves = dict(zip(layout.shapes, jax.tree.leaves(states), strict=True))
    made = starts[-1] if starts else {}
    card = {
        **{name: config[name] for name in ("agent", "hyperparameters", "task", "seeds")},
        "domain": config.get("domain", ""),
        "sizes": [agent.observation_dim, agent.action_dim],
        "step": step,
        "updates": step + agent.pretraining_steps,
        "dataset": {name: value for name, value in made.get("dataset", {}).items() if name in DATA},
        "made": {name: made[name] for name in MADE if name in made},
        "extra": {name: [str(leaf.dtype), *leaf.shape[1:]] for name, leaf in states.extra.items()},
        "left_out": left_out(layout, read),
        "code": config.get("code") or {},
        "label": config.get("label", ""),
    }
    host = jax.device_get({name: leaves[name] for name in read})
    for seed in config["seeds"]:
        folder = policy_folder(run, seed, None if at_end else step)
        if seed not in seeds:
            remove_policy(folder)
            continue
        rows = [row for row in evaluations if row["seed"] == seed and row["step"] <= step]
        last = {name: value for name, value in rows[-1].items() if name != "seed"} if rows else None
        arrays = {name: np.asarray(leaf[seeds[seed]]) for name, leaf in host.items()}
        write_policy(folder, card | {"seed": seed, "evaluation": last}, arrays)


def left_out(layout: Layout, read: Sequence[str]) -> list[str]:
    """Networks ("params/critic") and targets of which acting does not read every array."""
    names = [name for name, _ in layout.arrays if name.startswith(("params/", "targets/")) and name not in read]
    return list(dict.fromkeys("/".join(name.split("/")[:2]) for name in names))
