"""What simulators leave in the folder of temporary files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

_PATCHING = threading.RLock()


@contextlib.contextmanager
def models_removed() -> Iterator[None]:
    """Within, a maze may be made: OGBench writes its model to a temporary file, which MuJoCo reads at once, and leaves
    it open and in place. What this thread gets of `tempfile.mkstemp` for XML is closed and removed in the end.
    """
    made: list[tuple[int, str]] = []

    def noted(suffix: Any = None, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        handle, path = original(suffix, *args, **kwargs)
        if suffix == ".xml" and threading.get_ident() == thread:
            made.append((handle, path))
        return handle, path

    with _PATCHING:
        original, thread = tempfile.mkstemp, threading.get_ident()
        tempfile.mkstemp = noted
        try:
            yield
        finally:
            tempfile.mkstemp = original
            for handle, path in made:
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(handle), os.stat(path)):
                        os.close(handle)
                    os.unlink(path)
