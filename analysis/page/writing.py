"""The report: one HTML file about all runs: summary, tables, figures, a page per run, failures.

It needs nothing else to be read. The page holds the data as compact JSON; a small script (`template/table.js` and
`page.js`) makes tables of it, and the page of a run when it is asked for, so that 12,000 runs open at once. Whatever
comes from a run (names, error texts, hyperparameters) reaches the page as text and never as markup, and the page's own
security policy admits that one script and no request.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import published
from analysis.averaging.results import Results
from analysis.drawing import gallery
from analysis.drawing.reversal import draw_reversal, read_reversal
from analysis.drawing.style import WIDTH, Drawing
from analysis.names import TASKS, label
from analysis.page.clips import clips_of, clips_section
from analysis.page.filling import filled, to_script
from analysis.page.runs import runs_data
from analysis.page.tables import groups, tasks
from analysis.regimes import why_apart
from analysis.tabulating.choice import write_tables
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_text

SHOWN_STATES = ("done", "running", "interrupted", "failed", "unreadable")


def write_page(
    results: Results,
    out: str | Path,
    title: str = "Benchmark report",
    with_published: bool = False,
    highlight: str | None = None,
    drawn: Sequence[Drawing] | None = None,
    reversal: str | Path | None = None,
) -> Path:
    """Write the report of the runs to an HTML file.

    Args:
        results, out, title: all runs and what is averaged of them, the file, the page's heading.
        with_published: published rows in the table of averages, and published means in the figures.
        highlight: the agent that stands out in the figures.
        drawn: the figures; by default they are drawn, which takes most of the time.
        reversal: a reversal file, drawn as one more figure (`drawing.reversal`).

    Raises:
        UserError: the file cannot be written, or no agent of the name to highlight.
    """
    if highlight is not None:
        gallery.choose_highlight(gallery.everybody(results, with_published), highlight)
    results = _averaged(results)
    if drawn is None:
        drawn = list(gallery.drawings(results, with_published, highlight))
    if reversal:
        drawn = [*drawn, draw_reversal(read_reversal(reversal))]
    clips, notes = clips_of(results)
    results = dataclasses.replace(results, notes=[*results.notes, *notes]) if notes else results
    folders = ", ".join(dict.fromkeys(results.runs.runs["folder"])) or "no run"
    averages = {"groups": groups(results, with_published), "tasks": tasks(results)}
    page = filled(
        "page.html",
        ("table.js", "page.js"),
        title=html.escape(title),
        made=html.escape(f"Made {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC from {folders}."),
        caption=html.escape(_caption(results, with_published)),
        summary=_summary(results),
        clips=clips_section(clips, Path(out).absolute()),
        figures=_gallery(drawn),
        data=to_script(runs_data(results.runs) | averages),
    )
    make_folder(Path(out).parent)
    write_text(Path(out), page)
    return Path(out)


def write_folder(results: Results, folder: str | Path, title: str = "Benchmark report") -> list[Path]:
    """Write the tables, the figures and the page with both in it; each figure is drawn once.

    Published figures stand beside the runs' where any of these is on the papers' tasks. Returns the files, page last.
    """
    published_too = bool(results.evaluations["task"].isin(TASKS).any())
    drawn = list(gallery.drawings(results, published_too))
    paths = [*write_tables(results, folder), *gallery.save(drawn, folder)]
    return [*paths, write_page(results, Path(folder) / "report.html", title, published_too, drawn=drawn)]


def _averaged(results: Results) -> Results:
    """The results, or without evaluations where these cannot be averaged: that is a note, not a failure."""
    try:
        _ = results.scores
    except UserError as error:
        notes = [*results.notes, f"No averages: {error}."]
        return dataclasses.replace(results, evaluations=results.evaluations[:0], notes=notes)
    return results


def _caption(results: Results, with_published: bool) -> str:
    """Say how the averages were made."""
    text = "No finished run to average yet."
    if len(results.scores):
        text = f"{results.caption} In percent; a column is over the tasks that it names, and a row has a figure where "
        text += "it has all of them. Bold: at least 95% of the best of the runs here of one regime."
        if len(set(results.regimes.values())) > 1 or results.of_several_regimes:
            regimes = {label(agent): regime for agent, regime in results.regimes.items()}
            text += f" {why_apart(regimes, 'none is averaged or bold with those of another')}"
    if with_published:
        text += f" Published: {published.RQL_PAPER}; single tasks of all but RQL: {published.QAM_ARCHIVE}."
    return text


def _gallery(drawn: Sequence[Drawing]) -> str:
    """The figures with their captions, as HTML with the images in it."""
    if not drawn:
        return '<p class="quiet">None.</p>'
    parts = []
    for drawing in drawn:
        width, height = (round(size * 96) for size in drawing.figure.get_size_inches())
        wide = ' class="wide"' if width > 96 * WIDTH + 1 else ""
        image = base64.b64encode(drawing.png()).decode()
        caption = html.escape(drawing.caption)
        size = f'width="{width}" height="{height}"'
        source = f"data:image/png;base64,{image}"
        parts.append(
            f'<figure{wide}><img alt="{html.escape(drawing.name.replace("_", " "))}" {size} src="{source}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return f'<div class="gallery">{"".join(parts)}</div>'


def _summary(results: Results) -> str:
    """The numbers at the top, the notes and what made the runs, as HTML."""
    table = results.runs.runs
    seconds = table["train_seconds"].fillna(0).astype(float).sum() + table["eval_seconds"].fillna(0).astype(float).sum()
    states = table["state"].value_counts()
    cards = {
        "runs": len(table),
        "seeds in all": int(table["seeds"].map(len).sum()),
        "agents": table["agent"][table["agent"] != ""].nunique(),
        "tasks": table["task"][table["task"] != ""].nunique(),
        **{f"runs {state}": int(states[state]) for state in SHOWN_STATES if state in states},
        "seeds diverged": int(table["diverged"].map(len).sum()),
        "device hours": f"{seconds / 3600:,.1f}",
    }
    written = [
        f"<div><dt>{html.escape(name)}</dt><dd>{value if isinstance(value, str) else f'{value:,}'}</dd></div>"
        for name, value in cards.items()
    ]
    warnings = [f'<p class="note">{html.escape(note)}</p>' for note in results.notes]
    return f'<dl class="cards">{"".join(written)}</dl>{"".join(warnings)}{_made_by(table)}'


def _made_by(table: pd.DataFrame) -> str:
    """A table of the commits, versions and devices that made the runs, the most frequent first."""
    keys = ["commit", "clean", "jax", "mujoco", "device"]
    counts = table[table["state"] != "unreadable"].groupby(keys, dropna=False).size().sort_values(ascending=False)
    if not len(counts):
        return ""
    rows = []
    for (commit, clean, *rest), number in counts.head(10).items():
        short = "+".join(part[:8] for part in str(commit).split("+"))
        cells = [f"{number:,}", f"{short or 'unknown'}{'' if clean else ', changed'}", *map(str, rest)]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    if len(counts) > 10:
        rows.append(f'<tr><td>{counts[10:].sum():,}</td><td colspan="4">by {len(counts) - 10} others</td></tr>')
    heads = "".join(f'<td scope="col"><b>{name}</b></td>' for name in ("runs", "commit", "jax", "MuJoCo", "device"))
    body = "".join(rows)
    return f'<h3>What made them</h3><div class="scroll" tabindex="0"><table><tr>{heads}</tr>{body}</table></div>'
