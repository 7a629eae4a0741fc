"""Tables: the paper's with one's own rows in it.

    python -m analysis.tables --published                            the published table
    python -m analysis.tables --runs runs/mine --published           with one's own rows under the published ones
    python -m analysis.tables --runs runs/mine --archive qam.csv     with the archive's rows, intervals from its seeds
    python -m analysis.tables --runs runs/mine --table=reproduction  own against published
    python -m analysis.tables --runs runs/mine --table=order         is it the published order of methods?
    python -m analysis.tables --runs runs/mine --table=seeds         every seed's own success, return and hours
    python -m analysis.tables --runs runs/mine --table=returns       where hardly a task is solved
    python -m analysis.tables --runs runs/mine --table=cost          hours of the device by agent
    python -m analysis.tables --published --format=latex > t.tex     a document that pdflatex compiles

Success is in percent. Own rows are marked with an asterisk.
"""

from __future__ import annotations

import sys

from analysis.averaging.from_options import add_inputs, check_inputs, results_from
from benchmark.common.errors import UserError, check_choice, printable, run_main
from benchmark.common.options import Parser, names

OF_OWN_RUNS = ("reproduction", "seeds", "returns", "cost", "order", "d4rl")
NAMES = ("domain", "task", "summary", *OF_OWN_RUNS)


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.tables", description="Print a table.")
    add_inputs(parser)
    parser.add_argument("--table", default="domain", help=f"one of {', '.join(NAMES)} (default: domain)")
    parser.add_argument("--format", default="md", help="md (default), csv, latex or html")
    parser.add_argument("--agents", help="only these, with commas between")
    parser.add_argument("--bold", type=float, default=95, help="bold within this percent of the best (95)")
    parser.add_argument("--across-regimes", action="store_true", help="bold and average over regimes too, marked")
    parser.add_argument("--fragment", action="store_true", help="LaTeX: the table without a document around it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    # pandas takes a second, which `--help` need not wait for.
    from analysis.tabulating.choice import table_of
    from analysis.tabulating.formats import FORMATS, rendered

    check_choice("table", options.table, NAMES)
    check_choice("format", options.format, FORMATS)
    if not 0 < options.bold <= 100:
        raise UserError(f"--bold must be above 0 and at most 100, not {options.bold:g}")
    if not (options.runs or options.published or options.archive):
        raise UserError("nothing to show; give --published, --runs DIR or --archive FILE")
    if not options.runs and (options.table in OF_OWN_RUNS or (options.table == "summary" and not options.archive)):
        raise UserError(f"--table={options.table} needs one's own runs; give --runs DIR")
    check_inputs(options)
    agents = names("--agents", options.agents) if options.agents else None
    results = results_from(options) if options.runs or options.archive else None
    if results and options.runs and not (results.evaluations["source"] == "own").any():
        said = f" ({' '.join(results.notes)})" if results.notes else ""
        raise UserError(f"no finished run under {', '.join(options.runs)}{said}")
    published = options.published or results is None
    table = table_of(options.table, results, published, agents, options.bold, options.across_regimes)
    sys.stdout.write(rendered(table, options.format, options.fragment))
    if options.format == "csv":
        for note in table.notes:
            print(f"note: {printable(note)}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
