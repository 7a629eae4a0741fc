"""FQL that takes `ensemble` away without a type, so that it stays with its default."""

from dataclasses import dataclass

from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class UntypedAbsenceConfig(FQLConfig):
    ensemble = None


class UntypedAbsence(FQL):
    name, Config = "untyped_absence", UntypedAbsenceConfig
