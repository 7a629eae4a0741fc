"""How figures look: one colour and one dash pattern an agent, type and lines for a column's width, names as printed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.names import GENERATED, agents_in_order, label
from analysis.published import QAM_ARCHIVE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 3.35
"""Inches: one column of a two-column paper."""
TEXT_WIDTH = 6.9
"""Inches: both columns."""
IMPORTED = QAM_ARCHIVE
"""The source of imported curves, in the names of their agents: "fql (QAM archive)"."""
QUIET = "#A9AEB4"
INK = "#333333"

# Colours that stay apart under the common forms of colour blindness (Okabe and Ito's, yellow left out, grey added).
VERMILLION, BLUE, _GREEN, _ORANGE = "#D55E00", "#0072B2", "#009E73", "#E69F00"
_PINK, _SKY, BLACK, _GREY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"
_HUES = (BLUE, _GREEN, _ORANGE, _PINK, _SKY, BLACK, VERMILLION, _GREY)
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_LOOKS: dict[str, tuple[str, int]] = {
    "rql": (VERMILLION, 0),
    "tfql": (_ORANGE, 0),
    "bdpo": (_PINK, 0),
    "diffusion_ql": (_PINK, 1),
    "rebrac": (BLACK, 0),
    "fbrac": (BLACK, 1),
    "bam": (_SKY, 1),
    "fql": (BLUE, 0),
    "fawac": (BLUE, 1),
    "cgql": (_GREEN, 1),
    "cgql_m": (_GREEN, 2),
    "cgql_l": (_GREEN, 3),
    "dac": (_PINK, 2),
    "qsm": (_PINK, 3),
    "dsrl": (_ORANGE, 1),
    "fedit": (_ORANGE, 2),
    "ifql": (_GREEN, 0),
    "qam": (_SKY, 0),
    "qam_f": (_SKY, 2),
    "qam_e": (_SKY, 3),
    "trqam": (BLUE, 2),
    "qgf": (BLUE, 3),
    "fan": (BLACK, 2),
    "bc": (_GREY, 0),
}


@dataclass(frozen=True)
class Look:
    """How an agent is drawn."""

    colour: str
    dash: Any


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (without ending) and the caption that says how its numbers were made."""

    name: str
    figure: Figure
    caption: str

    def save(self, out_dir: Path) -> list[Path]:
        """Write `<name>.pdf` and `<name>.png` (300 dots per inch) and return their paths."""
        paths = [out_dir / f"{self.name}.pdf", out_dir / f"{self.name}.png"]
        with styled():
            self.figure.savefig(paths[0], metadata={"CreationDate": None})
            self.figure.savefig(paths[1], dpi=300)
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


@contextmanager
def styled() -> Iterator[None]:
    """Seaborn's white grid with type for a column's width; drawing and saving both need it."""
    import matplotlib
    import seaborn

    small: dict[str, Any] = {"font.size": 7, "axes.labelsize": 7, "axes.titlesize": 7, "legend.fontsize": 6.5}
    small |= {"xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.frameon": False, "axes.edgecolor": "#888888"}
    lines: dict[str, Any] = {
        "axes.linewidth": 0.6,
        "grid.linewidth": 0.4,
        "grid.color": "#E4E4E4",
        "lines.linewidth": 1.2,
    }
    lines |= {"xtick.major.size": 2, "ytick.major.size": 2, "xtick.major.pad": 2, "ytick.major.pad": 2}
    lines |= {"lines.solid_capstyle": "round", "axes.labelpad": 2, "axes.titlepad": 3}
    # Type 42 keeps text in the PDF selectable and accepted by publishers' checks.
    output: dict[str, Any] = {"pdf.fonttype": 42, "figure.dpi": 100, "savefig.facecolor": "white"}
    with matplotlib.rc_context(seaborn.axes_style("whitegrid") | small | lines | output):
        yield


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A new figure with a grid of axes, (rows, columns); nothing global is touched."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.03, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(width, height), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
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
