"""From run directories to tidy frames, and from those to what may be averaged.

Two steps, kept apart on purpose:

* `load_runs(*folders)` reads everything there is and judges nothing: incomplete, diverged, failed and
  unreadable runs are in its frames.
* `comparable(runs)` takes from them what may be averaged, and says in `notes` what it left out, filled in or
  kept apart. Tables, figures and the report print these notes.

`Runs.evaluations` has one row per (run, seed, evaluation step):

========== ===================================================================================
agent      e.g. "rql"
task       e.g. "cube-single-play-singletask-task1-v0"
domain     e.g. "cube-single-play"
suite      e.g. "quickstart"
seed       int
step       int, gradient updates so far
success    float in [0, 1], mean over the episodes
return     float, undiscounted, mean over the episodes
length     float, environment steps, mean over the episodes
episodes   int
source     "own" (imported figures of others say whose)
run        path of the run directory
state      of that seed: "complete", "running", "failed" or "diverged"
commit     of the code; "a+b" where a run was continued by another commit; "" if unknown
clean      bool, whether the checkout had no uncommitted change
mujoco     version, joined like `commit`
jax        version, joined like `commit`
device     e.g. "cpu: ...", joined like `commit`
========== ===================================================================================

`Runs.runs` has one row per run directory: run, folder, agent, task, domain, suite, seeds (tuple), state ("running",
"done", "failed", "unreadable"), step, steps, diverged ({seed: step}), error, updates_per_second, train_seconds,
eval_seconds, started, updated, commit, clean, code (digest of the code that made the numbers, "a+b" where other code
went on with them), files (digests of an agent's own files, {} of a built-in one), python, mujoco, jax, versions
(dict), device, host, command, dataset, fingerprint, source (of the dataset), transitions, environment (where a
benchmark has several, such as D4RL's original or its stand-in), reference_scores (D4RL's two, or None),
hyperparameters (dict), origin (theirs: "published", "derived" from published ones, "ours" or "default"; "" if not
recorded), protocol (dict), label (what the person called the run; "" without).
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.names import GENERATED, ORIGINS, agents_in_order, domain_of, setting_text
from analysis.progress import bar
from analysis.regimes import facts_by_agent, name_of
from benchmark.common.errors import UserError
from benchmark.common.reading import Damaged
from benchmark.runs.reading import read_records

if TYPE_CHECKING:
    import pandas as pd

CACHE_NAME = ".analysis-cache.npz"
CACHE_SCHEMA = 4
RECORDS = ("config.json", "provenance.json", "status.json", "eval.csv")
MEASURES = ("step", "seed", "episodes", "success", "return", "length")
EVALUATION_COLUMNS = (
    *("agent", "task", "domain", "suite", "seed", "step", "success", "return", "length", "episodes"),
    *("source", "run", "state", "commit", "clean", "mujoco", "jax", "device"),
)
RUN_COLUMNS = (
    *(
        "run",
        "folder",
        "agent",
        "task",
        "domain",
        "suite",
        "seeds",
        "state",
        "step",
        "steps",
        "diverged",
        "error",
    ),
    *(
        "updates_per_second",
        "train_seconds",
        "eval_seconds",
        "started",
        "updated",
        "commit",
        "clean",
        "code",
        "files",
        "python",
    ),
    *("mujoco", "jax", "versions", "device", "host", "command", "dataset", "fingerprint", "source"),
    *("transitions", "environment", "reference_scores", "hyperparameters", "origin", "protocol", "label"),
)


@dataclass(frozen=True)
class Runs:
    """Everything that was found under some folders; see the module's text for the columns."""

    evaluations: pd.DataFrame
    runs: pd.DataFrame

    def __len__(self) -> int:
        """Number of run directories."""
        return len(self.runs)


@dataclass(frozen=True)
class Selection:
    """What may be averaged, and what was done to get it."""

    evaluations: pd.DataFrame
    """Columns of `Runs.evaluations`, `imputed` (bool: filled in for a diverged seed), `origin` (as in `Runs.runs`),
    `regime` (of all of the agent's tasks: `analysis.regimes.name_of`)."""
    notes: list[str] = field(default_factory=list)
    """One sentence per thing left out, filled in or kept apart; to be printed beside every average."""


