"""How figures look: one colour and one dash pattern an agent, type and lines for a column's width, names as printed.

Up to `CROWD` agents are told apart by these; where there are more, one of them is highlighted and the others are named
in place and drawn in grey.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from agents.roster import ROSTER
from analysis.names import GENERATED, agents_in_order, label
from analysis.published import QAM_ARCHIVE
from benchmark.common.errors import UserError

WIDTH = 3.35
"""Inches: one column of a two-column paper."""
TEXT_WIDTH = 6.9
"""Inches: both columns."""
IMPORTED = QAM_ARCHIVE
"""The source of imported curves, in the names of their agents: "fql (QAM archive)"."""
QUIET = "#A9AEB4"
INK = "#333333"
CROWD = 6
"""More agents than this are not told apart by colour."""
# Colours that stay apart under the common forms of colour blindness (Okabe and Ito's, yellow left out, grey added).
VERMILLION, BLUE, _GREEN, _ORANGE = "#D55E00", "#0072B2", "#009E73", "#E69F00"
_PINK, _SKY, BLACK, _GREY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"
_HUES = (BLUE, _GREEN, _ORANGE, _PINK, _SKY, BLACK, VERMILLION, _GREY)
_MARKERS = "os^Dv<>P"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_FAMILIES = {
    VERMILLION: ("rql",),
    _ORANGE: ("tfql", "dsrl", "fedit"),
    _PINK: ("bdpo", "diffusion_ql", "dac", "qsm"),
    BLACK: ("rebrac", "fbrac"),
    BLUE: ("fql", "fawac"),
    _GREEN: ("ifql", "cgql", "cgql_m", "cgql_l"),
    _SKY: ("qam", "bam", "qam_f", "qam_e"),
    _GREY: ("bc",),
}
"""Relatives share a colour and differ in their dashes."""


def fixed_looks(agents: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Colour and number of the dash pattern of each agent of a roster; one without relatives here has what is left."""
    chosen = {agent: (hue, dash) for hue, family in _FAMILIES.items() for dash, agent in enumerate(family)}
    left = [(hue, dash) for dash in range(len(_DASHES)) for hue in _HUES if (hue, dash) not in chosen.values()]
    return chosen | dict(zip((agent for agent in agents if agent not in chosen), left, strict=False))


_LOOKS = fixed_looks(ROSTER)


@dataclass(frozen=True)
class Look:
    """How an agent is drawn."""

    colour: str
    dash: Any


Looks = Mapping[str, Look]
"""How each agent is drawn, the same in all figures of a folder."""


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (without ending) and the caption that says how its numbers were made."""

    name: str
    figure: Figure
    caption: str

    def saying(self, more: str) -> Drawing:
        """The drawing with more in its caption."""
        return dataclasses.replace(self, caption=f"{self.caption} {more}".rstrip())

    def save(self, out_dir: Path) -> list[Path]:
        """Write `<name>.pdf` and `<name>.png` (300 dots per inch) and return their paths."""
        paths = [out_dir / f"{self.name}.pdf", out_dir / f"{self.name}.png"]
        try:
            with styled():
                self.figure.savefig(paths[0], metadata={"CreationDate": None})
                self.figure.savefig(paths[1], dpi=300)
        except OSError as error:
            raise UserError(f"cannot write to {out_dir}: {error.strerror or error}") from error
        return paths

    def png(self, dpi: int = 200) -> bytes:
        """Return the figure as a PNG file's bytes."""
        buffer = io.BytesIO()
        with styled():
            self.figure.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()


def looks(agents: Iterable[str]) -> dict[str, Look]:
    """Return how each agent is drawn: known agents always alike, the others with colours that are still free.

    A variant such as "rql (alpha=3)" has the colour of "rql" and another dash pattern.
    """
    result: dict[str, Look] = {}
    taken: set[tuple[str, int]] = set()
    for agent in sorted(agents_in_order(agents), key=lambda name: name.partition(" (")[0] not in _LOOKS):
        base = agent.partition(" (")[0]
        if base in _LOOKS:
            colour, dash = _LOOKS[base]
            wishes = [(colour, (dash + k) % len(_DASHES)) for k in range(len(_DASHES))]
        else:
            used = {colour for colour, _ in taken}
            free = [colour for colour in _HUES if colour not in used]
            wishes = [(colour, dash) for dash in range(len(_DASHES)) for colour in (free or _HUES)]
        choice = next((wish for wish in wishes if wish not in taken), wishes[0])
        taken.add(choice)
        result[agent] = Look(choice[0], _DASHES[choice[1]])
    return result


def looks_of_groups(groups: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group of tasks, all of them different up to 64."""
    pairs = (
        (hue, marker)
        for shift in range(8)
        for hue, marker in zip(_HUES, _MARKERS[shift:] + _MARKERS[:shift], strict=True)
    )
    return dict(zip(groups, pairs, strict=False))


@contextmanager
def styled() -> Iterator[None]:
    """Seaborn's white grid with type for a column's width; drawing and saving both need it."""
    small: dict[str, Any] = {"font.size": 7, "axes.labelsize": 7, "axes.titlesize": 7, "legend.fontsize": 6.5}
    small |= {"xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.frameon": False, "axes.edgecolor": "#888888"}
    lines: dict[str, Any] = {"axes.linewidth": 0.6, "grid.linewidth": 0.4, "lines.linewidth": 1.2}
    lines["grid.color"] = "#E4E4E4"
    lines |= {"xtick.major.size": 2, "ytick.major.size": 2, "xtick.major.pad": 2, "ytick.major.pad": 2}
    lines |= {"lines.solid_capstyle": "round", "axes.labelpad": 2, "axes.titlepad": 3}
    # Type 42 keeps text in the PDF selectable and accepted by publishers' checks.
    output: dict[str, Any] = {"pdf.fonttype": 42, "figure.dpi": 100, "savefig.facecolor": "white"}
    with matplotlib.rc_context(seaborn.axes_style("whitegrid") | small | lines | output):
        yield


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, shown: int | None = None, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A new figure with a grid of axes, (rows, columns), the first `shown` to be seen; nothing global is touched."""
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.03, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(width, height), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat[shown:] if shown is not None else ():
        axis.set_visible(False)
    return figure, axes


def agent_text(name: str) -> str:
    """Return an agent's name as matplotlib should print it.

    A dollar sign is no formula, and what was imported has a dagger, which captions explain. In a long name settings
    become initials (learning_rate is lr); where that is not enough the middle is cut, as values stand at the end.
    """
    text = label(name).replace(f" ({IMPORTED})", "†")
    if len(text) > 24:
        text = re.sub(r"\w+_\w+(?==)", lambda setting: "".join(word[:1] for word in setting[0].split("_")), text)
    return (text if len(text) <= 28 else f"{text[:12]}…{text[-15:]}").replace("$", r"\$")


def fitting_size(text: str, fits: int, largest: float = 7) -> float:
    """Return the type size at which a text is as wide as `fits` characters of the largest."""
    return min(largest, largest * fits / max(1, len(text)))


def short_name(task: str) -> str:
    """Return a task's or domain's name as a panel's title: 'cube-single task 1'."""
    domain, separator, rest = task.removesuffix(GENERATED).partition("-singletask")
    for ending in ("-navigate", "-play"):
        domain = domain.removesuffix(ending)
    number = rest.removeprefix("-").removesuffix("-v0").replace("task", "task ")
    name = f"{domain} {number}".strip() if separator else domain
    return f"{name}{GENERATED * task.endswith(GENERATED)}".replace("$", r"\$")
