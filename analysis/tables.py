"""Tables: the paper's with one's own rows in it.

    python -m analysis.tables --published                            the published table
    python -m analysis.tables --runs runs/mine --published           with one's own rows under the published ones
    python -m analysis.tables --runs runs/mine --archive qam.csv     with the archive's rows, intervals from its seeds
    python -m analysis.tables --runs runs/mine --table=reproduction  own against published
    python -m analysis.tables --published --format=latex > t.tex     a document that pdflatex compiles

Success is in percent. Own rows are marked with an asterisk.
"""

from __future__ import annotations

import csv
import html
import io
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import published as published_figures
from analysis.escape import markdown, spreadsheet
from analysis.names import DOMAINS, ORIGINS, TASKS, agents_in_order, in_order, label
from analysis.regimes import ACROSS, SEVERAL
from analysis.task_sets import over, table_columns
from benchmark.common.errors import UserError, check_choice, printable, run_main
from benchmark.common.options import Parser, input_file, input_folder, whole_number
from benchmark.common.options import names as names_in

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Runs, Selection

TASKS_PER_DOMAIN = 5
Lines = dict[tuple[str, str], "dict[str, Cell]"]
"""Figures by (agent, source) and column; a source is "published", "own" or an archive's name."""
DISAGREEMENTS = (
    "Published sources disagree on QSM (cube-double: 33 in the RQL paper, 56 in the QAM archive).",
    "Sources disagree on the training length of RQL, TFQL and BDPO (1M or 2M updates); the others have 1M.",
    "No figure of Diffusion-QL on these tasks is published.",
    "Own runs have OGBench 1.2.2, whose single tasks read success before a step's action, 1.1.x after it: an episode "
    "solved by its very last action counts in the latter only. Which one published figures have is not said.",
)
"""Printed with every table that has published figures; results/published/README.md has them in full."""


D4RL_CAVEATS = (
    "Published D4RL scores are from its own environments on MuJoCo 2.1; in another environment they do not compare.",
)


@dataclass(frozen=True)
class Cell:
    """One figure: success or a difference, as a fraction, with its interval (NaN where there is none)."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    digits: int = 0
    signed: bool = False
    bold: bool = False
    mark: str = ""
    """A sign after the figure, which a note explains."""

    @property
    def text(self) -> str:
        """As printed: "45", "45.3 [40.1, 50.2]", "+3.0 [-1.0, 7.0]"; a dash where there is no figure."""
        if math.isnan(self.value):
            return "–"
        sign = "+" if self.signed else ""
        text = f"{100 * self.value:{sign}.{self.digits}f}"
        if not math.isnan(self.low):
            text += f" [{100 * self.low:.{self.digits}f}, {100 * self.high:.{self.digits}f}]"
        return text + self.mark


@dataclass
class Table:
    """What every format is made from: rows of texts and cells under a header."""

    name: str
    caption: str
    header: list[str]
    rows: list[list[str | Cell]]
    own: list[bool]
    """Which rows are one's own."""
    notes: list[str] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)
    """Signs of one's own agents, as `marks_of` gives them."""


def marks_of(scores: pd.DataFrame, star: str = "") -> dict[str, str]:
    """Signs of the agents (each followed by `star`) whose hyperparameters are not all published; notes explain them."""
    if "origin" not in scores:
        return {}
    found = {agent: set(rows) for agent, rows in scores.groupby("agent")["origin"]}
    return {f"{agent}{star}": "".join(ORIGINS[kind] for kind in ORIGINS if kind in found[agent]) for agent in found}


