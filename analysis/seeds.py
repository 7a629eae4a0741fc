"""How many seeds a difference needs, before anything is launched, and what they cost.

    python -m analysis.seeds --agents rql,fql --difference 5 --archive qam-exp-data.pkl
    python -m analysis.seeds --agents my_agent,fql --difference 3,5,10 --runs runs/mine --by overall --out figures

The spread between seeds is an agent's own, in the archive or in one's own runs; an agent without seeds there (RQL's are
not published) is given that of agents with similar success.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmark.common.errors import UserError, check_choice, run_main
from benchmark.common.options import Parser, folder, input_file, input_folder, names, whole_number

SCOPES = ("overall", "domain", "task")


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.seeds", description="Say how many seeds a difference needs.")
    parser.add_argument("--agents", required=True, help="two, with a comma between")
    parser.add_argument("--difference", default="3,5,10", help="points of success, with commas (3,5,10)")
    parser.add_argument("--archive", metavar="FILE", help="the QAM archive: spreads of 16 methods, 12 seeds each")
    parser.add_argument("--runs", nargs="+", default=[], metavar="DIR", help="folders of one's own runs")
    parser.add_argument("--by", default="overall,domain,task", help="whose mean: overall, domain, task, with commas")
    parser.add_argument("--comparisons", default="1", help="how many tests are made together (1)")
    parser.add_argument("--updates", default="1_000_000", help="of each seed, for the hours (1,000,000)")
    parser.add_argument("--format", default="md", help="md (default), csv, latex or html")
    parser.add_argument("--out", metavar="DIR", help="draw the curves there, as PDF and PNG")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    options = parser().parse_args(arguments)
    check_choice("format", options.format, ("md", "csv", "latex", "html"))
    agents = names("--agents", options.agents)
    if len(agents) != 2:
        raise UserError(f"--agents takes two agents with a comma between, not {len(agents)}")
    points = [whole_number("--difference", text, high=100) / 100 for text in names("--difference", options.difference)]
    scopes = [check_choice("scope", scope, SCOPES) for scope in names("--by", options.by)]
    comparisons = whole_number("--comparisons", options.comparisons, high=1000)
    updates = whole_number("--updates", options.updates)
    if not (options.runs or options.archive):
        raise UserError("no seeds to take the spread from; give --archive FILE or --runs DIR")
    for place in options.runs:
        input_folder("--runs", place)
    if options.archive:
        input_file("--archive", options.archive)
    out = folder("--out", options.out) if options.out else None

    from analysis.averaging.experiments import listed
    from analysis.comparing import cost, power, power_page
    from analysis.comparing.scores import read
    from analysis.regimes import SEVERAL, why_apart
    from analysis.tabulating.formats import rendered

    read_scores = read(options.runs, options.archive)
    found, agents = read_scores.scores, [read_scores.known(agent) for agent in agents]
    every = list(dict.fromkeys(found["task"]))
    tasks = power.known_tasks(found) or every  # where there is none, `spread_of` says what is needed
    (x, of_x), (y, of_y) = (power.spread_of(agent, found, tasks) for agent in agents)
    curves = {(scope, p): power.curve(x, y, scope, p, comparisons) for scope in scopes for p in points}
    bases = [agent.partition(" (")[0] for agent in agents]
    hours = cost.seed_hours(bases, updates, len(tasks), cost.rates())
    text = power_page.caption(agents, comparisons)
    notes = [f"Spread of {agents[0]}: {of_x}; of {agents[1]}: {of_y}."]
    if left := [task for task in every if task not in tasks]:
        notes.append(f"Left out, for no agent has two seeds there: {listed(left)}.")
    flat = power.flat_tasks(x, y)
    if flat:
        said = "do not count as single tasks, nor domains of such tasks alone"
        notes.append(f"{len(flat)} of {len(tasks)} tasks, on which seeds hardly differ, {said}.")
    regimes = dict(zip(found["agent"], found["regime"], strict=True))
    several = {agent: regimes[agent] for agent in agents if regimes.get(agent, "").startswith(SEVERAL)}
    if several:
        notes.append(why_apart(several, "spreads of one do not speak for others; here all tasks stand together"))
    if not hours:
        notes.append("No hours: no device's rates are recorded for both agents (python -m benchmark.throughput).")
    made = power_page.table(curves, len(tasks), hours, text, notes)
    sys.stdout.write(rendered(made, options.format))
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for path in power_page.draw(curves, len(tasks), text).save(Path(out)):
            print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
