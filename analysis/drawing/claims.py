"""The paper's claims, from a file that `benchmark.claims` writes of trained policies.

It is JSON with lists of rows: `reversal` (seed, steps, depth, mean, low, high), `targets` (seed, within, between),
`ranking` (seed, f, mean, low, high), `horizon` (agent, steps, seed, bias, error), `cost` (agent, steps, seconds,
gradient_norm, scratch_bytes: None where the compiler does not say) and, where it was asked for, `ablations` (agent,
option, value, seed, success, return: None of a seed that diverged).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.drawing.axes import success_limits
from analysis.drawing.style import (
    BLUE,
    INK,
    TEXT_WIDTH,
    VERMILLION,
    WIDTH,
    Drawing,
    agent_text,
    looks,
    new_figure,
    short_name,
    styled,
)
from benchmark.common.reading import LIST, Damaged, check_fields, read_json

ROWS = {
    "runs": ("agent", "task"),
    "reversal": ("steps", "depth", "mean"),
    "targets": ("within", "between"),
    "ranking": ("f", "mean"),
    "horizon": ("agent", "steps", "error"),
    "cost": ("agent", "steps", "seconds", "gradient_norm"),
}
"""What each list's rows must have."""
ABLATIONS = {"ablations": ("agent", "option", "value", "seed", "success")}
"""The list that may be missing."""
TEXTS = ("agent", "task", "option")


def read_claims(path: str | Path) -> dict[str, Any]:
    """Read a file of claims. Raises a UserError for what is none."""
    found = read_json(Path(path))
    if found is None:
        raise Damaged(Path(path), "missing; python -m benchmark.claims makes it")
    check_fields(Path(path), found, dict.fromkeys(ROWS | ABLATIONS, LIST))
    for name, fields in (ROWS | ABLATIONS).items():
        for row in found.get(name, [None] if name in ROWS else []):
            if not isinstance(row, dict) or any(
                not isinstance(row.get(field), str if field in TEXTS else int | float) for field in fields
            ):
                raise Damaged(Path(path), f"no list '{name}' of rows with {', '.join(fields)}")
    return found


def draw_claims(found: dict[str, Any]) -> Drawing:
    """Error of reversing, rank agreement along the flow, values over a longer horizon, and time, memory and gradient of
    an update against the flow steps.
    """
    counted = [row for row in found["cost"] if row.get("scratch_bytes") is not None]
    with styled():
        figure, axes = new_figure(6.0, 3, 2)
        _reversal(axes[0, 0], found["reversal"])
        _ranking(axes[0, 1], found["ranking"])
        _horizon(axes[1, 0], found["horizon"])
        _against_steps(axes[1, 1], found["cost"], "seconds", "time / time with 3 steps")
        _against_steps(axes[2, 0], counted, "scratch_bytes", "scratch memory / with 3")
        _against_steps(axes[2, 1], found["cost"], "gradient_norm", "gradient / gradient with 3")
    task = short_name(found["runs"][0]["task"]) if found["runs"] else "no run"
    seeds = len({row.get("seed") for row in found["ranking"]})
    text = f"Claims of the paper on policies trained here ({task}, {seeds} seeds, lines are means over seeds)."
    if found["targets"]:
        within, between = (np.mean([row[name] for row in found["targets"]]) for name in ("within", "between"))
        text += f" Bootstrap values spread by {within:.2g} over noise in a state, by {between:.2g} over states."
    return Drawing("claims", figure, text)


