"""What was read of a folder of runs, kept in a file of it, so that it need not be read again while it is the same."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from analysis.reading.records import MEASURES
from benchmark.common.errors import UserError
from benchmark.common.files import write_bytes

CACHE_NAME = ".analysis-cache.npz"
CACHE_SCHEMA = 6
SEALED = "submission.json"
"""In a folder that was handed on: its files are told by their digests, so no cache is written among them."""
RECORDS = ("config.json", "provenance.json", "status.json", "eval.csv")
Entry = tuple[str, dict[str, Any], np.ndarray]
"""Of a run: the signature of its records, its row of the runs frame, its measures."""


def signature(path: str) -> str:
    """Return a text that changes when a record of the run does."""
    parts = []
    for name in RECORDS:
        try:
            stat = os.stat(f"{path}/{name}")
            parts.append(f"{stat.st_mtime_ns}:{stat.st_size}")
        except OSError:
            parts.append("-")
    return " ".join(parts)


def read_cache(folder: Path) -> dict[str, Entry]:
    """Read the folder's cache: run path to (signature, row, measures). Empty where it is of no use."""
    try:
        with np.load(folder / CACHE_NAME, allow_pickle=False) as content:
            header = json.loads(content["rows"].tobytes())
            measures, counts = content["measures"], content["counts"]
        if header["schema"] != CACHE_SCHEMA or len(counts) != len(header["runs"]):
            return {}
        blocks = np.split(measures, np.cumsum(counts)[:-1])
        return {path: (made, row, block) for (path, made, row), block in zip(header["runs"], blocks, strict=True)}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}


def write_cache(folder: Path, entries: dict[str, Entry]) -> None:
    """Replace the folder's cache in one step, so that a reader sees the old one or the new one; none where that, or a
    folder that it is in, is `SEALED`.
    """
    place = folder.resolve()
    if any((above / SEALED).exists() for above in (place, *place.parents)):
        return
    header = {"schema": CACHE_SCHEMA, "runs": [(path, signature, row) for path, (signature, row, _) in entries.items()]}
    blocks = [block for _, _, block in entries.values()]
    content = io.BytesIO()
    np.savez(
        content,
        rows=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        measures=np.concatenate(blocks) if blocks else np.empty((0, len(MEASURES))),
        counts=np.array([len(block) for block in blocks], dtype=np.int64),
    )
    # A folder that cannot be written is read again next time; nothing else depends on the cache.
    with contextlib.suppress(UserError):
        write_bytes(folder / CACHE_NAME, content.getvalue())
