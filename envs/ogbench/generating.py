"""Makes datasets with OGBench's scripted policies and its walking experts, in parallel, in OGBench's file format.

The recipes (`envs.ogbench.episodes`) are those with which OGBench's published files were made, so a generated file is
drawn from the same distribution. Unlike there, every episode is a function of (seed, shard, split, episode index)
alone: the number of processes does not matter. The numbers depend on MuJoCo's version, which the record names, and
those of mazes in which a body walks on its expert (`envs.experts`), whose digest and card are in the record too.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.common.errors import UserError
from benchmark.common.machine import usable_cores
from benchmark.common.terminal import console_for, progress_bar
from envs.files.local import is_verified, make_folder, read_json, read_record, record_path, write_json
from envs.ogbench.episodes import TRAIN, VALIDATION, Collector, Episode, find_recipe, open_expert

MOST_SHARDS = 1_000  # their names have three digits
SHARDS_NOTE = "shards.json"  # in a folder of generated shards: how many there are to be
OTHERWISE = "move it away, choose another --out, or pass --overwrite"
"""What to do about a file in the way, as `envs.generate` has it."""


# Worker processes


def start_worker() -> None:
    """What a process of the pool does first: it ends with its parent, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow_parent() -> None:
        parent.join()
        os._exit(1)  # A killed parent would otherwise leave its workers waiting for ever.

    threading.Thread(target=follow_parent, daemon=True).start()


@lru_cache(maxsize=1)
def _collector(dataset: str, episode_length: int, expert: Path | None) -> Collector:
    return Collector(dataset, episode_length, expert)


def run_episode(
    dataset: str, episode_length: int, expert: Path | None, seed: int, shard: int, split: int, index: int
) -> Episode:
    """One episode, in a process of the pool."""
    return _collector(dataset, episode_length, expert).episode(seed, shard, split, index)


def collect(
    dataset: str,
    episode_length: int,
    seed: int,
    shard: int,
    counts: tuple[int, int],
    workers: int,
    advance: Callable[[], None],
    expert: Path | None = None,
) -> tuple[Episode, Episode]:
    """Return the training and the validation arrays: `counts` episodes of each, end to end."""
    splits: tuple[Episode, Episode] = ({}, {})
    # Spawned, never forked: the caller may have JAX's threads running.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker)
    try:
        futures = {
            pool.submit(run_episode, dataset, episode_length, expert, seed, shard, split, index): (split, index)
            for split, count in enumerate(counts)
            for index in range(count)
        }
        for future in as_completed(futures):
            split, index = futures.pop(future)
            for key, value in future.result().items():
                rows = len(value)
                if key not in splits[split]:
                    splits[split][key] = np.empty((counts[split] * rows, *value.shape[1:]), value.dtype)
                splits[split][key][index * rows : (index + 1) * rows] = value
            advance()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a process that was generating {dataset} died (out of memory? there were {workers}; try fewer "
            f"--workers); nothing was written"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return splits


# Files


def validation_path(path: Path) -> Path:
    """Return where the validation file of a training file lies, by OGBench's rule."""
    return path.with_name(f"{path.stem}-val.npz")


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("ogbench", "mujoco", "gymnasium", "numpy")}


def _write(path: Path, splits: tuple[Episode, Episode], record: dict[str, Any]) -> None:
    """Write both files and their records under passing names, then rename them, the training file last.

    Uncompressed: the numbers hardly compress (to 86%), and reading is six times as fast.
    """
    with contextlib.ExitStack() as undo:
        finished = []

        @contextlib.contextmanager
        def draft(target: Path) -> Iterator[io.BufferedRandom]:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=path.parent)
            undo.callback(Path(name).unlink, missing_ok=True)
            os.fchmod(handle, 0o644)
            finished.append((name, target))
            with os.fdopen(handle, "w+b") as file:
                yield file
                file.flush()
                os.fsync(handle)

        for target, arrays in ((validation_path(path), splits[VALIDATION]), (path, splits[TRAIN])):
            goals = _goals(arrays.pop("reached", None), record)
            with draft(target) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.seek(0)
                facts = {
                    "size": os.fstat(file.fileno()).st_size,
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                    "rows": len(arrays["terminals"]),
                    "observation_dim": arrays["observations"].shape[1],
                    "action_dim": arrays["actions"].shape[1],
                }
            with draft(record_path(target)) as file:
                file.write(json.dumps({**record, **facts, **goals}, indent=1).encode() + b"\n")
        finished.sort(key=lambda pair: pair[1] == path)
        for name, target in finished:
            os.replace(name, target)


