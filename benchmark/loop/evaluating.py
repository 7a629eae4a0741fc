"""Trained policies, played again: at other values of what only acting reads, on other episodes, on another task; see
`benchmark.evaluate`.

The value to report is not chosen on the episodes that are reported: several values are all played on other episodes
first, and the one that was best there is marked in both passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.base import Agent
from benchmark.common.errors import UserError, summary
from benchmark.common.files import write_text
from benchmark.common.options import MOST
from benchmark.common.terminal import console, progress_bar
from benchmark.loop.acting import act_with
from benchmark.loop.compiled import forget_programs_if_many, keep_programs
from benchmark.loop.played import EPISODES, FILE, Row, episode_rows, grid
from benchmark.loop.players import Asked, Players, combinations, groups_in, players_of, run_at
from benchmark.loop.recorder import summarise
from benchmark.runs.table import csv_text
from envs.play.pool import EvaluationError

CHOOSING = MOST + 1
"""Added to the number of the reported episodes for those that choose: training has no step of such a number."""


def evaluate_run(path: Path, asked: Asked) -> list[Row]:
    """Play the policies of a run, or those of its newest checkpoint where it is not finished; append the rows to the
    run's `FILE` and `EPISODES`, and return those of the former.

    Raises a UserError, before anything is played or written, for what cannot be.
    """
    run = run_at(path, asked.episodes)
    with players_of(run, asked) as players:
        return play(players, asked, run.other_code())


def evaluate_policies(paths: Sequence[Path], asked: Asked, agent: str | None = None) -> list[Row]:
    """Play all policies that these folders hold; append the rows to `FILE` and `EPISODES` beside each policy, and
    return those of the former. Seeds that trained together act together. `agent` is the file of one from outside the
    repository. Raises a UserError, before anything is played or written, for what cannot be.
    """
    groups = groups_in(paths, agent)
    for group in groups:
        group.check(asked)
        with group.held():
            group.kept()
    shown: list[Row] = []
    for group in groups:  # each held alone: a process may have so many files open
        with group.held():
            shown += play(group, asked)
    return shown


def play(players: Players, asked: Asked, other_code: str = "") -> list[Row]:
    """Play all settings with all policies; write what came of it, show it, and return the rows of means."""
    keep_programs()
    forget_programs_if_many()
    if other_code:
        console.print(f"{', '.join(map(str, set(players.places.values())))} was made by {other_code}")
    return Session(players, asked).play()


class Session:
    """A group of policies at all settings, on episodes that choose, where there are several, and on those reported."""

    def __init__(self, players: Players, asked: Asked):
        """Their folders are held."""
        self.players, self.asked, self.kept = players, asked, players.kept()
        settings = combinations(type(players.agent), asked.fixed, asked.sweeps)
        self.agents = [players.agent_with(setting) for setting in settings]
        self.task, self.episodes = players.task_of(asked), players.episodes(asked)
        self.number = players.last()[0] if asked.number is None else asked.number

    def play(self) -> list[Row]:
        """Play, and write each pass when it is over; returns the rows of means."""
        shown: list[Row] = []
        with self.players.stage(self.asked) as self.stage, progress_bar(console) as self.bar:
            self.shown = self.bar.add_task("evaluating")
            chosen = None
            if len(self.agents) > 1:
                played = self.all_settings("selection", self.number + CHOOSING)
                chosen = best([rows for rows, _ in played])
                shown += self.write(played, chosen)
            shown += self.write(self.all_settings("report", self.number), chosen)
        console.print(grid(shown, self.players.agent.acting_options))
        return shown

    def all_settings(self, name: str, number: int) -> list[tuple[list[Row], list[Row]]]:
        """Of each setting the rows of means and those of episodes, of all seeds of evaluation."""
        played = []
        for agent in self.agents:
            rows: tuple[list[Row], list[Row]] = ([], [])
            for seed in self.asked.seeds or (None,):
                self.one(name, agent, seed, number, *rows)
            played.append(rows)
        return played

    def one(
        self, name: str, agent: Agent, seed: int | None, number: int, means: list[Row], episodes: list[Row]
    ) -> None:
        """Play a setting on the episodes of a seed (None: each policy's own) and a number; append the rows."""
        players = self.players
        options = {option: getattr(agent.config, option) for option in agent.acting_options}
        seeds = players.seeds if seed is None else [seed] * len(players.seeds)
        try:
            results = self.stage.evaluate(
                lambda observations, ids: act_with(agent, players.arrays, observations, ids, players.layout),
                *(seeds, self.episodes, number),
                active=players.active,
                on_progress=lambda done, total: self.bar.update(self.shown, completed=done, total=total),
            )
        except EvaluationError as error:  # e.g. so much guidance that actions are not finite
            at = ", ".join(f"{option}={value}" for option, value in options.items())
            raise UserError(f"{at or agent.name}: {summary(error)}") from error
        for trained, played, result in zip(players.seeds, seeds, results, strict=True):
            if result is not None:
                row: Row = {"pass": name, "agent": agent.name, "label": players.label}
                row |= {"hyperparameters": players.variant, "task": self.task.name, "step": players.step}
                row |= {"seed": trained, "episode_seed": played, "episodes_of": number, **options}
                means.append(row | summarise(result))
                episodes += [row | each for each in episode_rows(result)]

    def write(self, played: Sequence[tuple[list[Row], list[Row]]], chosen: int | None) -> list[Row]:
        """Append a pass to the files of records, each row with whether its setting is the chosen one (None: there was
        one only); returns the rows of means.
        """
        marks = [None if chosen is None else int(i == chosen) for i in range(len(played))]
        means, episodes = (
            [row | {"chosen": mark} for mark, rows in zip(marks, played, strict=True) for row in rows[part]]
            for part in (0, 1)
        )
        for place in dict.fromkeys(self.players.places.values()):
            for name, rows in ((FILE, means), (EPISODES, episodes)):
                self.kept[place / name] += [row for row in rows if self.players.places[row["seed"]] == place]
                write_text(place / name, csv_text(self.kept[place / name]))
        return means


def best(played: Sequence[Sequence[Row]]) -> int:
    """Which of several settings has the highest mean success over seeds; the first of those that are equal."""
    return int(np.argmax([np.mean([row["success"] for row in rows]) for rows in played]))
