"""BC with a number of candidates that nothing asks for."""

from dataclasses import dataclass

from agents.base import option
from agents.bc import BC, BCConfig


@dataclass(frozen=True)
class IdleCountConfig(BCConfig):
    candidates: int = option(4, "actions drawn, of which the best is executed", low=1)


class IdleCount(BC):
    name = "idle_count"
    Config = IdleCountConfig
