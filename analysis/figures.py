"""Figures of the results, as PDF and PNG, made to be read at the width of one column and by the colour-blind.

python -m analysis.figures --runs runs/quickstart --out figures
python -m analysis.figures --runs runs/ogbench runs/mine --published --highlight my_agent --out figures
python -m analysis.figures --runs runs/mine --archive qam_curves.csv --agents "my_agent,fql (QAM archive)" --out figures
python -m analysis.figures --reversal reversal.npz --out figures        (`analysis.drawing.reversal` says what is in it)

Success is in percent. Each figure's caption is in `figure_captions.md`.
"""

from __future__ import annotations

from analysis.averaging.from_options import add_inputs, check_inputs, results_from
from benchmark.common.errors import UserError, printable, run_main
from benchmark.common.options import Parser, folder, names


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.figures", description="Draw the results.")
    add_inputs(parser)
    parser.add_argument("--agents", help="only these, with commas between")
    parser.add_argument("--highlight", metavar="AGENT", help="the agent that stands out (default: rql)")
    parser.add_argument("--reversal", metavar="FILE", help="a reversal file (see benchmark.reversal)")
    parser.add_argument("--claims", metavar="FILE", help="a file of claims (see benchmark.claims)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the figures")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    if not (options.runs or options.published or options.archive or options.reversal or options.claims):
        raise UserError("nothing to draw: give --runs, --published, --archive, --reversal or --claims")
    folder("--out", options.out)
    check_inputs(options)
    agents = names("--agents", options.agents) if options.agents else None
    # pandas and matplotlib take seconds, which `--help` and a mistake in an option need not wait for.
    from analysis.drawing import gallery
    from analysis.drawing.claims import read_claims
    from analysis.drawing.reversal import read_reversal

    if options.reversal:
        read_reversal(options.reversal)
    if options.claims:
        read_claims(options.claims)
    results = results_from(options)
    for note in results.notes:
        print(f"note: {printable(note)}")
    results = results.of_agents(agents)
    if options.highlight:
        gallery.choose_highlight(gallery.everybody(results, options.published), options.highlight)
    files = options.reversal, options.claims
    paths = gallery.write_figures(results, options.out, options.published, options.highlight, *files)
    if not paths:
        raise UserError(f"no finished run under {', '.join(options.runs)}: nothing to draw")
    for path in paths:
        print(path)


if __name__ == "__main__":
    run_main(main)