def load_runs(*folders: str | Path, cache: bool = True) -> Runs:
    """Read all runs under the folders.

    Args:
        folders: each is a run directory or holds run directories at any depth.
        cache: keep what was read in `<folder>/.analysis-cache.npz`, by path, size and time of change of each
            record. The file can be deleted at any time; a folder that cannot be written does without.

    Raises:
        UserError: a folder that does not exist.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    blocks: list[np.ndarray] = []
    seen: set[str] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"no folder '{folder}'; name a folder that holds runs, e.g. runs/quickstart")
        for row, block in _read_folder(folder, cache):
            identity = os.path.realpath(row["run"])
            if identity not in seen:
                seen.add(identity)
                rows.append(row)
                blocks.append(block)
    runs = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    return Runs(_evaluations(rows, blocks), runs)


def read_training(run: str | Path) -> pd.DataFrame:
    """Read a run's `train.csv`: step, seed and one column per metric, one row per (logging step, seed)."""
    import pandas as pd

    return pd.read_csv(Path(run) / "train.csv")


def _evaluations(rows: list[dict[str, Any]], blocks: list[np.ndarray]) -> pd.DataFrame:
    """Put the runs' measures (each of shape (n, 6), columns MEASURES) into the evaluations frame."""
    import pandas as pd

    counts = [len(block) for block in blocks]
    data = np.concatenate(blocks) if blocks else np.empty((0, len(MEASURES)))
    columns: dict[str, Any] = {name: data[:, i] for i, name in enumerate(MEASURES)}
    for name in ("step", "seed", "episodes"):
        columns[name] = columns[name].astype(np.int64)
    for name in ("agent", "task", "domain", "suite", "run", "commit", "mujoco", "jax", "device"):
        columns[name] = np.repeat(np.array([row[name] for row in rows], dtype=object), counts)
    columns["clean"] = np.repeat(np.array([row["clean"] for row in rows], dtype=bool), counts)
    columns["source"] = "own"
    states = [_seed_states(row, block) for row, block in zip(rows, blocks, strict=True)]
    columns["state"] = np.concatenate(states) if states else np.empty(0, dtype=object)
    return pd.DataFrame(columns)[list(EVALUATION_COLUMNS)]


def _seed_states(row: dict[str, Any], block: np.ndarray) -> np.ndarray:
    """Return the state of the seed in each row of the block."""
    whole = {"done": "complete", "running": "running"}.get(row["state"], "failed")
    states = np.full(len(block), whole, dtype=object)
    if row["diverged"]:
        states[np.isin(block[:, MEASURES.index("seed")], list(row["diverged"]))] = "diverged"
    return states


