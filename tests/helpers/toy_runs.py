"""Runs of the toy suite, for the tests of learning."""

import csv
from pathlib import Path

import numpy as np

from benchmark.loop.worker import execute
from benchmark.planning.plan import plan
from benchmark.planning.protocols import get_protocol
from benchmark.planning.suites import get_suite
from envs.tasks import get_task

SUITE = get_suite("toy")


def score(agent: str, task: str, out: Path) -> float:
    """Mean success of an agent on a task after `run_all.py --suite=toy`'s run of it."""
    protocol = get_protocol(SUITE.protocol)
    (spec,) = plan(SUITE, agents=[agent], tasks=[get_task(task)], seeds=SUITE.seeds, protocol=protocol, out=str(out))
    execute(spec, quiet=True)
    rows = list(csv.DictReader((spec.path / "eval.csv").open()))
    assert len(rows) == len(SUITE.seeds) and {int(row["step"]) for row in rows} == {protocol.steps}
    return float(np.mean([float(row["success"]) for row in rows]))
