"""The leaderboard: every figure under its regime, with its evidence; hostile submissions; tried in a real browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import leaderboard as command
from analysis import published
from analysis.names import DOMAINS, TASKS
from analysis.page.entries import AVERAGE, Figure, combined, published_entries, submitted_entries
from analysis.page.leaderboard import APART, leaderboard_data, write_leaderboard
from analysis.submissions.making import submit
from benchmark.common.errors import UserError
from tests.analysis.test_report import EVIL, Browser, Elements, needs_browser
from tests.helpers.simulated_runs import write_run

MAZES = TASKS[:5]
AS_QAM = {"hidden": [512] * 4, "chunk_length": 1, "alpha": 1.0}
DATA = {"name": "data", "fingerprint": "sha256:1", "transitions": 1_000_000, "source": "file"}


def sent(root: Path, name: str, agent: str = "mine", tasks: list[str] = MAZES, **changed: Any) -> Path:
    """A submission below a folder of results; of the regime `qam` unless something is changed."""
    start = {"dataset": DATA, "device": f"cpu: {EVIL}", "commit": "c" * 40}
    values = {(seed, at): 0.5 + 0.1 * seed for seed in range(4) for at in (500_000, 1_000_000)}
    asked = {"hyperparameters": AS_QAM, "start": start, "steps": 1_000_000, "eval_every": 500_000, "success": values}
    for task in tasks:
        write_run(root / "runs" / name, agent, task, range(4), **(asked | changed))
    submit([root / "runs" / name], root / "results" / name)
    return root / "results" / name


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    sent(root, "submissions/qam/2026-01-01_mine")
    sent(root, "reproduction/small", "fql", TASKS[25:26], hyperparameters={"hidden": [64, 64], "chunk_length": 5})
    forged = root / "results" / "submissions" / "rql" / "2026-01-01_mine"
    shutil.copytree(root / "results" / "submissions" / "qam" / "2026-01-01_mine", forged)
    (forged / "<script>alert(1)<").write_text("")
    return write_leaderboard(root / "board.html", root / "results", f"Board {EVIL}")


@pytest.fixture(scope="module")
def data(page: Path) -> dict[str, Any]:
    return Elements(page.read_text()).data()


def regime(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in data["regimes"] if one["title"] == name)


def rows(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [data["entries"][i] for i in regime(data, name)["entries"]]


def test_every_published_figure_is_there_under_its_regime(data: dict[str, Any]) -> None:
    titles = [one["title"] for one in data["regimes"]]
    assert titles[:5] == ["qam", "rql", "trqam-10m", "fql-1m", "floq-2m"]
    assert {row["agent"] for row in rows(data, "rql")} == {"RQL", "TFQL", "BDPO"}
    assert len(rows(data, "qam")) == 16 + 16 + 1  # two sources and the submission
    placed = [i for one in data["regimes"] for i in one["entries"]]
    assert sorted(placed) == list(range(len(data["entries"])))
    figures = sum(len(entry["cells"]) for entry in data["entries"] if entry["source"] != published.QAM_ARCHIVE)
    newer = len(published.newer())
    assert figures == 19 * 11 + newer + 1  # the submission has all five tasks of one domain, and no other


def test_every_figure_of_a_file_names_the_line_that_it_stands_in() -> None:
    for entry in published_entries():
        for where, figure in (entry.cells | entry.tasks).items():
            found = re.match(r"line (\d+) of (.+?\.csv)", figure.evidence)
            if not found:
                assert figure.evidence.startswith("mean of")
                continue
            table = list(csv.reader((published.FOLDER / found[2]).open()))
            row = dict(zip(table[0], table[int(found[1]) - 1], strict=True))
            assert where in (row.get("task"), row.get("domain"), AVERAGE)
            value = float(row.get("success_percent") or 100 * float(row.get("success_mean", 0)))
            assert 100 * figure.mean == pytest.approx(value)


def test_figures_are_bold_within_their_regime_alone(data: dict[str, Any]) -> None:
    def best(name: str) -> dict[str, str]:
        one = regime(data, name)
        flags = one["best"]["antmaze-large-navigate"]
        return {data["entries"][i]["agent"] for i, flag in zip(one["entries"], flags, strict=True) if flag}

    assert best("qam") == {"ReBRAC", "QSM"} and best("rql") == {"RQL", "BDPO"}


def test_a_submission_has_its_means_its_seeds_and_what_made_it(data: dict[str, Any]) -> None:
    mine = next(row for row in rows(data, "qam") if row["agent"] == "mine")
    assert set(mine["cells"]) == {DOMAINS[0]} and set(mine["tasks"]) == set(MAZES)
    assert mine["cells"][DOMAINS[0]]["mean"] == 0.65 and mine["cells"][DOMAINS[0]]["low"] < 0.65
    assert mine["tasks"][TASKS[0]]["seeds"] == [[0, 0.5], [1, 0.6], [2, 0.7], [3, 0.8]]
    about = dict(map(tuple, mine["about"]))
    assert about["commit"] == "c" * 40 and about["submission"] == "submissions/qam/2026-01-01_mine"
    assert mine["date"] == "2026-01-01" and mine["versions"] == "cccccccc, MuJoCo 3.4.0"


def test_what_is_of_no_papers_regime_has_a_section_of_its_own(data: dict[str, Any]) -> None:
    last = data["regimes"][-1]
    assert last["title"].startswith("No paper's: 1,000,000 updates") and "64x64" in last["title"]
    assert last["columns"] == [] and last["tasks"] == [TASKS[25]]


def test_a_submission_whose_tasks_are_of_several_regimes_has_no_averages(tmp_path: Path) -> None:
    sent(tmp_path, "mine", tasks=MAZES[:4])
    sent(tmp_path, "mine", tasks=MAZES[4:], steps=3_000_000, eval_every=1_500_000, success=0.5)
    (entry,), refused = submitted_entries(tmp_path / "results")
    assert not refused and entry.regime.startswith("several regimes")
    assert entry.cells == {} and set(entry.tasks) == set(MAZES)


def test_nothing_is_bold_among_agents_whose_tasks_are_of_several_regimes(tmp_path: Path) -> None:
    for agent, lengths in (("mine", (1_000_000, 1_000_000, 2_000_000)), ("other", (1_000_000, 2_000_000, 2_000_000))):
        for task, steps in zip(MAZES, lengths, strict=False):
            sent(tmp_path, agent, agent, [task], steps=steps, eval_every=steps // 2, success=0.5)
    entries, refused = submitted_entries(tmp_path / "results")
    (one,) = leaderboard_data(entries, tmp_path / "board.html")["regimes"]
    assert not refused and one["title"].startswith("No paper's: several regimes")
    assert one["bestTasks"] == {task: [False, False] for task in MAZES[:3]}


def test_a_refused_submission_is_named_with_the_reason_and_not_shown(page: Path, data: dict[str, Any]) -> None:
    text = page.read_text()
    refused = text[text.index('id="refused"') : text.index("</main>")]
    assert "submissions/rql/2026-01-01_mine" in refused and "does not belong" in refused
    assert sum(entry["agent"] == "mine" for entry in data["entries"]) == 1
    assert str(page.parent) not in text  # no place on this machine


def test_the_file_refers_to_nothing_outside_it_and_hostile_names_stay_text(page: Path) -> None:
    made = Elements(page.read_text())
    assert [tag for tag, _ in made.tags].count("script") == 2 and "default-src 'none'" in page.read_text()
    for tag, attributes in made.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not any("onerror" in attributes for _, attributes in made.tags)


def test_a_mean_of_figures_takes_their_intervals_as_independent() -> None:
    found = combined([Figure(0.5, 0.4, 0.6), Figure(0.7, 0.7, 0.7)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.6, 0.55, 0.65))


def test_without_submissions_the_published_figures_stand_alone(tmp_path: Path) -> None:
    assert submitted_entries(tmp_path) == ([], [])
    text = write_leaderboard(tmp_path / "board.html", tmp_path).read_text()
    assert "0 of submissions" in text and APART in text and 'id="refused"' not in text


def test_bad_input_of_the_command_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        command.main(["--results", str(tmp_path / "none"), "--out", str(tmp_path / "b.html")])
    with pytest.raises(UserError, match="not a file"):
        command.main(["--out", str(tmp_path)])


# ---- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.driver.quit()


def settle(browser: Browser) -> None:
    browser.driver.execute_async_script("setTimeout(arguments[0], 50)")


@needs_browser
def test_a_table_sorts_within_its_regime(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert len(browser.all("[data-domains]")) == 5
    table = "[data-domains='0']"
    browser.all(f"{table} thead th:nth-child(3) button")[0].send_keys("\ue007")
    cells = f'return [...document.querySelectorAll("{table} tbody tr > :nth-child(3)")].map((e) => e.textContent)'
    falling = [float(re.match(r"\d+(\.\d)?", text)[0]) for text in browser.do(cells) if text != "–"]
    assert falling == sorted(falling, reverse=True) and len(falling) == 33
    assert browser.all(f"{table} thead th:nth-child(3)")[0].get_attribute("aria-sort") == "descending"


@needs_browser
def test_every_number_leads_to_its_evidence(browser: Browser, page: Path) -> None:
    browser.open(page)
    row = next(e for e in browser.all("[data-domains='0'] tbody tr") if e.text.startswith("mine"))
    link = row.find_element("css selector", "a.figure")
    browser.do("arguments[0].scrollIntoView()", link)
    link.send_keys("\ue007")
    settle(browser)
    shown = browser.all("#evidence")[0]
    assert shown.is_displayed() and browser.do("return document.activeElement.closest('#evidence') !== null")
    for text in ("mean of 5 tasks", "0: 50.0, 1: 60.0, 2: 70.0, 3: 80.0", "c" * 40, "submission.json", EVIL, "qam"):
        assert text in shown.text
    numbers = browser.do("return document.querySelectorAll('[data-domains] td.number').length")
    dashes = browser.do(
        "return [...document.querySelectorAll('[data-domains] td.number')].filter((e) => e.textContent === '–').length"
    )
    assert len(browser.all("[data-domains] td.number a.figure")) == numbers - dashes > 300
    browser.do("location.hash = '#evidence=0.cells.__proto__'")
    settle(browser)
    assert not shown.is_displayed()


@needs_browser
def test_a_table_by_task_is_made_when_it_is_opened(browser: Browser, page: Path) -> None:
    browser.open(page)
    details = browser.all("[data-by-task='0']")[0]
    assert not details.find_elements("css selector", "table")
    details.find_element("css selector", "summary").send_keys("\ue007")
    settle(browser)
    assert details.find_elements("css selector", "[role=status]")[0].text == "1–50 of 805"
    assert browser.all("details[open][data-by-task] table")  # that of the regime without whole domains is open


@needs_browser
def test_nothing_hostile_runs_and_nothing_is_asked_for(browser: Browser, page: Path) -> None:
    browser.driver.get_log("browser")
    browser.requests()
    browser.open(page)
    for index, entry in enumerate(browser.do("return data.entries")):
        for kind in ("cells", "tasks"):
            for name in list(entry[kind])[:1]:
                browser.do("location.hash = address(...arguments)", index, kind, name)
    browser.do("location.hash = '#evidence=0.cells.%E0%A4%A'")
    settle(browser)
    assert browser.driver.title == f"Board {EVIL}" and browser.do("return document.scripts.length") == 2
    assert [entry["message"] for entry in browser.driver.get_log("browser")] == []
    assert [a for a in browser.requests() if not a.startswith(("data:", "about:", page.as_uri()))] == []


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_a_phone_and_a_desk(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width, height=740)
    browser.do("location.hash = address(0, 'cells', Object.keys(data.entries[0].cells)[0])")
    settle(browser)
    assert browser.do("return document.documentElement.scrollWidth") <= width
    heights = "return [...document.querySelectorAll('button, input, select, a.figure')].map((e) => e.offsetHeight)"
    assert min(height for height in browser.do(heights) if height) >= 24


def test_the_pages_data_are_json_that_ends_no_script(page: Path) -> None:
    text = Elements(page.read_text()).scripts[0]
    assert not set("<>&") & set(text) and json.loads(text)["entries"]