def domain_table(
    scores: pd.DataFrame | None = None,
    published: bool = True,
    agents: Iterable[str] | None = None,
    bold: float = 95,
    caption: str = "",
    notes: Iterable[str] = (),
    across: bool = False,
) -> Table:
    """Methods x domains as in RQL's appendix, each agent's own row under its published one.

    Args:
        scores: one's own (`analysis.statistics.final_scores`), or None.
        published: whether to take the published figures in.
        agents: only these.
        bold: percent of the best from which a figure is bold, per column.
        caption: how the own figures were made (`analysis.statistics.caption`).
        notes: what the selection of runs has to say.
        across: whether figures of several regimes (`analysis.regimes`) are averaged and printed bold together, marked.

    A column is a set of tasks (`analysis.task_sets`): a domain without more words its five tasks, "average" the fifty.
    A row has a figure where it has all of a column's tasks.
    """
    from analysis.statistics import overall_means

    columns: list[str] = []
    sources = sources_of(scores) if scores is not None else {}
    lines: Lines = {key: {} for key in sources.items()}
    regimes = _regimes(scores, published)
    for found in table_columns(scores, published):
        name = found.name if found.domain else f"average of {found.name}"
        columns.append("average" if found.tasks == frozenset(TASKS) else name)
        for agent, mean in published_figures.means(found.tasks).items() if published else ():
            lines.setdefault((agent, "published"), {})[columns[-1]] = Cell(mean)
        for row in overall_means(over(scores, found.tasks)).itertuples() if scores is not None else ():
            key = (row.agent, sources[row.agent])
            several = len(found.tasks) > 1 and regimes[key].startswith(SEVERAL)
            if across or not several:
                cell = Cell(row.mean, row.low, row.high, mark=ACROSS if several else "")
                lines.setdefault(key, {})[columns[-1]] = cell
    text = _caption(published, caption, "domain")
    if published and any(" task" in column for column in columns):
        text += " Published figures of single tasks: RQL's from there, others from the archive of arXiv 2601.14234."
    table = _lines_table("domain", lines, columns, agents, bold, text, notes, regimes, across)
    table.marks = {} if scores is None else marks_of(scores, "*")
    return table


def task_table(
    scores: pd.DataFrame | None = None,
    published: bool = True,
    agents: Iterable[str] | None = None,
    bold: float = 95,
    caption: str = "",
    notes: Iterable[str] = (),
    across: bool = False,
) -> Table:
    """Tasks x methods: the fifty tasks (and one's own others); arguments as `domain_table`'s."""
    from analysis.statistics import task_means

    lines: Lines = {}
    if published:
        for agent, group in published_figures.by_task().groupby("agent"):
            lines[agent, "published"] = {row.task: Cell(row.success) for row in group.itertuples()}
    if scores is not None:
        sources = sources_of(scores)
        for agent, group in task_means(scores).groupby("agent"):
            lines[agent, sources[agent]] = {r.task: Cell(r.mean, r.low, r.high) for r in group.itertuples()}
    columns = in_order({c for cells in lines.values() for c in cells}, TASKS)
    text, regimes = _caption(published, caption, "task"), _regimes(scores, published)
    wide = _lines_table("task", lines, columns, agents, bold, text, notes, regimes, across)
    names = [f"{row[0]}*" if own else str(row[0]) for row, own in zip(wide.rows, wide.own, strict=True)]
    rows: list[list[str | Cell]] = [[task, *(row[2 + i] for row in wide.rows)] for i, task in enumerate(columns)]
    marks = {} if scores is None else marks_of(scores, "*")
    return Table("task", wide.caption, ["task", *names], rows, [False] * len(rows), wide.notes, marks)


def sources_of(scores: pd.DataFrame) -> dict[str, str]:
    """Whose each agent's scores are: "own", or an archive's name."""
    if "source" not in scores:
        return dict.fromkeys(scores["agent"], "own")
    return dict(zip(scores["agent"], scores["source"], strict=True))


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


def _caption(published: bool, own: str, level: str) -> str:
    """Say where each row is from."""
    source = {
        "domain": "Published rows: Reversal Q-Learning (arXiv 2606.17551), Table 1, means over five tasks.",
        "task": "Published columns: RQL from arXiv 2606.17551, Table 1; the others from the archive of "
        "arXiv 2601.14234, 1M updates, 12 seeds; TFQL and BDPO have no published figures per task.",
    }[level]
    parts = ["Success in percent."] + ([source] if published else [])
    return " ".join([*parts, f"Own figures (*): {own}"] if own else parts)