def _goals(reached: np.ndarray | None, record: dict[str, Any]) -> dict[str, int]:
    """How many episodes reach a goal, and where a new one is drawn then how many goals; {} where none is walked to."""
    style = record["recipe"]["style"]
    if reached is None or style == "explore":
        return {}
    facts = {"episodes_reaching_a_goal": int(reached.reshape(-1, record["episode_length"]).any(axis=1).sum())}
    return {**facts, "goals_reached": int(reached.sum())} if style == "navigate" else facts


def _already_made(path: Path, asked: dict[str, Any], otherwise: str = OTHERWISE) -> bool:
    """Whether `path` holds just what was asked; a UserError if it holds anything else, with what to do `otherwise`."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    record = read_record(path) if is_verified(path) else None
    if record is None or record.get("source") != "generated":
        raise UserError(f"{path} exists and is not a whole file that was generated here; {otherwise}")
    different = [key for key, value in asked.items() if record.get(key) != value]
    if different:
        listed = ", ".join(f"{key} {record.get(key)} (asked: {asked[key]})" for key in different)
        raise UserError(f"{path} exists with {listed}; {otherwise}")
    return is_verified(validation_path(path))


def _check_least(what: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UserError(f"{what} must be a whole number of at least {least}, got {value!r}")


def _request(
    name: str, transitions: int | None, seed: int, episode_length: int | None, shard: int, expert: Path | None
) -> dict[str, Any]:
    """What a file's record says was asked for; arguments and errors as in `generate`."""
    recipe = find_recipe(name)
    length = recipe.episode_length if episode_length is None else episode_length
    _check_least("episode length", length, 2)
    transitions = recipe.episodes * (length - 1) if transitions is None else transitions
    _check_least("transitions", transitions, 1)
    _check_least("seed", seed, 0)
    asked = {"dataset": f"{name}-v0", "transitions_asked": transitions, "seed": seed, "shard": shard}
    asked |= {"episode_length": length, "versions": _versions()}
    if walker := open_expert(name, expert):
        asked["expert"] = walker[1]["sha256"]
    return asked


def _processes(workers: int | None) -> int:
    """How many processes are to work, one for each core where that is not said."""
    workers = len(usable_cores()) if workers is None else workers
    _check_least("workers", workers, 1)
    return workers


