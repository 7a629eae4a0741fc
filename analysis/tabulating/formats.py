"""Tables as Markdown, CSV, HTML and LaTeX, and as files. Names and captions are escaped for each."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from analysis.common.escape import markdown, spreadsheet
from analysis.names import label
from analysis.tabulating.cells import Cell, PrintedTable
from benchmark.common.errors import printable
from benchmark.common.files import make_folder, write_text


def _agent(text: str, marks: dict[str, str]) -> str:
    """An agent as printed: its label, the star of an own row, and its sign."""
    return f"{label(text.rstrip('*'))}{'*' if text.endswith('*') else ''}{marks.get(text, '')}"


def _heads(table: PrintedTable, plain: Callable[[str], str]) -> list[str]:
    """The header as printed; the task table has agents in it."""
    return [plain(_agent(head, table.marks)) for head in table.header]


def printed_rows(table: PrintedTable, bold: Callable[[str], str], plain: Callable[[str], str]) -> list[list[str]]:
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


def to_markdown(table: PrintedTable) -> str:
    """A Markdown table with its caption and notes."""
    rows = [_heads(table, markdown), ["---"] * len(table.header)]
    rows += printed_rows(table, lambda text: f"**{text}**", markdown)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"- {markdown(note)}" for note in table.notes]
    return "\n".join([*lines, "", markdown(table.caption), *(["", *notes] if notes else [])]) + "\n"


def to_csv(table: PrintedTable) -> str:
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


def to_html(table: PrintedTable) -> str:
    """An HTML table; everything is escaped. Own rows have class "own"."""

    def plain(text: str) -> str:
        return html.escape(printable(text))

    body = printed_rows(table, lambda text: f"<b>{text}</b>", plain)
    head = "".join(f"<th>{name}</th>" for name in _heads(table, plain))
    lines = [
        ('<tr class="own">' if own else "<tr>") + "".join(f"<td>{text}</td>" for text in row) + "</tr>"
        for row, own in zip(body, table.own, strict=True)
    ]
    head_and_body = [f"<thead><tr>{head}</tr></thead>", "<tbody>", *lines, "</tbody>", "</table>"]
    notes = "".join(f"<li>{plain(note)}</li>" for note in table.notes)
    begin = [f'<table class="{table.name}">', f"<caption>{plain(table.caption)}</caption>"]
    return "\n".join([*begin, *head_and_body, *([f"<ul>{notes}</ul>"] if notes else [])]) + "\n"


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"–": "--", "§": r"\S{}", "¶": r"\P{}", "\n": " "}
_NAMED = {"\\": "textbackslash", "~": "textasciitilde", "^": "textasciicircum", "<": "textless", ">": "textgreater"}
_LATEX |= {c: f"\\{name}{{}}" for c, name in (_NAMED | {"†": "textdagger", "‡": "textdaggerdbl"}).items()}


def _latex(text: str) -> str:
    """Escape for LaTeX; a character outside ASCII, which plain pdflatex may not know, becomes a question mark."""
    return "".join(_LATEX.get(c, c if c.isascii() and c.isprintable() else "?") for c in text)


def to_latex(table: PrintedTable, fragment: bool = False) -> str:
    """A booktabs table: a whole document, or with `fragment` the table alone (needs booktabs and graphicx)."""
    rows = printed_rows(table, lambda text: f"\\textbf{{{text}}}", _latex)
    align = "".join("l" if isinstance(item, str) else "r" for item in table.rows[0]) if table.rows else "l"
    header = _heads(table, _latex)
    if len(header) > 8:
        header = [rf"\rotatebox{{90}}{{{name}}}" for name in header]
    caption = _latex(" ".join([table.caption, *table.notes]))
    tall = len(rows) > 60
    body = [" & ".join(row) + r" \\" for row in rows]
    head = " & ".join(header) + r" \\"
    if tall:
        # A table longer than a page cannot be scaled as one box: it breaks over pages instead.
        begin = [r"{\scriptsize", rf"\begin{{longtable}}{{{align}}}", rf"\caption{{{caption}}}\\", r"\toprule", head]
        begin += [r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
        end = [r"\end{longtable}", "}"]
    else:
        begin = [r"\begin{table}[p]", r"\centering", rf"\caption{{{caption}}}"]
        begin += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
        begin += [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule"]
        end = [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
    lines = [*begin, *body, *end]
    if not fragment:
        # A longtable is not scaled, so that a wide one needs the page's long side.
        wide = "landscape," if (len(header) > 6 if tall else len(header) > 8 and len(rows) <= 30) else ""
        packages = [rf"\usepackage[{wide}margin=1.5cm]{{geometry}}"]
        packages += [rf"\usepackage{{{name}}}" for name in ("booktabs", "graphicx", "longtable")]
        lines = [r"\documentclass{article}", *packages, r"\begin{document}", *lines, r"\end{document}"]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[PrintedTable], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "latex": to_latex,
    "html": to_html,
}


def rendered(table: PrintedTable, form: str, fragment: bool = False) -> str:
    """The table in a format; `fragment` as in `to_latex`."""
    return to_latex(table, fragment) if form == "latex" else FORMATS[form](table)


def save_tables(tables: Iterable[PrintedTable], folder: str | Path) -> list[Path]:
    """Write each table that has rows as Markdown, CSV, HTML and LaTeX; return the files."""
    suffixes = {"md": "md", "csv": "csv", "html": "html", "latex": "tex"}
    make_folder(Path(folder))
    paths = []
    for table in tables:
        for kind, suffix in suffixes.items() if table.rows else ():
            paths.append(Path(folder) / f"{table.name}.{suffix}")
            write_text(paths[-1], FORMATS[kind](table))
    return paths
