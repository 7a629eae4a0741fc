"""Writes run directories that look like real ones: for tests, and to measure how long many take to load.

python -m tests.helpers.simulated_runs FOLDER --agents 20 --tasks 50 --seeds 12     12,000 runs x 20 evaluations
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.names import AGENT_LABELS, TASKS, domain_of


def write_run(
    folder: Path,
    agent: str = "rql",
    task: str = TASKS[0],
    seeds: Sequence[int] = (0, 1),
    success: float | Mapping[tuple[int, int], float] = 0.5,
    steps: int = 1000,
    eval_every: int = 500,
    state: str = "done",
    step: int | None = None,
    diverged: Mapping[int, int] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    suite: str = "quickstart",
    start: Mapping[str, Any] | None = None,
    updated: str = "2026-01-01T00:00:00+00:00",
    error: str | None = None,
) -> Path:
    """Write one run directory; `success` is one value or {(seed, step): value}. Returns the directory."""
    name = f"seeds-{seeds[0]}-{seeds[-1]}"
    path = folder / agent / task / name
    path.mkdir(parents=True, exist_ok=True)
    step = steps if step is None else step
    diverged = diverged or {}
    config = {"schema": 1, "agent": agent, "task": task, "domain": domain_of(task), "suite": suite}
    config |= {"seeds": list(seeds), "hyperparameters": dict(hyperparameters or {"alpha": 3.0, "discount": 0.99})}
    config["protocol"] = {"steps": steps, "eval_every": eval_every, "eval_episodes": 50}
    versions = {"jax": "0.10.2", "mujoco": "3.4.0"}
    dataset = {"name": "data", "fingerprint": "sha256:1", "transitions": 1000, "source": "file"}
    made = {"time": updated, "command": "train", "commit": "a" * 40, "clean": True, "python": "3.11.7"}
    made |= {"versions": versions, "device": "cpu: simulated", "host": "here", "dataset": dataset}
    status = {"state": state, "step": step, "steps": steps, "updates_per_second": 100.0, "train_seconds": 10.0}
    status |= {"eval_seconds": 1.0, "diverged": {str(s): d for s, d in diverged.items()}}
    status |= {"error": error, "updated": updated}
    lines = ["step,seed,episodes,success,return,length"]
    for at in range(eval_every, step + 1, eval_every):
        for seed in seeds:
            if at < diverged.get(seed, steps + 1):
                value = success if isinstance(success, int | float) else success[seed, at]
                lines.append(f"{at},{seed},50,{value},{-100 + value},{200 - at / 100}")
    (path / "config.json").write_text(json.dumps(config))
    (path / "provenance.json").write_text(json.dumps({"starts": [made | dict(start or {})]}))
    (path / "status.json").write_text(json.dumps(status))
    (path / "eval.csv").write_text("\n".join(lines) + "\n")
    return path


def write_many(folder: Path, agents: int, tasks: int, seeds: int, together: int = 1, evaluations: int = 20) -> int:
    """Write agents x tasks x seeds runs, `together` seeds a directory; returns the number of directories."""
    rng = np.random.default_rng(0)
    count = 0
    for agent in list(AGENT_LABELS)[:agents]:
        for task in TASKS[:tasks]:
            skill = rng.random()
            for first in range(0, seeds, together):
                group = range(first, min(first + together, seeds))
                steps = [50_000 * (i + 1) for i in range(evaluations)]
                values = {(s, at): rng.binomial(50, skill) / 50 for s in group for at in steps}
                write_run(folder, agent, task, group, values, steps=steps[-1], eval_every=50_000)
                count += 1
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write simulated runs.")
    parser.add_argument("folder", type=Path)
    for option, value in (("agents", 20), ("tasks", 50), ("seeds", 12), ("together", 1), ("evaluations", 20)):
        parser.add_argument(f"--{option}", type=int, default=value)
    given = vars(parser.parse_args())
    print(write_many(**given), "run directories")
