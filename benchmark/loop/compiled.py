"""Compiled programs are kept on disk: a run of the same algorithm and sizes, and one that goes on, need not compile.

Hyperparameters that are numbers are inputs of the programs, so that tasks, seeds and settings share them. On a GPU this
also keeps the compiler's choices, which it makes by timing: a run that goes on has the same program as before.

In memory JAX forgets none by itself. A program for a CPU is many pieces of memory, each mapped apart, and Linux
lets a process map 65,530: the programs of a run take about 1,000, and after some sixty runs of different agents and
sizes in one process the next piece would end it. Whoever makes programs one after another calls
`forget_programs_if_many`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jaxlib

MOST_BYTES = 4 << 30
"""Of programs that are kept; those used longest ago go first."""
MOST_OF_THE_MAPS = 0.4
"""Of the memory maps that the system allows a process, the share over which compiled programs are forgotten."""


def folder() -> Path:
    """Where programs are kept: below $RQL_CACHE_DIR or ~/.cache/rql, by JAX's version and the machine's processor, for
    whose instructions programs of a CPU are made.
    """
    root = Path(os.environ.get("RQL_CACHE_DIR") or Path.home() / ".cache" / "rql")
    return root / f"programs-{jaxlib.__version__}-{processor()}"


def processor() -> str:
    """A short name of the processor's kind and abilities, the same for all machines of that kind."""
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(wanted)]
    return hashlib.sha256("\n".join(sorted(set(lines))).encode()).hexdigest()[:12]


def keep_programs() -> None:
    """From here on keep what takes over a second to compile, and use what is kept.

    JAX's own settings win: JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=0 keeps none.
    Where the folder cannot be written, nothing is kept.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(place, os.W_OK):
        config.update("jax_compilation_cache_max_size", MOST_BYTES)
        config.update("jax_compilation_cache_dir", str(place))
        # An entry that a killed process left half written is compiled anew; that is no news to a user.
        warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")


def forget_programs_if_many(maps: Callable[[], tuple[int, int]] | None = None) -> bool:
    """Forget all compiled programs where this process has many memory maps; whether it did. They are compiled, or read
    from disk, again when they are needed.

    `maps` says (how many there are, how many there may be); by default what Linux says, and elsewhere nothing is done.
    """
    there, most = (maps or memory_maps)()
    if there <= MOST_OF_THE_MAPS * most:
        return False
    jax.clear_caches()
    return True


def memory_maps() -> tuple[int, int]:
    """(how many memory maps this process has, how many it may have); (0, 0) where the system does not say."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps), int(Path("/proc/sys/vm/max_map_count").read_text())
    except OSError:
        return 0, 0
