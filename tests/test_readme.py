"""What the README and the pages of docs/ show works as written."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmark.loop.segments import act, init_states, run_segment
from benchmark.planning.registry import agent_class
from envs import download, generate
from tests.helpers.worlds import D, FakeWorld, O

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))


def test_the_example_agent_trains_and_acts(tmp_path):
    path = tmp_path / "my_agent.py"
    path.write_text(re.search(r"```python\n(.*?)```", README, re.S)[1])
    cls = agent_class(str(path))
    agent = cls(cls.Config(hidden=(8,), chunk_length=2, batch_size=4), O, D)
    states = init_states(agent, jnp.arange(2))
    states, metrics = run_segment(agent, states, FakeWorld().data, 3, ("update",))
    assert jnp.isfinite(metrics["loss"]).all()
    chunks = act(agent, states, jnp.zeros((2, 3, O)), jnp.zeros((2, 3, 4), jnp.uint32))
    assert chunks.shape == (2, 3, 2, D)
    jax.block_until_ready(chunks)


def test_every_command_exists():
    modules = set(re.findall(r"python -m ([a-z_.]+)", PAGES))
    assert {"benchmark.train", "envs.download", "analysis.tables"} <= modules
    for module in sorted(modules):
        done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{module}: {done.stderr}"


def test_every_data_command_that_a_page_shows_is_understood(tmp_path, monkeypatch, capsys):
    """As far as it goes without a download or a simulator: what would make the files only notes what is asked of it."""
    asked = []
    for work in ("generate", "generate_shards"):
        monkeypatch.setattr(generate, work, lambda name, *rest, **options: asked.append(name))
    shutil.copytree(ROOT / "results" / "experts", tmp_path / "runs" / "experts")
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"python\s+-m\s+envs\.(download|generate)((?:\s+--[a-z-]+[=\s][^\s`]+)+)", PAGES)
    for command, options in shown:
        if command == "generate":
            generate.main(options.split())
        else:
            download.main([*options.split(), "--dry-run", "--data-dir=data"])
    assert {"cube-quadruple-play", "antmaze-large-navigate", "scene-play"} == {*asked}
    assert "cube-double-play-v0.npz" in capsys.readouterr().out


def test_the_readme_stays_short():
    assert len(README.splitlines()) <= 140


def test_every_room_of_the_map_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = re.search(r"## The rooms\n.*?```\n(.*?)```", text, re.S)[1]
    house = ROOT
    for indent, name in re.findall(r"^( {2})?([a-z_]+(?:/|\.py))", rooms, re.M):
        house = house if indent else ROOT / name
        assert house.exists() and (not indent or (house / name).is_dir()), name


def test_every_link_leads_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "examples" / "TUTORIAL.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_option_that_a_page_shows_is_one():
    for line in re.findall(
        r"^python (?:-m )?(run_all|[a-z]+\.[a-z_]+)(?:\.py)?(.*)$", PAGES.replace("\\\n", " "), re.M
    ):
        parser = importlib.import_module(line[0]).parser()
        for option in re.findall(r"(?<= )(--[a-z0-9-]+)", line[1].partition("#")[0]):
            assert option in parser._option_string_actions, f"{line[0]} {option}"
