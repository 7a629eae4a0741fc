"""Episodes of the toy tasks, played again and drawn from above; see `envs.play.camera`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmark.common.errors import UserError
from envs.play.camera import Episode, Moment, View
from envs.tasks import Task
from envs.toy.tasks import TOYS, Detour, Modes, turn

FINER = 3
"""Drawn so many times as large, then made smaller: lines have no steps."""
PAPER, INK, WALL, GOAL, OTHER = "#ffffff", "#0b57a4", "#8c959f", "#2a9d4a", "#d8dee4"


class Board:
    """A picture of a part of the plane."""

    def __init__(self, view: View, reach: float):
        """The square of coordinates -reach to reach fits into the view."""
        self.size = view.width * FINER, view.height * FINER
        self.unit = min(self.size) / (2 * reach)
        self.image = Image.new("RGB", self.size, PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def at(self, point: np.ndarray) -> tuple[float, float]:
        """The pixel of a point of the plane; the second coordinate goes up."""
        return self.size[0] / 2 + self.unit * float(point[0]), self.size[1] / 2 - self.unit * float(point[1])

    def disc(self, point: np.ndarray, radius: float, colour: str) -> None:
        """A disc; the radius as coordinates are."""
        self.draw.circle(self.at(point), self.unit * radius, fill=colour)

    def box(self, low: Sequence[float], high: Sequence[float], colour: str) -> None:
        """A rectangle between two corners."""
        (left, bottom), (right, top) = self.at(np.asarray(low)), self.at(np.asarray(high))
        self.draw.rectangle((left, top, right, bottom), fill=colour)

    def way(self, points: np.ndarray, colour: str) -> None:
        """A line through points (n, 2)."""
        self.draw.line([self.at(point) for point in points], fill=colour, width=2 * FINER)

    def frame(self) -> np.ndarray:
        """(height, width, 3) uint8."""
        smaller = self.image.resize((self.size[0] // FINER, self.size[1] // FINER), Image.Resampling.BOX)
        return np.asarray(smaller)


def draw_modes(toy: Modes, view: View, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The four modes of behaviour, the best green, and the actions (n, 2) so far."""
    board = Board(view, 1.1)
    board.box((-1, -1), (1, 1), "#f6f8fa")
    for i, centre in enumerate(turn(states[:1].repeat(len(toy.centres), 0), toy.centres)):
        board.disc(centre, 2 * toy.spread, OTHER if i else GOAL)
    for action in actions:
        board.disc(action, 0.05, INK)
    return board.frame()


def draw_detour(toy: Detour, view: View, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The room with wall and goal, and the way through the states (n, 2) so far."""
    board = Board(view, 1.05)
    board.box((-1, -1), (1, 1), "#f6f8fa")
    board.box((-toy.wall[0], toy.wall[1]), (toy.wall[0], 1), WALL)
    board.disc(toy.goal, toy.radius, GOAL)
    if len(states) > 1:
        board.way(states, INK)
    board.disc(states[-1], 0.05, INK)
    return board.frame()


DRAWN: dict[type, Callable[[Any, View, np.ndarray, np.ndarray], np.ndarray]] = {
    Modes: draw_modes,
    Detour: draw_detour,
}


class ToyCamera:
    """Draws a toy task; see `envs.play.camera.Camera`."""

    rate = 20.0

    def __init__(self, task: Task, view: View):
        """Raises a UserError where a camera is asked for: there is one view."""
        if view.camera is not None:
            raise UserError(f"'{task.name}' is drawn from above and has no camera '{view.camera}'")
        self.toy: Any = TOYS[task.domain.name]()
        self.view, self.limit = view, task.domain.episode_limit

    def show(self, episode: Episode, every: int = 1) -> Iterator[Moment]:
        """See `Camera.show`."""
        states = self.toy.start([np.random.default_rng(np.array(episode.identity, np.uint32))])
        actions = np.clip(np.asarray(episode.actions, np.float32), -1.0, 1.0)  # as they are carried out
        way, total = [states[0]], 0.0
        yield Moment(self._frame(way, actions[:0]), 0, 0.0, 0.0, False)
        last = min(len(actions), self.limit)
        for length, action in enumerate(actions[:last], 1):
            states, rewards, success = self.toy.step(states, action[None])
            way.append(states[0])
            total += float(rewards[0])
            ended = bool(success[0] >= 1) or length == last
            if ended or length % every == 0:
                yield Moment(self._frame(way, actions[:length]), length, total, float(success[0]), ended)
            if ended:
                return

    def _frame(self, way: list[np.ndarray], actions: np.ndarray) -> np.ndarray:
        return DRAWN[type(self.toy)](self.toy, self.view, np.array(way), actions)

    def close(self) -> None:
        """Nothing runs."""
