"""Suites and protocols: which tasks, which agents, how long, how often evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.roster import PAPER_AGENTS
from benchmark.common.errors import check_choice
from benchmark.runs.protocol import Generated
from envs.tasks import SUITE_TASKS, Task

# Those that the QAM paper's authors run on stitched and noisy data: their experiments/reproduce_quality.py.
QUALITY_AGENTS = ("rebrac", "bam", "fql", "qsm", "dsrl", "fedit", "qam", "qam_f", "qam_e")


@dataclass(frozen=True)
class Suite:
    """A set of runs that belong together."""

    name: str
    text: str
    tasks: tuple[Task, ...]
    agents: tuple[str, ...]
    seeds: tuple[int, ...]
    protocol: str
    data: Generated | None = None
    """None: the published datasets."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that differ from the published ones, for all agents."""
    agent_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same for single agents; `tuned.suite_settings` has more."""
    runs_per_process: int = 1
    """Runs that one process does after another, where they are so short that starting a process counts."""
    filmed: bool = False
    """Whether a launch on this machine ends with a film of the agents on the same episode."""


# The toy suite's settings of single agents stand in tuned/. A better action is worth about 1 there and up to 100 on
# OGBench, so weights against Q are smaller, and inverse temperatures larger, than the published ones; 4,000 updates
# instead of a million want faster averages. Where noise is added on the way or Q steers it, five steps are too coarse.

# One rule for all agents of the suite `small`: the published hyperparameters of the domain; learning rates 10/3 of the
# published ones; what is counted in updates shortened with the run, 1M to 12,000.
SMALL_SETTINGS: dict[str, Any] = dict(hidden=(256, 256), ensemble=2, learning_rate=1e-3)
SMALL_COUNTS: dict[str, dict[str, Any]] = {
    "bdpo": dict(actor_learning_rate=1e-5 / 0.3, behaviour_learning_rate=1e-3)
    | dict(pretraining_steps=12_000, critic_warmup=600),
    "diffusion_ql": dict(average_from=12),
}

# Each agent of the quickstart had the same search at its size: four settings, seeds 1000 and 1001, on the domain's
# default task (`benchmark.sweep --suite=quickstart --budget 4`); for cloning over learning rates, of which the suite's
# was the best.
QUICKSTART_SETTINGS: dict[str, dict[str, Any]] = {"rql": dict(alpha=3, expectile=0.7), "fql": dict(alpha=1000)}

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "quickstart",
            "RQL, FQL and the behaviour-cloning floor on one task, on generated data, in minutes on a laptop",
            tasks=SUITE_TASKS["quickstart"],
            agents=("bc", "fql", "rql"),
            seeds=(0, 1),
            protocol="quickstart",
            data=Generated(50_000),
            settings=dict(hidden=(256, 256), ensemble=2, flow_steps=5, learning_rate=1e-3),
            agent_settings=QUICKSTART_SETTINGS,
            filmed=True,
        ),
        Suite(
            "toy",
            "every algorithm on two tasks with known answers, in minutes without a simulator: does it learn?",
            tasks=SUITE_TASKS["toy"],
            agents=("bc", *PAPER_AGENTS),
            seeds=(0,),
            protocol="toy",
            settings=dict(
                hidden=(64, 64), ensemble=2, batch_size=128, learning_rate=2e-3, target_rate=0.1, flow_steps=5
            ),
            runs_per_process=7,
        ),
        Suite(
            "small",
            "every algorithm on 2 of the 50 tasks, at a size that 2 cores carry in a day: our own numbers",
            tasks=SUITE_TASKS["small"],
            agents=("bc", *PAPER_AGENTS),
            seeds=(0, 1, 2),
            protocol="small",
            data=Generated(1_000_000),
            settings=SMALL_SETTINGS,
            agent_settings=SMALL_COUNTS,
        ),
        Suite(
            "ogbench",
            "the authors' commands: 10 domains x 5 tasks, 20 algorithms, 1M updates (paper: --protocol=rql_paper)",
            tasks=SUITE_TASKS["ogbench"],
            agents=PAPER_AGENTS,
            seeds=tuple(range(12)),
            protocol="rql",
        ),
        Suite(
            "ogbench_quality",
            "the same goals on stitched and noisy data, as the QAM paper: 6 domains x 5 tasks, untuned for them",
            tasks=SUITE_TASKS["ogbench_quality"],
            agents=QUALITY_AGENTS,
            seeds=tuple(range(12)),
            protocol="qam",
        ),
        Suite(
            "d4rl",
            "D4RL's antmaze and adroit, on the best environments that the machine has: 18 tasks (README)",
            tasks=SUITE_TASKS["d4rl"],
            agents=("fql", "ifql"),  # those with published values, IFQL its code's
            seeds=tuple(range(8)),
            protocol="d4rl",
            settings=dict(ensemble=2),
        ),
    )
}


def get_suite(name: str) -> Suite:
    """Return the suite of that name, else raise a UserError that names the nearest one."""
    return SUITES[check_choice("suite", name, SUITES)]
