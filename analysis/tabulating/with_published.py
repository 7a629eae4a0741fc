"""The paper's tables with one's own rows in them: methods by domains, and tasks by methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from analysis import published as published_figures
from analysis.averaging.results import Results
from analysis.averaging.statistics import near_best_within, overall_means, task_means
from analysis.averaging.task_sets import table_columns
from analysis.names import TASKS, agents_in_order, in_order, label
from analysis.regimes import ACROSS, SEVERAL, why_apart
from analysis.tabulating.cells import Cell, PrintedTable, Row, chosen_agents, marks_of, sources_of

Lines = dict[tuple[str, str], dict[str, Cell]]
"""Figures by (agent, source) and column; a source is "published", "own" or an archive's name."""
DISAGREEMENTS = (
    "Published sources disagree on QSM (cube-double: 33 in the RQL paper, 56 in the QAM archive).",
    "Sources disagree on the training length of RQL, TFQL and BDPO (1M or 2M updates); the others have 1M.",
    "No figure of Diffusion-QL on these tasks is published.",
    "Own runs have OGBench 1.2.2, whose single tasks read success before a step's action, 1.1.x after it: an episode "
    "solved by its very last action counts in the latter only. Which one published figures have is not said.",
)
"""Printed with every table that has published figures; results/published/README.md has them in full."""


PUBLISHED = {
    "domain": "Published rows: Reversal Q-Learning (arXiv 2606.17551), Table 1, means over five tasks.",
    "task": "Published columns: RQL from arXiv 2606.17551, Table 1; the others from the archive of "
    "arXiv 2601.14234, 1M updates, 12 seeds; TFQL and BDPO have no published figures per task.",
}
"""Where the published figures of each table are from."""


def domain_table(
    results: Results | None = None,
    published: bool = True,
    agents: Iterable[str] | None = None,
    bold: float = 95,
    across: bool = False,
) -> PrintedTable:
    """Methods x domains as in RQL's appendix, each agent's own row under its published one.

    Args:
        results: one's own.
        published: whether to take the published figures in.
        agents: only these.
        bold: percent of the best from which a figure is bold, per column.
        across: whether figures of several regimes (`analysis.regimes`) are averaged and printed bold together, marked.

    A column is a set of tasks (`averaging.task_sets`): a domain without more words its five tasks, "average" the fifty.
    A row has a figure where it has all of a column's tasks.
    """
    columns: dict[str, Collection[str]] = {}
    scores = results.scores if results else None
    sources = sources_of(scores) if scores is not None else {}
    several = results.of_several_regimes if results else frozenset()
    lines: Lines = {key: {} for key in sources.items()}
    regimes = _regimes(scores, published)
    for found in table_columns(scores, published):
        name = found.name if found.domain else f"average of {found.name}"
        column = "average" if found.tasks == frozenset(TASKS) else name
        columns[column] = found.tasks
        for agent, mean in published_figures.means(found.tasks).items() if published else ():
            lines.setdefault((agent, "published"), {})[column] = Cell(mean)
        for row in overall_means(results.averaged(found.tasks, across)).itertuples() if results else ():
            marked = len(found.tasks) > 1 and row.agent in several
            cell = Cell(row.mean, row.low, row.high, mark=ACROSS if marked else "")
            lines.setdefault((row.agent, sources[row.agent]), {})[column] = cell
    text = _caption("domain", results, published)
    if published and any(" task" in column for column in columns):
        text += " Published figures of single tasks: RQL's from there, others from the archive of arXiv 2601.14234."
    table = _lines_table("domain", lines, columns, agents, bold, text, results, regimes, across)
    keys = [(str(row[0]), str(row[1])) for row in table.rows]
    bare = [f"{label(key[0])}{'*' * _is_own(key)}" for key in keys if not lines[key]]
    said = "Without a figure here, as no column is over tasks that they have all of, in one regime"
    notes = [f"{said}: {', '.join(bare)}; --table=task has theirs."] if bare else []
    return dataclasses.replace(table, notes=[*table.notes, *notes])


