"""Clips in the report: in the one file up to a limit, then linked; tried in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import comparable, load_runs
from analysis.names import TASKS
from analysis.page import clips as page_clips
from analysis.page.writing import write_page
from benchmark.runs.clips import FOLDER, Clip, Shown, read_clips, record_of, write_clip
from benchmark.watching.encoding import encode
from tests.analysis.test_report import EVIL, Browser, Elements, browser, needs_browser  # noqa: F401  (a fixture)
from tests.helpers.simulated_runs import write_run


def film(folder: Path, kind: str, success: float, policies: tuple[str, ...] = ("rql",), task: str = TASKS[0]) -> Clip:
    """A film of a second, with its record."""
    path = folder / FOLDER / f"{kind}.mp4"
    frames = [np.full((64, 96, 3), 8 * i, np.uint8) for i in range(10)]
    shown = tuple(Shown(0, 1000, 4, success, -20.5, 30) for _ in policies)
    clip = Clip(path, kind, task, policies, (shown,), encode(frames, path, 10), 10.0, 96, 64)
    write_clip(clip)
    return clip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs of two agents with clips of their own, and a film of both together."""
    folder = tmp_path / "runs"
    for agent, best in (("rql", 1.0), ("fql", 0.5)):
        run = write_run(folder, agent, TASKS[0])
        film(run, "best", best, (agent,))
        film(run, "worst", best - 0.5, (agent,))
    film(folder, "chosen", 1.0, ("rql", "fql"))
    return folder


def page_of(runs: Path) -> Path:
    return write_page(comparable(load_runs(runs)), runs.parent / "out" / "report.html", drawn=[])


def captions(page: Path) -> list[str]:
    section = page.read_text().partition('<section id="clips">')[2].partition("</section>")[0]
    return re.findall("<figcaption>(.*?)</figcaption>", section)


def test_the_page_holds_the_tasks_best_and_worst_episode_and_films_of_several(runs: Path) -> None:
    page = page_of(runs)
    videos = [attributes for tag, attributes in Elements(page.read_text()).tags if tag == "video"]
    assert len(videos) == 3 and all(str(video["src"]).startswith("data:video/mp4;base64,") for video in videos)
    together, best, worst = captions(page)
    assert "side by side" in together and "RQL success after 30 steps, return -20.5, FQL success" in together
    assert "best episode: seed 0, episode 4 of step 1,000, RQL success" in best
    assert "worst episode" in worst and "FQL failure" in worst
    own = [runs / agent / TASKS[0] / "seeds-0-1" / FOLDER for agent in ("rql", "fql")]
    shown = runs / FOLDER / "chosen.mp4", own[0] / "best.mp4", own[1] / "worst.mp4"
    held = sum(path.stat().st_size for path in shown)
    assert f"Films in this page: 3, of {held / 1e3:,.0f} kB together" in page.read_text()
    assert "media-src data:;" in page.read_text()


def test_without_clips_there_is_no_section_of_them(tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    assert 'id="clips"' not in page_of(tmp_path / "runs").read_text()


def test_beyond_the_limit_clips_are_linked(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = read_clips(runs / FOLDER)[0][0].path.stat().st_size
    found, notes = page_clips.clips_of(comparable(load_runs(runs)))
    page = runs.parent / "out" / "report.html"
    section = page_clips.clips_section(found, page, most_bytes=size + 1)
    links = [attributes["href"] for tag, attributes in Elements(section).tags if tag == "a"]
    assert section.count("<video") == 1 and len(links) == 2 and notes == []
    assert all((page.parent / str(link)).resolve().is_file() for link in links)
    assert f"Linked: 2, as those in it may have {(size + 1) / 1e6:g} MB together" in section


def test_what_is_no_film_does_not_come_into_the_page(runs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0000ftyp secret")
    best, worst = (runs / "rql" / TASKS[0] / "seeds-0-1" / FOLDER / f"{kind}.mp4" for kind in ("best", "worst"))
    best.unlink()
    best.symlink_to(secret)
    worst.write_bytes(b"no film at all")
    record_of(runs / FOLDER / "chosen.mp4").write_text("{")
    page = page_of(runs)
    notes = re.findall('<p class="note">(.*?)</p>', page.read_text())
    assert any("there is no film best.mp4" in note for note in notes) and any("not JSON" in note for note in notes)
    assert captions(page)[0].startswith(f"{TASKS[0]}, best episode: seed 0, episode 4 of step 1,000, FQL success 0.50")
    assert "secret" not in page.read_text()


def test_hostile_names_in_a_clip_stay_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs")
    film(run, "best", 1.0, (EVIL,), EVIL)
    made = Elements(page_of(tmp_path / "runs").read_text())
    assert [tag for tag, _ in made.tags].count("script") == 2
    assert not any("onerror" in attributes for _, attributes in made.tags)


def test_reading_clips_needs_neither_an_encoder_nor_jax() -> None:
    code = "import sys, analysis.page.writing; print({'jax', 'imageio', 'mujoco'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@needs_browser
def test_a_browser_plays_the_clips_and_asks_for_nothing(browser: Browser, runs: Path) -> None:  # noqa: F811
    page = page_of(runs)
    browser.driver.get_log("browser")
    browser.requests()
    browser.open(page)
    ready = (
        "const done = arguments[0], all = [...document.querySelectorAll('video')]; let tries = 0; (function look() {"
    )
    ready += " if (all.every((v) => v.readyState >= 1) || tries++ > 100) done(all.map((v) => [v.videoWidth,"
    ready += (
        " v.videoHeight, Math.round(10 * v.duration), v.error && v.error.message])); else setTimeout(look, 50); })()"
    )
    assert browser.driver.execute_async_script(ready) == [[96, 64, 10, None]] * 3
    assert [entry["message"] for entry in browser.driver.get_log("browser")] == []
    assert [a for a in browser.requests() if not a.startswith(("data:", "about:", page.as_uri()))] == []
    browser.open(page, width=360, height=740)
    assert browser.do("return document.documentElement.scrollWidth") <= 360
