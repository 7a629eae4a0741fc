"""One HTML file about all runs: summary, tables, figures, a page per run, failures. It needs nothing else to be read.

python -m analysis.report --runs runs/quickstart --out report.html
python -m analysis.report --runs runs/ogbench runs/mine --published --highlight my_agent --out report.html
python -m analysis.report --runs runs/mine --archive qam_curves.csv --reversal reversal.npz --out report.html

The page holds the data as compact JSON; a small script (`report_template/page.js`) makes tables of it, and the page
of a run when it is asked for, so that 12,000 runs open at once. Whatever comes from a run (names, error texts,
hyperparameters) reaches the page as text and never as markup, and the page's own security policy admits that one
script and no request.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import figures, published, statistics
from analysis.import_archive import beside
from analysis.load import Runs, Selection, comparable, load_runs, read_training
from analysis.names import SHARED, TASKS, agents_in_order, in_order, label, own_first, setting_text
from analysis.progress import bar
from analysis.style import WIDTH
from analysis.tables import d4rl_table, save_tables, sources_of, write_tables
from analysis.task_sets import TaskSet, over, spelled, table_columns
from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, input_file, input_folder, output_file, whole_number

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE = Path(__file__).resolve().parent / "report_template"
MEASURES = ("success", "return", "length")
TRAINING_RUNS = 100
"""Up to so many runs, the report holds the training metrics too; they are large and slow to read."""
TRAINING_POINTS = 100
FIELDS = (
    *("run", "agent", "task", "suite", "seeds", "firstSeed", "state", "step", "steps", "diverged", "error"),
    *("rate", "seconds", "started", "updated", "command", "hyperparameters", "protocol", "made", "success"),
    *("curves", "training"),
)
"""What the page knows of a run, in this order."""
POOLED = ("agent", "task", "suite", "command", "hyperparameters", "protocol", "made")
"""Fields that many runs share: each different value is written once."""


def write_report(
    runs: Runs,
    out: str | Path,
    title: str = "Benchmark report",
    with_published: bool = False,
    highlight: str | None = None,
    last: int = 1,
    drawn: Sequence[figures.Drawing] | None = None,
    archive: str | Path | None = None,
    reversal: str | Path | None = None,
) -> Path:
    """Write the report of the runs.

    Args:
        runs: everything there is; what is averaged is `analysis.load.comparable` of it.
        out: the HTML file.
        title: the page's heading.
        with_published: published rows in the table of domains, and published means in the figures.
        highlight: the agent that stands out in the figures.
        last: 1 for the final step, 3 for the mean of the last three evaluations.
        drawn: the figures; by default they are drawn, which takes most of the time.
        archive: the QAM archive, whose curves then stand beside the runs' (`analysis.import_archive.beside`).
        reversal: a reversal file, drawn as one more figure (`analysis.figures`).

    Raises:
        UserError: the file cannot be written, or no agent of the name to highlight.
    """
    selection = comparable(runs)
    if archive:
        selection = beside(selection, archive)
    if highlight is not None:
        figures.choose_highlight(figures.everybody(selection.evaluations, with_published), highlight)
    notes = list(selection.notes)
    scores, caption = _scores(selection, last, notes)
    if with_published:
        caption += f" Published: {published.RQL_PAPER}; single tasks of all but RQL: {published.QAM_ARCHIVE}."
    if drawn is None:
        shown = selection.evaluations if len(scores) else selection.evaluations[:0]
        drawn = list(figures.drawings(shown, runs.runs, with_published, highlight, last))
    if reversal:
        drawn = [*drawn, figures.draw_reversal(figures.read_reversal(reversal))]
    page = _page(
        title=html.escape(title),
        made=html.escape(f"Made {_now()} from {', '.join(dict.fromkeys(runs.runs['folder'])) or 'no run'}."),
        caption=html.escape(caption),
        summary=_summary(runs, notes),
        figures=_gallery(drawn),
        data=to_script(_data(runs, selection, scores, with_published)),
    )
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def write_folder(runs: Runs, folder: str | Path, title: str = "Benchmark report", last: int = 1) -> list[Path]:
    """Write the tables, the figures and the page with both in it; each figure is drawn once.

    Published figures stand beside the runs' where any of these is on the papers' tasks.

    Returns:
        The files, the page last.
    """
    selection = comparable(runs)
    published_too = bool(selection.evaluations["task"].isin(TASKS).any())
    drawn = list(figures.drawings(selection.evaluations, runs.runs, published_too, last=last))
    paths = write_tables(selection.evaluations, folder, last, selection.notes)
    paths += [*_more_tables(runs, selection, folder, last), *figures.save(drawn, folder)]
    page = write_report(runs, Path(folder) / "report.html", title, published_too, last=last, drawn=drawn)
    return [*paths, page]


def _more_tables(runs: Runs, selection: Selection, folder: str | Path, last: int) -> list[Path]:
    """D4RL's normalised scores, where there are any."""
    table = d4rl_table(runs, selection, last)
    return save_tables([table], folder) if table.rows else []