def _read_folder(folder: Path, cache: bool) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield (row, measures) of every run under the folder, from its cache where records did not change."""
    kept = _read_cache(folder) if cache else {}
    fresh: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {}
    for path in bar(sorted(_run_directories(str(folder))), "reading runs", fewest=500):
        relative = os.path.relpath(path, folder)
        signature = _signature(path)
        entry = kept.get(relative)
        fresh[relative] = entry if entry and entry[0] == signature else (signature, *_read_run(path))
    # What cannot be read is not kept: rights to read, for one, may change with no record changing.
    good = {path: entry for path, entry in fresh.items() if entry[1]["state"] != "unreadable"}
    if cache and (good.keys() != kept.keys() or any(good[path] is not kept[path] for path in good)):
        _write_cache(folder, good)
    for relative, (_, row, block) in fresh.items():
        placed = dict(row, run=os.path.normpath(folder / relative), folder=str(folder))
        placed["seeds"] = tuple(row["seeds"])
        placed["diverged"] = {int(seed): step for seed, step in row["diverged"].items()}
        yield placed, block


def _run_directories(folder: str) -> Iterator[str]:
    """Yield every directory at or below `folder` that holds records of a run; nothing below a config.json is seen."""
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as listing:
                entries = list(listing)
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if names & {"config.json", "provenance.json", "status.json"}:
            yield current
        if "config.json" not in names:
            folders = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
            pending += [entry.path for entry in folders if not entry.name.startswith(".")]


def _signature(path: str) -> str:
    """Return a text that changes when a record of the run does."""
    parts = []
    for name in RECORDS:
        try:
            stat = os.stat(f"{path}/{name}")
            parts.append(f"{stat.st_mtime_ns}:{stat.st_size}")
        except OSError:
            parts.append("-")
    return " ".join(parts)


def _read_run(path: str) -> tuple[dict[str, Any], np.ndarray]:
    """Read one run directory: a row of the runs frame (JSON values only) and its measures.

    A record that cannot be read makes the run "unreadable", with the reason in `error`.
    """
    row: dict[str, Any] = dict.fromkeys(RUN_COLUMNS)
    row.update(agent="", task="", domain="", suite="", seeds=[], diverged={}, error=None, versions={}, clean=False)
    row.update(origin="", label="")
    row.update(
        hyperparameters={}, protocol={}, commit="", mujoco="", jax="", python="", device="", host="", environment=""
    )
    row.update(code="", files={})
    block = np.empty((0, len(MEASURES)))
    try:
        records = read_records(Path(path))
        if records.config is None:
            why = str(records.status.get("error") or "").partition("\n")[0]
            raise Damaged(Path(path, "config.json"), f"missing; the run failed: {why}" if why else "missing")
        row.update(_config_fields(records.config))
        row.update(_provenance_fields(records.starts))
        row.update(_status_fields(records.status, row["protocol"]))
        measures = _read_measures(path)
        _check_measures(row, measures)
        block = measures
    except Damaged as error:
        row.update(state="unreadable", error=error.brief)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        row.update(state="unreadable", error=reason.replace("\n", " "))
    return row, block


def _config_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Return what the runs frame takes from config.json."""
    return {
        "agent": str(config["agent"]),
        "task": str(config["task"]),
        "domain": str(config.get("domain") or domain_of(config["task"])),
        "suite": str(config.get("suite") or ""),
        "seeds": [int(seed) for seed in config["seeds"]],
        "hyperparameters": dict(config.get("hyperparameters") or {}),
        "protocol": dict(config.get("protocol") or {}),
        "files": dict(config.get("code") or {}),
        "label": str(config.get("label") or ""),
    }


