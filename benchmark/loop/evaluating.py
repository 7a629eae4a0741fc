"""One trained state, played at several values of the hyperparameters that only acting reads; see `benchmark.evaluate`.

The value to report is not chosen on the episodes that are reported: several values are all played on other episodes
first, and the one that was best there is marked in both passes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.table import Table as Grid

from agents.base import Agent
from benchmark.common.errors import UserError, nearest, summary
from benchmark.common.files import write_text
from benchmark.common.options import MOST
from benchmark.common.reading import Damaged, read_bytes
from benchmark.common.terminal import console, progress_bar
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.compiled import keep_programs
from benchmark.loop.evaluator import Evaluator
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.recorder import summarise
from benchmark.loop.running import opened
from benchmark.loop.segments import init_states
from benchmark.planning.configure import configure, parse_settings, typed
from benchmark.planning.run import Run
from benchmark.runs.code import own_digests
from benchmark.runs.protocol import Protocol
from benchmark.runs.reading import read_records
from benchmark.runs.run import RunSpec
from benchmark.runs.table import Table, csv_text
from envs.play.pool import EvaluationError
from envs.world import World

FILE = "evaluations.csv"
CHOOSING = MOST + 1
"""Added to the number of the reported episodes for those that choose: training has no step of such a number."""
Row = dict[str, Any]


def evaluate(
    path: Path,
    fixed: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    episodes: int | None = None,
    number: int | None = None,
) -> list[Row]:
    """Play the policies of a run's newest checkpoint; append the rows to the run's `FILE` and return them.

    `fixed` ("name=value") and `sweeps` ("name=a,b") are of hyperparameters that only acting reads; `episodes` of each
    seed (default: the protocol's) are those that training plays at step `number` (default: of its last evaluation).
    Raises a UserError, before anything is played or written, for what cannot be.
    """
    run = run_at(path, episodes)
    settings = combinations(run.agent_class, fixed, sweeps)
    configs = [configure(run.agent_class, run.spec.settings, setting) for setting in settings]
    data = data_of(run)
    if not any(run.directory.checkpoints.glob("[0-9]*")):
        raise UserError(f"{path} has no checkpoint")
    keep_programs()
    with run.directory, opened(run, data, len(run.spec.seeds)) as world, progress_bar(console) as bar:
        if other := run.other_code():
            console.print(f"{path} was made by {other}")
        kept, shown = rows_of(path / FILE), bar.add_task("evaluating")
        watch = Watch(console.print, lambda what, done, total: bar.update(shown, completed=done, total=total))
        trained = Trained(run, world, watch)
        number = trained.last_evaluation(path) if number is None else number
        agents = [trained.agent_with(config) for config in configs]
        rows, chosen = [], None
        if len(agents) > 1:
            played = trained.play(agents, number + CHOOSING)
            chosen = best(played)
            rows = marked("selection", played, chosen)
            write_text(path / FILE, csv_text([*kept, *rows]))
        rows += marked("report", trained.play(agents, number), chosen)
        write_text(path / FILE, csv_text([*kept, *rows]))
    console.print(grid(rows, run.agent_class.acting_options))
    return rows


# ------------------------------------------------------------------------------------------------ what is asked


def run_at(path: Path, episodes: int | None) -> Run:
    """The run of a folder, with so many episodes an evaluation where that is said.

    Raises a UserError where the folder holds none, or its agent's files are not those that trained.
    """
    records = read_records(path)
    if records.config is None or not records.starts:
        raise UserError(f"--run: {path} is not the folder of a run that has begun")
    config = records.config
    protocol = Protocol(**{each.name: config["protocol"].get(each.name, 0) for each in dataclasses.fields(Protocol)})
    protocol = dataclasses.replace(protocol, eval_episodes=episodes or protocol.eval_episodes)
    if not protocol.eval_episodes:
        raise UserError(f"{path} says of no episodes, so --episodes is needed")
    agent, code = config["agent"], config.get("code")
    if code:
        agent = str(path / "code" / next(iter(code)))  # the file that defines it; then those that it imports
        if own_digests(agent) != code:
            raise UserError(f"the files in {path / 'code'} are not those that the run was made by")
    seeds, settings = tuple(config["seeds"]), config["hyperparameters"]
    spec = RunSpec(agent, config["task"], seeds, settings, protocol, str(path), name=config["agent"])
    return Run(spec, path)


def data_of(run: Run) -> Path | None:
    """The data that a run was trained on, None for a toy. Raises a UserError where it is not there."""
    if run.data_source == "toy":
        return None
    source = read_records(run.path).starts[-1].get("dataset", {}).get("path")
    if not isinstance(source, str) or not Path(source).exists():
        raise UserError(f"no dataset at {source or 'a place that its record says'}, which {run.path} was trained on")
    return Path(source)


def combinations(cls: type[Agent], fixed: Sequence[str], sweeps: Sequence[str]) -> list[dict[str, Any]]:
    """All settings that are asked, the last hyperparameter changing fastest; one, which may be {}, without a sweep.

    Raises a UserError for a hyperparameter that learning reads, one named twice, and a value that it cannot have.
    """
    values: dict[str, list[Any]] = {}
    for option, items, sign in (("--set", fixed, None), ("--sweep", sweeps, ",")):
        for name, text in parse_settings(items).items():
            if name not in cls.acting_options:
                allowed = ", ".join(cls.acting_options) or "none"
                raise UserError(
                    f"{option} {name}: not one of the hyperparameters that only acting reads"
                    f"{nearest(name, cls.acting_options)}; {cls.name} has of these: {allowed}"
                )
            if name in values:
                raise UserError(f"'{name}' is in --set and in --sweep")
            values[name] = [typed(cls, {name: part})[name] for part in (text.split(sign) if sign else [text])]
            if len(set(values[name])) < len(values[name]):
                raise UserError(f"{option} {name}={text} names a value twice")
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


# -------------------------------------------------------------------------------------------------- playing


class Trained:
    """What a run has learned, of all seeds, in its world."""

    def __init__(self, run: Run, world: World, watch: Watch):
        """Read the newest checkpoint that is whole. Raises a UserError where there is none, or no seed to play."""
        self.run, self.world, self.watch = run, world, watch
        data, seeds = world.data_for(0), jnp.asarray(run.spec.seeds, jnp.uint32)
        self.sizes = data.observation_dim, data.action_dim
        agent = self.agent_with(run.hyperparameters)
        checkpoints = Checkpoints(run.directory.checkpoints, read_only=True)
        try:
            found = checkpoints.restore(init_states(agent, seeds, data), watch.say)
        finally:
            checkpoints.close()
        if found is None:
            raise UserError(f"{run.path} has no checkpoint that is whole")
        progress, self.states, record = found
        self.step = progress - agent.pretraining_steps
        self.active = [str(seed) not in record["diverged"] for seed in run.spec.seeds]
        if not any(self.active):
            raise UserError(f"all seeds of {run.path} have diverged")

    def agent_with(self, config: Any) -> Agent:
        """The agent with another configuration."""
        return self.run.agent_class(config, *self.sizes)

    def last_evaluation(self, path: Path) -> int:
        """The step of the last evaluation up to the checkpoint, the checkpoint's own where there was none."""
        steps = [row["step"] for row in Table(path / "eval.csv").rows if 0 <= row["step"] <= self.step]
        return max(steps, default=max(self.step, 0))

    def play(self, agents: Sequence[Agent], number: int) -> list[list[Row]]:
        """Of each agent the rows of its seeds, on the episodes of that number."""
        return [self._play(agent, number) for agent in agents]

    def _play(self, agent: Agent, number: int) -> list[Row]:
        spec = self.run.spec
        experiment = Experiment(agent, spec.seeds, spec.protocol, self.world)
        options = {name: getattr(agent.config, name) for name in agent.acting_options}
        try:
            evaluation = Evaluator(experiment, self.watch, beside=False).begin(self.states, number, self.active)
        except EvaluationError as error:  # e.g. so much guidance that actions are not finite
            at = ", ".join(f"{name}={value}" for name, value in options.items())
            raise UserError(f"{at or agent.name}: {summary(error)}") from error
        results, _ = evaluation.results()
        return [
            {"step": self.step, "seed": seed, "episodes_of": number, **options, **summarise(result)}
            for seed, result in zip(spec.seeds, results, strict=True)
            if result is not None
        ]


def best(played: Sequence[Sequence[Row]]) -> int:
    """Which of several settings has the highest mean success over seeds; the first of those that are equal."""
    return int(np.argmax([np.mean([row["success"] for row in rows]) for rows in played]))


# ------------------------------------------------------------------------------------------------ the records


def marked(name: str, played: Sequence[Sequence[Row]], chosen: int | None) -> list[Row]:
    """All rows of a pass: its name first, and last whether theirs is the chosen setting (None: there was one only)."""
    return [
        {"pass": name, **row, "chosen": None if chosen is None else int(i == chosen)}
        for i, rows in enumerate(played)
        for row in rows
    ]


def rows_of(path: Path) -> list[Row]:
    """The rows that are there, as text. Raises `Damaged` where they cannot be kept."""
    try:
        rows = list(csv.DictReader(io.StringIO((read_bytes(path) or b"").decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Damaged(path, f"no table ({error}); move it away") from error
    if any(None in row or None in row.values() for row in rows):
        raise Damaged(path, "a row of it has not as many values as there are columns; move it away")
    return [dict(row) for row in rows]


def grid(rows: Sequence[Row], options: Sequence[str]) -> Grid:
    """Means over seeds, a row a setting; the chosen one is marked."""
    measures = ("success", "return", "length")
    table = Grid("pass", "episodes of", *options, *measures, "chosen")
    for key, group in itertools.groupby(rows, lambda row: [row[name] for name in ("pass", "episodes_of", *options)]):
        each = list(group)
        means = [f"{np.mean([row[name] for row in each]):.4g}" for name in measures]
        table.add_row(*map(str, key), *means, "*" if each[0]["chosen"] else "")
    return table