def _now() -> str:
    """The time, to the minute, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _scores(selection: Selection, last: int, notes: list[str]) -> tuple[pd.DataFrame, str]:
    """Return the final scores and how they were made; what cannot be averaged becomes a note, not a failure."""
    try:
        scores = statistics.final_scores(selection.evaluations, last)
    except UserError as error:
        notes.append(f"No averages: {error}.")
        scores = statistics.final_scores(selection.evaluations[:0])
    if not len(scores):
        return scores, "No finished run to average yet."
    text = "In percent; a column is over the tasks that it names, and a row has a figure where it has all of them."
    return scores, f"{statistics.caption(last, scores)} {text} Bold: at least 95% of the best of the runs here."


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


def _page(**parts: str) -> str:
    """Fill the template; its script and style are named by their hashes in the security policy."""
    page = (TEMPLATE / "page.html").read_text(encoding="utf-8")
    for name in ("css", "js"):
        text = (TEMPLATE / f"page.{name}").read_text(encoding="utf-8")
        parts[name] = text
        digest = hashlib.sha256(text.encode()).digest()
        parts[f"{name}_hash"] = f"sha256-{base64.b64encode(digest).decode()}"
    # In one pass: a part that holds the name of another stays as it is.
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _summary(runs: Runs, notes: Iterable[str]) -> str:
    """The numbers at the top, the notes and what made the runs, as HTML."""
    table = runs.runs
    seconds = table["train_seconds"].fillna(0).astype(float).sum() + table["eval_seconds"].fillna(0).astype(float).sum()
    states = table["state"].value_counts()
    cards = {
        "runs": len(table),
        "seeds in all": int(table["seeds"].map(len).sum()),
        "agents": table["agent"][table["agent"] != ""].nunique(),
        "tasks": table["task"][table["task"] != ""].nunique(),
        **{
            f"runs {state}": int(states[state])
            for state in ("done", "running", "failed", "unreadable")
            if state in states
        },
        "seeds diverged": int(table["diverged"].map(len).sum()),
        "device hours": f"{seconds / 3600:,.1f}",
    }
    written = [
        f"<div><dt>{html.escape(name)}</dt><dd>{value if isinstance(value, str) else f'{value:,}'}</dd></div>"
        for name, value in cards.items()
    ]
    warnings = [f'<p class="note">{html.escape(note)}</p>' for note in notes]
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


def _gallery(drawn: Sequence[figures.Drawing]) -> str:
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


def _data(runs: Runs, selection: Selection, scores: pd.DataFrame, with_published: bool) -> dict[str, Any]:
    """Everything that the page's script shows."""
    pools: dict[str, dict[str, tuple[int, Any]]] = {name: {} for name in POOLED}
    steps, curves = _curves(runs)
    rows = []
    for row in bar(sorted(runs.runs.itertuples(), key=_place(runs.runs)), "pages of runs", fewest=500):
        fields = _run_fields(row, curves.get(row.run, []), len(runs) <= TRAINING_RUNS)
        for name in POOLED:
            value = fields[name]
            key = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
            fields[name] = pools[name].setdefault(key, (len(pools[name]), value))[0]
        rows.append([fields[name] for name in FIELDS])
    return {
        "fields": FIELDS,
        "shared": SHARED,
        "pools": {name: [value for _, value in pool.values()] for name, pool in pools.items()},
        "steps": steps,
        "runs": rows,
        "groups": _groups(runs, selection, scores, with_published),
        "tasks": _tasks(scores),
    }


def _place(table: pd.DataFrame) -> Callable[[Any], Any]:
    """Return the key that puts runs in the tables' order of agents and tasks, then by seed."""
    agents = {name: i for i, name in enumerate(own_first(table["agent"]))}
    tasks = {name: i for i, name in enumerate(in_order(table["task"], TASKS))}
    return lambda row: (agents[row.agent], tasks[row.task], row.seeds, row.run)