def _provenance_fields(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the runs frame takes from provenance.json; what changed between starts is joined by '+'."""
    if not starts:
        return {}

    def joined(values: list[Any]) -> str:
        return "+".join(dict.fromkeys(str(value) for value in values if value is not None))

    names = dict.fromkeys(name for start in starts for name in start.get("versions") or {})
    versions = {name: joined([(s.get("versions") or {}).get(name) for s in starts]) for name in names}
    dataset = starts[-1].get("dataset") or {}
    return {
        "started": starts[0].get("time"),
        "commit": joined([start.get("commit") for start in starts]),
        "clean": all(bool(start.get("clean")) for start in starts),
        "python": joined([start.get("python") for start in starts]),
        "versions": versions,
        "mujoco": versions.get("mujoco", ""),
        "jax": versions.get("jax", ""),
        "device": joined([start.get("device") for start in starts]),
        "host": joined([start.get("host") for start in starts]),
        "command": starts[-1].get("command"),
        "dataset": dataset.get("name"),
        "fingerprint": joined([(start.get("dataset") or {}).get("fingerprint") for start in starts]),
        "source": dataset.get("source"),
        "transitions": dataset.get("transitions"),
        "environment": joined([(start.get("dataset") or {}).get("environment") for start in starts]),
        "reference_scores": dataset.get("reference_scores"),
        "origin": _origin(starts[-1].get("hyperparameters") or {}),
    }


def _origin(origins: dict[str, str]) -> str:
    """Whose a run's hyperparameters are, from where each comes (`planning.plan.choose`): by the least published."""
    kinds = {str(text).partition(":")[0] for text in origins.values()}
    if kinds & {"ours", "suite", "set"}:
        return "ours"
    return next((kind for kind in ("derived", "published", "default") if kind in kinds), "")


def _status_fields(status: dict[str, Any], protocol: dict[str, Any]) -> dict[str, Any]:
    """Return what the runs frame takes from status.json; a run without one has not begun and is "running"."""
    fields = {name: status.get(name) for name in ("error", "updates_per_second", "train_seconds", "eval_seconds")}
    return fields | {
        "state": str(status.get("state") or "running"),
        "step": int(status.get("step") or 0),
        "steps": int(status.get("steps") or protocol.get("steps") or 0),
        "diverged": {str(int(seed)): int(step) for seed, step in (status.get("diverged") or {}).items()},
        "updated": status.get("updated"),
        "code": "+".join(str(digest)[:12] for digest in status.get("code") or []),
    }


def _read_measures(path: str) -> np.ndarray:
    """Read eval.csv into an array of shape (rows, 6), columns MEASURES; no file, no rows."""
    try:
        with open(f"{path}/eval.csv", encoding="utf-8") as file:
            header, *lines = file.read().splitlines() or [""]
    except FileNotFoundError:
        return np.empty((0, len(MEASURES)))
    if not header:
        return np.empty((0, len(MEASURES)))
    names = header.split(",")
    missing = [name for name in MEASURES if name not in names]
    if missing:
        raise ValueError(f"eval.csv: no column {', '.join(missing)}")
    places = [names.index(name) for name in MEASURES]
    block = np.empty((len(lines), len(MEASURES)))
    for i, line in enumerate(lines):
        cells = line.split(",")
        if len(cells) != len(names):
            raise ValueError(f"eval.csv: line {i + 2} has {len(cells)} of {len(names)} columns")
        block[i] = [float(cells[place] or "nan") for place in places]
    success = block[:, MEASURES.index("success")]
    if np.any((success < 0) | (success > 1)):
        raise ValueError("eval.csv: a success outside [0, 1]")
    return block


def _check_measures(row: dict[str, Any], block: np.ndarray) -> None:
    """Raise a ValueError where eval.csv has rows of other seeds than the run's, or a finished run lacks evaluations."""
    places = block[:, [MEASURES.index("seed"), MEASURES.index("step")]]
    if not np.isfinite(places).all():
        raise ValueError("eval.csv: a row without a seed or step")
    found = [(int(seed), int(step)) for seed, step in places]
    other = sorted({seed for seed, _ in found} - set(row["seeds"]))
    if other:
        raise ValueError(f"eval.csv: rows of seed {', '.join(map(str, other))}, which config.json does not name")
    if row["state"] != "done":
        return
    planned = _planned_steps(row["protocol"], row["steps"], row["steps"], done=True)
    due = {(seed, step) for seed in row["seeds"] for step in planned}
    missing = sorted(
        (step, seed) for seed, step in due - set(found) if step < row["diverged"].get(str(seed), row["steps"] + 1)
    )
    if missing:
        step, seed = missing[0]
        raise ValueError(
            f"eval.csv: {len(missing)} of {len(due)} evaluations are missing, the first of seed {seed} at step {step}"
        )


def _planned_steps(protocol: dict[str, Any], step: int, steps: int, done: bool) -> set[int]:
    """The steps up to `step` at which a protocol has a run of so many steps evaluated, its last too if it is done."""
    every = int(protocol.get("eval_every") or steps or 0)
    return set(range(every, step + 1, every) if every else ()) | ({steps} if done and steps else set())


def _read_cache(folder: Path) -> dict[str, tuple[str, dict[str, Any], np.ndarray]]:
    """Read the folder's cache: run path to (signature, row, measures). Empty where it is of no use."""
    try:
        with np.load(folder / CACHE_NAME, allow_pickle=False) as content:
            header = json.loads(content["rows"].tobytes())
            measures, counts = content["measures"], content["counts"]
        if header["schema"] != CACHE_SCHEMA or len(counts) != len(header["runs"]):
            return {}
        blocks = np.split(measures, np.cumsum(counts)[:-1])
        return {
            path: (signature, row, block) for (path, signature, row), block in zip(header["runs"], blocks, strict=True)
        }
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}


