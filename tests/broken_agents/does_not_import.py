"""An agent of a library that is not there."""

from agents.no_such_part import Missing

from agents.fql import FQL


class DoesNotImport(FQL):
    name = "does_not_import"
    part = Missing
