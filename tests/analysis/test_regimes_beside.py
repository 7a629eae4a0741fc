"""Tables and the page put no two regimes into one verdict, order or bold figure unless asked to, and say why."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from analysis.averaging.selection import comparable
from analysis.averaging.statistics import near_best_within
from analysis.names import TASKS, label
from analysis.page.tables import groups, tasks
from analysis.page.writing import write_page
from analysis.reading.loading import load_runs
from analysis.tables import main
from analysis.tabulating.agreement import order_table
from analysis.tabulating.reproduction import reproduction_table
from analysis.tabulating.runs import summary
from analysis.tabulating.with_published import domain_table, task_table
from tests.analysis.test_regimes import CUBE, run, run_begun, run_online
from tests.helpers.simulated_runs import write_run

WHY = "differ for other reasons than the agents"


@pytest.fixture
def two(tmp_path):
    """RQL at 1M updates and FQL at 2M, both on one task."""
    run(tmp_path, "rql")
    run(tmp_path, "fql", steps=2_000_000)
    return comparable(load_runs(tmp_path))


def rows_of(table):
    return {(row[0], row[1]): row for row in table.rows}


def test_best_is_said_within_groups_and_one_alone_is_the_best_of_nothing():
    assert near_best_within([90, 50, 49], ["a", "b", "b"]).tolist() == [False, True, True]
    assert near_best_within([90, 50], ["a", "a"]).tolist() == [True, False]
    assert near_best_within([90], ["a"]).tolist() == [True]


def test_a_row_without_a_figure_keeps_one_alone_no_company():
    assert near_best_within([90, math.nan, 80], ["a", "a", "b"]).tolist() == [False, False, False]
    assert near_best_within([90, math.nan, 40], ["a", "a", "a"]).tolist() == [True, False, False]


LENGTHS = {"rql": (2, 2, 1), "fql": (2, 1, 1), "ifql": (2, 1, 2), "qam": (1, 2, 1), "bam": (1, 2, 1)}
"""Millions of updates on three tasks: all are of several regimes, in nearly the same words."""


@pytest.fixture
def by_task(tmp_path):
    """Agents of several regimes, the one that is named later with the higher success."""
    for k, (agent, lengths) in enumerate(LENGTHS.items()):
        for task, millions in zip(TASKS[35:38], lengths, strict=True):
            steps = millions * 1_000_000
            path = run(tmp_path / "runs", agent, task, steps)
            rows = (path / "eval.csv").read_text().splitlines()
            rows[1:] = [",".join([*row.split(",")[:3], f"{0.1 + 0.2 * k}", *row.split(",")[4:]]) for row in rows[1:]]
            (path / "eval.csv").write_text("\n".join(rows) + "\n")
    return comparable(load_runs(tmp_path / "runs"))


def best_on(task):
    """Who is the best of its regime on the task: of those with its length there, the last of `LENGTHS`."""
    place = TASKS[35:38].index(task)
    last = {lengths[place]: agent for agent, lengths in LENGTHS.items()}
    counts = Counter(lengths[place] for lengths in LENGTHS.values())
    return {agent for millions, agent in last.items() if counts[millions] > 1}


def test_on_a_single_task_an_agent_of_several_regimes_is_of_the_one_that_it_has_there(by_task):
    assert by_task.regime_on("rql", TASKS[35:37]) == "rql" and by_task.regime_on("rql", TASKS[37:38]) == "qam"
    assert by_task.regime_on("rql", TASKS[35:38]).startswith("several regimes")
    printed = task_table(by_task, published=False)
    for row in printed.rows:
        bold = {name.rstrip("*") for name, cell in zip(printed.header[1:], row[1:], strict=True) if cell.bold}
        assert bold == best_on(row[0]), row[0]
    for place, name in enumerate(domain_table(by_task, published=False).header[2:]):
        rows = domain_table(by_task, published=False).rows
        of_one = [task for task in TASKS[35:38] if name.endswith(f"task {task[-4]}")]
        assert {row[0] for row in rows if row[2 + place].bold} == (best_on(of_one[0]) if of_one else set()), name
    for task in TASKS[35:38]:
        assert {row["agent"] for row in tasks(by_task) if row["task"] == task and row["best"]} == {
            label(agent) for agent in best_on(task)
        }


def test_an_order_is_of_the_methods_of_one_regime_on_the_task(tmp_path):
    for number, agent in enumerate(("fql", "ifql", "qam", "bam", "cgql", "dac")):
        for task, millions in zip(TASKS[35:38], (2, 2 if number < 4 else 1, 1), strict=True):
            run(tmp_path, agent, task, millions * 1_000_000)
    rows = order_table(comparable(load_runs(tmp_path))).rows
    assert [row[1] for row in rows] == ["6", "4", "6"]


def test_a_reproduction_of_another_regime_has_no_verdict_and_the_reason_stands_beside(two):
    table = reproduction_table(two)
    for agent, said in (("rql", "updates 1,000,000 against 2,000,000"), ("fql", "updates 2,000,000 against 1,000,000")):
        row = rows_of(table)[agent, CUBE]
        assert row[-2].text == "–" and row[-1].startswith("another regime (")
        assert any(WHY in note and said in note for note in table.notes)


def test_across_regimes_the_verdict_is_given_and_the_difference_marked(two):
    table = reproduction_table(two, across=True)
    row = rows_of(table)["rql", CUBE]
    assert row[-2].text.endswith("¶") and "of another regime" in row[-1]
    assert any(WHY in note and "marked ¶" in note for note in table.notes)


def test_a_reproduction_of_the_published_regime_is_marked_by_nothing(tmp_path):
    run(tmp_path, "fql")
    (row,) = reproduction_table(comparable(load_runs(tmp_path))).rows
    assert row[-1] in ("agrees", "above", "below") and "¶" not in row[-2].text


@pytest.mark.parametrize(
    ("make", "said"),
    [(run_online, "online steps 500,000 against none"), (run_begun, "start abcdef0123456789 against none")],
)
def test_a_reproduction_with_an_online_phase_or_another_runs_networks_has_no_verdict(tmp_path, make, said):
    make(tmp_path, "fql")
    table = reproduction_table(comparable(load_runs(tmp_path)))
    (row,) = table.rows
    assert row[3] == "1,000,000" and row[-2].text == "–" and row[-1] == "another regime"
    assert any(said in note for note in table.notes)


def test_a_domain_whose_tasks_begin_with_networks_of_their_own_is_averaged(tmp_path):
    for number in range(5):
        run_begun(tmp_path, "fql", f"sha256:{number}", task=TASKS[35 + number])
    results = comparable(load_runs(tmp_path))
    assert ("fql", "cube-double-play") in rows_of(reproduction_table(results))


def test_a_domain_whose_tasks_are_of_several_regimes_is_not_averaged(tmp_path):
    for number in range(5):
        run(tmp_path, "fql", TASKS[35 + number], 1_000_000 if number else 3_000_000, fingerprint=f"sha256:{number}")
    results = comparable(load_runs(tmp_path))
    domain = "cube-double-play"
    refused = reproduction_table(results)
    assert ("fql", domain) not in rows_of(refused) and any("several regimes" in note for note in refused.notes)
    assert "¶" in rows_of(reproduction_table(results, across=True))["fql", domain][-2].text
    columns = [column["name"] for column in groups(results, False)["columns"]]
    own = next(row for row in groups(results, False)["rows"] if row["source"] == "own")
    assert own["cells"][columns.index(domain)] is None


def test_the_page_says_why_an_agent_has_no_averages(tmp_path):
    for number, steps in ((0, 1_000_000), (1, 3_000_000)):
        run(tmp_path / "runs", "fql", TASKS[35 + number], steps)
    page = write_page(comparable(load_runs(tmp_path / "runs")), tmp_path / "page.html", drawn=[]).read_text()
    assert "none is averaged or bold with those of another; several regimes: 1,000,000 or 3,000,000 updates" in page


def test_a_domain_whose_tasks_have_data_of_their_own_is_averaged(tmp_path):
    for number in range(5):
        run(tmp_path, "fql", TASKS[35 + number], fingerprint=f"sha256:{number}")
    row = rows_of(reproduction_table(comparable(load_runs(tmp_path))))["fql", "cube-double-play"]
    assert row[-1] in ("agrees", "above", "below")


def test_a_domains_updates_are_of_the_tasks_that_it_is_the_mean_of(tmp_path):
    for number in range(5):
        run(tmp_path / "published", "fql", TASKS[35 + number], fingerprint=f"sha256:{number}")
    run(tmp_path / "generated", "fql", TASKS[35], steps=4_000, source="generated")
    row = rows_of(reproduction_table(comparable(load_runs(tmp_path))))["fql", "cube-double-play"]
    assert row[3] == "1,000,000" and row[-1] in ("agrees", "above", "below")


def test_the_summary_stands_by_regime_and_says_so(two):
    table = summary(two)
    assert table.header[-1] == "regime" and [row[-1] for row in table.rows] == ["qam", "rql"]
    assert any(WHY in note and "rows stand by regime" in note for note in table.notes)


def test_a_summary_of_one_regime_has_no_column_for_it(tmp_path):
    run(tmp_path, "rql")
    run(tmp_path, "fql")
    table = summary(comparable(load_runs(tmp_path)))
    assert table.header[-1] == "seeds" and not any(WHY in note for note in table.notes)


def test_methods_are_ranked_within_one_regime_unless_asked_otherwise(tmp_path):
    for k, agent in enumerate(("rql", "fql", "ifql", "qam", "bam")):
        write_run(tmp_path, agent, CUBE, success=0.1 + 0.2 * k)
    results = comparable(load_runs(tmp_path))
    apart, across = order_table(results), order_table(results, across=True)
    assert apart.rows[0][1] == "4" and not apart.rows[0][2].endswith("¶")
    assert across.rows[0][1] == "5" and across.rows[0][2].endswith("¶")
    for table in (apart, across):
        assert any(WHY in note and "rql as published: RQL" in note for note in table.notes)


def test_the_page_is_bold_within_regimes_alone(two):
    cells = [row["cells"][0] for row in groups(two, False)["rows"]]
    assert [cell["best"] for cell in cells] == [False, False]
    assert [row["best"] for row in tasks(two)] == [False, False]


def test_the_command_takes_the_option_for_every_table_that_compares(tmp_path, capsys):
    run(tmp_path, "rql")
    main(["--runs", str(tmp_path), "--table=reproduction", "--across-regimes"])
    assert "¶" in capsys.readouterr().out
    main(["--runs", str(tmp_path), "--table=reproduction"])
    assert "another regime" in capsys.readouterr().out
