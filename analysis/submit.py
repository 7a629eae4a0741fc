"""Hand on the records of finished runs: `python -m analysis.submit --runs runs/small --out results/reproduction/small`.

Copied are the per-seed evaluations and training curves, the configuration and what made it; not code, logs,
checkpoints or anything that names a place on this machine. Given again with more runs, it adds them.
"""

from __future__ import annotations

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, folder, input_folder


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.submit", description=__doc__.split(":")[0])
    parser.add_argument("--runs", nargs="+", required=True, help="folders that hold runs, at any depth")
    parser.add_argument("--out", required=True, help="folder of the submission: new, or a submission that grows")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    folders, out = [input_folder("--runs", name) for name in options.runs], folder("--out", options.out)
    from analysis.submissions.making import submit  # pandas

    taken, left = submit(folders, out)
    for sentence in left:
        print(f"left out: {sentence}")
    print(f"{out}: {len(taken)} runs; python -m analysis.verify {out} checks it")
    return 0


if __name__ == "__main__":
    run_main(main)
