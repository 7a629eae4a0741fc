"""Checkpoints: written atomically beside training, verified by checksums before they are used."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from agents.base import State
from benchmark.common.errors import UserError, summary
from benchmark.common.files import move_aside, write_json
from benchmark.runs.record import ANEW, differences

CHECKSUMS = "checksums.json"
BEGUN = ".orbax-checkpoint-tmp"  # in the name of a folder until it is whole


class Checkpoints:
    """The last two checkpoints of a run, written atomically, each with a checksum of every file, written after them.

    One whose files are not those that were written is damaged, and passed over for the one before. A thread writes
    them, from a copy on the host, while training goes on; no more than one is under way.
    """

    def __init__(self, folder: Path, read_only: bool = False):
        """`folder` is made if needed, what is damaged in it is renamed, and what a killed process had begun to write is
        removed; not where it is only to be read.
        """
        self.read_only = read_only
        self.folder = folder.absolute()
        for begun in [] if read_only else self.folder.glob(f"*{BEGUN}*"):  # Orbax's own option leaves those be
            shutil.rmtree(begun, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False, create=not read_only)
        self.manager = ocp.CheckpointManager(self.folder, options=options)
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.under_way: Future[None] | None = None

    def save(self, update: int, states: State, record: dict[str, Any]) -> None:
        """Begin to write the states after `update` updates, and what else is to be known of that moment, which JSON can
        hold. Whatever it vouches for must be written before. The states may be donated as soon as this returns.

        Waits for the one before, and raises its error.
        """
        self.wait()
        record = json.loads(json.dumps(record | {"arrays": described(states)}))  # a copy: rows are added meanwhile
        self.under_way = self.thread.submit(self.write, update, on_host(written(states)), record)

    def write(self, update: int, states: dict[str, Any], record: dict[str, Any]) -> None:
        """Write a checkpoint, now. Raises a UserError where that fails, e.g. on a full disk."""
        items = ocp.args.Composite(states=ocp.args.StandardSave(states), record=ocp.args.JsonSave(record))
        try:
            self.manager.save(update, args=items)
            self.manager.wait_until_finished()
            write_json(self.folder / str(update) / CHECKSUMS, checksums(self.folder / str(update)))
        except Exception as error:
            reason = f"cannot write the checkpoint of update {update} to {self.folder}: {summary(error)}"
            raise UserError(reason) from error

    def wait(self, only_if_over: bool = False) -> None:
        """Wait until nothing is being written; or only see whether what was is over. Raises a UserError where it could
        not be written.
        """
        if self.under_way and (self.under_way.done() or not only_if_over):
            under_way, self.under_way = self.under_way, None
            under_way.result()

    def restore(self, like: State, say: Callable[[str], None]) -> tuple[int, State, dict[str, Any]] | None:
        """Return (updates, states, record) of the newest checkpoint that is whole, None where there is none.

        Raises a UserError where its arrays are not those of `like`.
        """
        self.wait()
        for update in sorted(self.manager.all_steps(), reverse=True):
            folder = self.folder / str(update)
            damage = damage_of(folder)
            if damage:
                kept = "" if self.read_only else f" (it is kept in {move_aside(folder, f'damaged-{update}')})"
                say(f"the checkpoint of update {update} is damaged: {damage}{kept}; using the one before")
                continue
            self.manager.reload()  # it knows those that were renamed
            record = self.manager.restore(update, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
            differing = differences(record.pop("arrays"), described(like))
            if differing:
                more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
                raise UserError(
                    f"the checkpoint {folder} does not fit the agent: {'; '.join(differing[:3])}{more}; go on with the "
                    f"agent's code and hyperparameters as they were, or begin again with {ANEW}"
                )
            items = ocp.args.Composite(states=ocp.args.StandardRestore(written(like)))
            states = self.manager.restore(update, args=items).states
            # Copied from the host, because Orbax commits arrays to their device, and jit compiles anew for those.
            copied = jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), states)
            return update, like.replace(**copied), record  # type: ignore[attr-defined]
        self.manager.reload()
        return None

    def close(self) -> str:
        """Wait until nothing is being written, release the folder, and return why what was could not be written, ""
        where all is well.
        """
        try:
            self.wait()
        except UserError as error:
            return str(error)
        finally:
            self.thread.shutdown()
            self.manager.close()
        return ""

    def remove(self) -> None:
        """Remove the folder, of a run that is over; what of it cannot be stays."""
        shutil.rmtree(self.folder, ignore_errors=True)


def on_host(tree: Any) -> Any:
    """A copy of arrays in main memory, whatever becomes of them on the device."""
    for leaf in jax.tree.leaves(tree):
        leaf.copy_to_host_async()
    # On a CPU numpy would look at the device's own memory, which the next update is written into.
    return jax.tree.map(np.array if jax.default_backend() == "cpu" else np.asarray, tree)


def written(states: State) -> dict[str, Any]:
    """The fields of a state that are written: without an empty `extra`, as in checkpoints from before it was there."""
    return {name: value for name, value in vars(states).items() if name != "extra" or value}


def described(states: State) -> dict[str, str]:
    """Name, shape and type of every array, as text."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(states)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return {name: f"{leaf.shape} {leaf.dtype}" for name, (_, leaf) in zip(names, leaves, strict=True)}


def read_networks(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and targets of a checkpoint, stacked over its seeds, on the host: nothing of the agent is needed.

    Raises a UserError where it is damaged.
    """
    if damage := damage_of(folder):
        raise UserError(f"the checkpoint {folder} is damaged: {damage}")
    handler = ocp.PyTreeCheckpointHandler()
    try:
        tree = handler.metadata(folder.absolute() / "states").tree
        wanted = {name: tree[name] for name in ("params", "targets")}
        host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arguments = ocp.args.PyTreeRestore(item=wanted, restore_args=host, partial_restore=True)
        found = handler.restore(folder.absolute() / "states", args=arguments)
    except Exception as error:
        raise UserError(f"the checkpoint {folder} cannot be read: {summary(error)}") from error
    return found["params"], found["targets"]


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint but the one that holds these."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: file_digest(path) for name, path in sorted(files.items()) if name != CHECKSUMS}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage_of(folder: Path) -> str:
    """What is wrong with a checkpoint's files, "" where they are those that were written."""
    try:
        wanted, found = json.loads((folder / CHECKSUMS).read_bytes()), checksums(folder)
    except FileNotFoundError:
        return f"it has no {CHECKSUMS}, which is written last"
    except (OSError, ValueError) as error:
        return f"{CHECKSUMS} cannot be read ({type(error).__name__})"
    if wanted == found:
        return ""
    if not isinstance(wanted, dict):
        return f"{CHECKSUMS} does not hold what it should"
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    return f"{names[0]} is not as it was written" + (f", nor are {len(names) - 1} others" if names[1:] else "")
