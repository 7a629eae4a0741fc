"""Bodies that an expert can move, and how OGBench trained each one's expert.

Facts of its repository, `data_gen_scripts/commands.sh` and `main_sac.py`, `impls/agents/sac.py`; nothing heavy here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmark.common.errors import check_choice

REPLAY = 1_000_000
"""Transitions that are kept; the oldest go first."""


@dataclass(frozen=True)
class Body:
    """How one body's expert is trained."""

    env_id: str
    """OGBench's environment; its observation and, behind it, a direction are what the expert sees."""
    steps: int
    """Environment steps of the training."""
    redraw_every: int
    """Steps after which an episode's direction is drawn anew."""
    update_every: int = 1
    """Environment steps for each update."""
    random_steps: int = 10_000
    """The step from which on the policy acts and learns: before, actions are uniform."""
    episode_steps: int = 1_000
    """Steps after which an episode is cut, where the body has not fallen."""
    settings: dict[str, Any] = field(default_factory=dict)
    """SAC's hyperparameters, where they differ from `envs.experts.sac.SACConfig`."""
    log_every: int = 5_000
    """Steps between rows of train.csv."""
    eval_every: int = 20_000
    """Steps between evaluations, and between checkpoints; OGBench evaluates more seldom."""


BODIES = {
    "ant": Body("online-ant-v0", steps=400_000, redraw_every=100),
    "humanoid": Body(
        "online-humanoid-v0",
        steps=40_000_000,
        redraw_every=200,
        update_every=4,
        settings={"critic_hidden": (1024, 1024, 1024), "layer_norm": True, "value": "mean"},
        log_every=20_000,
        eval_every=500_000,
    ),
}


def find_body(name: str) -> Body:
    """The body of that name; a UserError where there is none."""
    return BODIES[check_choice("body", name, BODIES)]
