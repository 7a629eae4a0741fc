"""The leaderboard: one HTML file of published figures and submissions, a table for each regime.

Like the report it is one file that asks for nothing, and shows whatever a submission holds as text.
"""

from __future__ import annotations

import datetime
import html
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.averaging.statistics import near_best
from analysis.names import DOMAINS, TASKS, domain_of, in_order
from analysis.page.entries import AVERAGE, Entry, Figure, published_entries, submitted_entries
from analysis.page.filling import filled, to_script
from analysis.regimes import SEVERAL, folder_name, named
from analysis.submissions.standing import RESULTS
from benchmark.common.files import make_folder, write_text

APART = (
    "Figures of different regimes (data, length, networks, chunks, evaluation) differ for other reasons than the "
    "agents, so each regime has a table of its own, and nothing is ranked, averaged or bold across them."
)


def write_leaderboard(out: Path, results: Path = RESULTS, title: str = "Leaderboard") -> Path:
    """Write the page of the published figures and of the submissions below a folder of results.

    Raises a UserError where the file cannot be written.
    """
    submitted, refused = submitted_entries(results)
    entries = [*submitted, *published_entries()]
    data = leaderboard_data(entries, out)
    made = f"Made {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC of {len(data['entries'])} rows: "
    made += f"{len(submitted)} of submissions, the others published."
    page = filled(
        "leaderboard.html",
        ("table.js", "leaderboard.js"),
        title=html.escape(title),
        made=html.escape(made),
        apart=html.escape(APART),
        regimes="".join(_section(place, regime) for place, regime in enumerate(data["regimes"])),
        contents=" ".join(f'<a href="#{_anchor(one)}">{html.escape(one["title"])}</a>' for one in data["regimes"]),
        refused=_refused(refused),
        data=to_script(data),
    )
    make_folder(out.parent)
    write_text(out, page)
    return out


def leaderboard_data(entries: Sequence[Entry], out: Path) -> dict[str, Any]:
    """What the page's script makes tables of: regimes in the order of their file, and their entries."""
    order = in_order({entry.regime for entry in entries}, named())
    placed = sorted(entries, key=lambda entry: order.index(entry.regime))
    regimes = []
    for regime in order:
        own = [i for i, entry in enumerate(placed) if entry.regime == regime]
        some = [placed[i] for i in own]
        columns = in_order({name for entry in some for name in entry.cells}, (AVERAGE, *DOMAINS))
        tasks = in_order({task for entry in some for task in entry.tasks}, TASKS)
        regimes.append(
            {"title": regime if regime in named() else f"No paper's: {regime}", "name": folder_name(regime)}
            | {"facts": _facts(regime), "columns": columns, "tasks": tasks, "entries": own}
            | {"best": _best([entry.cells for entry in some], columns, regime)}
            | {"bestTasks": _best([entry.tasks for entry in some], tasks, regime)}
        )
    return {"regimes": regimes, "entries": [_entry(entry, out) for entry in placed]}


def _best(rows: Sequence[dict[str, Figure]], columns: Sequence[str], regime: str) -> dict[str, list[bool]]:
    """Which figures of each column are at least 95% of the best of it; alone, one is the best of nothing.

    So is each of `SEVERAL` regimes: on a task, others in the same words may be of another one.
    """
    found = {}
    for column in columns:
        # As printed, so that two figures that read the same are treated the same.
        shown = [round(100 * row[column].mean, 1) if column in row else math.nan for row in rows]
        several = sum(not math.isnan(value) for value in shown) > 1 and not regime.startswith(SEVERAL)
        found[column] = [bool(best) and several for best in near_best(shown)]
    return found


def _entry(entry: Entry, out: Path) -> dict[str, Any]:
    """An entry as the script takes it."""
    simple = {name: getattr(entry, name) for name in ("agent", "source", "seeds", "date", "versions", "about")}
    figures = {name: {key: _cell(cell) for key, cell in getattr(entry, name).items()} for name in ("cells", "tasks")}
    return simple | figures | {"files": [_file(path, out) for path in entry.files]}


def _cell(figure: Figure) -> dict[str, Any]:
    numbers = {name: getattr(figure, name) for name in ("mean", "low", "high")}
    return {name: round(float(value), 6) if math.isfinite(value) else None for name, value in numbers.items()} | {
        **{name: getattr(figure, name) for name in ("evidence", "seeds", "digits")}
    }


def _file(path: Path, out: Path) -> dict[str, str]:
    """A file's name within the project, and its address from the page where this lies within the project too."""
    root = RESULTS.parent
    if root not in path.resolve().parents:
        return {"name": path.name, "href": ""}
    inside = root in out.resolve().parents
    address = quote(Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()) if inside else ""
    return {"name": path.resolve().relative_to(root).as_posix(), "href": f"./{address}" if inside else ""}


def _facts(regime: str) -> list[tuple[str, str]]:
    """What a regime's figures were made under, in words; those of one without a name are its name."""
    known = named().get(regime)
    if known is None:
        return []

    def text(entry: Any) -> str:
        if not isinstance(entry, dict):
            return f"{entry:,}" if isinstance(entry, int) else str(entry)
        groups: dict[str, list[str]] = {}
        for domain in known.domains:
            groups.setdefault(str(entry.get(domain, entry["default"])), []).append(domain)
        first = str(entry["default"])
        rest = [f"{value} in {', '.join(domains)}" for value, domains in groups.items() if value != first]
        return "; ".join([first, *rest])

    facts = [(name.replace("_", " "), text(entry)) for name, entry in known.entries.items()]
    return [*facts, *([("also", known.also)] if known.also else []), ("source", known.source)]


def _anchor(regime: dict[str, Any]) -> str:
    return f"regime-{regime['name']}"


def _section(place: int, regime: dict[str, Any]) -> str:
    """A regime's part of the page, its tables to be made by the script."""
    facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in regime["facts"])
    domains = len({domain_of(task) for task in regime["tasks"]})
    parts = [f'<section id="{_anchor(regime)}"><h2>{html.escape(regime["title"])}</h2>']
    if facts:
        open_ = "" if place else " open"
        parts.append(f'<details class="facts"{open_}><summary>What this regime is</summary><dl>{facts}</dl></details>')
    if regime["columns"]:
        parts.append(f'<div data-domains="{place}"></div>')
    if regime["tasks"]:
        count = len(regime["tasks"])
        told = f"By task: {count} task{'s' * (count > 1)} of {domains} domain{'s' * (domains > 1)}"
        open_ = "" if regime["columns"] else " open"
        parts.append(f'<details{open_} data-by-task="{place}"><summary>{told}</summary><div></div></details>')
    return "".join([*parts, "</section>"])


def _refused(refused: Sequence[tuple[str, list[str]]]) -> str:
    """Submissions that are not shown, and why."""
    if not refused:
        return ""
    rows = []
    for name, faults in refused:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        told = "; ".join(html.escape(fault) for fault in faults[:3])
        rows.append(f"<li><code>{html.escape(name)}</code>: {told}{more}</li>")
    return f'<section id="refused"><h2>Refused</h2><ul>{"".join(rows)}</ul></section>'
