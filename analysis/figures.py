"""Figures of the results, as PDF and PNG, made to be read at the width of one column and by the colour-blind.

python -m analysis.figures --runs runs/quickstart --out figures
python -m analysis.figures --runs runs/ogbench runs/mine --published --highlight my_agent --out figures
python -m analysis.figures --runs runs/mine --archive qam_curves.csv --agents "my_agent,fql (QAM archive)" --out figures
python -m analysis.figures --runs runs/ogbench --scatter my_agent,rql --out figures
python -m analysis.figures --sweep runs/sweep --out figures
python -m analysis.figures --reversal reversal.npz --out figures        (`analysis.drawing.reversal` says what is in it)

Success is in percent. Each figure's caption is in `figure_captions.md`.
"""

from __future__ import annotations

from analysis.averaging.from_options import add_inputs, check_inputs, results_from
from benchmark.common.errors import UserError, printable, run_main
from benchmark.common.options import Parser, folder, input_folder, names


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.figures", description="Draw the results.")
    add_inputs(parser)
    parser.add_argument("--agents", help="only these, with commas between")
    parser.add_argument("--highlight", metavar="AGENT", help="the agent that stands out (default: rql)")
    parser.add_argument("--across-regimes", action="store_true", help="agents of several in the same figures, marked")
    parser.add_argument("--reversal", metavar="FILE", help="a reversal file (see benchmark.reversal)")
    parser.add_argument("--claims", metavar="FILE", help="a file of claims (see benchmark.claims)")
    parser.add_argument("--scatter", metavar="X,Y", help="two agents, task by task, against one another")
    parser.add_argument("--sweep", metavar="DIR", help="a sweep's folder: sensitivity to what was swept")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the figures")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    asked = options.runs, options.published, options.archive, options.reversal, options.claims, options.sweep
    if not any(asked):
        raise UserError("nothing to draw: give --runs, --published, --archive, --reversal, --claims or --sweep")
    folder("--out", options.out)
    check_inputs(options)
    agents = names("--agents", options.agents) if options.agents else None
    pair = names("--scatter", options.scatter) if options.scatter else None
    if pair is not None and len(pair) != 2:
        raise UserError(f"--scatter takes two agents with a comma between, not {len(pair)}")
    if options.sweep:
        input_folder("--sweep", options.sweep)
    # pandas and matplotlib take seconds, which `--help` and a mistake in an option need not wait for.
    from analysis.drawing import gallery
    from analysis.drawing.claims import read_claims
    from analysis.drawing.reversal import read_reversal
    from analysis.drawing.scatter import draw_scatter
    from analysis.drawing.sensitivity import draw_sensitivities

    if options.reversal:
        read_reversal(options.reversal)
    if options.claims:
        read_claims(options.claims)
    results = results_from(options)
    for note in results.notes:
        print(f"note: {printable(note)}")
    theirs = options.published
    results = gallery.of_agents(results, theirs, agents)
    if options.highlight:
        gallery.choose_highlight(gallery.everybody(results, theirs, agents), options.highlight)
    across = options.across_regimes
    more = list(draw_sensitivities(options.sweep, across)) if options.sweep else []
    more += [draw_scatter(results, pair[0], pair[1], across)] if pair else []
    files = options.reversal, options.claims
    paths = gallery.write_figures(results, options.out, theirs, options.highlight, *files, across, more, agents)
    if not paths:
        raise UserError(f"no finished run under {', '.join(options.runs)}: nothing to draw")
    for path in paths:
        print(path)


if __name__ == "__main__":
    run_main(main)
