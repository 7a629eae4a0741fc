"""Sets of seeds as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from benchmark.common.errors import UserError


def format_seeds(seeds: Iterable[int]) -> str:
    """The inverse of `benchmark.runs.seeds.parse_seeds`: (0, 1, 2, 3, 7) becomes "0-3,7"."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


MOST_SEEDS = 10_000
"""Seeds of a plan."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse "0-3,7" into (0, 1, 2, 3, 7), in rising order however they are given: they name one run."""
    try:
        bounds = [(int(first), int(last if dash else first)) for first, dash, last in _parts(text)]
    except ValueError:
        raise UserError(f"seeds '{text}' do not parse; write e.g. 0-3 or 0,2,5-7") from None
    if not all(0 <= first <= last < 2**32 for first, last in bounds):
        raise UserError(f"seeds '{text}' must be numbers from 0 to {2**32 - 1}, ranges rising")
    count = sum(last - first + 1 for first, last in bounds)
    if count > MOST_SEEDS:
        raise UserError(f"seeds '{text}' are {count:,} seeds; at most {MOST_SEEDS:,} are allowed")
    seeds = tuple(itertools.chain.from_iterable(range(first, last + 1) for first, last in bounds))
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds '{text}' name a seed twice; they must be different")
    return tuple(sorted(seeds))


def _parts(text: str) -> list[tuple[str, str, str]]:
    return [part.partition("-") for part in text.split(",")]