def _lines_table(
    name: str,
    lines: Lines,
    columns: list[str],
    agents: Iterable[str] | None,
    bold: float,
    caption: str,
    notes: Iterable[str],
    regimes: Mapping[tuple[str, str], str],
    across: bool,
) -> Table:
    """Rows (agent, source, a cell per column) in the order of agents, the best of each column and regime bold."""
    import dataclasses

    from analysis.statistics import near_best

    known = agents_in_order(agent for agent, _ in lines)
    chosen = [check_choice("agent", agent, known) for agent in agents] if agents is not None else known
    # Published before own: the sort is stable, and no agent has rows of more than these two.
    keys = [key for agent in agents_in_order(chosen) for key in sorted(lines, key=_is_own) if key[0] == agent]
    rows: dict[tuple[str, str], list[str | Cell]] = {key: list(key) for key in keys}
    groups = [keys] if across else [[k for k in keys if regimes[k] == r] for r in dict.fromkeys(map(regimes.get, keys))]
    several = len({regimes[key] for key in keys}) > 1
    mixed = any(regimes[key].startswith(SEVERAL) for key in keys)
    for column, group in itertools.product(columns, groups):
        cells = [lines[key].get(column, Cell()) for key in group]
        # As printed, so that two figures that read the same are treated the same.
        shown = [round(100 * c.value, c.digits) for c in cells]
        for key, cell, best in zip(group, cells, near_best(shown, bold), strict=True):
            best &= len(group) > 1 or not several  # alone in its regime it is the best of nothing
            mark = cell.mark or (ACROSS if across and several and best else "")
            rows[key].append(dataclasses.replace(cell, bold=bool(best), mark=mark))
    caption += f" Bold: within {bold:g}% of the best of a {'row' if name == 'task' else 'column'}"
    caption += " and regime." if several and not across else "."
    said = [
        *notes,
        *(_regime_notes(keys, regimes, across) if several or mixed else ()),
        *(DISAGREEMENTS if any(source == "published" for _, source in keys) else ()),
    ]
    return Table(
        name, caption, ["agent", "source", *columns], list(rows.values()), [_is_own(key) for key in keys], said
    )


def _regime_notes(keys: Iterable[tuple[str, str]], regimes: Mapping[tuple[str, str], str], across: bool) -> list[str]:
    """Say in a sentence why regimes are kept apart, or that they are not, and who is of which."""
    lines: dict[str, list[str]] = {}
    for key in keys:
        lines.setdefault(regimes[key] or "not said", []).append(f"{label(key[0])}{'*' * _is_own(key)}")
    why = (
        "Figures of different regimes (data, length, networks, evaluation) differ for other reasons than the agents, so"
    )
    done = (
        f"{why} bold figures marked {ACROSS} are not a ranking"
        if across
        else f"{why} each is averaged and bold among its own only"
    )
    return [f"{done}; " + "; ".join(f"{name}: {', '.join(agents)}" for name, agents in lines.items()) + "."]


def _is_own(key: tuple[str, str]) -> bool:
    """Whether a row (agent, source) is one's own."""
    return key[1] == "own"