def draw_ablations(found: dict[str, Any]) -> Drawing | None:
    """Success and return of each agent by each hyperparameter that was changed alone; None where none was."""
    rows = found.get("ablations", [])
    panels = list(dict.fromkeys((row["agent"], row["option"]) for row in rows))
    if not panels:
        return None
    look = looks(list(dict.fromkeys(agent for agent, _ in panels)))
    with styled():
        width = min(TEXT_WIDTH, max(WIDTH, 1.75 * len(panels)))
        figure, axes = new_figure(3.6, 2, len(panels), width, sharex="col", sharey="row")
        for (agent, option), column in zip(panels, axes.T, strict=True):
            for axis, measure in zip(column, ("success", "return"), strict=True):
                own = [row for row in rows if (row["agent"], row["option"]) == (agent, option)]
                own = [row for row in own if row.get(measure) is not None]
                values, means = _mean_by(own, "value", measure)
                axis.plot(values, means, color=look[agent].colour, linestyle=look[agent].dash)
                axis.plot([r["value"] for r in own], [r[measure] for r in own], ".", color=INK, markersize=3, alpha=0.6)
                axis.set_xticks(values, [f"{value:g}" for value in values])
            column[0].set_title(agent_text(agent))
            column[1].set_xlabel(option)
        axes[0, 0].set_ylabel("success, %")
        axes[1, 0].set_ylabel("return")
        success_limits(axes[0, 0], max(row["success"] for row in rows))
    seeds = len({row["seed"] for row in rows})
    task = short_name(found["runs"][0]["task"]) if found["runs"] else "no run"
    text = f"Final evaluations with one hyperparameter changed alone ({task}, {seeds} seeds: points; lines are means)."
    return Drawing("claims_ablations", figure, text)


def _mean_by(rows: Sequence[dict[str, Any]], key: str, value: str) -> tuple[list[float], list[float]]:
    keys = sorted({row[key] for row in rows})
    return keys, [float(np.mean([row[value] for row in rows if row[key] == k])) for k in keys]


def _reversal(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """RMS distance of returned actions by depth, a line for each number of steps."""
    steps = sorted({row["steps"] for row in rows})
    for shade, count in zip(np.linspace(0.35, 1, len(steps)), steps, strict=True):
        depths, means = _mean_by([row for row in rows if row["steps"] == count], "depth", "mean")
        axis.plot(depths, means, color=VERMILLION, alpha=shade, marker="o", markersize=2, label=f"{count} steps")
    axis.set(title="reversed and back", xlabel="depth", ylabel="miss, per coordinate", xlim=(0, 1.03))
    axis.set_yscale("log")
    if steps:
        axis.legend(fontsize=5, ncols=2)


def _ranking(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Rank correlation of the value of partial actions with that of where they end."""
    for seed in sorted({row.get("seed", 0) for row in rows}):
        places, means = _mean_by([row for row in rows if row.get("seed", 0) == seed], "f", "mean")
        axis.plot(places, means, color=BLUE, linewidth=0.5, alpha=0.6)
    places, means = _mean_by(rows, "f", "mean")
    axis.plot(places, means, color=BLUE, marker="o", markersize=2)
    axis.set(title="value of partial actions", xlabel="f: noise 0, action 1", ylabel="rank correlation with the end's")
    axis.set_ylim(min(0, *means, 0), 1.03)


def _horizon(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """How far the value of noise is from that of its action, against the flow steps: each seed, and the mean."""
    agents = list(dict.fromkeys(row["agent"] for row in rows))
    for agent, look in looks(agents).items():
        own = [row for row in rows if row["agent"] == agent]
        steps, means = _mean_by(own, "steps", "error")
        axis.plot(steps, means, label=agent_text(agent), color=look.colour, linestyle=look.dash)
        axis.plot([row["steps"] for row in own], [row["error"] for row in own], ".", color=look.colour, markersize=3)
    ticks = sorted({row["steps"] for row in rows})
    axis.set(title="value of noise", xlabel="flow steps", ylabel="miss, in spreads over states", xticks=ticks)
    axis.set_ylim(0, 1.1 * max((row["error"] for row in rows), default=1))
    if agents:
        axis.legend(fontsize=6)


def _against_steps(axis: Axes, rows: Sequence[dict[str, Any]], value: str, label: str) -> None:
    """One of an update's costs against the number of flow steps, of each agent."""
    agents, highest = list(dict.fromkeys(row["agent"] for row in rows)), 1.0
    for agent, look in looks(agents).items():
        steps, means = _mean_by([row for row in rows if row["agent"] == agent], "steps", value)
        relative = np.array(means) / means[0]
        axis.plot(steps, relative, label=agent_text(agent), color=look.colour, linestyle=look.dash)
        highest = max(highest, relative.max())
    axis.set(xlabel="flow steps", ylabel=label)
    axis.set_xscale("log")
    if highest > 10:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.1 * highest)
    axis.set_xticks([3, 5, 10, 20, 50], ["3", "5", "10", "20", "50"])
    axis.minorticks_off()
    if agents:
        axis.legend(fontsize=6)
