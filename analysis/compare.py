"""Agents against a baseline: paired differences, corrected for their number, with what they allow to say.

    python -m analysis.compare --runs runs/mine --baseline rql
    python -m analysis.compare --runs runs/mine --baseline fql --archive qam-exp-data.pkl --by overall,domain
    python -m analysis.compare --runs runs/mine --baseline rql --measure=return
    python -m analysis.compare --baseline qam --archive qam-exp-data.pkl --agents fql,ifql --by task --format csv

An agent of the archive is "fql (QAM archive)"; plain "fql" means it too where one's own runs have none.
"""

from __future__ import annotations

import sys

from analysis.averaging.from_options import check_inputs
from analysis.names import MEASURES
from benchmark.common.errors import UserError, check_choice, printable, run_main
from benchmark.common.options import Parser, names

FORMATS = ("md", "csv", "latex", "html")


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.compare", description="Compare agents with a baseline.")
    parser.add_argument("--runs", nargs="+", default=[], metavar="DIR", help="folders of one's own runs")
    parser.add_argument("--archive", metavar="FILE", help="the QAM archive: its agents too")
    parser.add_argument("--baseline", required=True, help="the agent that the others are compared with")
    parser.add_argument("--agents", help="only these, with commas between: fewer comparisons, less correction")
    parser.add_argument("--measure", default="success", help="success (default), return or length of an episode")
    parser.add_argument("--by", default="overall,task", help="overall, domain, task, with commas (overall,task)")
    parser.add_argument("--across-regimes", action="store_true", help="those of other regimes too, marked")
    parser.add_argument("--format", default="md", help="md (default), csv, latex or html")
    parser.add_argument("--last", default="1", help="1: final evaluation; 3: mean of the last three")
    parser.add_argument("--diverged", default="zero", help="zero (default): success 0 from there on; or exclude")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parser().parse_args(arguments)
    check_choice("format", options.format, FORMATS)
    scopes = [check_choice("scope", scope, ("overall", "domain", "task")) for scope in names("--by", options.by)]
    check_choice("measure", options.measure, MEASURES)
    chosen = names("--agents", options.agents) if options.agents else None
    if not (options.runs or options.archive):
        raise UserError("nothing to compare; give --runs DIR or --archive FILE")
    check_inputs(options)

    from analysis.comparing.differences import compare
    from analysis.comparing.scores import read
    from analysis.comparing.table import table
    from analysis.tabulating.formats import rendered

    read_scores = read(options.runs, options.archive, options.last, options.diverged, options.measure)
    baseline = read_scores.named(options.baseline)
    if chosen is not None:
        read_scores = read_scores.only([baseline, *(read_scores.named(agent) for agent in chosen)])
    apart = read_scores.apart(baseline)
    if apart and not options.across_regimes:
        together = [agent for agent in read_scores.scores["agent"].unique() if agent not in apart]
        read_scores = read_scores.only(together)
    bounded, facts = options.measure == "success", read_scores.facts.get(baseline)
    found = compare(read_scores.scores, baseline, scopes, read_scores.orders, bounded=bounded, facts=facts)
    if not found:
        why = f" of its regime ({next(iter(apart.values()))}); --across-regimes compares all the same" if apart else ""
        raise UserError(f"nothing to compare: no other agent has a task of {baseline}'s{why}")
    made = table(found, baseline, read_scores.caption, read_scores.notes, apart, options.measure)
    sys.stdout.write(rendered(made, options.format))
    if options.format == "csv":
        for note in made.notes:
            print(f"note: {printable(note)}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
