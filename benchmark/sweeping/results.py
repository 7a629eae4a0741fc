"""Choosing the best setting of a sweep, and writing it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from agents.base import Agent
from analysis.averaging.settings import best
from analysis.sweeps import print_scores, scores, write_scores
from benchmark.common.files import write_text
from benchmark.common.terminal import console
from benchmark.planning.run import Run
from benchmark.planning.tuned import read_tuned
from benchmark.runs.run import RunSpec


def choose(folder: Path, specs: Sequence[RunSpec], sweeps: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The best setting of a domain's runs; writes the table and heat map of all, and prints the table."""
    runs = [Run(spec) for spec in specs]
    found = scores([run.path for run in runs], list(sweeps))
    print_scores(found, list(sweeps), console)
    for what in sorted({run.other_code() for run in runs} - {""}):
        console.print(f"note: these runs were made by {what}; --anew makes them again", soft_wrap=True)
    name = f"{runs[0].agent_class.name}-{runs[0].task.domain.name}"
    for path in write_scores(found, list(sweeps), folder / "tuned", name):
        console.print(f"  {path}", markup=False, soft_wrap=True)
    return best(found, list(sweeps))


def write_tuned(path: Path, text: str, domain: str, setting: Mapping[str, Any]) -> None:
    """Add a domain's tuned setting to a file of the form of benchmark/planning/tuned/; others stay."""
    domains = {**read_tuned(path)["domains"], domain: dict(setting)}
    lines = [f"# {text}", f'source: "{text}"', "published: false", "domains:"]
    for name, values in domains.items():
        lines.append(f"  {name}: {yaml.safe_dump(dict(values), default_flow_style=True, width=1000).strip()}")
    write_text(path, "\n".join(lines) + "\n")


def tuned_path(folder: Path, cls: type[Agent]) -> Path:
    """Where a sweep writes an agent's tuned settings."""
    return folder / "tuned" / f"{cls.name}.yaml"
