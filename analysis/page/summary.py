"""The page's summary: how many runs in which state, what is said beside averages, what made the runs."""

from __future__ import annotations

import html

import pandas as pd

from analysis.averaging.results import Results

SHOWN_STATES = ("done", "running", "failed", "unreadable")


def summary(results: Results) -> str:
    """The numbers at the top, the notes and what made the runs, as HTML."""
    table = results.runs.runs
    seconds = table["train_seconds"].fillna(0).astype(float).sum() + table["eval_seconds"].fillna(0).astype(float).sum()
    states = table["state"].value_counts()
    cards = {
        "runs": len(table),
        "seeds in all": int(table["seeds"].map(len).sum()),
        "agents": table["agent"][table["agent"] != ""].nunique(),
        "tasks": table["task"][table["task"] != ""].nunique(),
        **{f"runs {state}": int(states[state]) for state in SHOWN_STATES if state in states},
        "seeds diverged": int(table["diverged"].map(len).sum()),
        "device hours": f"{seconds / 3600:,.1f}",
    }
    written = [
        f"<div><dt>{html.escape(name)}</dt><dd>{value if isinstance(value, str) else f'{value:,}'}</dd></div>"
        for name, value in cards.items()
    ]
    warnings = [f'<p class="note">{html.escape(note)}</p>' for note in results.notes]
    return f'<dl class="cards">{"".join(written)}</dl>{"".join(warnings)}{_made_by(table)}'


def _made_by(table: pd.DataFrame) -> str:
    """A table of the commits, versions and devices that made the runs, the most frequent first."""
    keys = ["commit", "clean", "jax", "mujoco", "device"]
    counts = table[table["state"] != "unreadable"].groupby(keys, dropna=False).size().sort_values(ascending=False)
    if not len(counts):
        return ""
    rows = []
    for (commit, clean, *rest), number in counts.head(10).items():
        short = "+".join(part[:8] for part in str(commit).split("+"))
        cells = [f"{number:,}", f"{short or 'unknown'}{'' if clean else ', changed'}", *map(str, rest)]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    if len(counts) > 10:
        rows.append(f'<tr><td>{counts[10:].sum():,}</td><td colspan="4">by {len(counts) - 10} others</td></tr>')
    heads = "".join(f'<td scope="col"><b>{name}</b></td>' for name in ("runs", "commit", "jax", "MuJoCo", "device"))
    body = "".join(rows)
    return f'<h3>What made them</h3><div class="scroll" tabindex="0"><table><tr>{heads}</tr>{body}</table></div>'