def task_table(
    results: Results | None = None,
    published: bool = True,
    agents: Iterable[str] | None = None,
    bold: float = 95,
    across: bool = False,
) -> PrintedTable:
    """Tasks x methods: the fifty tasks (and one's own others); arguments as `domain_table`'s."""
    lines: Lines = {}
    if published:
        for agent, group in published_figures.by_task().groupby("agent"):
            lines[agent, "published"] = {row.task: Cell(row.success) for row in group.itertuples()}
    if results:
        sources = sources_of(results.scores)
        for agent, group in task_means(results.scores).groupby("agent"):
            lines[agent, sources[agent]] = {r.task: Cell(r.mean, r.low, r.high) for r in group.itertuples()}
    columns = in_order({c for cells in lines.values() for c in cells}, TASKS)
    text = _caption("task", results, published)
    regimes = _regimes(results.scores if results else None, published)
    of_one = {task: [task] for task in columns}
    wide = _lines_table("task", lines, of_one, agents, bold, text, results, regimes, across)
    names = [f"{row[0]}*" if own else str(row[0]) for row, own in zip(wide.rows, wide.own, strict=True)]
    rows: list[Row] = [[task, *(row[2 + i] for row in wide.rows)] for i, task in enumerate(columns)]
    return dataclasses.replace(wide, header=["task", *names], rows=rows, own=[])


def _regimes(scores: pd.DataFrame | None, published: bool) -> dict[tuple[str, str], str]:
    """The regime of each line (agent, source); "" where scores do not say it."""
    found: dict[tuple[str, str], str] = {}
    if published:
        figures = published_figures.by_domain()
        found = {(agent, "published"): name for agent, name in zip(figures["agent"], figures["regime"], strict=True)}
    if scores is not None:
        said = dict(zip(scores["agent"], scores["regime"], strict=True)) if "regime" in scores else {}
        found |= {key: said.get(key[0], "") for key in sources_of(scores).items()}
    return found


def _caption(name: str, results: Results | None, published: bool) -> str:
    """Say where each row is from."""
    parts = ["Success in percent.", *([PUBLISHED[name]] if published else [])]
    return " ".join([*parts, f"Own figures (*): {results.caption}"] if results else parts)


def _lines_table(
    name: str,
    lines: Lines,
    columns: Mapping[str, Collection[str]],
    agents: Iterable[str] | None,
    bold: float,
    text: str,
    results: Results | None,
    regimes: Mapping[tuple[str, str], str],
    across: bool,
) -> PrintedTable:
    """Rows (agent, source, a cell per column) in the order of agents, the best of each column and regime bold.

    `columns` has the tasks of each: an agent of several `regimes` may be of one on some of its tasks.
    """
    chosen = chosen_agents(agents, agents_in_order(agent for agent, _ in lines))
    # Published before own: the sort is stable, and no agent has rows of more than these two.
    keys = [key for agent in agents_in_order(chosen) for key in sorted(lines, key=_is_own) if key[0] == agent]
    rows: dict[tuple[str, str], Row] = {key: list(key) for key in keys}
    several = len({regimes[key] for key in keys}) > 1
    mixed = any(regimes[key].startswith(SEVERAL) for key in keys)
    apart = (several or mixed) and not across

    def group(key: tuple[str, str], tasks: Collection[str]) -> str:
        return results.regime_on(key[0], tasks) if results and key[1] != "published" else regimes[key]

    for column, tasks in columns.items():
        groups = [group(key, tasks) if apart else "" for key in keys]
        cells = [lines[key].get(column, Cell()) for key in keys]
        # As printed, so that two figures that read the same are treated the same.
        shown = [round(100 * c.value, c.digits) for c in cells]
        for key, cell, best in zip(keys, cells, near_best_within(shown, groups, bold), strict=True):
            mark = cell.mark or (ACROSS if across and several and best else "")
            rows[key].append(dataclasses.replace(cell, bold=bool(best), mark=mark))
    text += f" Bold: within {bold:g}% of the best of a {'row' if name == 'task' else 'column'}"
    text += " and regime." if apart else "."
    said = [
        *(results.notes if results else ()),
        *(_regime_notes(keys, regimes, across) if several or mixed else ()),
        *(DISAGREEMENTS if any(key[1] == "published" for key in keys) else ()),
    ]
    marks = marks_of(results.scores, "*") if results else {}
    header, own = ["agent", "source", *columns], [_is_own(key) for key in keys]
    return PrintedTable(name, text, header, list(rows.values()), own, said, marks)


def _regime_notes(keys: Iterable[tuple[str, str]], regimes: Mapping[tuple[str, str], str], across: bool) -> list[str]:
    """Say in a sentence why regimes are kept apart, or that they are not, and who is of which."""
    done = (
        f"bold figures marked {ACROSS} are not a ranking" if across else "each is averaged and bold among its own only"
    )
    return [why_apart({f"{label(key[0])}{'*' * _is_own(key)}": regimes[key] for key in keys}, done)]


def _is_own(key: tuple[str, str]) -> bool:
    """Whether a row (agent, source) is one's own."""
    return key[1] == "own"
