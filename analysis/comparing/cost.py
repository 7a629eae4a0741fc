"""Hours of training by measured rates (`results/throughput/`, written by `benchmark.throughput`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "results" / "throughput"


def rates(folder: Path = FOLDER) -> dict[tuple[str, str], float]:
    """Seed-updates per second of the paper's networks by (device, agent): the best measured, averaged over domains.

    Raises a UserError for a file that does not hold measurements.
    """
    best: dict[tuple[str, str], dict[str, float]] = {}
    for path in sorted(folder.glob("*.json")):
        for row in _rows(path):
            if row.get("size") == "paper" and row.get("precision") == "default" and not row.get("error"):
                domains = best.setdefault((row["device"], row["agent"]), {})
                domains[row["domain"]] = max(row["seed_updates_per_second"], domains.get(row["domain"], 0.0))
    return {case: sum(domains.values()) / len(domains) for case, domains in best.items()}


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not hold measurements as they were written") from error


def seed_hours(
    agents: Iterable[str], updates: int, tasks: int, measured: dict[tuple[str, str], float]
) -> dict[str, float]:
    """Hours of one seed of all these agents on so many tasks, by device; only devices that have all agents' rates."""
    agents = list(agents)
    devices = dict.fromkeys(device for device, _ in measured)
    return {
        device: sum(updates * tasks / measured[device, agent] / 3600 for agent in agents)
        for device in devices
        if all((device, agent) in measured for agent in agents)
    }
