"""Check records that someone hands on: `python -m analysis.verify results/reproduction/small`.

Says what is wrong (exit code 1), and what a reviewer should look at. Nothing of the submission is run.
"""

from __future__ import annotations

from benchmark.common.errors import printable, run_main
from benchmark.common.options import Parser, input_folder


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.verify", description=__doc__.split(":")[0])
    parser.add_argument("folder", help="folder of a submission")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    folder = input_folder("the submission", parser().parse_args(arguments).folder)
    from analysis.submissions.checking import verify  # pandas
    from analysis.submissions.standing import by_folder

    verdict = verify(folder)
    for fault in verdict.faults:
        print(printable(f"WRONG  {fault}"))
    for remark in verdict.remarks:
        print(printable(f"look   {remark}"))
    for agent, regime in verdict.regimes.items():
        print(printable(f"regime of {agent}: {regime}"))
    if verdict.runs is not None:
        runs = by_folder(verdict.runs.runs)
        print(f"{len(runs)} runs of {runs['agent'].nunique()} agents on {runs['task'].nunique()} tasks")
    print("refused" if verdict.faults else "whole and consistent")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    run_main(main)
