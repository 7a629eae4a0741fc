"""The options that ask for films. What is heavy is imported once they are read, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import UserError, check_choice
from benchmark.common.options import Parser, input_folder, output_file, whole_number

CHOICES = ("first", "successes", "failures", "best", "worst")
"""Which episodes are filmed, in the order in which they come; `films.choose` says what these are."""
SUFFIXES = (".mp4", ".gif")
LEAST_PIXELS, MOST_PIXELS = 32, 2048
"""Of a view's width and height."""
OF_CLIPS = ("clips", "seed", "size", "camera")
"""Options that clips follow."""
MOST_FILMED = 100
"""Episodes of a film."""


def add_film_options(parser: Parser) -> None:
    """Add what a film may be asked for."""
    films = parser.add_argument_group("films")
    films.add_argument("--video", metavar="FILE", help="film episodes: FILE.mp4 or FILE.gif, and FILE.mp4.json")
    films.add_argument("--compare", nargs="+", default=[], metavar="DIR", help="runs, or policies, to see beside")
    films.add_argument("--show", default="first", metavar="WHICH", help=f"{', '.join(CHOICES)} (default: first)")
    films.add_argument("--films", default="1", metavar="N", help="episodes of the film (default: 1)")
    films.add_argument("--seed", metavar="K", help="whose episodes (default: the run's first that did not diverge)")
    films.add_argument("--size", default="200x200", metavar="WxH", help="pixels (default: OGBench's, 200x200)")
    films.add_argument("--camera", metavar="NAME", help="one of the model's (default: OGBench's)")
    films.add_argument("--every", default="1", metavar="K", help="a picture every K steps (default: 1)")
    films.add_argument("--clips", action="store_true", help="film the best and the worst episode, for the report")


def film_asked(options: argparse.Namespace, places: Sequence[Path], number: int | None) -> bool:
    """Film what the options ask for; whether they ask for a film at all. Raises a UserError for what cannot be."""
    if not (options.video or options.clips):
        check_for_no_film(options)
        return False
    for name in ("sweep", "episodes", "seeds", "task"):
        if getattr(options, name):
            raise UserError(f"a film is of one setting, on the policies' own task and episodes: without --{name}")
    seed = None if options.seed is None else whole_number("--seed", options.seed, low=0, high=2**32 - 1)
    size, every = view_size(options.size), whole_number("--every", options.every, high=1000)
    episodes = whole_number("--films", options.films, high=MOST_FILMED)
    check_choice("value of --show", options.show, CHOICES)
    path = output_file("--video", options.video) if options.video else None
    if path and path.suffix not in SUFFIXES:
        raise UserError(f"--video: '{path.name}' must end in {' or '.join(SUFFIXES)}")
    others = [input_folder("--compare", each) for each in options.compare]
    if not path and (others or options.set):
        raise UserError("--clips are of the run as it is; --compare and --set are for --video")
    if not path:
        check_for_clips(options)
    if options.clips and not options.run:
        raise UserError("--clips are of a run, in whose folder they are kept: give --run")
    from benchmark.watching.films import Film, make_clips, make_film
    from envs.play.camera import View

    view = View(*size, options.camera)
    if path:
        of = (*places, *others)
        given = tuple(options.set)
        make_film(Film(of, path, options.show, episodes, seed, number, given, view, every, options.agent))
    if options.clips:
        make_clips(places[0], seed, view)
    return True


def check_for_no_film(options: argparse.Namespace) -> None:
    """Raise a UserError for an option of films where no film is asked for."""
    for name in given(options):
        raise UserError(f"--{name} is of a film, which --video=FILE asks for")


def check_for_clips(options: argparse.Namespace) -> None:
    """Raise a UserError for an option of which clips alone have no use."""
    of_video = [f"--{name}" for name in given(options) if name not in OF_CLIPS]
    of_video += ["--episodes-of"] if options.episodes_of else []
    if of_video:
        raise UserError(
            "--clips are the best and the worst episode of the last evaluation, in a number of pictures of their own; "
            f"{' and '.join(of_video)} {'is' if len(of_video) == 1 else 'are'} for --video"
        )


def given(options: argparse.Namespace) -> list[str]:
    """Options of films that are not at their defaults."""
    parser = Parser()
    add_film_options(parser)
    return [name for name, value in vars(parser.parse_args([])).items() if getattr(options, name) != value]


def view_size(text: str) -> tuple[int, int]:
    """Parse "WxH"."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(LEAST_PIXELS <= side <= MOST_PIXELS for side in sides):
        raise UserError(f"--size must be WxH of {LEAST_PIXELS} to {MOST_PIXELS} pixels each, not '{text}'")
    return sides