def generate(
    dataset: str,
    transitions: int | None,
    seed: int,
    path: Path,
    workers: int | None = None,
    progress: bool = True,
    episode_length: int | None = None,
    shard: int = 0,
    overwrite: bool = False,
    expert: Path | None = None,
    otherwise: str = OTHERWISE,
) -> Path:
    """Generate a dataset into `path` and its '-val.npz', with a '.json' beside each; return `path`.

    A file that was made with the same arguments and versions is kept as it is. The processes are spawned, so
    the caller's main module must be importable without side effects (`if __name__ == "__main__"`).

    Args:
        dataset: a key of `RECIPES`, with or without '-v0'.
        transitions: training transitions; whole episodes are made, so there may be up to one episode more.
            None is the size of the published file.
        seed: at least 0; with `shard` it fixes every number.
        path: the training file, ending in '.npz'.
        workers: processes; None is one for each core that this process may use.
        progress: whether to show progress on stderr.
        episode_length: rows per episode; None is the published recipe's.
        shard: number of the file in a sharded dataset; shard 0 equals the unsharded file.
        overwrite: replace a file that was made otherwise instead of refusing.
        expert: folder of the expert that walks; None for the repository's own.
        otherwise: what the error for another file at `path` says that can be done.

    Raises:
        UserError: a bad argument, no write permission, no expert, or another file at `path`.
        RuntimeError: a worker process died.
    """
    recipe = find_recipe(dataset)
    name = dataset.removesuffix("-v0")
    asked = _request(name, transitions, seed, episode_length, shard, expert)
    length = asked["episode_length"]
    workers = _processes(workers)
    path = Path(path)
    if path.suffix != ".npz" or path.name.endswith("-val.npz"):
        raise UserError(f"the output file must end in .npz (and not in -val.npz), got '{path}'")
    if not overwrite and _already_made(path, asked, otherwise):
        return path
    make_folder(path.parent)

    walker = open_expert(name, expert)
    train_episodes = -(-asked["transitions_asked"] // (length - 1))
    counts = (train_episodes, max(1, train_episodes // 10))
    start = time.monotonic()
    with _progress_bar(f"{path.name}", sum(counts), progress) as advance:
        splits = collect(name, length, seed, shard, counts, min(workers, sum(counts)), advance, expert)
    seconds = time.monotonic() - start
    record = {
        **asked,
        "source": "generated",
        "recipe": vars(recipe),
        **({"expert_card": walker[1]} if walker else {}),
        "episodes": {"train": counts[0], "validation": counts[1]},
        "transitions": counts[0] * (length - 1),
        "python": sys.version.split()[0],
        "workers": workers,
        "seconds": round(seconds, 1),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    _write(path, splits, record)
    if progress:
        rate = sum(counts) * (length - 1) / seconds
        print(f"{path}: {record['transitions']} transitions in {seconds:.0f} s ({rate:.0f}/s)", file=sys.stderr)
    return path


@contextlib.contextmanager
def _progress_bar(what: str, episodes: int, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar with an estimate on a terminal, one line elsewhere; yield what advances it by an episode."""
    if not (show and sys.stderr.isatty()):
        if show:
            print(f"generating {what}: {episodes} episodes", file=sys.stderr)
        yield lambda: None
        return
    with progress_bar(console_for(stderr=True), "{task.completed}/{task.total} episodes") as bar:
        task = bar.add_task(f"generating {what}", total=episodes)
        yield lambda: bar.advance(task)


def generate_shards(
    dataset: str,
    shards: int,
    transitions_per_shard: int | None,
    seed: int,
    folder: Path,
    workers: int | None = None,
    progress: bool = True,
    episode_length: int | None = None,
    overwrite: bool = False,
    expert: Path | None = None,
) -> Path:
    """Generate a dataset of several files, the form of the 100M datasets; return its folder.

    `<folder>/<dataset>-100m-v0/` holds `<dataset>-v0-000.npz`, `<dataset>-v0-000-val.npz`, and so on. A shard
    that is there already is kept, so an interrupted generation goes on where it was. Arguments and errors as in
    `generate`; transitions_per_shard None is the published 1000 episodes. A folder that holds anything else, such as
    published shards, is left as it is.
    """
    recipe = find_recipe(dataset)
    _check_least("shards", shards, 1)
    if shards > MOST_SHARDS:
        raise UserError(f"there can be at most {MOST_SHARDS:,} shards, got {shards:,}")
    name = dataset.removesuffix("-v0")
    length = recipe.episode_length if episode_length is None else episode_length
    transitions = 1000 * (length - 1) if transitions_per_shard is None else transitions_per_shard
    asked = _request(name, transitions, seed, length, 0, expert)
    workers = _processes(workers)
    target = Path(folder) / f"{name}-100m-v0"
    paths = [target / f"{name}-v0-{shard:03d}.npz" for shard in range(shards)]
    _check_others(target, paths)
    for shard, path in enumerate(paths):
        if not overwrite:
            _already_made(path, asked | {"shard": shard})
    make_folder(target)
    # Before the first of them, so that a folder with fewer is known to be incomplete.
    write_json(target / SHARDS_NOTE, {"source": "generated", "shards": shards})
    for shard, path in enumerate(paths):
        generate(dataset, transitions, seed, path, workers, progress, length, shard, overwrite, expert)
    return target


def _check_others(folder: Path, paths: list[Path]) -> None:
    """Raise a UserError where a folder holds shards beside those of `paths`: training would pass over them."""
    if others := [path for path in shards_in(folder) if path not in paths]:
        raise UserError(
            f"{folder} holds {len(others)} shards beside the {len(paths)} that are asked for, such as "
            f"{others[0].name}; move it away, or choose another --out"
        )


def shards_in(folder: Path) -> list[Path]:
    """The shards that a folder holds, sorted, without held-out files."""
    return sorted(folder.glob(f"{folder.name.removesuffix('-100m-v0')}-v0-[0-9][0-9][0-9].npz"))


def is_generated(path: Path) -> bool:
    """Whether the record of a file that is there says that it was generated."""
    return (read_record(path) or {}).get("source") == "generated"


def is_made(path: Path, dataset: str, transitions: int, seed: int) -> bool:
    """Whether a file and its held-out one are there, whole, as `generate` would make them of these arguments now."""
    if not (is_verified(path) and is_verified(validation_path(path)) and is_generated(path)):
        return False
    record = read_record(path) or {}
    return all(record.get(key) == value for key, value in _request(dataset, transitions, seed, None, 0, None).items())


def shards_made(folder: Path) -> int | None:
    """Return how many files were to be generated into a folder of shards; None where none were."""
    count = (read_json(folder / SHARDS_NOTE) or {}).get("shards")
    return count if type(count) is int and 1 <= count <= MOST_SHARDS else None
