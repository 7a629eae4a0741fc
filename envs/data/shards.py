"""The 100M-transition datasets: a folder of files that training rotates through, at most two of them in memory.

The published rule: the batch of step i, counted from 1, comes from file (i // 1000) mod n, names sorted. It depends on
the update alone, so a run that goes on from a checkpoint goes on with the file that it would have had. While one file
trains, a thread reads, relabels and sends to the device the next.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax

from benchmark.common.errors import UserError
from envs.data.arrays import UNREADABLE, head_in
from envs.data.dataset import GOAL_ARRAYS, Dataset
from envs.files.local import REQUIRED, files_of, is_verified, read_record
from envs.ogbench.generating import SHARDS_NOTE, shards_in, shards_made

UPDATES_PER_SHARD = 1000


class Rotation:
    """The dataset of every update, from one file or many."""

    def __init__(
        self, files: Sequence[Path], load: Callable[[Path], Dataset], updates_per_shard: int = UPDATES_PER_SHARD
    ):
        """`load` turns a file into a dataset on the device; the first is loaded at once. One file is never changed."""
        self.files, self.load, self.period = list(files), load, updates_per_shard
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="next-shard")
        self.next: tuple[int, Future[Dataset]] | None = None
        self.index: int | None = None
        self.data: Dataset | None = None
        self.shapes: object = None
        self.data_for(0)

    def index_for(self, update: int) -> int:
        """Number of the file of update `update`, counted from 0; it is step `update + 1` of the published rule."""
        return (update + 1) // self.period % len(self.files)

    def next_change(self, update: int) -> int | None:
        """The first update after `update` on another file, None where there is but one."""
        return None if len(self.files) == 1 else ((update + 1) // self.period + 1) * self.period - 1

    def data_for(self, update: int) -> Dataset:
        """The dataset of update `update`; waits for it where it is still loading. Whoever asks for the next must have
        done with the one before: its memory is what the one after next is loaded into.
        """
        index = self.index_for(update)
        if index != self.index:
            self.data = None  # before another is loaded, so that there are never three
            self.data = self._take(index)
            self.index = index
            following = (index + 1) % len(self.files)
            if following != index:
                self.next = following, self.loader.submit(self.load, self.files[following])
        assert self.data is not None
        return self.data

    def _take(self, index: int) -> Dataset:
        """The file's dataset: the one that the thread has prepared, or (after a resume) another."""
        waiting, self.next = self.next, None
        if waiting and waiting[0] == index:
            data = waiting[1].result()
        else:
            if waiting:
                waiting[1].exception()  # let it end, and its memory go
                del waiting
            data = self.loader.submit(self.load, self.files[index]).result()
        shapes = jax.tree.map(lambda array: array.shape, data)
        if self.shapes is None:
            self.shapes = shapes
        elif shapes != self.shapes:
            raise UserError(
                f"{self.files[index]} has {data.size:,} transitions of {len(data.first):,} trajectories, other than "
                f"{self.files[0].name}: the files of one folder must be of one form, or each compiles a program anew"
            )
        return data

    def close(self) -> None:
        """Stop loading."""
        self.next = None
        self.loader.shutdown(cancel_futures=True)


def shard_files(folder: Path) -> list[Path]:
    """The files that a folder such as `cube-quadruple-play-100m-v0` must have, sorted: as many as are published, or as
    were generated. Held-out `-val.npz` files are not among them.
    """
    made = shards_made(folder)
    if made is None:
        return sorted(folder.parent / file for file in files_of(folder.name))
    name = folder.name.removesuffix("-100m-v0")
    return [folder / f"{name}-v0-{i:03d}.npz" for i in range(made)]


def check_shards(files: Sequence[Path]) -> None:
    """Raise a UserError that names the files which are missing or damaged, or of another size than the first; and
    where their folder holds others beside those that were generated, as after published ones were copied into it.

    Reads the directory of each archive (it is at the end, so a truncated file has none) and the heads of its arrays,
    not the numbers: those are checked as they are loaded.
    """
    faults, sizes = [], {}
    for file in files:
        try:
            sizes[file] = _sizes(file)
        except FileNotFoundError:
            faults.append(f"{file.name} is missing")
        except (*UNREADABLE, ValueError) as error:
            faults.append(f"{file.name} is damaged ({error})")
    if not faults:
        first = sizes[files[0]]
        faults = [f"{file.name} has arrays of another size" for file in files if sizes[file] != first]
    if faults:
        listed = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise UserError(f"{files[0].parent}: {len(faults)} of {len(files)} files are of no use: {listed}")
    folder = files[0].parent
    others = [file for file in shards_in(folder) if file not in files]
    if others and shards_made(folder) is not None:
        raise UserError(
            f"{folder} holds {len(others)} files beside the {len(files)} that were generated by its {SHARDS_NOTE}, "
            f"such as {others[0].name}: move one or the other away, and where none was generated remove {SHARDS_NOTE}"
        )


def _sizes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's arrays, from their headers."""
    record = read_record(file)
    if record and file.exists() and not is_verified(file):
        raise ValueError(f"{file.stat().st_size:,} bytes, not the {record.get('size')} that were recorded")
    with zipfile.ZipFile(file) as archive:
        there = set(archive.namelist())
        goals = [name for name in GOAL_ARRAYS if f"{name}.npy" in there]
        return {name: head_in(archive, name).shape for name in (*REQUIRED, *goals)}