def _run_fields(row: Any, curves: list[Any], with_training: bool) -> dict[str, Any]:
    """What the page knows of one run, by the names of `FIELDS`; `row` is one of the runs frame."""
    made = {name: getattr(row, name) for name in ("commit", "clean", "python", "device", "host", "dataset")}
    made |= {"fingerprint": row.fingerprint, "dataset source": row.source, "transitions": row.transitions}
    made |= {"environment": row.environment} if row.environment else {}
    times = [float(t) for t in (row.train_seconds, row.eval_seconds) if _known(t)]
    ends = [series[2][-1] for series in curves if series[2] and series[2][-1] is not None]
    return {
        "run": row.run,
        "agent": row.agent,
        "task": row.task,
        "suite": row.suite,
        "seeds": _seeds_text(row.seeds),
        "firstSeed": row.seeds[0] if row.seeds else None,
        "state": row.state,
        "step": row.step,
        "steps": row.steps,
        "diverged": sorted(row.diverged.items()),
        "error": row.error,
        "rate": round(float(row.updates_per_second), 1) if _known(row.updates_per_second) else None,
        "seconds": round(sum(times), 1) if times else None,
        "started": row.started,
        "updated": row.updated,
        "command": row.command if _known(row.command) else "",
        "hyperparameters": dict(sorted(row.hyperparameters.items(), key=lambda item: item[0] in SHARED)),
        "protocol": row.protocol,
        "made": made | {"versions": row.versions},
        "success": sum(ends) / len(ends) / 1000 if ends else None,
        "curves": curves,
        "training": _training(row.run) if with_training else None,
    }


def _known(value: Any) -> bool:
    """Whether a cell of the runs frame has a value: pandas turns None into NaN in some columns."""
    return value is not None and value == value


def _seeds_text(seeds: tuple[int, ...]) -> str:
    """Write (0, 1, 2, 5) as '0-2,5'."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][1] + 1:
            parts[-1][1] = seed
        else:
            parts.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _curves(runs: Runs) -> tuple[list[list[int]], dict[str, list[Any]]]:
    """Return the different lists of evaluation steps, and {run: [[seed, list of steps, *measures], ...]}.

    Success is in thousandths; return and length have four digits.
    """
    table = runs.evaluations
    places = {run: place for place, run in enumerate(dict.fromkeys(table["run"]))}
    owner = table["run"].map(places).to_numpy(dtype=int)
    seeds, steps = table["seed"].to_numpy(), table["step"].to_numpy()
    order = np.lexsort((steps, seeds, owner))
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1) | np.diff(seeds[order], prepend=-1))
    written = {
        "success": [None if np.isnan(x) else round(1000 * x) for x in table["success"].to_numpy(dtype=float)[order]]
    }
    for name in ("return", "length"):
        written[name] = [None if np.isnan(x) else float(f"{x:.4g}") for x in table[name].to_numpy(dtype=float)[order]]
    names = list(places)
    pool: dict[tuple[int, ...], int] = {}
    result: dict[str, list[Any]] = {}
    for start, end in zip(starts, [*starts, len(order)][1:], strict=True):
        first = order[start]
        at = pool.setdefault(tuple(steps[order[start:end]].tolist()), len(pool))
        series = [int(seeds[first]), at, *(written[name][start:end] for name in MEASURES)]
        result.setdefault(names[owner[first]], []).append(series)
    return [list(entry) for entry in pool], result


def _training(run: str) -> dict[str, list[Any]] | None:
    """Read a run's training metrics, thinned: {metric: [[seed, steps, values], ...]}; None where there are none."""
    try:
        table = read_training(run)
    except (OSError, ValueError):
        return None
    if not {"step", "seed"} <= set(table.columns):
        return None
    result: dict[str, list[Any]] = {}
    for seed, rows in table.groupby("seed"):
        thin = rows.iloc[:: max(1, math.ceil(len(rows) / TRAINING_POINTS))]
        for metric in thin.select_dtypes("number").columns.drop(["step", "seed"], errors="ignore"):
            values = [None if np.isnan(x) else float(f"{x:.4g}") for x in thin[metric]]
            result.setdefault(metric, []).append([seed, thin["step"].tolist(), values])
    return result


