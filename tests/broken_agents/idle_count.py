"""FQL with a number of candidates that nothing asks for."""

from dataclasses import dataclass

from agents.base import option
from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class IdleCountConfig(FQLConfig):
    candidates: int = option(4, "actions drawn, of which the best is executed", low=1)


class IdleCount(FQL):
    name = "idle_count"
    Config = IdleCountConfig
