"""Measured rates on disk, and what they say of cases that were not measured."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_json
from benchmark.loop.device import device_name
from envs.tasks import DOMAINS, dimensions

FOLDER = Path(__file__).resolve().parents[2] / "results" / "throughput"
KEY = ("device", "agent", "domain", "size", "precision", "seeds")
"""What identifies a case; the rest of a row is what was measured."""
OTHER_DOMAIN = 0.1  # share by which a rate may differ between domains: under 4% of the arithmetic, and the samplers


def rates_path(device: str | None = None) -> Path:
    """File of a device's rates; of this machine's device by default."""
    device = device_name() if device is None else device
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return FOLDER / f"{slug}.json"


def read_rates(path: Path | None = None) -> list[dict[str, Any]]:
    """Rows recorded in a file (this device's by default), [] where there is none. See `measure` for their fields."""
    return read_rows(path or rates_path(), _is_rate)


def read_rows(path: Path, is_row: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
    """Rows of a file of measurements, [] where there is none. Raises a UserError where one is not as it was written."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        if all(is_row(row) for row in rows):
            return list(rows)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise UserError(f"{path} does not hold measurements as they were written; measure again into another file")


def has(row: Mapping[str, Any], **kinds: Any) -> bool:
    """Whether a row has fields of these types, and numbers that are positive and finite."""
    values = [(row[name], kind) for name, kind in kinds.items()]
    return all(isinstance(v, kind) and (not isinstance(v, int | float) or 0 < v < math.inf) for v, kind in values)


def _is_rate(row: Mapping[str, Any]) -> bool:
    number = int | float
    texts = dict.fromkeys(("device", "agent", "domain", "size", "precision"), str)
    measured = row["error"] is not None or (
        has(row, seed_updates_per_second=number, spread=dict)
        and has(row["spread"], minimum=number, median=number, maximum=number)
    )
    return measured and has(row, **texts, seeds=int, settings=dict)


def write_rates(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Merge rows into a file; a new row replaces the old one of its case."""
    make_folder(path.parent)
    merged = {tuple(row[name] for name in KEY): row for row in [*(read_rates(path)), *rows]}
    write_json(path, {"schema": 1, "rows": [merged[key] for key in sorted(merged)]})


def updates_per_second(
    agent: str,
    domain: str,
    seeds: int,
    rows: Sequence[Mapping[str, Any]] | None = None,
    size: str = "paper",
    precision: str = "default",
) -> tuple[float, float, float] | None:
    """(rate, low, high): updates per second when `seeds` seeds train together; None where nothing is known.

    `rows` are `read_rates()` by default. Between two measured numbers of seeds the time per update is interpolated
    linearly. Outside of them the rate is the careful one: with fewer seeds an update takes as long as with the fewest
    measured (high: time in proportion to seeds); with more, time grows in proportion (high: not at all). Where the
    agent was not measured on the domain, the one with the most similar inputs stands in, and low and high are a tenth
    further apart. `low` and `high` include the spread of the measured repeats.
    """
    known = [
        row
        for row in (read_rates() if rows is None else rows)
        if (row["agent"], row["size"], row["precision"]) == (agent, size, precision) and not row["error"]
    ]
    if not known:
        return None
    wanted = _inputs(domain)
    stand_in = min((row["domain"] for row in known), key=lambda name: (name != domain, abs(_inputs(name) - wanted)))
    if stand_in != domain and not wanted:
        return None
    points = {row["seeds"]: row["spread"] for row in known if row["domain"] == stand_in}
    slack = 0.0 if stand_in == domain else OTHER_DOMAIN
    rate, low, high = (_at(points, seeds, which) for which in ("median", "minimum", "maximum"))
    fewest, most = min(points), max(points)
    if seeds < fewest:
        high *= fewest / seeds
    elif seeds > most:
        high *= seeds / most
    return rate, low * (1 - slack), high * (1 + slack)


def _inputs(domain: str) -> int:
    """Size of one of OGBench's domains' observations and actions together, 0 of others: nothing stands in for them."""
    return sum(dimensions(DOMAINS[domain])) if domain in DOMAINS else 0


def _at(points: Mapping[int, Mapping[str, float]], seeds: int, which: str) -> float:
    """The rate for a number of seeds, from those measured."""
    fewest, most = min(points), max(points)
    if seeds <= fewest:
        return points[fewest][which]
    if seeds >= most:
        return points[most][which] * most / seeds
    below, above = max(n for n in points if n <= seeds), min(n for n in points if n >= seeds)
    share = (seeds - below) / (above - below) if above > below else 0.0
    return 1 / ((1 - share) / points[below][which] + share / points[above][which])
