"""What a sweep found: success of every setting as a table, and as a heat map over the hyperparameters.

`python -m benchmark.sweep` makes the runs; this reads their directories.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.load import comparable, load_runs
from analysis.names import label
from analysis.style import WIDTH, Drawing, agent_text, short_name, styled
from benchmark.common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


def scores(runs: Sequence[Path], names: Sequence[str]) -> pd.DataFrame:
    """Success of the finished runs, a row a run (a setting).

    Columns: agent, task, the swept hyperparameters `names`, final (mean over seeds of the success at the last
    evaluation; a seed that diverged has 0), spread (standard deviation over seeds), course (mean over all evaluations),
    seeds, updates. Raises a UserError where a run is not finished.
    """
    import pandas as pd

    loaded = load_runs(*runs, cache=False)
    evaluations = comparable(loaded, mixed="pool").evaluations
    rows = []
    for row in loaded.runs.itertuples():
        own = evaluations[evaluations["run"] == row.run]
        if own.empty:
            why = f"{row.state}: {row.error}" if row.error else row.state
            raise UserError(f"{row.run} is not finished ({why}): give the sweep again to go on with it")
        last = own[own["step"] == own["step"].max()].groupby("seed")["success"].mean()
        rows.append(
            {"agent": row.agent, "task": row.task}
            | {name: row.hyperparameters[name] for name in names}
            | {"final": last.mean(), "spread": last.std(ddof=0), "course": own["success"].mean()}
            | {"seeds": len(last), "updates": own["step"].max()}
        )
    return pd.DataFrame(rows)


def best(found: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """The setting with the highest final success; on a tie the higher course, then the earlier row."""
    ordered = found.sort_values(["final", "course"], ascending=False, kind="stable")
    return {name: float(ordered.iloc[0][name]) for name in names}


def print_scores(found: pd.DataFrame, names: Sequence[str], console: Console) -> None:
    """Print the table, the best setting first."""
    from rich.table import Table

    table = Table(
        *names, "success", "± over seeds", "mean of all evaluations", title=_title(found), title_justify="left"
    )
    for row in found.sort_values(["final", "course"], ascending=False, kind="stable").to_dict("records"):
        values = [f"{row[name]:g}" for name in names]
        table.add_row(*values, *(f"{100 * row[column]:.1f}" for column in ("final", "spread", "course")))
    console.print(table)


def _title(found: pd.DataFrame) -> str:
    first = found.iloc[0]
    return (
        f"{label(first['agent'])} on {first['task']}: success in percent after {first['updates']:,} updates, "
        f"{first['seeds']} tuning seeds"
    )


def write_scores(found: pd.DataFrame, names: Sequence[str], folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.csv`, `<stem>.md` and the heat map as PDF and PNG; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.csv", folder / f"{stem}.md"]
    found.to_csv(paths[0], index=False, float_format="%.6g")
    lines = [f"{_title(found)}.", "", f"| {' | '.join(names)} | success | ± over seeds | mean of all evaluations |"]
    lines.append("| --- " * (len(names) + 3) + "|")
    for row in found.sort_values(["final", "course"], ascending=False, kind="stable").to_dict("records"):
        cells = [f"{row[name]:g}" for name in names]
        cells += [f"{100 * row[column]:.1f}" for column in ("final", "spread", "course")]
        lines.append(f"| {' | '.join(cells)} |")
    paths[1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*paths, *draw_heat_map(found, names, stem).save(folder)]


def draw_heat_map(found: pd.DataFrame, names: Sequence[str], stem: str) -> Drawing:
    """Success over two hyperparameters, a panel for each setting of the others; the best has a frame.

    The first hyperparameter runs down, the second across; a sweep of a single one is a row.
    """
    down, across = (names[0], names[1]) if len(names) > 1 else (None, names[0])
    rest = list(names[2:])
    panels = list(found.groupby(rest, sort=True)) if rest else [((), found)]
    heights = found[down].nunique() if down else 1
    winner = best(found, names)
    size = (max(WIDTH, 1.1 + 0.55 * found[across].nunique() * min(3, len(panels))), 0)
    rows = -(-len(panels) // 3)
    with styled():
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        figure = Figure(figsize=(size[0], 0.3 + rows * (0.9 + 0.42 * heights)), layout="constrained")
        axes = figure.subplots(rows, min(3, len(panels)), squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (key, part) in zip(axes.flat, panels, strict=False):
            values = _grid(part, down, across)
            image = axis.imshow(100 * values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
            ys = sorted(part[down].unique()) if down else [None]
            xs = sorted(part[across].unique())
            for (i, j), value in np.ndenumerate(values):
                if np.isfinite(value):
                    ink = "black" if value > 0.5 else "white"
                    axis.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color=ink, fontsize=7)
            others = dict(zip(rest, key, strict=True))
            if all(np.isclose(winner[name], value) for name, value in others.items()):
                place = (xs.index(winner[across]), ys.index(winner[down]) if down else 0)
                frame = Rectangle(
                    (place[0] - 0.5, place[1] - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2, clip_on=False
                )
                axis.add_patch(frame)
            axis.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
            axis.set_yticks(range(len(ys)), [f"{y:g}" for y in ys] if down else [""])
            axis.set_xlabel(across)
            axis.set_ylabel(down or "")
            axis.tick_params(length=0)
            axis.grid(False)
            if others:
                axis.set_title(", ".join(f"{name} {value:g}" for name, value in others.items()))
        figure.colorbar(image, ax=axes, label="success, %", shrink=0.9)
        first = found.iloc[0]
        said = f"success after {first['updates']:,} updates, {first['seeds']} tuning seeds"
        figure.suptitle(f"{agent_text(first['agent'])} on {short_name(first['task'])}\n{said}", fontsize=7)
    return Drawing(stem, figure, f"{_title(found)}; the chosen setting has a frame.")


def _grid(part: pd.DataFrame, down: str | None, across: str) -> np.ndarray:
    """Final success (rows, columns); NaN where a setting was not run."""
    if down is None:
        return part.sort_values(across)["final"].to_numpy()[None]
    return part.pivot_table(index=down, columns=across, values="final").to_numpy()
