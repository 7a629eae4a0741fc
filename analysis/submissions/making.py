"""Making a submission from runs: their records, copied without what belongs to the machine that made them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis.reading.loading import load_runs
from analysis.submissions.card import card
from analysis.submissions.layout import (
    CARD,
    INDEX,
    MOST_FILE_BYTES,
    RECORDS,
    SCHEMA,
    Entry,
    entry_of,
    is_allowed,
    read_index,
    without_places,
)
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_bytes, write_json
from benchmark.common.reading import read_bytes, read_json
from benchmark.runs.reading import read_config
from benchmark.runs.record import differences, updates_before


def submit(folders: Iterable[Path], out: Path) -> tuple[list[str], list[str]]:
    """Copy the records of all finished runs under `folders` to `out`; what is there already stays, or is renewed.

    Returns the runs that were taken in, and a sentence for each run that was left out. Raises a UserError where there
    is none to send, where `out` holds something else, or where another experiment has a run's place.
    """
    if out.exists() and any(out.iterdir()) and not (out / INDEX).exists():
        raise UserError(f"--out: '{out}' holds something else than a submission; choose a folder that is empty or new")
    entries = read_index(out) if (out / INDEX).exists() else {}
    taken: dict[str, Path] = {}
    left = []
    for row in load_runs(*folders, cache=False).runs.itertuples():
        reason = _why_not(row)
        if reason:
            left.append(f"{row.run}: {reason}")
            continue
        run = Path(row.run)
        place = "/".join(run.parts[-3:])
        if not is_allowed(f"{place}/config.json"):
            raise UserError(f"{row.run}: '{place}' cannot be the name of a run's folder")
        _refuse_another(run, taken.setdefault(place, run), out / place)
    for place, run in taken.items():
        records = _records(run)
        make_folder(out / place)
        for name in RECORDS:
            entries.pop(f"{place}/{name}", None)
            (out / place / name).unlink(missing_ok=True)
        for name, content in records.items():
            write_bytes(out / place / name, content)
            entries[f"{place}/{name}"] = entry_of(content)
    if not taken:
        raise UserError("there is no finished run to send" + (f": {left[0]}" if left else ""))
    write_bytes(out / CARD, card(load_runs(out, cache=False)))
    entries[CARD] = entry_of(read_bytes(out / CARD) or b"")
    _write_index(out, entries)
    return list(taken), left


def _refuse_another(run: Path, first: Path, there: Path) -> None:
    """Raise a UserError where a run's place in the submission is that of another: of a run that was given too, or of
    another experiment that is `there` already. The same with more updates takes its place.
    """
    if first != run:
        raise UserError(
            f"{run} and {first} would be one run of the submission; send one of them, or --label them apart"
        )
    known, own = read_config(there / "config.json"), read_config(run / "config.json") or {}
    aside = {"extended": None}
    if (
        known is not None
        and updates_before(known, own) is None
        and (differing := differences(known | aside, own | aside))
    ):
        raise UserError(
            f"{run} is another experiment than {there} ({'; '.join(differing[:3])}); choose another --out, or a --label"
        )


def _why_not(row: Any) -> str:
    """Why a run is not sent, '' where it is."""
    if row.state == "unreadable":
        return str(row.error)
    return "" if row.state == "done" else f"it is {row.state}, at step {row.step} of {row.steps}"


def _records(run: Path) -> dict[str, bytes]:
    """The files of a run that are sent."""
    records = {}
    for name in RECORDS:
        content = read_bytes(run / name)
        if content is None:
            continue
        if len(content) > MOST_FILE_BYTES:
            raise UserError(f"{run / name} has {len(content):,} bytes; at most {MOST_FILE_BYTES:,} are allowed")
        records[name] = content
    provenance = read_json(run / "provenance.json", {"starts": []})
    provenance["starts"] = [without_places(start) for start in provenance["starts"]]
    records["provenance.json"] = json.dumps(provenance, indent=1).encode() + b"\n"
    return records


def _write_index(out: Path, entries: dict[str, Entry]) -> None:
    files = {name: {"bytes": entries[name].size, "sha256": entries[name].sha256} for name in sorted(entries)}
    write_json(out / INDEX, {"schema": SCHEMA, "files": files})
