"""One HTML file about all runs: summary, tables, figures, a page per run, failures. It needs nothing else to be read.

python -m analysis.report --runs runs/quickstart --out report.html
python -m analysis.report --runs runs/ogbench runs/mine --published --highlight my_agent --out report.html
python -m analysis.report --runs runs/mine --archive qam_curves.csv --reversal reversal.npz --out report.html
"""

from __future__ import annotations

from analysis.averaging.from_options import add_inputs, check_inputs, results_from
from benchmark.common.errors import run_main
from benchmark.common.options import Parser, output_file


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.report", description="Write one HTML file about runs.")
    add_inputs(parser, needs_runs=True)
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the file (default: report.html)")
    parser.add_argument("--title", default="Benchmark report", help="the page's heading")
    parser.add_argument("--reversal", metavar="FILE", help="a reversal file, one more figure (see benchmark.reversal)")
    parser.add_argument("--highlight", metavar="AGENT", help="the agent that stands out in figures (default: rql)")
    parser.add_argument("--no-figures", action="store_true", help="leave the figures out; they take most of the time")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    output_file("--out", options.out)
    check_inputs(options)
    # pandas and matplotlib take seconds, which `--help` and a mistake in an option need not wait for.
    from analysis.page.writing import write_page

    print(
        write_page(
            results_from(options),
            options.out,
            options.title,
            options.published,
            options.highlight,
            [] if options.no_figures else None,
            options.reversal,
        )
    )


if __name__ == "__main__":
    run_main(main)
