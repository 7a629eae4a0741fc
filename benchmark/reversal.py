"""What flow reversal does, from a trained policy: `python -m benchmark.reversal --run runs/.../seeds-0-1 --out FILE`.

Takes the newest checkpoint of an RQL or TFQL run, data actions and their observations, and writes the trajectories
that `analysis.figures --reversal FILE` draws: each data action carried back to noise by the reversed flow, and the
same noise carried forward again by the flow. Where the two meet, reversal is exact; the gap is the error of Euler
steps, since the explicit step backwards is not the inverse of the step forwards.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, whole_number

MOST_TRAJECTORIES = 10_000


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m benchmark.reversal", description=__doc__.split(":")[0])
    parser.add_argument("--run", required=True, help="folder of a run of rql or tfql")
    parser.add_argument("--out", help="file to write (default: reversal.npz in the run's folder)")
    parser.add_argument("--count", default="40", help="trajectories (default: 40)")
    parser.add_argument("--coordinates", default="0,1", help="the two action coordinates to draw (default: 0,1)")
    return parser


def _parse(arguments: list[str] | None) -> tuple[Path, Path, int, tuple[int, int]]:
    """The run's folder, the file to write, the count and the coordinates that the command line asks for."""
    options = parser().parse_args(arguments)
    count = whole_number("--count", options.count, high=MOST_TRAJECTORIES)
    parts = [part.strip() for part in options.coordinates.split(",")]
    if len(set(parts)) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UserError(f"--coordinates must be two different whole numbers, such as 0,1, not '{options.coordinates}'")
    path = Path(options.run)
    out = path / "reversal.npz" if options.out is None else Path(options.out)
    if out.suffix != ".npz" or out.is_dir():
        raise UserError(f"--out must be the name of a file ending in .npz, not '{options.out}'")
    if options.out and not out.parent.is_dir():
        raise UserError(f"cannot write '{out}': there is no folder {out.parent}")
    return path, out, count, (int(parts[0]), int(parts[1]))


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    path, out, count, coordinates = _parse(arguments)
    from benchmark.loop.reversal import write_trajectories

    gap = write_trajectories(path, out, count, coordinates)
    print(f"{out}: {count} trajectories; mean distance of the returned action per coordinate {gap:.3f}")
    return 0


if __name__ == "__main__":
    run_main(main)
