"""D4RL's antmazes (v2) on OGBench's ant and the current MuJoCo.

OGBench's ant is D4RL's: compiled, the two models differ in lights, cameras and materials, in the size of the floor,
and in that D4RL's motors take forces of -30 to 30 and OGBench's multiply -1 to 1 by 30; actions are -1 to 1 in both.
Its start is D4RL's too: each position within 0.1 of the model's own, each velocity normal with deviation 0.1.
The walls, the goal, rewards and terminations are made here after `maze_env.py`, `ant.py` and `goal_reaching_env.py` in
`d4rl/locomotion`.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
from ogbench.locomaze.ant import AntEnv

from envs.data.temporary import models_removed

# "#": wall, "R": where the ant starts, "G": the goal's cell. D4RL's U_MAZE_TEST, BIG_MAZE_TEST and HARDEST_MAZE_TEST.
MAZES = {
    "umaze": """
        #####
        #R..#
        ###.#
        #G..#
        #####""",
    "medium": """
        ########
        #R.##..#
        #..#...#
        ##...###
        #..#...#
        #.#..#.#
        #...#.G#
        ########""",
    "large": """
        ############
        #R...#.....#
        #.##.#.#.#.#
        #......#...#
        #.####.###.#
        #..#.#.....#
        ##.#.#.#.###
        #..#...#.G.#
        ############""",
}
UNIT = 4.0
"""Width of a cell."""
WALL_HEIGHT = 0.5
"""In cells."""
GOAL_RADIUS = 0.5
GOAL_NOISE = (1.0, 0.5)
"""Two uniform offsets from 0 that are added to each coordinate of the goal cell's centre: in all 0 to 1.5."""


class MazeAnt(AntEnv):
    """An ant in one of D4RL's mazes; observations are its 15 positions (x and y first), then its 14 velocities.

    The reward is 1 within `GOAL_RADIUS` of the goal, which ends the episode, else 0. The goal, which is not observed,
    is drawn anew at every reset from numpy's global generator, as in D4RL's v2. No limit on the episode's length.
    """

    def __init__(self, maze: str):
        """Build the model of a maze, one of `MAZES`."""
        self.rows = MAZES[maze].split()
        self.goal = np.zeros(2)
        tree: Any = ElementTree.parse(self.xml_file)
        add_walls(tree, self.rows)
        with models_removed():
            _, path = tempfile.mkstemp(suffix=".xml")
            tree.write(path)
            super().__init__(xml_file=path)

    def reset_model(self) -> np.ndarray:
        """Draw the goal, and put the ant at the start."""
        corner = centre(self.rows, "G")
        self.goal = np.maximum(corner + sum(np.random.uniform(0, high, 2) for high in GOAL_NOISE), 0)
        return super().reset_model()

    def step(self, action):
        """Simulate 0.1 s: five steps of 0.02 s."""
        observation, _, _, _, info = super().step(action)
        there = bool(np.linalg.norm(self.get_xy() - self.goal) <= GOAL_RADIUS)
        return observation, float(there), there, False, {"success": float(there), "xy": info["xy"]}


def centre(rows: list[str], sign: str) -> np.ndarray:
    """Coordinates of the cell with this sign; the start is at the origin, x runs along a row and y down the rows."""
    return UNIT * (_cell(rows, sign) - _cell(rows, "R"))


def _cell(rows: list[str], sign: str) -> np.ndarray:
    """(column, row) of the cell with this sign."""
    return next(np.array([row.index(sign), i], float) for i, row in enumerate(rows) if sign in row)


def add_walls(tree: Any, rows: list[str]) -> None:
    """Put a box into the model for every wall cell, and give the floor D4RL's size."""
    world = tree.find(".//worldbody")
    floor = tree.find(".//geom[@name='floor']")
    floor.set("size", "40 40 40")
    origin = _cell(rows, "R")
    half, up = UNIT / 2, WALL_HEIGHT / 2 * UNIT
    for i, row in enumerate(rows):
        for j, sign in enumerate(row):
            if sign == "#":
                x, y = UNIT * (j - origin[0]), UNIT * (i - origin[1])
                box = {"name": f"block_{i}_{j}", "type": "box", "pos": f"{x} {y} {up}", "size": f"{half} {half} {up}"}
                ElementTree.SubElement(world, "geom", box | {"contype": "1", "conaffinity": "1", "material": "wall"})
