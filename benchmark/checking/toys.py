"""Does the agent learn on the toy suite, beside behaviour cloning?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmark.checking.names import LESSONS
from benchmark.checking.subject import Subject
from benchmark.checking.words import Fault
from benchmark.planning.plan import plan
from benchmark.planning.protocols import get_protocol
from benchmark.planning.suites import get_suite
from benchmark.runs.run import RunSpec
from benchmark.runs.table import Table

ROOT = Path(__file__).resolve().parents[2]
TOY_MARGIN = 0.1
"""Success by which an agent that uses rewards must exceed cloning on each toy task; one seed's error is 0.05."""


class ToyRuns:
    """The agent and behaviour cloning on the toy suite, in a process of their own."""

    def __init__(self, subject: Subject):
        """Start."""
        self.subject = subject
        self.folder = tempfile.TemporaryDirectory()
        suite, protocol = get_suite("toy"), get_protocol("toy")
        common = dict(tasks=suite.tasks, seeds=(0,), protocol=protocol, out=self.folder.name)
        own: list[RunSpec] = plan(suite, agents=[subject.name], settings=subject.own, **common)  # type: ignore[arg-type]
        floor: list[RunSpec] = plan(suite, agents=["bc"], **common)  # type: ignore[arg-type]
        self.pairs = list(zip(own, floor, strict=True))
        specs = {spec.to_json(): None for pair in self.pairs for spec in pair}
        self.log = (Path(self.folder.name) / "log.txt").open("w")
        with (Path(self.folder.name) / "ends").open("w") as ends:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmark.train", "--specs", str(ends.fileno())],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                text=True,
                pass_fds=(ends.fileno(),),
            )
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in specs) + "\n")
        self.process.stdin.flush()

    def result(self) -> str:
        """Wait, and compare. Raises a Fault where the agent does not learn."""
        code = self.process.wait()
        scores = {}
        for own, floor in self.pairs:
            status = json.loads((own.path / "status.json").read_text()) if own.path.is_dir() else {}
            if code or status.get("state") != "done":
                reason = (status.get("error") or Path(self.log.name).read_text()).strip().splitlines()[-1:]
                raise Fault(f"training on {own.task} failed: {''.join(reason)}")
            if status["diverged"]:
                at = status["diverged"]["0"]
                raise Fault(f"its loss, or another metric, on {own.task} is not finite at step {at}")
            scores[own.task] = final_success(own), final_success(floor)
        return judge(scores, self.subject.uses_rewards)

    def close(self) -> None:
        """Stop the process and remove its files."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.log.close()
        self.folder.cleanup()


def final_success(spec: RunSpec) -> float:
    """Success at a run's last evaluation."""
    return Table(spec.path / "eval.csv").rows[-1]["success"]


def judge(scores: Mapping[str, tuple[float, float]], uses_rewards: bool) -> str:
    """Say the success of the agent and of cloning on each task; raise a Fault where it does not learn, and why that is.

    A failure on the task where nothing bootstraps explains one where values must travel, so it alone is explained.
    """
    text = "success " + ", ".join(f"{task} {score:.2f} (bc {cloning:.2f})" for task, (score, cloning) in scores.items())
    margin = TOY_MARGIN if uses_rewards else -TOY_MARGIN
    failed = [task for task, (score, cloning) in scores.items() if score < cloning + margin]
    if failed and not uses_rewards:
        raise Fault(
            f"it uses no rewards, and clones worse than bc: {text}; check the cloning loss and the way from "
            "noise to actions (direction of time, number of steps, clipping)"
        )
    if failed:
        raise Fault(
            f"it does not learn from rewards on {' and '.join(failed)}: {text}. {LESSONS[failed[0]]}. If all that is "
            'right, give suite_settings = {"toy": {...}} hyperparameters that suit rewards of size 1'
        )
    return text
