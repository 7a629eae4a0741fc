"""Names and errors in tables, pages and on the terminal are shown as they are written, and nothing of them acts."""

import csv
import io

import pytest
from rich.console import Console

from analysis import Results, comparable, load_runs
from analysis.common.escape import markdown, spreadsheet
from analysis.tabulating.cells import Cell, PrintedTable
from analysis.tabulating.formats import FORMATS
from analysis.tabulating.runs import print_summary
from benchmark.common.errors import UserError, printable, run_main, summary
from benchmark.launching.status import RunState, page
from benchmark.loop.display import RunDisplay
from benchmark.train import parse
from tests.helpers.simulated_runs import write_run

HOSTILE = "=HYPERLINK(1)<img src=x onerror=alert(1)>|[a](javascript:b)\x1b[2J\n**x** `y` [bold]"


def table(name: str = HOSTILE) -> PrintedTable:
    """A table that has a name everywhere."""
    rows = [[name, "task", Cell(-0.5, -0.7, -0.2), "1,000"], ["-0.5", "@task", Cell(0.5), "-3"]]
    return PrintedTable("t", name, ["agent", "task", name, "steps"], rows, [False, False], [name])


def test_markdown_has_no_html_links_or_cells_of_a_name():
    text = FORMATS["md"](table())
    assert "<" not in text and "](" not in text and "\x1b" not in text
    lines = text.splitlines()
    assert {line.replace("\\|", "").count("|") for line in lines[:4]} == {5}
    assert r"\*\*x\*\*" in text and r"\`y\`" in text


def test_a_spreadsheet_runs_no_name_and_numbers_stay_numbers():
    header, first, second = csv.reader(io.StringIO(FORMATS["csv"](table())))
    assert header[2].startswith("'=") and first[0].startswith("'=") and second[1] == "'@task"
    assert (second[0], second[-1], first[-1]) == ("-0.5", "-3", "1,000")
    assert first[2] == "-50" and "\x1b" not in "".join(first)
    assert [spreadsheet(text) for text in ("+1", "+cmd", "-1e3", "rql", "a=b")] == ["+1", "'+cmd", "-1e3", "rql", "a=b"]


def test_html_and_latex_have_no_control_characters():
    assert not any(c in FORMATS[kind](table()) for kind in ("html", "latex") for c in ("\x1b", "<img"))


def test_names_that_need_nothing_stay_as_they_are():
    for name in ("rql (quickstart)", "my_agent", "Diffusion-QL", "cube-single-play-singletask-task1-v0"):
        assert markdown(name) == spreadsheet(name) == printable(name) == name


def test_the_summary_on_the_terminal_shows_control_characters_and_markup_as_text(tmp_path, capsys):
    write_run(tmp_path)
    evaluations = comparable(load_runs(tmp_path)).evaluations
    print_summary(Results(evaluations.assign(agent="a\x1b[2J[bold]b[/nothing]")))
    out = capsys.readouterr().out
    assert "\x1b" not in out and r"\x1b" in out and "[bold]" in out


def test_the_status_page_shows_control_characters_of_an_error_as_text(tmp_path):
    spec = parse(["--agent=bc", "--task=toy-modes"])
    console = Console(file=io.StringIO(), width=200)
    console.print(page(tmp_path, [RunState(spec, tmp_path, "failed", {}, "bad \x1b[2J [/x] news", None)]))
    assert r"bad \x1b[2J [/x] news" in console.file.getvalue()


def test_a_run_may_say_what_looks_like_markup(tmp_path, capsys):
    with RunDisplay("a run", tmp_path / "log.txt") as progress:
        progress.say("W&B: [/closed] \x1b[31mred")
    assert "[/closed] \\x1b[31mred" in capsys.readouterr().out
    assert "\x1b" not in (tmp_path / "log.txt").read_text()


def test_an_error_is_one_printable_line(capsys):
    def fail():
        raise UserError("no\nsuch \x1b[31mname\r")

    with pytest.raises(SystemExit):
        run_main(fail)
    assert capsys.readouterr().err == "error: no\\nsuch \\x1b[31mname\\r\n"
    assert summary(ValueError("bad \x07")) == "ValueError: bad \\x07"
