"""The report: one file with everything in it, safe whatever the runs are called, tried in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from agents.roster import PAPER_AGENTS
from analysis import Runs, comparable, load_runs
from analysis.names import TASKS
from analysis.page.writing import to_script, write_folder, write_page
from analysis.reading.archive import write_csv
from analysis.report import main
from benchmark.common.errors import UserError
from tests.helpers.simulated_runs import write_many, write_run

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
BROWSER = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver here (Debian: chromium chromium-driver)"
)


class Elements(HTMLParser):
    """Collects the elements of a page and the text of its script elements."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, text: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] += text

    def data(self) -> dict[str, Any]:
        """The JSON in the page."""
        return json.loads(self.scripts[0])


def repeated(runs: Runs, seeds: int) -> Runs:
    """As many copies of one-seed runs, each with a seed and a path of its own."""
    copies = [
        (
            runs.evaluations.assign(seed=seed, run=runs.evaluations["run"] + f"-{seed}"),
            runs.runs.assign(seeds=[(seed,)] * len(runs), run=runs.runs["run"] + f"-{seed}"),
        )
        for seed in range(seeds)
    ]
    evaluations, tables = zip(*copies, strict=True)
    return Runs(pd.concat(evaluations, ignore_index=True), pd.concat(tables, ignore_index=True))


def some_runs(folder: Path) -> Path:
    """A folder with good, failed, unreadable, unfinished, diverged and hostile runs."""
    write_run(folder, "rql", TASKS[0], success={(s, t): 0.5 + 0.1 * s for s in (0, 1) for t in (500, 1000)})
    write_run(folder, "rql", TASKS[30], success=0.25)
    write_run(folder, "fql", TASKS[0], success=0.75, start={"commit": "b" * 40, "clean": False})
    write_run(folder, "fql", TASKS[30], success=0.125, diverged={1: 700})
    write_run(folder, "ifql", TASKS[0], state="failed", step=500, error=f"CUDA & memory {EVIL}")
    write_run(folder, "ifql", TASKS[30], state="running", step=500)
    evil = write_run(folder, "evil", TASKS[0], success=0.1, hyperparameters={EVIL: EVIL}, start={"command": EVIL})
    config = json.loads((evil / "config.json").read_text())
    (evil / "config.json").write_text(json.dumps(config | {"agent": EVIL, "suite": "<!-- <script>"}))
    torn = write_run(folder, "bc", TASKS[0])
    (torn / "status.json").write_text('{"state": "do')
    (folder / "rql" / TASKS[0] / "seeds-0-1" / "train.csv").write_text("step,seed,critic_loss\n100,0,1.5\n200,0,nan\n")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = load_runs(some_runs(folder / "runs"))
    return write_page(comparable(runs), folder / "report.html", title=f"Runs {EVIL}", with_published=True)


def test_the_file_refers_to_nothing_outside_it(page: Path) -> None:
    text = page.read_text()
    for tag, attributes in Elements(text).tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text


def test_hostile_names_stay_text(page: Path) -> None:
    made = Elements(page.read_text())
    assert [tag for tag, _ in made.tags].count("script") == 2
    assert not any("onerror" in attributes for _, attributes in made.tags)
    assert EVIL in made.data()["pools"]["agent"]
    assert any(EVIL in settings for settings in made.data()["pools"]["hyperparameters"])


