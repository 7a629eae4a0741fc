"""What a dataset's files are: their fingerprint, and whether they were made here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.files.local import is_verified, read_record


def fingerprint(files: Sequence[Path]) -> str:
    """What the data is, as 'sha256:...': the digest of a file, or of the names and digests of several.

    A single file is read, seconds; of several (25 GB) the digest written down when each was last checked is taken,
    where its size is still the same.
    """
    if len(files) == 1:
        return f"sha256:{digest_of(files[0])}"
    return _of_several(files, [_recorded(file).get("sha256") or digest_of(file) for file in files])


def recorded_fingerprint(files: Sequence[Path]) -> str:
    """As `fingerprint`, by what was written down beside the files alone, which takes no time; "" where a file is not
    there, or has no such record.
    """
    digests = [str(_recorded(file).get("sha256", "")) for file in files]
    if not files or not all(digests):
        return ""
    return f"sha256:{digests[0]}" if len(files) == 1 else _of_several(files, digests)


def _of_several(files: Sequence[Path], digests: Sequence[str]) -> str:
    lines = [f"{file.name} {digest}\n" for file, digest in zip(files, digests, strict=True)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def origin(files: Sequence[Path]) -> dict[str, str]:
    """{"source": "generated"} where the files' records say that they were made, not published; else {}."""
    return {"source": "generated"} if any(_recorded(file).get("source") == "generated" for file in files) else {}


def _recorded(file: Path) -> dict[str, Any]:
    """What was written down about a file by `envs.download` or `envs.generate`; {} where it changed its size since."""
    return (read_record(file) or {}) if is_verified(file) else {}


def digest_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
