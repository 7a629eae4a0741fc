"""FQL with a hyperparameter that has no type."""

from dataclasses import dataclass

from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class UntypedConfig(FQLConfig):
    temperature = 1.0


class Untyped(FQL):
    name, Config = "untyped", UntypedConfig