def test_json_within_a_script_is_json_and_ends_no_script() -> None:
    value = {EVIL: ["<!--", "]]>", "&lt;", "\u2028", float("nan"), 1.0, {"a": float("inf")}]}
    text = to_script(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == {EVIL: ["<!--", "]]>", "&lt;", "\u2028", None, 1, {"a": None}]}


def test_every_run_and_its_curves_are_in_the_data(page: Path) -> None:
    data = Elements(page.read_text()).data()
    runs = [dict(zip(data["fields"], values, strict=True)) for values in data["runs"]]
    assert len(runs) == 8
    first = next(run for run in runs if run["run"].endswith(f"rql/{TASKS[0]}/seeds-0-1"))
    assert data["pools"]["agent"][first["agent"]] == "rql" and first["seeds"] == "0-1"
    assert first["success"] == pytest.approx(0.55) and first["training"]["critic_loss"] == [
        [0, [100, 200], [1.5, None]]
    ]
    assert [(seed, data["steps"][at], success) for seed, at, success, *_ in first["curves"]] == [
        (0, [500, 1000], [500, 500]),
        (1, [500, 1000], [600, 600]),
    ]
    assert sum(len(run["curves"]) == 0 for run in runs) == 1  # the unreadable one


def test_means_and_published_rows_are_in_the_tables(page: Path) -> None:
    data = Elements(page.read_text()).data()
    own = {row["agent"]: row["cells"] for row in data["groups"]["rows"] if row["source"] == "own"}
    columns = [column["name"] for column in data["groups"]["columns"]]
    place = columns.index("antmaze-large-navigate task 1")
    assert own["RQL"][place]["mean"] == pytest.approx(0.55) and not own["RQL"][place]["best"]
    assert own["FQL"][place]["best"]
    assert all(cells[columns.index("antmaze-large-navigate")] is None for cells in own.values())
    assert sum(row["source"] != "own" for row in data["groups"]["rows"]) == 19
    row = next(row for row in data["tasks"] if row["agent"] == "RQL" and row["task"] == TASKS[0])
    assert (row["mean"], row["published"]) == (0.55, 0.84)


def test_a_task_has_a_difference_to_what_is_published_under_the_same_regime_alone(page: Path, tmp_path: Path) -> None:
    shorter = next(row for row in Elements(page.read_text()).data()["tasks"] if row["agent"] == "RQL")
    assert shorter["difference"] is None and shorter["apart"] == "updates 1,000 against 2,000,000"
    write_run(tmp_path / "whole", success=0.55, steps=2_000_000, eval_every=1_000_000)
    made = write_page(comparable(load_runs(tmp_path / "whole")), tmp_path / "whole.html")
    row = Elements(made.read_text()).data()["tasks"][0]
    assert (row["difference"], row["apart"]) == (-0.29, "")


def test_what_is_left_out_of_the_averages_is_said(page: Path) -> None:
    notes = re.findall(r'<p class="note">(.*?)</p>', page.read_text())
    assert any("not finished" in note for note in notes) and any("Diverged" in note for note in notes)


def test_a_report_of_nothing_and_of_nothing_finished(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    write_run(tmp_path / "begun", state="running", step=0)
    for name in ("none", "begun"):
        out = write_page(comparable(load_runs(tmp_path / name)), tmp_path / f"{name}.html")
        assert "No finished run to average yet." in out.read_text()


def test_a_folder_gets_tables_figures_and_the_page_with_the_same_figures(tmp_path: Path) -> None:
    paths = write_folder(comparable(load_runs(some_runs(tmp_path / "runs"))), tmp_path / "report")
    names = {path.name for path in paths}
    assert {"summary.md", "reproduction.tex", "domain.csv", "bars.pdf", "figure_captions.md"} <= names
    assert paths[-1].name == "report.html" and all(path.stat().st_size for path in paths)
    images = [attributes for tag, attributes in Elements(paths[-1].read_text()).tags if tag == "img"]
    assert len(images) == sum(name.endswith(".png") for name in names)
    for name in ("summary.md", "domain.md", "reproduction.md"):
        assert "Diverged seeds" in (tmp_path / "report" / name).read_text()


def test_a_mean_over_fewer_tasks_stands_in_a_column_of_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "fql", TASKS[0], success=0.25)
    write_run(tmp_path / "runs", "fql", TASKS[1], success=0.25)
    write_run(tmp_path / "runs", "rql", TASKS[0], success=0.75)
    out = write_page(comparable(load_runs(tmp_path / "runs")), tmp_path / "r.html", drawn=[])
    data = Elements(out.read_text()).data()
    names = [column["name"].removeprefix("antmaze-large-navigate ") for column in data["groups"]["columns"]]
    cells = {row["agent"]: dict(zip(names, row["cells"], strict=True)) for row in data["groups"]["rows"]}
    assert set(names) == {"tasks 1, 2", "task 1"}
    assert cells["RQL"]["tasks 1, 2"] is None and cells["FQL"]["tasks 1, 2"]["best"]
    assert (cells["RQL"]["task 1"]["best"], cells["FQL"]["task 1"]["best"]) == (True, False)


def test_an_archives_rows_are_named_as_such(tmp_path: Path) -> None:
    curves = load_runs(write_run(tmp_path / "theirs", "fql", TASKS[0], success=0.75)).evaluations
    write_csv(curves.assign(source="QAM archive"), tmp_path / "curves.csv")
    results = comparable(load_runs(write_run(tmp_path / "runs", "fql", TASKS[0], success=0.5)))
    out = write_page(results.beside_archive(tmp_path / "curves.csv"), tmp_path / "report.html", drawn=[])
    data = Elements(out.read_text()).data()
    rows = {row["agent"]: (row["source"], row["cells"][0]["mean"]) for row in data["groups"]["rows"]}
    assert rows == {"FQL": ("own", 0.5), "FQL (QAM archive)": ("QAM archive", 0.75)}
    assert len(data["runs"]) == 1


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    with pytest.raises(UserError, match="no folder"):
        main(["--runs", str(tmp_path / "absent")])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        main(["--runs", str(tmp_path / "runs"), "--no-figures", "--out", str(tmp_path / "file" / "report.html")])


class Browser:
    """A headless Chromium that records what it is asked for and what goes wrong."""

    def __init__(self, profile: Path):
        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        for switch in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
            options.add_argument(f"--{switch}")
        for switch in ("disable-component-update", "disable-sync", f"user-data-dir={profile}"):
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # The driver's path is given, so that selenium looks for nothing in the network.
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def open(self, page: Path, width: int = 1280, height: int = 900) -> float:
        """Open a page in a window of this size; returns the seconds until it can be used."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get("about:blank")
        started = time.perf_counter()
        self.driver.get(page.as_uri())
        # A frame after the script has run: what the person waits for is drawn.
        self.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")
        return time.perf_counter() - started

    def do(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        """The elements that a CSS selector finds."""
        return self.driver.find_elements("css selector", selector)

    def column(self, table: str, index: int) -> list[str]:
        """The texts of one column of a table, as shown."""
        cells = f"[data-table={table}] tbody tr > :nth-child({index + 1})"
        return self.do("return [...document.querySelectorAll(arguments[0])].map((cell) => cell.textContent)", cells)

    def requests(self) -> list[str]:
        """Every address that was asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.driver.quit()


@needs_browser
def test_tables_sort_by_every_column_from_the_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    header = "[data-table=runs] thead th:nth-child(5)"
    button = browser.all(f"{header} button")[0]
    button.send_keys("\ue007")  # Enter
    falling = [float(x) for x in browser.column("runs", 4) if x != "–"]
    assert falling == sorted(falling, reverse=True) and len(falling) == 7
    assert browser.column("runs", 4)[-1] == "–"
    assert browser.all(header)[0].get_attribute("aria-sort") == "descending"
    button.send_keys(" ")
    assert [float(x) for x in browser.column("runs", 4) if x != "–"] == falling[::-1]
    assert browser.column("runs", 4)[-1] == "–"


@needs_browser
def test_tables_filter_by_words_and_by_choice(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.all("[data-table=runs] input")[0].send_keys("FQL antmaze")
    assert browser.column("runs", 0) == ["fql", "ifql"]
    said = browser.all("[data-table=runs] [role=status]")[0]
    assert said.text == "1–2 of 2 (of 8)"
    choice = next(e for e in browser.all("[data-table=runs] label") if e.text.startswith("state"))
    choice.find_element("css selector", "select").send_keys("failed")
    assert browser.column("runs", 0) == ["ifql"]
    browser.all("[data-table=runs] input")[0].send_keys(" nothing")
    assert browser.column("runs", 0) == [] and said.text == "none of 8"


@needs_browser
def test_a_run_has_a_page_with_configuration_curves_and_provenance(browser: Browser, page: Path) -> None:
    browser.open(page)
    link = next(e for e in browser.all("[data-table=runs] tbody a") if e.text == "rql")
    browser.do("arguments[0].scrollIntoView()", link)
    link.send_keys("\ue007")
    shown = browser.all("#run")[0]
    browser.do("document.querySelectorAll('#run details').forEach((one) => { one.open = true; })")
    assert shown.is_displayed() and browser.do("return document.activeElement.closest('#run') !== null")
    for text in ("alpha", "discount", "eval_every", "a" * 40, "3.4.0", "sha256:1", "cpu: simulated"):
        assert text in shown.text
    assert len(browser.all("#run svg[role=img]")) == 4  # success, return, length and the training metric
    success = browser.all("#run svg[role=img]")[0].find_elements("css selector", "polyline")
    assert [line.get_attribute("class") for line in success] == [None, None, "mean"]
    browser.all("#run a[href='#runs']")[0].send_keys("\ue007")
    assert not shown.is_displayed()


@needs_browser
def test_failures_are_listed_with_their_reasons(browser: Browser, page: Path) -> None:
    browser.open(page)
    listed = dict(zip(browser.column("failures", 3), browser.column("failures", 4), strict=True))
    assert set(listed) == {"failed", "unreadable", "running", "diverged"}
    assert listed["failed"] == f"CUDA & memory {EVIL}"
    assert listed["diverged"] == "seed 1 at step 700" and "status.json: not JSON" in listed["unreadable"]
    assert listed["running"].startswith("at step 500 of 1,000")


@needs_browser
def test_nothing_hostile_runs_nothing_is_asked_for_and_nothing_goes_wrong(browser: Browser, page: Path) -> None:
    browser.driver.get_log("browser")
    browser.requests()
    browser.open(page)
    for run in browser.do("return runs.map((run) => run.run)"):
        browser.do("location.hash = '#run=' + encodeURIComponent(arguments[0])", run)
        browser.driver.execute_async_script("setTimeout(arguments[0], 30)")
        assert browser.do("return document.querySelector('#run code').textContent") == run
    browser.do("location.hash = '#run=%E0%A4%A'")
    browser.driver.execute_async_script("setTimeout(arguments[0], 30)")
    assert browser.driver.title == f"Runs {EVIL}"
    assert browser.do("return document.scripts.length") == 2
    assert browser.do("return [...document.images].every((one) => one.src.startsWith('data:') && one.naturalWidth)")
    assert [entry["message"] for entry in browser.driver.get_log("browser")] == []
    asked = browser.requests()
    assert page.as_uri() in {address.partition("#")[0] for address in asked}
    outside = [a for a in asked if not a.startswith(("data:", "about:", page.as_uri()))]
    assert outside == []


@needs_browser
def test_the_page_fits_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=360, height=740)
    browser.do("location.hash = '#run=' + encodeURIComponent(runs[0].run)")
    browser.driver.execute_async_script("setTimeout(arguments[0], 30)")
    assert browser.do("return document.documentElement.scrollWidth") <= 360
    heights = "return [...document.querySelectorAll('button, input, select')].map((e) => e.offsetHeight)"
    assert min(height for height in browser.do(heights) if height) >= 24  # what is hidden has none


@needs_browser
@pytest.mark.slow
def test_twelve_thousand_runs_open_in_two_seconds(browser: Browser, tmp_path: Path) -> None:
    # As many runs and evaluations as 12,000 directories, in fewer files: making those is not what is measured.
    write_many(tmp_path / "runs", agents=len(PAPER_AGENTS), tasks=50, seeds=1)
    one_seed = load_runs(tmp_path / "runs")
    many = repeated(one_seed, 12)
    assert len(many) == 12_000 and len(many.evaluations) == 240_000
    out = write_page(comparable(many), tmp_path / "report.html", drawn=[])
    seconds = min(browser.open(out) for _ in range(3))
    print(f"12,000 runs: {out.stat().st_size / 1e6:.1f} MB, open in {seconds:.2f} s")
    assert seconds < 2
    assert browser.all("[data-table=runs] [role=status]")[0].text == "1–50 of 12,000"
    started = time.perf_counter()
    browser.all("[data-table=runs] thead button")[4].click()
    browser.all("[data-table=runs] input")[0].send_keys("rql")
    assert time.perf_counter() - started < 2
    assert browser.all("[data-table=runs] [role=status]")[0].text.endswith("(of 12,000)")