def reproduction_table(
    scores: pd.DataFrame,
    agents: Iterable[str] | None = None,
    caption: str = "",
    notes: Iterable[str] = (),
) -> Table:
    """Own against published, per task and, where all five tasks are there, per domain.

    The interval of a difference combines both intervals as independent (root of the sum of squares on each side);
    where none is published it is one's own alone. Verdict: "agrees" where it holds 0 (or the difference is within
    the published figure's rounding), else "above" or "below"; "one seed" where there is no interval. A row of another
    length than the published figure's says both: "below (1M of 2M updates)".
    """
    from analysis.statistics import domain_means, task_means

    sources = sources_of(scores)
    scores = scores[scores["agent"].map(sources) == "own"]
    tasks, domains = published_figures.by_task(), published_figures.by_domain()
    known = {(r.agent, r.task): (r.success, r.low, r.high) for r in tasks.itertuples()}
    known |= {(r.agent, r.domain): (r.success, math.nan, math.nan) for r in domains.itertuples()}
    whole = domain_means(scores[scores["task"].isin(TASKS)])
    own = [(r.agent, r.domain, r) for r in whole[whole["tasks"] == TASKS_PER_DOMAIN].itertuples()]
    own += [(r.agent, r.task, r) for r in task_means(scores).itertuples()]
    steps = scores.groupby(["agent", "task"])["step"].min().to_dict()
    steps |= scores.groupby(["agent", "domain"])["step"].min().to_dict()
    place = {name: i for i, name in enumerate((*DOMAINS, *TASKS))}
    order = {agent: i for i, agent in enumerate(agents_in_order(scores["agent"]))}
    if agents is not None:
        chosen = {check_choice("agent", agent, list(order)) for agent in agents}
        own = [item for item in own if item[0] in chosen]
    rows: list[list[str | Cell]] = []
    short = as_commanded = 0
    for agent, where, row in sorted(own, key=lambda item: (order[item[0]], place.get(item[1], len(place)))):
        figure = known.get((agent.partition(" (")[0], where))
        if figure is None:
            continue
        mine = Cell(row.mean, row.low, row.high, digits=1)
        theirs = Cell(*figure, digits=1)
        difference = _difference(mine, theirs)
        length = published_figures.updates(agent.partition(" (")[0])
        verdict = _verdict(difference, theirs) + _of_length(steps[agent, where], length)
        short += steps[agent, where] < published_figures.AS_COMMANDED
        as_commanded += published_figures.AS_COMMANDED <= steps[agent, where] < length
        rows.append([agent, where, str(row.seeds), f"{steps[agent, where]:,}", mine, theirs, difference, verdict])
    header = ["agent", "task or domain", "seeds", "updates", "own", "published", "difference", "verdict"]
    text = f"Own against published success in percent. {caption}".strip()
    said = [*notes, *(DISAGREEMENTS if rows else ())]
    if short:
        least = published_figures.AS_COMMANDED
        said.append(f"{short} of {len(rows)} rows have fewer than {least:,} updates: no reproductions yet.")
    if as_commanded:
        said.append(
            f"{as_commanded} of {len(rows)} rows, of RQL, TFQL or BDPO, have the updates of the authors' commands; the "
            "paper's figures are of 2M by its transcriptions (--protocol=rql_paper), and may be higher for that alone."
        )
    return Table("reproduction", text, header, rows, [False] * len(rows), said, marks_of(scores))


def _of_length(own: int, published: int) -> str:
    """What follows a verdict on a row of another length than the published figure's."""
    return "" if own == published else f" ({_millions(own)} of {_millions(published)} updates)"


def _millions(updates: int) -> str:
    """1,500,000 as "1.5M", 7,000 as "7,000"."""
    return f"{updates / 1e6:g}M" if updates % 100_000 == 0 else f"{updates:,}"


def _difference(own: Cell, published: Cell) -> Cell:
    """Own minus published, with the interval of `reproduction_table`."""
    value = own.value - published.value
    if math.isnan(own.low):
        return Cell(value, digits=1, signed=True)
    below = above = 0.0
    if not math.isnan(published.low):
        below, above = published.high - published.value, published.value - published.low
    low = value - math.hypot(own.value - own.low, below)
    return Cell(value, low, value + math.hypot(own.high - own.value, above), digits=1, signed=True)


def _verdict(difference: Cell, published: Cell) -> str:
    """What the difference says."""
    if math.isnan(difference.low):
        return "one seed"
    # A figure printed without interval is a whole percent: half a percent of it is rounding.
    slack = 0.005 + 1e-9 if math.isnan(published.low) else 0.0
    if difference.low - slack <= 0 <= difference.high + slack:
        return "agrees"
    return "above" if difference.value > 0 else "below"


def d4rl_table(runs: Runs, selection: Selection, last: int = 1, agents: Iterable[str] | None = None) -> Table:
    """D4RL's normalised scores: tasks x agents, with the environment that each task was played in.

    A score is the mean return between D4RL's random policy (0) and its expert (100); a diverged seed's is 0.
    """
    from analysis.statistics import caption, final_scores, task_means

    known = runs.runs[runs.runs["reference_scores"].map(lambda pair: isinstance(pair, list))]
    references = dict(zip(known["task"], known["reference_scores"], strict=True))
    environments = {task: " and ".join(dict.fromkeys(rows["environment"])) for task, rows in known.groupby("task")}
    data = selection.evaluations[selection.evaluations["task"].isin(references)]
    low, high = (data["task"].map(lambda task, end=end: references[task][end]).astype(float) for end in (0, 1))
    normalised = ((data["return"] - low) / (high - low)).where(~data["imputed"].astype(bool), 0.0)
    scores = final_scores(data.assign(success=normalised), last)
    names = agents_in_order(scores["agent"])
    chosen = [check_choice("agent", agent, names) for agent in agents] if agents is not None else names
    cells = {(r.task, r.agent): Cell(r.mean, r.low, r.high, digits=1) for r in task_means(scores).itertuples()}
    rows: list[list[str | Cell]] = [
        [task, environments[task], *(cells.get((task, agent), Cell()) for agent in chosen)]
        for task in dict.fromkeys(scores["task"])
    ]
    text = "D4RL's normalised score: 0 is its random policy, 100 its expert. "
    text += caption(last, scores).replace("Success", "Return", 1)
    said = [*selection.notes, *(D4RL_CAVEATS if rows else ())]
    return Table("d4rl", text, ["task", "environment", *chosen], rows, [False] * len(rows), said, marks_of(scores))


