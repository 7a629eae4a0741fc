"""Clips in the page: films of episodes, where somebody made them. Within a limit they are in the file, then linked."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from analysis.averaging.results import Results
from analysis.names import label
from benchmark.common.reading import Damaged, read_bytes
from benchmark.runs.clips import FOLDER, Clip, Shown, is_film, read_clips

MOST_BYTES = 16_000_000
"""Of all films in a page; base64 makes them a third longer."""
TYPES = {".mp4": "video/mp4", ".gif": "image/gif"}


@dataclass(frozen=True)
class Found:
    """A clip that a report shows."""

    clip: Clip
    what: str
    """Which it is, in words."""


def clips_of(results: Results) -> tuple[list[Found], list[str]]:
    """Films of several policies, then each task's best and worst episode among all clips of runs; and notes on those
    that cannot be used.
    """
    table = results.runs.runs
    notes: list[str] = []
    together: list[Found] = []
    for folder in dict.fromkeys(table["folder"]):
        clips, reasons = read_clips(Path(folder, FOLDER))
        notes += reasons
        together += [Found(clip, "side by side" if len(clip.policies) > 1 else "") for clip in clips]
    of_tasks: dict[str, list[Clip]] = {}
    for run in table["run"]:
        clips, reasons = read_clips(Path(run, FOLDER))
        notes += reasons
        for clip in clips:
            of_tasks.setdefault(clip.task, []).append(clip)
    for _, clips in sorted(of_tasks.items()):
        best = max((clip for clip in clips if clip.kind == "best"), key=_merit, default=None)
        worst = min((clip for clip in clips if clip.kind == "worst"), key=_merit, default=None)
        together += [Found(clip, f"{clip.kind} episode") for clip in (best, worst) if clip]
    return together, [f"A clip is left out: {note}." for note in notes]


def _merit(clip: Clip) -> tuple[float, float, int]:
    shown = clip.episodes[0][0]
    return shown.success, shown.total, -shown.length


def clips_section(found: Iterable[Found], page: Path, most_bytes: int = MOST_BYTES) -> str:
    """The section of the page at `page`, as HTML; "" where there are no clips."""
    parts, held, linked = [], 0, 0
    for each in found:
        content = _content(each.clip, most_bytes - held)
        held += len(content)
        linked += not content
        parts.append(_figure(each, content, page))
    if not parts:
        return ""
    said = f"Films in this page: {len(parts) - linked}, of {held / 1e3:,.0f} kB together, a third longer in its text."
    said += f" Linked: {linked}, as those in it may have {most_bytes / 1e6:g} MB together." if linked else ""
    said += " Each shows an episode that was counted: same start, same actions, same outcome."
    gallery = f'<div class="gallery">{"".join(parts)}</div>'
    return f'<section id="clips"><h2>Clips</h2><p class="quiet">{html.escape(said)}</p>{gallery}</section>'


def _content(clip: Clip, room: int) -> bytes:
    """The film's bytes, b"" where there is no room for them or they are none."""
    try:
        content = read_bytes(clip.path) if clip.path.stat().st_size <= room else None
    except (Damaged, OSError):
        content = None
    return content if content and is_film(content, clip.path.suffix) else b""


def _figure(found: Found, content: bytes, page: Path) -> str:
    clip = found.clip
    caption = html.escape(_caption(found))
    if not content:
        place = html.escape(quote(os.path.relpath(clip.path, page.parent)), quote=True)
        return f'<figure><a href="{place}">{html.escape(clip.path.name)}</a><figcaption>{caption}</figcaption></figure>'
    source = f"data:{TYPES[clip.path.suffix]};base64,{base64.b64encode(content).decode()}"
    size = f'width="{clip.width}" height="{clip.height}"'
    wide = ' class="wide"' if len(clip.policies) > 1 else ""
    if clip.path.suffix == ".gif":
        shown = f'<img alt="{caption}" {size} src="{source}">'
    else:
        shown = f'<video controls loop muted playsinline preload="metadata" {size} src="{source}"></video>'
    return f"<figure{wide}>{shown}<figcaption>{caption} {len(content) / 1e3:,.0f} kB.</figcaption></figure>"


def _caption(found: Found) -> str:
    clip = found.clip
    what = f", {found.what}" if found.what else ""
    told = "; ".join(_episode(clip.policies, shown) for shown in clip.episodes[:6])
    return f"{clip.task}{what}: {told}{'; ...' if len(clip.episodes) > 6 else ''}."


def _episode(policies: Iterable[str], shown: Iterable[Shown]) -> str:
    """What came of an episode, by policy."""
    each = list(shown)
    outcomes = ", ".join(
        f"{label(name)} {one.verdict} after {one.length} steps, return {one.total:.4g}"
        for name, one in zip(policies, each, strict=True)
    )
    return f"seed {each[0].seed}, episode {each[0].episode} of step {each[0].step:,}, {outcomes}"