def _groups(runs: Runs, selection: Selection, scores: pd.DataFrame, with_published: bool) -> dict[str, Any]:
    """The table of averages: columns {name, tasks}, and rows of cells {mean, low, high, best} or None.

    One's own rows come first, and the columns in which they have figures.
    """
    sources, settings = sources_of(scores), _settings(runs, selection)
    own: dict[str, dict[str, Any]] = {agent: {} for agent in own_first(sources)}
    theirs: dict[str, dict[str, Any]] = {}
    found: list[tuple[bool, bool, TaskSet]] = []
    for column in table_columns(scores, with_published):
        means = statistics.overall_means(over(scores, column.tasks)) if len(scores) else scores
        found.append((not len(means), bool(column.domain), column))
        for row in means.assign(best=statistics.near_best(means["mean"])).itertuples() if len(means) else ():
            own[row.agent][column.name] = {"mean": row.mean, "low": row.low, "high": row.high, "best": bool(row.best)}
        for agent, mean in published.means(column.tasks).items() if with_published else ():
            theirs.setdefault(agent, {})[column.name] = {"mean": mean}
    columns = [column for *_, column in sorted(found, key=lambda entry: entry[:2])]
    rows = [(agent, sources[agent], settings.get(agent, ""), own[agent]) for agent in own if sources[agent] == "own"]
    rows += [(agent, sources[agent], "", own[agent]) for agent in own if sources[agent] != "own"]
    rows += [(agent, "published", "", theirs[agent]) for agent in agents_in_order(theirs)]
    return {
        "columns": [{"name": column.name, "tasks": "; ".join(spelled(column.tasks))} for column in columns],
        "rows": [
            {"agent": label(a), "source": source, "settings": text, "cells": [cells.get(c.name) for c in columns]}
            for a, source, text, cells in rows
        ],
    }


def _settings(runs: Runs, selection: Selection) -> dict[str, str]:
    """Each agent's own hyperparameters, "alpha=3 flow_steps=10"; one that is not the same on all tasks says so."""
    made = dict(zip(runs.runs["run"], runs.runs["hyperparameters"], strict=True))
    result = {}
    for agent, rows in selection.evaluations.groupby("agent"):
        each = [made[run] for run in rows["run"].unique() if run in made]
        names = [name for name in dict.fromkeys(name for one in each for name in one) if name not in SHARED]
        texts = {name: {setting_text(name, one.get(name)) for one in each} for name in names}
        result[str(agent)] = ", ".join(min(t) if len(t) == 1 else f"{name} by task" for name, t in texts.items())
    return result


def _tasks(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of agents and tasks, with the published mean beside each where there is one."""
    if not len(scores):
        return []
    table = statistics.task_means(scores)
    theirs = {(r.agent, r.task): r.success for r in published.by_task().itertuples()}
    place = {name: i for i, name in enumerate(in_order(table["task"], TASKS))}
    order = {name: i for i, name in enumerate(own_first(table["agent"]))}
    rows = []
    for task, group in sorted(table.groupby("task"), key=lambda item: place[item[0]]):
        best = statistics.near_best(group["mean"])
        for row, flag in sorted(zip(group.itertuples(), best, strict=True), key=lambda item: order[item[0].agent]):
            other = theirs.get((row.agent.partition(" (")[0], task))
            rows.append(
                {
                    "agent": label(row.agent),
                    "task": task,
                    **{name: _rounded(getattr(row, name)) for name in ("mean", "low", "high")},
                    "seeds": row.seeds,
                    "published": other,
                    "difference": None if other is None else _rounded(row.mean - other),
                    "best": bool(flag),
                }
            )
    return rows


def _rounded(value: float) -> float:
    """Four digits after the point are more than any success has."""
    return round(float(value), 4)


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.report", description="Write one HTML file about runs.")
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders that hold runs")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the file (default: report.html)")
    parser.add_argument("--title", default="Benchmark report", help="the page's heading")
    parser.add_argument("--published", action="store_true", help="show the published means too")
    parser.add_argument("--archive", metavar="FILE", help="the QAM archive: its curves beside them")
    parser.add_argument("--reversal", metavar="FILE", help="a reversal file, one more figure (see analysis.figures)")
    parser.add_argument("--highlight", metavar="AGENT", help="the agent that stands out in figures (default: rql)")
    parser.add_argument("--last", default="1", help="1: final step; 3: mean of the last three evaluations")
    parser.add_argument("--no-figures", action="store_true", help="leave the figures out; they take most of the time")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    options.last = whole_number("--last", options.last)
    output_file("--out", options.out)
    for place in options.runs:
        input_folder("--runs", place)
    for what in ("archive", "reversal"):
        if file := getattr(options, what):
            input_file(f"--{what}", file)
    path = write_report(
        load_runs(*options.runs),
        options.out,
        options.title,
        options.published,
        options.highlight,
        options.last,
        [] if options.no_figures else None,
        options.archive,
        options.reversal,
    )
    print(path)


if __name__ == "__main__":
    run_main(main)