def _write_cache(folder: Path, entries: dict[str, tuple[str, dict[str, Any], np.ndarray]]) -> None:
    """Replace the folder's cache in one step, so that a reader sees the old one or the new one."""
    header = {"schema": CACHE_SCHEMA, "runs": [(path, e[0], e[1]) for path, e in entries.items()]}
    blocks = [entry[2] for entry in entries.values()]
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=CACHE_NAME, delete=False) as file:
            temporary = file.name
            np.savez(
                file,
                rows=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                measures=np.concatenate(blocks) if blocks else np.empty((0, len(MEASURES))),
                counts=np.array([len(block) for block in blocks], dtype=np.int64),
            )
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / CACHE_NAME)
    except OSError:
        # A folder that cannot be written is read again next time; nothing else depends on the cache.
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def comparable(
    runs: Runs,
    incomplete: Literal["exclude", "include"] = "exclude",
    diverged: Literal["zero", "exclude"] = "zero",
    mixed: Literal["separate", "pool"] = "separate",
) -> Selection:
    """Take from the runs what may be averaged.

    Args:
        incomplete: a run that is not "done" has no final score; it is left out unless "include".
        diverged: a seed whose loss became NaN or infinite. "zero" counts it as success 0 at the evaluations
            after that: leaving it out would report a method on the seeds it happened to survive. "exclude"
            leaves the whole seed out.
        mixed: runs of one agent on one task that are not the same experiment (other hyperparameters, protocol,
            dataset or MuJoCo). "separate" gives each its own agent name, "rql (quickstart)" where the suites
            tell them apart, else by what differs, "rql (alpha=3)"; "pool" averages them. Runs that differ in commit
            or in other packages only are averaged, with a note. A run with a label is "rql (its label)" in any case.

    Returns:
        The selection; its notes say everything that was done. A task learned from data that were generated here has
        a name of its own, "<task> (generated data)": its figures do not compare with those from the published files.
    """
    notes: list[str] = []
    table = runs.runs
    generated = table["source"] == "generated"
    table = table.assign(
        task=[f"{task}{GENERATED * made}" for task, made in zip(table["task"], generated, strict=True)]
    )
    unreadable = table["state"] == "unreadable"
    if unreadable.any():
        told = _listed(f"{row.run}: {row.error}" for row in table[unreadable].itertuples())
        notes.append(f"Left out, records not readable: {told}.")
    unfinished = ~table["state"].isin(["done", "unreadable"])
    if unfinished.any():
        what = "Included though" if incomplete == "include" else "Left out because"
        notes.append(f"{what} not finished: {_listed(table['run'][unfinished])}.")
    usable = table[~unreadable & (~unfinished if incomplete == "exclude" else True)]
    data = runs.evaluations[runs.evaluations["run"].isin(usable["run"])]
    tasks = dict(zip(table["run"], table["task"], strict=True))
    data = data.assign(task=data["run"].map(tasks).astype(object), imputed=False)
    usable, data = _without_duplicates(usable, data, notes)
    data = _diverged(usable, data, diverged, notes)
    data = data.assign(origin=data["run"].map(dict(zip(runs.runs["run"], runs.runs["origin"], strict=True))))
    data = _experiments(usable, data, mixed, notes)
    names = {agent: name_of(facts) for agent, facts in facts_by_agent(runs.runs, data).items()}
    data = data.assign(regime=data["agent"].map(names).astype(object))
    notes += [*_origins(data), *_versions(usable)]
    return Selection(data.reset_index(drop=True), notes)


def _listed(names: Iterable[Any], most: int = 3) -> str:
    """Write how many there are and the first few."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"


def _experiment(row: Any) -> str:
    """What makes two runs of one agent on one task the same experiment, as text."""
    kind = [row.hyperparameters, row.protocol, row.fingerprint, row.mujoco, row.environment, row.label, row.files]
    return json.dumps(kind, sort_keys=True)


def _settings(row: Any) -> dict[str, Any]:
    """Everything in which experiments of one agent on one task may differ, by name."""
    world = {"dataset": row.fingerprint, "MuJoCo": row.mujoco, "environment": row.environment}
    files = {f"the file {name}": digest for name, digest in row.files.items()}
    return {**row.hyperparameters, **row.protocol, **files, **world}


def _without_duplicates(
    usable: pd.DataFrame, data: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep one of several copies of a seed of the same experiment: the one whose run was updated last."""
    owner: dict[tuple[Any, ...], str] = {}
    losers: list[tuple[str, int]] = []
    ordered = usable.assign(order=usable["updated"].fillna("").astype(str)).sort_values("order", kind="stable")
    for row in ordered.itertuples():
        experiment = _experiment(row)
        for seed in row.seeds:
            key = (row.agent, row.task, seed, experiment)
            if key in owner:
                losers.append((owner[key], seed))
            owner[key] = row.run
    if not losers:
        return usable, data
    notes.append(
        "Counted once, the latest, though run more than once: "
        f"{_listed(f'seed {seed} of {run}' for run, seed in losers)}."
    )
    gone = set(losers)
    keep = [pair not in gone for pair in zip(data["run"], data["seed"], strict=True)]
    data = data[keep]
    left = usable.assign(seeds=[tuple(s for s in row.seeds if (row.run, s) not in gone) for row in usable.itertuples()])
    return left[left["seeds"].map(len) > 0], data


