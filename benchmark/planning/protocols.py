"""Protocols by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from benchmark.common.errors import check_choice
from benchmark.runs.protocol import Protocol

# RQL: the commands of arXiv 2606.17551's authors (evaluation at update 1 and every 100,000), and the paper, as two
# transcriptions of its appendix have it, with the lengths of `AGENT_STEPS`. QAM: arXiv 2601.14234 (every 50,000).
PROTOCOLS = {
    "rql": Protocol(1_000_000, 100_000, 50, eval_first=True, log_every=5_000, checkpoint_every=50_000),
    "rql_paper": Protocol(1_000_000, 100_000, 50, eval_first=True, log_every=5_000, checkpoint_every=50_000),
    "qam": Protocol(1_000_000, 50_000, 50, eval_first=False, log_every=5_000, checkpoint_every=50_000),
    # D4RL as in FQL, arXiv 2502.02538.
    "d4rl": Protocol(500_000, 100_000, 50, eval_first=True, log_every=5_000, checkpoint_every=50_000),
    "quickstart": Protocol(6_000, 1_500, 30, eval_first=True, log_every=500, checkpoint_every=3_000),
    # Of the length at which the tasks of the suite begin to tell methods apart: results/reproduction/README.md.
    "small": Protocol(12_000, 2_400, 50, eval_first=False, log_every=600, checkpoint_every=2_400),
    # The same training, for what is measured of its end: `make claims`.
    "small_end": Protocol(12_000, 12_000, 50, eval_first=False, log_every=600, checkpoint_every=2_400),
    # To try a launcher out: a run writes what was asked and is done, without data.
    "empty": Protocol(0, 0, 0, eval_first=False, log_every=0, checkpoint_every=0),
    "toy": Protocol(4_000, 4_000, 100, eval_first=False, log_every=1_000, checkpoint_every=4_000),
}


AGENT_STEPS: Mapping[str, Mapping[str, int]] = {"rql_paper": dict.fromkeys(("rql", "tfql", "bdpo"), 2_000_000)}
"""Protocol to the agents that train for another length in it; BDPO after its cloning, which has a length of its own."""


def get_protocol(name: str, agent: str = "") -> Protocol:
    """Return the protocol of that name, as that agent has it, else raise a UserError that names the nearest one."""
    protocol = PROTOCOLS[check_choice("protocol", name, PROTOCOLS)]
    return dataclasses.replace(protocol, steps=AGENT_STEPS.get(name, {}).get(agent, protocol.steps))
