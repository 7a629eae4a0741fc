"""Whether what is asked fits into the machine's memory."""

from __future__ import annotations

import functools
import itertools
import os

from agents.base import Config
from benchmark.common.errors import UserError

COPIES = 2
"""Of a state in main memory: the one that is trained, and that of a checkpoint which is being written."""


def check_memory(agent: str, config: Config, members: int = 1) -> None:
    """Raise a UserError where `members` that train together cannot fit into this machine's memory: the critics' weights
    between hidden layers with Adam's averages, in bytes, the copy of these that a checkpoint is written from, and what
    one hidden layer makes of a batch, are the least.
    """
    inputs = (config.chunk_length, *config.hidden)
    weights = sum(width * after for width, after in itertools.pairwise(inputs))
    values = config.batch_size * max(inputs)
    least = members * (config.ensemble or 1) * 4 * (COPIES * 3 * weights + values)
    if least > machine_memory():
        raise UserError(
            f"{agent}: hidden {','.join(map(str, config.hidden))}, ensemble {config.ensemble or 1}, batch_size "
            f"{config.batch_size} and chunk_length {config.chunk_length} need at least {least / 1e9:,.0f} GB"
            + (f" for {members:,} that train together" if members > 1 else "")
            + f"; this machine has {machine_memory() / 1e9:,.0f} GB"
        )


@functools.cache
def machine_memory() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