def _diverged(usable: pd.DataFrame, data: pd.DataFrame, policy: str, notes: list[str]) -> pd.DataFrame:
    """Fill in or leave out the seeds that diverged."""
    import pandas as pd

    named, filled, gone = [], [], set()
    for row in usable[usable["diverged"].map(bool)].itertuples():
        own = data[data["run"] == row.run]
        for seed in (seed for seed in row.diverged if seed in row.seeds):
            named.append(f"{row.agent} on {row.task} seed {seed} at step {row.diverged[seed]:,}")
            gone.add((row.run, seed))
            have = own[own["seed"] == seed]
            steps = [s for s in _evaluation_steps(row, own) if s not in set(have["step"])]
            shared = {name: getattr(row, name) for name in ("agent", "task", "domain", "suite", "run")}
            shared |= {name: getattr(row, name) for name in ("commit", "clean", "mujoco", "jax", "device")}
            shared |= {"seed": seed, "success": 0.0, "return": np.nan, "length": np.nan, "episodes": 0}
            filled.append(
                pd.DataFrame({"step": steps} | shared | {"source": "own", "state": "diverged", "imputed": True})
            )
    if not named:
        return data
    how = "counted as success 0 from there on" if policy == "zero" else "left out"
    notes.append(f"Diverged seeds, {how}: {_listed(named)}.")
    if policy == "exclude":
        return data[[pair not in gone for pair in zip(data["run"], data["seed"], strict=True)]]
    filled = [part for part in filled if len(part)]
    return pd.concat([data, *(part[data.columns] for part in filled)], ignore_index=True)


def _evaluation_steps(row: Any, own: pd.DataFrame) -> list[int]:
    """The steps at which the run's seeds were evaluated: by its protocol as far as it got, and any seed's."""
    planned = _planned_steps(row.protocol, int(row.step), int(row.steps), row.state == "done")
    return sorted(planned | set(own["step"].tolist()))


def _experiments(usable: pd.DataFrame, data: pd.DataFrame, policy: str, notes: list[str]) -> pd.DataFrame:
    """Give each of several experiments of an agent on a task its own name, or say that they are pooled."""
    variants: dict[tuple[str, str], dict[str, dict[str, list[Any]]]] = {}
    for row in usable.itertuples():
        kinds = variants.setdefault((row.agent, row.label), {}).setdefault(row.task, {})
        kinds.setdefault(_experiment(row), []).append(row)
    names: dict[str, str] = {}
    for (agent, label), tasks in variants.items():
        named = f"{agent} ({label})" if label else agent
        names |= {row.run: named for kinds in tasks.values() for rows in kinds.values() for row in rows}
        mixed = {task: list(kinds.values()) for task, kinds in tasks.items() if len(kinds) > 1}
        if not mixed:
            continue
        differing = list(dict.fromkeys(name for kinds in mixed.values() for name in _differing(kinds)))
        what, where = ", ".join(differing), _listed(mixed)
        if policy == "pool":
            notes.append(f"{named}: different experiments (they differ in {what}) are averaged, tasks: {where}.")
            continue
        by_suite = all(
            len({row.suite for row in rows}) == 1 for kinds in tasks.values() for rows in kinds.values()
        ) and all(len({rows[0].suite for rows in kinds}) == len(kinds) for kinds in mixed.values())
        shown = _telling(differing, mixed.values())
        told = {_told_apart(rows[0], shown) for kinds in mixed.values() for rows in kinds}
        for task, kinds in tasks.items():
            for row in (row for rows in kinds.values() for row in rows):
                by = (row.suite or "single run") if by_suite else _told_apart(row, shown)
                # Where a task has one experiment only, it has that name of another task's that it shares.
                if by_suite or task in mixed or by in told:
                    names[row.run] = f"{agent} ({f'{label} {by}'.strip()})"
        notes.append(f"{named}: different experiments (they differ in {what}) are kept apart, tasks: {where}.")
    return data.assign(agent=data["run"].map(names).astype(object))