def summary_table(evaluations: pd.DataFrame, last: int = 1) -> pd.DataFrame:
    """Agent x task: agent, task, domain, mean, low, high (fractions), seeds; agents in the tables' order."""
    from analysis.statistics import final_scores, task_means

    means = task_means(final_scores(evaluations, last)).drop(columns="tasks")
    place = {agent: i for i, agent in enumerate(agents_in_order(means["agent"]))}
    order = means.assign(place=means["agent"].map(place)).sort_values(["domain", "task", "place"], kind="stable")
    return order.drop(columns="place").reset_index(drop=True)


def summary(evaluations: pd.DataFrame, last: int = 1, notes: Iterable[str] = ()) -> Table:
    """`summary_table` in the form that can be rendered."""
    from analysis.statistics import caption, final_scores

    rows: list[list[str | Cell]] = [
        [row.agent, row.task, Cell(row.mean, row.low, row.high, digits=1), str(row.seeds)]
        for row in summary_table(evaluations, last).itertuples()
    ]
    scores = final_scores(evaluations, last)
    text, header = f"Success in percent. {caption(last, scores)}", ["agent", "task", "success", "seeds"]
    return Table("summary", text, header, rows, [False] * len(rows), list(notes), marks_of(scores))


def _agent(text: str, marks: dict[str, str]) -> str:
    """An agent as printed: its label, the star of an own row, and its sign."""
    return f"{label(text.rstrip('*'))}{'*' if text.endswith('*') else ''}{marks.get(text, '')}"


def _heads(table: Table, plain: Callable[[str], str]) -> list[str]:
    """The header as printed; the task table has agents in it."""
    return [plain(_agent(head, table.marks)) for head in table.header]


def _printed(table: Table, bold: Callable[[str], str], plain: Callable[[str], str]) -> list[list[str]]:
    """The rows as texts, figures that are bold wrapped by `bold`, everything escaped by `plain`."""
    return [
        [
            (bold(plain(item.text)) if item.bold else plain(item.text))
            if isinstance(item, Cell)
            else plain(_agent(f"{item}{'*' if own else ''}", table.marks) if head == "agent" else item)
            for item, head in zip(row, table.header, strict=True)
        ]
        for row, own in zip(table.rows, table.own, strict=True)
    ]


def to_markdown(table: Table) -> str:
    """A Markdown table with its caption and notes."""
    rows = [_heads(table, markdown), ["---"] * len(table.header)]
    rows += _printed(table, lambda text: f"**{text}**", markdown)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"- {markdown(note)}" for note in table.notes]
    return "\n".join([*lines, "", markdown(table.caption), *(["", *notes] if notes else [])]) + "\n"


