"""Seeds that were asked for before are not trained again in another group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.reading import Damaged
from benchmark.planning.run import Run
from benchmark.runs.reading import read_config
from benchmark.runs.record import differences
from benchmark.runs.run import RunSpec


def only_missing(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs, of seeds that no run of the same experiment has yet; and those that have some of them, which are
    finished or go on as they are.
    """
    places: dict[Path, list[RunSpec]] = {}
    for spec in specs:
        places.setdefault(spec.path.parent, []).append(spec)
    return [each for place, asked in places.items() for each in _of_place(place, asked)]


def _of_place(place: Path, asked: Sequence[RunSpec]) -> list[RunSpec]:
    """Those of one agent on one task."""
    own = {spec.path for spec in asked}
    there = [path for path in sorted(place.glob("seeds-*")) if path not in own]
    found: list[RunSpec] = []
    for path in there:
        if seeds := _seeds_of(path, asked[0]):
            wanted = {seed for spec in asked if not spec.path.exists() for seed in spec.seeds}
            if wanted & set(seeds):
                found.append(dataclasses.replace(asked[0], seeds=seeds))
    trained = {seed for spec in found for seed in spec.seeds}
    left = []
    for spec in asked:
        seeds = spec.seeds if spec.path.exists() else tuple(seed for seed in spec.seeds if seed not in trained)
        left += [dataclasses.replace(spec, seeds=seeds)] if seeds else []
    return found + left


def _seeds_of(path: Path, like: RunSpec) -> tuple[int, ...]:
    """The seeds of the run in a folder, where it is the same but for these; () otherwise."""
    aside = {"seeds": None, "extended": None}
    try:
        known, other_data = read_config(path / "config.json"), Run(like, path).other_data()
    except Damaged:
        return ()
    if known is None or differences(known | aside, Run(like).config | aside) or other_data:
        return ()
    return tuple(known["seeds"])
