"""The tutorial's commands do what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import run_all
from benchmark import sweep, throughput, train
from benchmark.checking.examination import examine
from benchmark.planning.run import Run
from benchmark.speed import episodes
from benchmark.speed.from_options import measurement_from
from envs.tasks import get_domain

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "examples" / "TUTORIAL.md").read_text()
AGENT = ROOT / "examples" / "boltzmann_flow.py"
FOCUSED = AGENT.with_name("focused_flow.py")
FEWER = {"--steps 1500": "--steps 100"}


def commands():
    """(command, whether it is to fail) of every block that is to be run, in order."""
    blocks = re.findall(r"```sh( fails)?\n(.*?)```", TUTORIAL, re.S)
    return [(line, bool(fails)) for fails, block in blocks for line in block.strip().splitlines()]


def shortened(command, folder):
    """The command with fewer updates, and results in a folder of the test."""
    for long, short in FEWER.items():
        command = command.replace(long, short)
    return command.replace("runs/tutorial", str(folder)).replace("--suite toy", "--suite toy --eval-episodes 20")


def test_the_example_is_short_and_passes_the_first_checks():
    assert len(AGENT.read_text().splitlines()) < 100
    findings = examine(str(AGENT), checks=["interface", "shapes"])
    assert all(finding.passed for finding in findings), findings


def test_the_example_with_batches_of_its_own_passes_their_check():
    findings = examine(str(FOCUSED), checks=["interface", "shapes", "batches"])
    assert all(finding.passed for finding in findings), findings
    assert "of one trajectory, offline and online" in findings[-1].text
    assert len(FOCUSED.read_text().splitlines()) < 70


def test_the_tutorial_writes_checks_sweeps_and_compares():
    text = " ".join(command for command, _ in commands())
    for part in ("benchmark.check", "benchmark.sweep", "--report", "analysis.tables", "--online-steps"):
        assert part in text


def test_the_files_path_is_taken_wherever_an_agents_name_is(tmp_path, capsys):
    path = str(AGENT)
    asked = ["--suite=toy", f"--agents={path}", "--set", "inv_temp=3", "--dry-run", f"--out={tmp_path}"]
    assert run_all.main(asked) == 0
    assert "boltzmann_flow" in capsys.readouterr().out
    plan = measurement_from(
        throughput.parser().parse_args([f"--agents=fql,{path}", "--size", "quickstart", "inv_temp=3"])
    )
    assert plan.agents[path]["inv_temp"] == "3" and "inv_temp" not in plan.agents["fql"]
    asked = ["--agent", path, "--suite=toy", "--sweep", "inv_temp=1,10", f"--out={tmp_path}", "--dry-run"]
    assert sweep.main(asked) == 0
    assert "boltzmann_flow: 2 settings x 2 seeds" in capsys.readouterr().out
    spec = train.parse(["--agent", path, "--task=toy-modes", "--set", "inv_temp=3", f"--out={tmp_path}"])
    assert Run(spec).config["hyperparameters"]["inv_temp"] == 3
    assert spec.path.parts[-3] == "boltzmann_flow"
    reported = episodes.untrained(path, get_domain("cube-double-play"), 1)[1]
    assert reported.name == "boltzmann_flow"


@pytest.mark.slow
def test_the_tutorials_commands_run_as_written_but_for_fewer_updates(tmp_path):
    said = {}
    for command, fails in commands():
        if "benchmark.check examples" in command and "--only" not in command:
            command += " --only interface,shapes,gradients"  # the whole is minutes, and has tests of its own
        words = shlex.split(shortened(command, tmp_path))
        done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"
        said[command] = done.stdout + done.stderr
    text = " ".join(" ".join(said.values()).split())
    assert "the network 'flow' gets no gradient" in text
    assert "depends on rewards or masks of another trajectory" in text
    assert "'candidates' cannot be swept" in text
    for agent, swept in (("boltzmann_flow", "inv_temp"), ("fql", "alpha")):
        tuned = yaml.safe_load((tmp_path / "tuned" / f"{agent}.yaml").read_text())["domains"]
        assert set(tuned) == {"toy-modes", "toy-detour"} and all(swept in values for values in tuned.values())
    table = next(output for command, output in said.items() if "analysis.tables" in command)
    assert "boltzmann_flow" in table and "FQL" in table
    assert (tmp_path / "figures" / "bars.png").stat().st_size > 1000
    assert list((tmp_path / "online").glob("boltzmann_flow/toy-modes/seeds-0/replay/*.npz"))
    assert list((tmp_path / "focused").glob("focused_flow/toy-modes/seeds-0/replay/*.npz"))