def to_csv(table: Table) -> str:
    """CSV of the bare figures in percent, with columns for the intervals of those columns that have any."""
    columns: list[tuple[int, str, str]] = []
    for i, head in enumerate(table.header):
        columns.append((i, "value", head))
        cells = [row[i] for row in table.rows]
        if any(isinstance(c, Cell) and not math.isnan(c.low) for c in cells):
            columns += [(i, "low", f"{head}_low"), (i, "high", f"{head}_high")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([spreadsheet(name) for _, _, name in columns])
    for row in table.rows:
        writer.writerow([_bare(row[i], part) for i, part, _ in columns])
    return text.getvalue()


def _bare(item: str | Cell, part: str) -> str:
    """A part of a cell for CSV: percent with up to four decimals and no zeros after them."""
    if isinstance(item, str):
        return spreadsheet(item)
    value = getattr(item, part)
    return "" if math.isnan(value) else f"{100 * value:.4f}".rstrip("0").rstrip(".")


def to_html(table: Table) -> str:
    """An HTML table; everything is escaped. Own rows have class "own"."""

    def plain(text: str) -> str:
        return html.escape(printable(text))

    body = _printed(table, lambda text: f"<b>{text}</b>", plain)
    head = "".join(f"<th>{name}</th>" for name in _heads(table, plain))
    lines = [
        ('<tr class="own">' if own else "<tr>") + "".join(f"<td>{text}</td>" for text in row) + "</tr>"
        for row, own in zip(body, table.own, strict=True)
    ]
    notes = "".join(f"<li>{plain(note)}</li>" for note in table.notes)
    return (
        "\n".join(
            [
                f'<table class="{table.name}">',
                f"<caption>{plain(table.caption)}</caption>",
                f"<thead><tr>{head}</tr></thead>",
                "<tbody>",
                *lines,
                "</tbody>",
                "</table>",
                *([f"<ul>{notes}</ul>"] if notes else []),
            ]
        )
        + "\n"
    )


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\n": " ",
}


def _latex(text: str) -> str:
    """Escape for LaTeX; a character outside ASCII, which plain pdflatex may not know, becomes a question mark."""
    return "".join(_LATEX.get(c, c if c.isascii() and c.isprintable() else "?") for c in text)


def to_latex(table: Table, fragment: bool = False) -> str:
    """A booktabs table: a whole document, or with `fragment` the table alone (needs booktabs and graphicx)."""
    rows = _printed(table, lambda text: f"\\textbf{{{text}}}", _latex)
    align = "".join("l" if isinstance(item, str) else "r" for item in table.rows[0]) if table.rows else "l"
    header = _heads(table, _latex)
    if len(header) > 8:
        header = [rf"\rotatebox{{90}}{{{name}}}" for name in header]
    caption = _latex(" ".join([table.caption, *table.notes]))
    tall = len(rows) > 60
    body = [" & ".join(row) + r" \\" for row in rows]
    if tall:
        # A table longer than a page cannot be scaled as one box: it breaks over pages instead.
        head = " & ".join(header) + r" \\"
        lines = [
            r"{\scriptsize",
            rf"\begin{{longtable}}{{{align}}}",
            rf"\caption{{{caption}}}\\",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *body,
            r"\end{longtable}",
            "}",
        ]
    else:
        lines = [
            r"\begin{table}[p]",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    if not fragment:
        # A longtable is not scaled, so that a wide one needs the page's long side.
        wide = "landscape," if (len(header) > 6 if tall else len(header) > 8 and len(rows) <= 30) else ""
        packages = [rf"\usepackage[{wide}margin=1.5cm]{{geometry}}"]
        packages += [rf"\usepackage{{{name}}}" for name in ("booktabs", "graphicx", "longtable")]
        lines = [r"\documentclass{article}", *packages, r"\begin{document}", *lines, r"\end{document}"]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "latex": to_latex,
    "html": to_html,
}