def _differing(kinds: list[list[Any]]) -> list[str]:
    """Names of the settings in which experiments differ."""
    flat = [_settings(rows[0]) for rows in kinds]
    every = dict.fromkeys(name for settings in flat for name in settings)
    return [name for name in every if any(s.get(name) != flat[0].get(name) for s in flat)]


def _origins(data: pd.DataFrame) -> list[str]:
    """Say which agents' hyperparameters are not published, with the signs that they have in tables."""
    what = {
        "ours": "are ours, not published",
        "derived": "are derived from published ones, not tuned for this",
        "default": "are the defaults, not tuned",
    }
    found = {kind: ", ".join(agents_in_order(data["agent"][data["origin"] == kind])) for kind in what}
    return [f"{ORIGINS[kind]} Hyperparameters {what[kind]}: {names}." for kind, names in found.items() if names]


def _telling(differing: list[str], mixed: Iterable[list[list[Any]]]) -> list[str]:
    """Which of the names in which experiments differ stand in their names: two at most, or as few as tell them apart.

    Hyperparameters come first in the list and go last: a protocol's intervals follow its length.
    """
    groups = [[rows[0] for rows in kinds] for kinds in mixed]
    shown = list(differing)
    for name in reversed(differing):
        fewer = [one for one in shown if one != name]
        if len(shown) > 2 and all(len({_told_apart(row, fewer) for row in rows}) == len(rows) for rows in groups):
            shown = fewer
    return shown


def _told_apart(row: Any, names: Iterable[str]) -> str:
    """Some settings of a run as text, "alpha=3 hidden=64x64": without commas, which separate agents in options."""
    settings = _settings(row)
    return " ".join(setting_text(name, settings.get(name)) for name in names)


def _versions(usable: pd.DataFrame) -> list[str]:
    """Say which commits and versions are mixed, and which runs cannot be traced."""
    notes = []
    for name, title in (("commit", "commits"), ("mujoco", "versions of MuJoCo"), ("jax", "versions of jax")):
        counts = usable[name][usable[name].astype(bool)].value_counts()
        if len(counts) > 1:
            kinds = _listed(f"{str(value)[:25]}: {count} runs" for value, count in counts.items())
            notes.append(f"Runs of different {title} stand side by side: {kinds}.")
    several = usable["run"][usable["code"].str.contains("+", regex=False)]
    if len(several):
        notes.append(
            f"Begun by one code and continued by another, so that their numbers are of both: {_listed(several)}."
        )
    known = usable[usable["code"].astype(bool)]
    for agent, counts in known.groupby("agent")["code"].value_counts().groupby(level=0):
        if len(counts) > 1:
            kinds = _listed(f"{code}: {count} runs" for (_, code), count in counts.items())
            notes.append(f"Runs of {agent} by different code stand side by side: {kinds}.")
    generated = int((usable["source"] == "generated").sum())
    if generated:
        notes.append(f"{generated} of {len(usable)} runs trained on data generated here, not on the published files.")
    for environment, some in usable[usable["environment"].astype(bool)].groupby("environment"):
        notes.append(f"Environment of {some['task'].nunique()} tasks ({len(some)} runs): {environment}.")
    untraced = int((~usable["commit"].astype(bool)).sum())
    if untraced:
        notes.append(f"{untraced} of {len(usable)} runs have no commit recorded.")
    changed = int((usable["commit"].astype(bool) & ~usable["clean"].astype(bool)).sum())
    if changed:
        notes.append(f"{changed} of {len(usable)} runs were made with uncommitted changes.")
    return notes
