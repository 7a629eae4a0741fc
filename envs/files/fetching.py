"""Datasets over HTTP that arrive whole or not at all, once per file system.

How a file arrives. Under a lock it grows beside its place (`envs.files.transfer`). When every byte is in, it is read
once (checksums, keys, row counts, finite values; `envs.files.local`) and only then renamed; size, SHA-256, source and
time go into `<file>.json`. A file whose size is the recorded one is taken as it is.

Sources are tried in order and in turns: one that lacks the file, or serves something else, is not asked
again; one that is down, stalls or drops is asked again after an exponential, jittered wait, or the one its
`Retry-After` names. While bytes keep arriving the count of turns starts anew.

Locks are `flock` through `filelock`: the kernel releases them when a process dies, and Linux carries them
over NFS. A file system without `flock` falls back to filelock's marker files, which recognise a dead holder
on the same host; one left by another host that crashed is in `.locks/` and may be deleted by hand.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout

from benchmark.common.errors import UserError
from envs.d4rl import environments as d4rl_environments
from envs.files.local import (
    OGBENCH,
    Damaged,
    Refused,
    adopt,
    check_structure,
    data_folder,
    expected_size,
    files_of,
    is_verified,
    make_folder,
    write_record,
)
from envs.files.transfer import DEFAULT_PATIENCE, Display, Interrupted, Patience, Source, check_space
from envs.ogbench.episodes import RECIPES, expert_of
from envs.ogbench.generating import SHARDS_NOTE, is_generated, shards_in, shards_made
from envs.tasks import get_domain

BASES_VARIABLE = "RQL_DATA_BASES"
DEFAULT_BASES = (
    OGBENCH,
    # The mirror that OGBench's author names (its issue 49): the same flat layout, without the 100M folders.
    "https://huggingface.co/datasets/zhouzypaul/ogbench_datasets/resolve/main",
)

# ----------------------------------------------------------------------------------------------------
# Sources
# ----------------------------------------------------------------------------------------------------


def base_addresses(bases: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the sources in order: the argument, else $RQL_DATA_BASES (spaces between), else the known two."""
    found = tuple(bases or os.environ.get(BASES_VARIABLE, "").split() or DEFAULT_BASES)
    for base in found:
        if not _is_address(base):
            raise UserError(f"base address {base!r} is not an http(s) address, such as {DEFAULT_BASES[0]}")
    return tuple(base.rstrip("/") for base in found)


def _is_address(base: str) -> bool:
    """Whether requests can be sent there, by the judgement of those who send them."""
    try:
        parts = urlsplit(base)
        requests.Request("GET", base).prepare()
        _ = parts.port, (parts.hostname or "").encode("idna")  # each raises a ValueError where it is none
    except (requests.RequestException, ValueError):
        return False
    readable = base.isprintable() and not any(map(str.isspace, base))
    return parts.scheme in ("http", "https") and bool(parts.hostname) and readable


def addresses(file: str, bases: Sequence[str]) -> list[str]:
    """Where to ask for a file, in order: below each base; D4RL's at its own source, or below bases that were named."""
    if not file.startswith(f"{d4rl_environments.FOLDER}/"):
        return [f"{base}/{file}" for base in bases]
    path = file.removeprefix(f"{d4rl_environments.FOLDER}/")
    return [f"{base}/{path}" for base in (d4rl_environments.BASES if tuple(bases) == DEFAULT_BASES else bases)]


