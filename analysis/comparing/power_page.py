"""The seeds that differences need, as a table and a figure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.ticker import FixedLocator, NullLocator

from analysis.comparing.differences import LEVEL
from analysis.comparing.power import ENOUGH, POWER, TRIED, needed
from analysis.drawing.style import BLACK, BLUE, VERMILLION, WIDTH, Drawing, new_figure, styled
from analysis.names import label
from analysis.tabulating.cells import Cell, PrintedTable, Row

Curves = Mapping[tuple[str, float], Mapping[int, float]]
"""Power by number of seeds, of each (scope, difference)."""
SCOPES = {"overall": "the mean over all {} tasks", "domain": "the mean over a domain", "task": "one task"}


def table(curves: Curves, tasks: int, hours: Mapping[str, float], caption: str, notes: Sequence[str]) -> PrintedTable:
    """A row a scope and difference: the seeds that it needs, the power of a few numbers of seeds, the hours."""
    rows: list[Row] = []
    for (scope, difference), powers in curves.items():
        fewest = needed(powers)
        cost: Row = [f"{fewest * each:,.0f}" if fewest else "–" for each in hours.values()]
        rows.append(
            [SCOPES[scope].format(tasks), f"{100 * difference:g}", str(fewest or f"more than {TRIED[-1]}")]
            + [_power(powers, seeds) for seeds in (3, 4, 12)]
            + cost
        )
    header = ["difference of", "points", "seeds per task", "3 seeds", "4 seeds", "12 seeds"]
    header += [f"hours, {device}" for device in hours]
    return PrintedTable("seeds", caption, header, rows, notes=list(notes))


def _power(powers: Mapping[int, float], seeds: int) -> Cell:
    """The power of so many seeds; where fewer reach nearly everything, theirs."""
    return Cell(powers.get(seeds, powers[max(powers)] if max(powers) < seeds else float("nan")))


def caption(agents: Sequence[str], comparisons: int) -> str:
    """How the figures were made."""
    among = f", divided by {comparisons} comparisons" if comparisons > 1 else ""
    return (
        f"Seeds per task and agent for which a difference between {label(agents[0])} and {label(agents[1])} is shown "
        f"with a power of {100 * POWER:.0f}%, of {', '.join(map(str, TRIED))} seeds; beside it the power of 3, 4 and "
        f"12 seeds, in percent (where fewer reach {100 * ENOUGH:.0f}%, theirs). Permutation test within tasks at the "
        f"level {LEVEL:g}{among}; the difference is the same on every task. Hours: of training both agents with so "
        "many seeds on all tasks."
    )


def draw(curves: Curves, tasks: int, text: str) -> Drawing:
    """Power against seeds, a panel a scope, a line a difference."""
    scopes = list(dict.fromkeys(scope for scope, _ in curves))
    with styled():
        figure, axes = new_figure(1.5 * len(scopes) + 0.3, len(scopes), 1, width=WIDTH, sharex=True)
        for axis, scope in zip(axes[:, 0], scopes, strict=True):
            of_scope = {points: powers for (name, points), powers in curves.items() if name == scope}
            for (points, powers), colour in zip(of_scope.items(), itertools.cycle((VERMILLION, BLUE, BLACK))):
                values = [100 * power for power in powers.values()]
                axis.plot(
                    list(powers), values, color=colour, marker="o", markersize=2.5, label=f"{100 * points:g} points"
                )
            axis.axhline(100 * POWER, color="#888888", linewidth=0.6, linestyle=(0, (2, 2)))
            axis.set_xscale("log")
            axis.set_ylim(-4, 104)
            axis.set_title(SCOPES[scope].format(tasks))
            axis.set_ylabel("power, %")
            axis.xaxis.set_major_locator(FixedLocator([2, 4, 8, 16, 32, 64, 128]))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter("{x:g}")
        axes[-1, 0].set_xlabel("seeds per task and agent")
        axes[0, 0].legend(loc="lower right")
    return Drawing("seeds_needed", figure, text)
