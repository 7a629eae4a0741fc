"""Filling the templates of pages: one file each, its data as JSON within it, its security policy for its own script."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TEMPLATE = Path(__file__).resolve().parent / "template"


def to_script(value: Any) -> str:
    """Return JSON that can stand within a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        # These signs occur within JSON's strings only, where this escape means the same.
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain(value: Any) -> Any:
    """Return the value with what JSON lacks replaced: NaN and infinity by None, numpy's numbers by Python's."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value if value is None or isinstance(value, bool | int) else str(value)


def filled(template: str, scripts: Sequence[str], **parts: str) -> str:
    """Fill a template; its script (the files one after the other) and style are named by their hashes in its policy."""
    page = (TEMPLATE / template).read_text(encoding="utf-8")
    for name, files in {"css": ("page.css",), "js": scripts}.items():
        text = "\n".join((TEMPLATE / file).read_text(encoding="utf-8") for file in files)
        parts[name] = text
        digest = hashlib.sha256(text.encode()).digest()
        parts[f"{name}_hash"] = f"sha256-{base64.b64encode(digest).decode()}"
    # In one pass: a part that holds the name of another stays as it is.
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))
