"""The algorithms of this repository by name: what each is called in print, its file, and its paper.

No JAX: tables, figures, `--list` and plans read this without importing an algorithm.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One algorithm."""

    label: str
    """Its name in print."""
    paper: str
    """Where it is from, on arXiv; of a baseline that another paper adapted, its own source."""
    module: str = ""
    """Its file in `agents/`, where that has another name than the algorithm."""
    floor: bool = False
    """Whether it is what the compared algorithms stand on, and not one of them."""
    newer: bool = False
    """Whether it came after RQL's paper, which does not compare with it."""


ROSTER: dict[str, Entry] = {
    "rql": Entry("RQL", "2606.17551"),
    "tfql": Entry("TFQL", "2606.17551"),
    "bdpo": Entry("BDPO", "2502.04778"),
    "diffusion_ql": Entry("Diffusion-QL", "2208.06193"),
    "rebrac": Entry("ReBRAC", "2305.09836"),
    "fbrac": Entry("FBRAC", "2502.02538"),
    "bam": Entry("BAM", "2601.14234"),
    "fql": Entry("FQL", "2502.02538"),
    "fawac": Entry("FAWAC", "2502.02538"),
    "cgql": Entry("CGQL", "2601.14234"),
    "cgql_m": Entry("CGQL-M", "2601.14234", module="cgql"),
    "cgql_l": Entry("CGQL-L", "2601.14234", module="cgql"),
    "dac": Entry("DAC", "2405.20555"),
    "qsm": Entry("QSM", "2312.11752"),
    "dsrl": Entry("DSRL", "2506.15799"),
    "fedit": Entry("FEdit", "2507.07986"),
    "ifql": Entry("IFQL", "2502.02538"),
    "qam": Entry("QAM", "2601.14234"),
    "qam_f": Entry("QAM-F", "2601.14234", module="qam"),
    "qam_e": Entry("QAM-E", "2601.14234", module="qam"),
    "trqam": Entry("TRQAM", "2605.27079", newer=True),
    "qgf": Entry("QGF", "2606.11087", newer=True),
    "fan": Entry("FAN", "2605.01663", newer=True),
    "floq": Entry("floq", "2509.06863", newer=True),
    "value_flows": Entry("Value Flows", "2510.07650", newer=True),
    "bc": Entry("BC (flow)", "2210.02747", floor=True),
}
"""In the order of the tables."""

PAPER_AGENTS = tuple(name for name, entry in ROSTER.items() if not (entry.floor or entry.newer))
"""RQL and the 19 that its paper compares it with."""

NEWER_AGENTS = tuple(name for name, entry in ROSTER.items() if entry.newer)
"""Those of other papers since; no suite has them unless they are asked for."""


def module_of(name: str) -> str:
    """The module that defines an algorithm, e.g. "agents.qam" for "qam_f"."""
    return f"agents.{ROSTER[name].module or name}"


def file_of(name: str) -> Path:
    """The file that defines an algorithm."""
    return Path(__file__).parent / f"{ROSTER[name].module or name}.py"


def first_line(name: str) -> str:
    """What an algorithm is, in a line: the first of its file's documentation."""
    return (ast.get_docstring(ast.parse(file_of(name).read_text())) or "").partition("\n")[0]
