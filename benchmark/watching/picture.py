"""The picture of a film: policies side by side, and what is known of them above."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

LINE, GAP, MARGIN = 18, 4, 4
"""Pixels: a line of text, between policies, left and right of text."""
LARGEST, SMALLEST = 13, 7
"""Of letters, in pixels: long text is set smaller, and cut where that is not enough."""
PAPER, INK, QUIET, WELL, BADLY = "#ffffff", "#1f2328", "#59636e", "#1a7f37", "#b34a00"


@dataclass(frozen=True)
class Panel:
    """One policy in the picture."""

    frame: np.ndarray
    """(h, w, 3) uint8, all of one size."""
    name: str
    state: str
    """What has come of the episode so far."""
    colour: str = INK
    """Of the latter."""


def picture(title: str, panels: Sequence[Panel]) -> np.ndarray:
    """A frame of the film, of `size_of` its panels: (height, width, 3) uint8."""
    height, width = panels[0].frame.shape[:2]
    image = Image.new("RGB", size_of(len(panels), width, height), PAPER)
    draw = ImageDraw.Draw(image)
    write(draw, title, 0, 0, image.width, QUIET)
    for i, panel in enumerate(panels):
        left = i * (width + GAP)
        write(draw, panel.name, left, LINE, width, INK)
        write(draw, panel.state, left, 2 * LINE, width, panel.colour)
        image.paste(Image.fromarray(panel.frame), (left, 3 * LINE))
    return np.asarray(image)


def size_of(panels: int, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the picture of so many panels of that size, made even, as encoders want it."""
    whole = panels * (width + GAP) - GAP, 3 * LINE + height
    return whole[0] + whole[0] % 2, whole[1] + whole[1] % 2


def write(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, width: int, colour: str) -> None:
    """Write a line as large as fits into the width."""
    room = width - 2 * MARGIN
    size = next((size for size in range(LARGEST, SMALLEST, -1) if draw.textlength(text, font(size)) <= room), SMALLEST)
    while len(text) > 1 and draw.textlength(text, font(size)) > room:
        text = text.removesuffix("…")[:-1] + "…"
    draw.text((left + MARGIN, top + LINE / 2), text, fill=colour, font=font(size), anchor="lm")


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own letters, which every machine has then."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
