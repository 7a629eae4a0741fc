"""How fast every algorithm trains here: `python -m benchmark.throughput --agents=rql,fql --seeds=1,4,12`.

For each agent and each number of seeds trained together, with the tuned settings of a domain on random data of its
dimensions: updates per second, the share of the device's arithmetic peak (of a large matrix product at the same
precision in the same process), memory, compile time, and the time to the first update, against the same algorithm
driven as public code does it (one jitted update per Python iteration, each batch drawn by numpy and copied).

Rows go to results/throughput/<device>.json, where a row replaces the older one of the same case. `read_rates` and
`updates_per_second` read them, e.g. to estimate what a suite costs. benchmark/speed/loops.py does the measuring.

With `--authors DIR ...`, checkouts of the authors' repositories, their own code is driven too, on this machine in this
call (benchmark/speed/authors.py says which agents, and what `--authors-python` must have). All loops of a case take
turns.

With `--profile=DIR` a trace of one short segment per case is written too: open https://ui.perfetto.dev and drop
DIR/<agent>-<seeds>/plugins/profile/<time>/perfetto_trace.json.gz there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import run_main
from benchmark.common.options import PRECISIONS, Parser


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--agents", default="rql,fql", help="names or files, separated by commas, or all")
    parser.add_argument("--seeds", default="1,4,12", help="numbers of seeds trained together (default: 1,4,12)")
    parser.add_argument("--domain", default="cube-double-play", help="whose settings and sizes (cube-double-play)")
    parser.add_argument(
        "--size",
        nargs="+",
        default=["paper"],
        metavar="WORD",
        help="paper (default), quickstart, and settings such as hidden=64,64, which agents without them ignore",
    )
    parser.add_argument("--precision", default="default", help=f"of matrix products: {', '.join(PRECISIONS)}")
    parser.add_argument("--seconds", default="5", help="time for the repeats of each loop (default: 5)")
    parser.add_argument("--transitions", default="100_000", help="size of the random data (default: 100,000)")
    parser.add_argument(
        "--json", type=Path, help="file to merge the rows into (default: results/throughput/DEVICE.json)"
    )
    parser.add_argument("--compare-public-loop", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--authors", type=Path, nargs="+", default=[], metavar="DIR", help="checkouts of the authors' code to drive too"
    )
    parser.add_argument(
        "--authors-python",
        type=Path,
        default=Path(sys.executable),
        metavar="FILE",
        help="a Python with what their code needs: jax, flax, optax, distrax, ml_collections (default: this one)",
    )
    parser.add_argument("--profile", type=Path, metavar="DIR", help="also write traces for ui.perfetto.dev")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where a case failed, else 0."""
    options = parser().parse_args(arguments)
    from benchmark.speed.from_options import measurement_from
    from benchmark.speed.updates import measure_and_write

    return measure_and_write(measurement_from(options), options.json)


if __name__ == "__main__":
    run_main(main)