def print_summary(evaluations: pd.DataFrame, last: int = 1) -> None:
    """Print `summary` to the terminal."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    table = summary(evaluations, last)
    grid = Grid(caption=Text(printable(table.caption)), caption_justify="left")
    for name in table.header:
        grid.add_column(name, justify="right" if name in ("success", "seeds") else "left")
    for row in _printed(table, str, printable):
        grid.add_row(*(Text(text) for text in row))
    Console().print(grid)


def write_tables(evaluations: pd.DataFrame, folder: str | Path, last: int = 1, notes: Iterable[str] = ()) -> list[Path]:
    """Write the summary, the reproduction table, and the domain and task tables with the published figures.

    Each as Markdown, CSV, HTML and LaTeX where it has rows; the domain table only where one of the paper's domains
    was run.

    Args:
        evaluations: what may be averaged (`analysis.load.comparable`).
        folder: made where it does not exist.
        last: 1 for the final step, 3 for the mean of the last three evaluations.
        notes: what the selection of runs has to say, printed with every table.

    Returns:
        The files.
    """
    from analysis.statistics import caption, final_scores

    scores = final_scores(evaluations, last)
    text = caption(last, scores)
    said = list(notes)
    tables = [summary(evaluations, last, said), reproduction_table(scores, caption=text, notes=said)]
    if scores["domain"].isin(DOMAINS).any():
        tables += [domain_table(scores, caption=text, notes=said), task_table(scores, caption=text, notes=said)]
    return save_tables(tables, folder)


def save_tables(tables: Iterable[Table], folder: str | Path) -> list[Path]:
    """Write each table that has rows as Markdown, CSV, HTML and LaTeX; return the files."""
    suffixes = {"md": "md", "csv": "csv", "html": "html", "latex": "tex"}
    paths = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for table in tables:
            for kind, suffix in suffixes.items() if table.rows else ():
                path = Path(folder) / f"{table.name}.{suffix}"
                path.write_text(FORMATS[kind](table), encoding="utf-8")
                paths.append(path)
    except OSError as error:
        raise UserError(f"cannot write to '{folder}': {error.strerror}") from error
    return paths


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.tables", description="Print a table.")
    parser.add_argument("--runs", nargs="+", default=[], metavar="DIR", help="folders of one's own runs")
    parser.add_argument("--published", action="store_true", help="take the published figures in")
    parser.add_argument("--archive", metavar="FILE", help="the QAM archive: its curves beside them")
    parser.add_argument("--table", default="domain", help="domain (default), task, reproduction, summary or d4rl")
    parser.add_argument("--format", default="md", help="md (default), csv, latex or html")
    parser.add_argument("--agents", help="only these, with commas between")
    parser.add_argument("--bold", type=float, default=95, help="bold within this percent of the best (95)")
    parser.add_argument("--across-regimes", action="store_true", help="bold and average over regimes too, marked")
    parser.add_argument("--last", default="1", help="1: final evaluation; 3: mean of the last three")
    parser.add_argument("--diverged", default="zero", help="zero (default): success 0 from there on; or exclude")
    parser.add_argument("--fragment", action="store_true", help="LaTeX: the table without a document around it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parser().parse_args(arguments)
    check_choice("table", options.table, ["domain", "task", "reproduction", "summary", "d4rl"])
    check_choice("format", options.format, FORMATS)
    check_choice("policy for diverged seeds", options.diverged, ["zero", "exclude"])
    if not 0 < options.bold <= 100:
        raise UserError(f"--bold must be above 0 and at most 100, not {options.bold:g}")
    if not (options.runs or options.published or options.archive):
        raise UserError("nothing to show; give --published, --runs DIR or --archive FILE")
    if not options.runs and (
        options.table in ("reproduction", "d4rl") or (options.table == "summary" and not options.archive)
    ):
        raise UserError(f"--table={options.table} needs one's own runs; give --runs DIR")
    options.last = whole_number("--last", options.last)
    for place in options.runs:
        input_folder("--runs", place)
    if options.archive:
        input_file("--archive", options.archive)
    table = _chosen(options)
    text = to_latex(table, options.fragment) if options.format == "latex" else FORMATS[options.format](table)
    sys.stdout.write(text)
    if options.format == "csv":
        for note in table.notes:
            print(f"note: {printable(note)}", file=sys.stderr)


def _chosen(options: Any) -> Table:
    """Make the table that the options ask for."""
    agents = names_in("--agents", options.agents) if options.agents else None
    make = domain_table if options.table == "domain" else task_table
    if not (options.runs or options.archive):
        return make(None, True, agents, options.bold, across=options.across_regimes)
    from analysis.load import comparable, load_runs
    from analysis.statistics import caption, final_scores

    runs = load_runs(*options.runs)
    selection = comparable(runs, diverged=options.diverged)
    if selection.evaluations.empty and options.runs:
        said = f" ({' '.join(selection.notes)})" if selection.notes else ""
        raise UserError(f"no finished run under {', '.join(options.runs)}{said}")
    if options.archive:
        from analysis.import_archive import beside

        selection = beside(selection, options.archive)
    if options.table == "d4rl":
        return d4rl_table(runs, selection, options.last, agents)
    if options.table == "summary":
        return summary(selection.evaluations, options.last, selection.notes)
    scores = final_scores(selection.evaluations, options.last)
    text = caption(options.last, scores)
    if options.table == "reproduction":
        return reproduction_table(scores, agents, text, selection.notes)
    return make(scores, options.published, agents, options.bold, text, selection.notes, options.across_regimes)


if __name__ == "__main__":
    run_main(main)
