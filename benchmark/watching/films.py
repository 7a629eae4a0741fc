"""Films of episodes that were played: which, of whom, and how they are put together."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from benchmark.common.errors import UserError, check_choice
from benchmark.common.terminal import console
from benchmark.runs.clips import FOLDER, Clip, Shown, write_clip
from benchmark.watching.encoding import check_encoder, encode
from benchmark.watching.from_options import CHOICES
from benchmark.watching.picture import BADLY, INK, WELL, Panel, picture, size_of
from benchmark.watching.playing import Played, play, task_of
from envs.family import family_of
from envs.play.camera import Camera, Moment, View
from envs.play.pool import EpisodeResults

CLIP_FRAMES = 150
"""Of a clip for the report, at most, apart from those at its end: longer episodes are shown faster."""
SLOWEST = 10.0
"""Pictures a second, at least: a film goes as the world does, and faster where few steps have a picture."""
HELD_SECONDS = 1.5
"""For which the last picture of an episode stays."""


@dataclass(frozen=True)
class Film:
    """A film that is asked for."""

    runs: tuple[Path, ...]
    """Of the policies, from left to right."""
    path: Path
    choice: str = "first"
    """One of `CHOICES`; of several policies, those of the first one."""
    episodes: int = 1
    seed: int | None = None
    """Default: the first of the first run's that has not diverged."""
    number: int | None = None
    """The step whose evaluation's episodes they are. Default: of the first run's last evaluation."""
    fixed: tuple[str, ...] = ()
    """"name=value" of hyperparameters that only acting reads."""
    view: View = field(default_factory=View)
    every: int = 1
    """A picture for so many steps."""
    agent: str | None = None
    """File of an agent from outside the repository, for policies without their run."""


def make_film(film: Film) -> Clip:
    """Play, film, and write the film with its record; says on the terminal what is in it, and how long it took."""
    ready(film)
    started = time.perf_counter()
    only = range(film.episodes) if film.choice == "first" else None
    first = play(film.runs[0], film.seed, film.number, film.fixed, only, film.agent)
    chosen = choose(first.results, film.choice, film.episodes)
    if not chosen:
        raise UserError(f"there are no {film.choice} among the {len(first.results.success)} episodes of {first.label}")
    others = [play(run, first.seed, first.number, film.fixed, chosen, film.agent) for run in film.runs[1:]]
    return shoot([first, *others], chosen, film.path, "chosen", film.view, film.every, started)


def make_clips(run: Path, seed: int | None = None, view: View | None = None) -> list[Clip]:
    """Film a run's best and worst episode of its last evaluation, for the report."""
    films = [Film((run,), run / FOLDER / f"{choice}.mp4", choice, view=view or View()) for choice in ("best", "worst")]
    ready(films[0])
    started = time.perf_counter()
    played = play(run, seed)
    made = []
    for film in films:
        chosen = choose(played.results, film.choice, 1)
        every = math.ceil(played.results.lengths[chosen[0]] / CLIP_FRAMES)
        made.append(shoot([played], chosen, film.path, film.choice, film.view, every, started))
        started = time.perf_counter()
    return made


def ready(film: Film) -> None:
    """Raise a UserError, before anything is played, where the film could not be drawn or encoded."""
    check_choice("choice of episodes", film.choice, CHOICES)
    check_encoder(film.path)
    for run in film.runs:
        task = task_of(run)
        family_of(task).check_drawing(task)


def choose(results: EpisodeResults, choice: str, episodes: int) -> list[int]:
    """Indices of so many episodes, fewer where there are not as many. Half a success counts as one.

    The best have the most success, then the highest return, then the fewest steps; the worst come last so.
    """
    success = results.success
    order = np.lexsort((results.lengths, -results.returns, -success))
    of_choice = {
        "first": np.arange(len(success)),
        "successes": np.flatnonzero(success >= 0.5),
        "failures": np.flatnonzero(success < 0.5),
        "best": order,
        "worst": order[::-1],
    }
    return [int(index) for index in of_choice[choice][:episodes]]


def shoot(
    played: Sequence[Played], chosen: Sequence[int], path: Path, kind: str, view: View, every: int, started: float
) -> Clip:
    """Film episodes, and write the film with its record."""
    task = played[0].task
    if other := next((each for each in played if each.task != task), None):
        raise UserError(f"side by side are policies of one task, not of {task.name} and {other.task.name}")
    size = size_of(len(played), view.width, view.height)
    with contextlib.ExitStack() as open_cameras:
        opened = (contextlib.closing(family_of(task).open_camera(task, view)) for _ in played)
        cameras = [open_cameras.enter_context(camera) for camera in opened]
        rate = max(SLOWEST, cameras[0].rate / every)
        pictures = (image for index in chosen for image in pictures_of(played, index, cameras, every, rate))
        frames = encode(pictures, path, rate)
    episodes = tuple(tuple(each.shown(index) for each in played) for index in chosen)
    clip = Clip(path, kind, task.name, tuple(each.label for each in played), episodes, frames, rate, *size)
    write_clip(clip)
    for index, shown in zip(chosen, episodes, strict=True):
        told = ", ".join(f"{each.label} {outcome(one)}" for each, one in zip(played, shown, strict=True))
        console.print(f"seed {shown[0].seed}, episode {index}: {told}", markup=False, soft_wrap=True)
    seconds = time.perf_counter() - started
    made = f"{frames} pictures of {size[0]} x {size[1]}, {path.stat().st_size / 1e3:,.0f} kB, in {seconds:.0f} s"
    console.print(f"{path}: {made}", markup=False, soft_wrap=True)
    return clip


def pictures_of(
    played: Sequence[Played], index: int, cameras: Sequence[Camera], every: int, rate: float
) -> Iterator[np.ndarray]:
    """The pictures of one episode. Raises a UserError where an episode does not go again as it went."""
    first = played[0]
    domain = first.task.domain
    name = domain.name if domain.single_task else f"{domain.name} task {first.task.number}"
    title = f"{name}, seed {first.seed}, episode {index}"
    shows = [camera.show(each.episode(index), every) for camera, each in zip(cameras, played, strict=True)]
    panels: list[Panel] = []
    for moments in zip_longest(*shows):
        new = enumerate(zip(played, moments, strict=True))
        panels = [panels[i] if moment is None else panel_of(each, index, moment) for i, (each, moment) in new]
        yield picture(title, panels)
    for _ in range(round(HELD_SECONDS * rate)):
        yield picture(title, panels)


def panel_of(played: Played, index: int, moment: Moment) -> Panel:
    """A policy at a moment of its episode."""
    so_far = f"step {moment.length}, return {moment.total:.4g}"
    if not moment.ended:
        return Panel(moment.frame, played.label, so_far)
    shown = played.shown(index)
    again = moment.success, moment.total
    if moment.length != shown.length or not np.allclose(again, (shown.success, shown.total), rtol=1e-6, atol=1e-6):
        raise UserError(
            f"episode {index} of {played.label} did not go again as it was counted: {outcome(shown)}, and then success "
            f"{moment.success:g}, {so_far}"
        )
    return Panel(moment.frame, played.label, outcome(shown), colour_of(shown))


def colour_of(shown: Shown) -> str:
    """Of an outcome."""
    return WELL if shown.success >= 1 else BADLY if shown.success <= 0 else INK


def outcome(shown: Shown) -> str:
    """What came of an episode, in words."""
    return f"{shown.verdict}, step {shown.length}, return {shown.total:.4g}"
