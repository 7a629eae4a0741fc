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
)
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_bytes, write_json
from benchmark.common.reading import read_bytes, read_json


def submit(folders: Iterable[Path], out: Path) -> tuple[list[str], list[str]]:
    """Copy the records of all finished runs under `folders` to `out`; what is there already stays, or is renewed.

    Returns the runs that were taken in, and a sentence for each run that was left out. Raises a UserError where there
    is none to send, or where `out` holds something else.
    """
    if out.exists() and any(out.iterdir()) and not (out / INDEX).exists():
        raise UserError(f"--out: '{out}' holds something else than a submission; choose a folder that is empty or new")
    entries = read_index(out) if (out / INDEX).exists() else {}
    taken, left = [], []
    for row in load_runs(*folders, cache=False).runs.itertuples():
        reason = _why_not(row)
        if reason:
            left.append(f"{row.run}: {reason}")
            continue
        place = f"{Path(row.run).parent.parent.name}/{Path(row.run).parent.name}/{Path(row.run).name}"
        for name, content in _records(Path(row.run)).items():
            if not is_allowed(f"{place}/{name}"):
                raise UserError(f"{row.run}: '{place}' cannot be the name of a run's folder")
            make_folder(out / place)
            write_bytes(out / place / name, content)
            entries[f"{place}/{name}"] = entry_of(content)
        taken.append(place)
    if not taken:
        raise UserError("there is no finished run to send" + (f": {left[0]}" if left else ""))
    write_bytes(out / CARD, card(load_runs(out, cache=False)))
    entries[CARD] = entry_of(read_bytes(out / CARD) or b"")
    _write_index(out, entries)
    return taken, left


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
    for start in provenance["starts"]:
        start.get("dataset", {}).pop("path", None)
        start.pop("host", None)
    records["provenance.json"] = json.dumps(provenance, indent=1).encode() + b"\n"
    return records


def _write_index(out: Path, entries: dict[str, Entry]) -> None:
    files = {name: {"bytes": entries[name].size, "sha256": entries[name].sha256} for name in sorted(entries)}
    write_json(out / INDEX, {"schema": SCHEMA, "files": files})
