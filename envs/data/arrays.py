"""Arrays in files that others made: what their heads claim, and whether their numbers can be learned from.

What is wrong is a ValueError that names the array, and the row where there is one; the caller adds the file.
"""

from __future__ import annotations

import math
import os
import threading
import zipfile
import zlib
from typing import IO, NamedTuple

import numpy as np

UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, IndexError, KeyError, RuntimeError)
"""What reading an archive raises where its bytes are damaged, encrypted or packed in a way that is not known."""
MOST_PACKED = 1032
"""Bytes that one byte of a deflated array can stand for at most; it is less in every other packing that is used."""
LARGEST = 1e18
"""Numbers beyond are refused: the square of 1.8e19 is infinite in float32, and so would be the first loss."""
ROWS_AT_ONCE = 1 << 14
_OTHER_KINDS = {"O": "Python objects", "U": "text", "S": "text", "c": "complex numbers", "V": "records"}

_one_head_at_a_time = threading.Lock()
"""Heads are Python literals, and CPython 3.11 raises a SystemError where two threads parse some at once."""


class Head(NamedTuple):
    """What the head of a .npy file says."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_head(name: str, file: IO[bytes]) -> Head:
    """Read the head of a .npy file of any version, 1.0 to 3.0; a ValueError where it has none."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
        with _one_head_at_a_time:
            # 3.0 differs from 2.0 in the encoding of the names of fields alone, and arrays with fields are refused.
            head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = head(file)
    except UNREADABLE:
        raise
    except Exception as error:  # numpy evaluates a literal that anybody may have written
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise ValueError(f"{name} is not an array ({reason})") from error
    if not all(type(count) is int and count >= 0 for count in shape):
        raise ValueError(f"{name} has shape {shape}")
    return Head(shape, fortran_order, dtype)


def head_in(archive: zipfile.ZipFile, name: str) -> Head:
    """The head of one array of an .npz archive, whose claims the archive has room for."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        head = read_head(name, file)
        check_numbers(name, head.dtype, head.shape)
        there = member.file_size - file.tell()
    size = os.fstat(archive.fp.fileno()).st_size if archive.fp else 0
    check_claim(name, head.nbytes, there, min(member.compress_size, size))
    if head.nbytes < there:
        raise ValueError(f"{name} is longer than its header says")
    return head


def check_claim(name: str, claimed: int, there: int, stored: int) -> None:
    """Raise an EOFError where an array's head claims more bytes than are `there`, or than those `stored` can unpack to;
    a ValueError where the machine has no room for them.
    """
    there = min(there, stored * MOST_PACKED)
    if claimed > there:
        raise EOFError(f"{name} ends early: its head claims {claimed:,} bytes, and the file has {max(there, 0):,}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if claimed > memory:
        raise ValueError(f"{name} needs {claimed / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f} GB of memory")


def check_numbers(name: str, dtype: np.dtype, shape: tuple[int, ...] | None) -> None:
    """Raise a ValueError unless an array holds rows of real numbers."""
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {_OTHER_KINDS.get(dtype.kind, 'no numbers')} ({dtype}), not numbers")
    if not shape:
        raise ValueError(f"{name} is a single value, not an array of rows")


def check_lengths(shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise a ValueError unless all arrays have the same number of rows, at least one."""
    lengths = {name: shape[0] for name, shape in shapes.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"damaged, its arrays are of different lengths: {lengths}")
    if not all(lengths.values()):
        raise ValueError("it is empty: its arrays have no row")


def check_within(name: str, values: np.ndarray, limit: float = LARGEST) -> None:
    """Raise a ValueError that names the first row with a number that is not finite or lies beyond ±limit."""
    if values.dtype.kind == "b" or not values.size:
        return
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = values[start : start + ROWS_AT_ONCE]
        if not (float(rows.max()) <= limit and float(rows.min()) >= -limit):  # NaN is within nothing
            wide = rows.reshape(len(rows), -1).astype(np.float64)
            row, column = np.argwhere(~(np.abs(wide) <= limit))[0]
            value = wide[row, column]
            allowed = f"within ±{limit:g}" if np.isfinite(value) else "finite"
            raise ValueError(f"{name} holds {value:g} in row {start + row}: it must be {allowed}")


def check_flags(name: str, values: np.ndarray) -> None:
    """Raise a ValueError that names the first row which is neither 0 nor 1."""
    odd = np.flatnonzero((values != 0) & (values != 1))
    if len(odd):
        raise ValueError(f"{name} holds {values[odd[0]]:g} in row {odd[0]}: it must be 0 or 1")