# ----------------------------------------------------------------------------------------------------
# One file, whoever else wants it
# ----------------------------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path, file: str, display: Display, patience: Patience) -> Iterator[None]:
    """Hold the file's lock; while another process has it, show how far that one is."""
    path = folder / ".locks" / f"{file.replace('/', '_')}.lock"
    lock = FileLock(path)
    waiting = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience.lock_poll if waiting else 0, poll_interval=patience.lock_poll)
            break
        except Timeout:
            if not waiting:
                display.say(f"{file}: another process is fetching it, waiting (lock {path})")
            waiting = True
            target = folder / file
            parts = [p.stat().st_size for p in target.parent.glob(f"{target.name}.*.part")]
            display.transfer(max(parts, default=0), expected_size(target))
        except OSError as error:
            raise UserError(
                f"cannot lock {path}: {error.strerror or error}; download with one process to a file system "
                "that has locks, or mount this one with them"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _ensure_file(file: str, folder: Path, bases: Sequence[str], display: Display, patience: Patience) -> None:
    """Return when `folder / file` is whole and checked; fetch it unless it is."""
    path = folder / file
    try:
        if not is_verified(path):
            _bring_file(file, path, folder, bases, display, patience)
    except BrokenPipeError:  # of standard error, not of the file
        raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _bring_file(
    file: str, path: Path, folder: Path, bases: Sequence[str], display: Display, patience: Patience
) -> None:
    """Check the file that is there, or fetch one, under its lock."""
    if file.startswith(f"{d4rl_environments.FOLDER}/"):
        d4rl_environments.import_h5py()  # before the transfer: the check after it needs it
    display.begin(file)
    if path.is_file() and not os.access(path.parent, os.W_OK):
        _check_unrecorded(path)
        return
    make_folder(path.parent)
    with _locked(folder, file, display, patience):
        if is_verified(path):
            return
        if path.is_file():
            try:
                adopt(path)
                return
            except (Damaged, Refused) as fault:
                display.say(f"{path} is of no use: {fault}; it becomes {file}.corrupt when a whole one is here")
        source, facts, sha256 = _fetch_from_any(file, path, bases, display, patience)
        if path.is_file():
            os.replace(path, f"{path}.corrupt")
        os.replace(source.part, path)
        write_record(path, facts, sha256, {"source": source.url})
        for leftover in path.parent.glob(f"{path.name}.*.part*"):
            leftover.unlink()
        display.say(f"{file}: {path.stat().st_size / 1e6:.1f} MB from {source.name}")


def _check_unrecorded(path: Path) -> None:
    """Check a file in a folder where nothing can be recorded, such as a shared read-only one."""
    try:
        check_structure(path)
    except (Damaged, Refused) as fault:
        raise UserError(f"{path} is of no use ({fault}) and its folder cannot be written to") from fault


def _fetch_from_any(
    file: str, path: Path, bases: Sequence[str], display: Display, patience: Patience
) -> tuple[Source, dict, str]:
    """Try the sources in turns until one has brought the file; return it with the file's facts and sha256."""
    waiting_for = [Source(address, path) for address in addresses(file, bases)]
    failures: dict[str, str] = {}
    with requests.Session() as session:
        for turn in range(patience.rounds):
            after = 0.0
            for source in list(waiting_for):
                before = failures.get(source.url)
                try:
                    return source, *source.fetch(session, display, patience)
                except Refused as refusal:
                    waiting_for.remove(source)
                    failures[source.url] = f"{source.name}: {refusal}"
                except Interrupted as interruption:
                    after = max(after, interruption.after)
                    failures[source.url] = f"{source.name}: {interruption}"
                if failures[source.url] != before:
                    display.say(f"{file}: {failures[source.url]}")
            if not waiting_for:
                break
            if turn + 1 < patience.rounds:
                pause = min(patience.first_wait * 2**turn, patience.longest_wait) * random.uniform(0.5, 1.0)
                time.sleep(max(after, pause))
    raise UserError(_advice(file, path, list(failures.values())))


def _advice(file: str, path: Path, failures: list[str]) -> str:
    """Say in one line what was tried and what a person can do now."""
    kept = "; what has arrived is kept, the next call resumes" if list(path.parent.glob("*.part")) else ""
    bad = "; the file here is damaged and stays in place" if path.is_file() else ""
    return (
        f"cannot fetch {file}: {'; '.join(failures)}{kept}{bad}; name a mirror with --base=URL or "
        f"{BASES_VARIABLE}, or put the file into {path.parent} by hand; {_generation(file, path)}"
    )


def _generation(file: str, path: Path) -> str:
    """How a file can be generated instead, or why it cannot be."""
    name = re.sub(r"(-100m)?-v0$", "", file.split("/")[0].removesuffix(".npz").removesuffix("-val"))
    if name not in RECIPES:
        return "this one cannot be generated"
    try:
        expert_of(name)
    except UserError as error:
        return f"this one cannot be generated here: {error}"
    shards = file.count("/")
    form = f" --shards={get_domain(name).shards}" if shards else ""
    if shards and not all(map(is_generated, shards_in(path.parent))):
        return (
            "or generate all of it, in another data folder than the shards that are here: "
            f"python -m envs.generate --dataset={name} --out=DIR{form}"
        )
    return f"or generate it: python -m envs.generate --dataset={name} --out={path.parents[shards]}{form}"


# ----------------------------------------------------------------------------------------------------
# Datasets
# ----------------------------------------------------------------------------------------------------


def _ensure_files(
    name: str, validation: bool, folder: Path, bases: Sequence[str], display: Display, patience: Patience
) -> None:
    """Return when all files of a dataset are whole and checked. Raises a UserError where its folder is one of generated
    shards, of which training would go on to use the generated ones alone.
    """
    if (made := shards_made(folder / name)) is not None:
        raise UserError(
            f"{folder / name} is a folder of {made} generated shards, by its {SHARDS_NOTE}: move it away, or name "
            f"another --data-dir, to fetch the published ones (where none was generated, remove {SHARDS_NOTE})"
        )
    for file in files_of(name, validation):
        _ensure_file(file, folder, bases, display, patience)


def ensure_dataset(
    name: str,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
    bases: Sequence[str] | None = None,
    validation: bool = False,
    patience: Patience = DEFAULT_PATIENCE,
) -> Path:
    """Return where a dataset is, fetching what is missing of it; processes that ask together fetch it once.

    Args:
        name: e.g. 'cube-double-play-v0', or 'puzzle-4x4-play-100m-v0' for one in shards.
        data_dir: see `data_folder`.
        progress: whether to show progress on stderr.
        bases: addresses of sources, in order; see `base_addresses`.
        validation: also fetch the held-out files.
        patience: time-outs and retries.
    Returns:
        The .npz file, or the folder of shards.
    Raises:
        UserError: unknown name, no source could serve it, no space, no permission.
    """
    folder = data_folder(data_dir)
    files = files_of(name, validation)
    bases = base_addresses(bases)
    if not all(is_verified(folder / file) for file in files):
        with Display(progress) as display:
            _ensure_files(name, validation, folder, bases, display, patience)
    return (folder / files[0]).parent if name.endswith("-100m-v0") else folder / files[0]


def remote_sizes(files: Sequence[str], bases: Sequence[str], patience: Patience) -> dict[str, int]:
    """Return the bytes of each file, as far as the sources tell; one that does not answer is asked once."""

    def ask(session: requests.Session, turn: int, file: str) -> int | None:
        known = addresses(file, bases)
        try:
            answer = session.head(known[min(turn, len(known) - 1)], allow_redirects=True, timeout=patience.connect)
        except requests.RequestException:
            return None
        length = answer.headers.get("Content-Length", "")
        return int(length) if answer.ok and length.isdigit() else None

    sizes: dict[str, int] = {}
    with requests.Session() as session, ThreadPoolExecutor(8) as pool:
        for turn in range(len(bases)):
            left = [file for file in files if file not in sizes]
            if not left or ask(session, turn, left[0]) is None:
                continue
            answers = pool.map(lambda file, turn=turn: ask(session, turn, file), left)
            sizes |= {file: size for file, size in zip(left, answers, strict=True) if size}
    return sizes


def download(
    names: Sequence[str],
    data_dir: str | os.PathLike | None = None,
    bases: Sequence[str] | None = None,
    validation: bool = False,
    progress: bool = True,
    patience: Patience = DEFAULT_PATIENCE,
) -> None:
    """Fetch several datasets, with one bar over all of them; one that fails does not stop the others.

    Raises:
        UserError: before any transfer, where the disk is too small; at the end, where datasets are missing.
    """
    folder = data_folder(data_dir)
    bases = base_addresses(bases)
    names = list(dict.fromkeys(names))
    wanted = [file for name in names for file in files_of(name, validation)]
    todo = [file for file in wanted if not is_verified(folder / file)]
    absent = [file for file in todo if not (folder / file).is_file()]
    if absent:  # a folder that has all may be read-only
        make_folder(folder)
    sizes = remote_sizes(absent, bases, patience)
    total = sum(sizes.values())
    begun = sum(p.stat().st_size for file in sizes for p in folder.glob(f"{file}.*.part"))
    check_space(folder, total - begun)
    failed = {}
    known = f"{total / 1e9:.2f} GB to fetch" if sizes or not todo else "no source told a size"
    with Display(progress, total) as display:
        display.say(f"{len(wanted) - len(todo)} of {len(wanted)} files are here, {known}")
        for name in names:
            try:
                _ensure_files(name, validation, folder, bases, display, patience)
            except UserError as error:
                failed[name] = str(error)
                if len(names) > 1:
                    display.say(f"{name}: {error}")
    if len(failed) == 1:
        raise UserError(next(iter(failed.values())))
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} datasets missing (reasons above): {', '.join(failed)}")
