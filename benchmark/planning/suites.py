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
    """The same for single agents."""
    runs_per_process: int = 1
    """Runs that one process does after another, where they are so short that starting a process counts."""


# Hyperparameters of the toy suite, the same on both of its tasks. A better action is worth about 1 there and up to 100
# on OGBench, so weights against Q are smaller, and inverse temperatures larger, than the published ones; 4,000 updates
# instead of a million want faster averages. Where noise is added on the way or Q steers it, five steps are too coarse.
TOY_SETTINGS: dict[str, dict[str, Any]] = {
    "rql": dict(alpha=0.2, expectile=0.6, ema_rate=0.02, learning_rate=4e-3),
    # Value travels levels + 1 backups per chunk where RQL's travels one: fewer levels, all trained, a faster target.
    "tfql": dict(alpha=0.2, expectile=0.7, ema_rate=0.02, learning_rate=3e-3)
    | dict(flow_steps=3, levels="all", target_rate=0.5),
    "bdpo": dict(eta=0.1, actor_learning_rate=1e-3, behaviour_learning_rate=2e-3)
    # A rate that falls to 0 within 4,000 updates leaves the critics of the detour unfinished.
    | dict(critic_warmup=0, pretraining_steps=1_000, candidates=2, batch_size=64, decay_steps=0),
    "diffusion_ql": dict(eta=3, average_from=100, average_every=1, batch_size=64),
    "rebrac": dict(alpha=0.005, actor_noise=0),
    "fbrac": dict(alpha=0.5),
    "bam": dict(inv_temp=40, flow_steps=10, batch_size=64),
    "fql": dict(alpha=0.3),
    "fawac": dict(inv_temp=4),
    "cgql": dict(guidance_coef=0.03, inv_temp=30, flow_steps=10, batch_size=64),
    "cgql_m": dict(guidance_coef=0.2, inv_temp=30, noisy_coef=0.3, flow_steps=10, batch_size=64),
    "cgql_l": dict(guidance_coef=0.2, inv_temp=10, noisy_coef=0.01, flow_steps=10, batch_size=64),
    "dac": dict(alpha=0.07, batch_size=64),
    "qsm": dict(inv_temp=3, alpha=3, batch_size=64),
    "dsrl": dict(noise_scale=1.5),
    "fedit": dict(edit_scale=1.2),
    "ifql": dict(expectile=0.9),
    "qam": dict(inv_temp=5, flow_steps=10, batch_size=64),
    "qam_f": dict(inv_temp=5, fql_alpha=0.3, flow_steps=10, batch_size=64),
    "qam_e": dict(inv_temp=5, edit_scale=0.3, flow_steps=10, batch_size=64),
    "trqam": dict(kl_budget=6, eta_lambda=0.1, pretraining_steps=1_000, flow_steps=10, batch_size=64),
    "qgf": dict(guidance_weight=2, expectile=0.97, flow_steps=10, batch_size=64),
    "fan": dict(alpha1=0.3, alpha2=0.1),
}

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
            agent_settings={"rql": dict(alpha=3, expectile=0.9), "fql": dict(alpha=100)},
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
            agent_settings=TOY_SETTINGS,
            runs_per_process=7,
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
