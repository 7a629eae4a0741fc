"""Tune an agent fairly: `python -m benchmark.sweep --agent rql --domains scene-play --sweep alpha=0.1,1,10`.

All settings of numeric hyperparameters and all seeds train together as one batched axis of one compiled program. Every
setting leaves a run directory of its own, as if it had been run alone; a sweep that is stopped goes on when the same
command is given again.

The protocol of a fair comparison, which this command follows and enforces:

1. Tuning is on one task of each domain, OGBench's default (task 1 of the mazes, 2 of cube and scene, 4 of the puzzles).
2. Tuning has seeds of its own (1000 and 1001), none that any suite reports.
3. All agents tuned into one folder have the same budget, which the first fixes: updates, seeds, episodes, tasks a
   domain, and the most settings a domain. Hyperparameters given with --set are not searched, and are for all domains.
4. The setting with the highest mean success at the last evaluation wins; on a tie the higher mean over all
   evaluations, then the earlier in the order given.
5. Results are reported with fresh seeds on the other tasks of the domain (`--report`), the tuning task left out. A toy
   has only one task, which is reported with fresh seeds.

In the folder (default runs/sweep): tuning/<setting>/<agent>/<task>/ the runs; tuned/<agent>.yaml the best setting of
each domain, in the form of benchmark/tuned/ (beside an agent's own file it is read from there); tables and heat maps in
tuned/; report/ the reported runs, to be read like those of any suite.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import yaml
from rich.console import Console

from agents.base import Agent, State, numeric_fields
from benchmark import provenance
from benchmark.compiled import keep_programs
from benchmark.configure import (
    agent_class,
    check_memory,
    configure,
    describe,
    parse_seeds,
    parse_settings,
    settings_of,
)
from benchmark.errors import UserError, check_choice, nearest, run_main
from benchmark.options import Parser, folder, names, whole_number
from benchmark.plan import plan
from benchmark.progress import RunProgress
from benchmark.records import RunDirectory, Table, format_seeds, make_folder, read_json, write_json, write_text
from benchmark.suites import PROTOCOLS, SUITES, Generated, Suite, get_suite
from benchmark.train import (
    RunSpec,
    begin_anew,
    by_other_code,
    check_size,
    data_source,
    ensure_data,
    execute_all,
    generated_from,
    is_done,
    protocol_from,
    run_config,
    run_path,
)
from benchmark.training import Training, init_states
from envs.tasks import DOMAINS, TOY_TASKS, Domain, Task
from envs.world import World, environments_for, open_world

TUNING_SEEDS = "1000-1001"
REPORT_SEEDS = "0-3"
DEFAULT_TASK = {"cube": 2, "scene": 2, "puzzle": 4}
"""Number of the task that a domain's name stands for in OGBench, by the first word of the name; 1 of all others."""

console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)


# ----------------------------------------------------------------------------------------------------- settings


def parse_sweeps(cls: type[Agent], items: Sequence[str]) -> dict[str, list[float]]:
    """Parse ["alpha=0.1,1,10", "expectile=0.7,0.9"]. Raises a UserError that names what cannot be swept, and why."""
    fields = {field.name for field in dataclasses.fields(cls.Config)}
    numeric = numeric_fields(cls.Config)
    sweeps: dict[str, list[float]] = {}
    for name, text in parse_settings(items).items():
        if name not in fields:
            raise UserError(
                f"agent '{cls.name}' has no hyperparameter '{name}'{nearest(name, fields)}; "
                f"it can sweep: {', '.join(numeric)}"
            )
        if name not in numeric:
            raise UserError(
                f"'{name}' cannot be swept: it changes the structure of the compiled program; give each of its values "
                f"a sweep of its own with --set {name}=...; '{cls.name}' can sweep: {', '.join(numeric)}"
            )
        values = [getattr(configure(cls, {name: value}), name) for value in text.split(",")]
        if len(set(values)) < len(values):
            raise UserError(f"--sweep {name}={text} names a value twice")
        sweeps[name] = values
    if not sweeps:
        raise UserError(
            f"--sweep is needed, e.g. --sweep {numeric[-1]}=0.1,1,10; '{cls.name}' can sweep: {', '.join(numeric)}"
        )
    if len(sweeps) < len(items):
        raise UserError("--sweep names a hyperparameter twice; give all its values together, separated by commas")
    return sweeps


def combinations(sweeps: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """All settings of a sweep, the last hyperparameter changing fastest."""
    return [dict(zip(sweeps, values, strict=True)) for values in itertools.product(*sweeps.values())]


def setting_name(setting: Mapping[str, float]) -> str:
    """A setting as a folder's name: "alpha=0.1,expectile=0.9"."""
    return ",".join(f"{name}={value:g}" for name, value in setting.items())


def stack(agents: Sequence[Agent]) -> Agent:
    """One agent whose numeric hyperparameters are batched: those of the agents, which must be alike in all else."""
    first = agents[0]
    values = {
        name: jnp.asarray([getattr(agent.config, name) for agent in agents], jnp.float32)
        for name in numeric_fields(first.config)
    }
    return type(first)(dataclasses.replace(first.config, **values), first.observation_dim, first.action_dim)


# ------------------------------------------------------------------------------------------------------ training


@dataclasses.dataclass(frozen=True)
class SeveralRuns:
    """A world for members, which stand for the seeds of several runs: each plays its seed's episodes."""

    world: World
    seeds: Sequence[int]
    """Seed of each member."""

    def evaluate(self, policy, members, episodes, step, active, on_progress=None):
        """See `World.evaluate`; settings are compared on the same episodes."""
        return self.world.evaluate(policy, self.seeds, episodes, step, active, on_progress)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)


class SweepTraining(Training):
    """Several runs, alike but for numeric hyperparameters, as one: its "seeds" are members, a setting and a seed each.

    Its own directory holds the tables of all members and the checkpoints; each run's directory is written from them.
    """

    def __init__(self, agents: Sequence[Agent], runs: Sequence[RunSpec], world: World, directory, say, on_progress):
        """`agents[i]` is that of `runs[i]`."""
        self.runs = [RunDirectory(run_path(run)) for run in runs]
        self.own_seeds = runs[0].seeds
        self.members = [(i, seed) for i in range(len(runs)) for seed in runs[0].seeds]
        self.labels = [setting_folder(run) for run in runs]
        batched = stack([agents[i] for i, _ in self.members])
        world = SeveralRuns(world, [seed for _, seed in self.members])
        seeds = range(len(self.members))
        super().__init__(batched, seeds, runs[0].protocol, world, directory, say, on_progress, agent_axis=0)

    def initial_states(self) -> State:
        """A member begins as its seed does alone."""
        return init_states(self.agent, jnp.asarray([seed for _, seed in self.members], jnp.uint32), 0)

    def called(self, member: int) -> str:
        """A member's name in the log."""
        run, seed = self.members[member]
        return f"{self.labels[run]} seed {seed}"

    def set_status(self, state: str, rate: float | None = None) -> None:
        """Record where the sweep is, and write every run's own records."""
        super().set_status(state, rate)
        status = self.directory.status
        for i, run in enumerate(self.runs):
            first = i * len(self.own_seeds)
            mine = range(first, first + len(self.own_seeds))
            for table in (self.train_table, self.eval_table):
                own = Table(run.path / table.path.name)
                own.rows = [row | {"seed": self.members[row["seed"]][1]} for row in table.rows if row["seed"] in mine]
                own.save()
            diverged = {str(self.members[m][1]): step for m, step in self.diverged.items() if m in mine}
            shares = {name: round(status[name] / len(self.runs), 2) for name in ("train_seconds", "eval_seconds")}
            run.set_status(**{**status, **shares, "diverged": diverged})


def setting_folder(run: RunSpec) -> str:
    """The folder's name that says a run's setting."""
    return Path(run.out).name


def sweep_path(run: RunSpec, folder: Path) -> Path:
    """Where the sweep that a run belongs to keeps its own records."""
    return folder / ".sweeps" / agent_class(run.agent).name / run.task / f"seeds-{format_seeds(run.seeds)}"


def sweep_task(runs: Sequence[RunSpec], folder: Path, quiet: bool = False) -> None:
    """Do the runs of all settings on one task, from their start or their last checkpoint."""
    cls = agent_class(runs[0].agent)
    if all([is_done(run) for run in runs]):  # a list: each is checked for another configuration
        console.print(f"{len(runs)} settings of {cls.name} on {runs[0].task} are finished already")
        return
    with RunDirectory(sweep_path(runs[0], folder)) as directory:
        common = run_config(runs[0]) | {"hyperparameters": [run_config(run)["hyperparameters"] for run in runs]}
        directory.check_config(common, provenance.own_files(runs[0].agent))
        for run in runs:
            make_folder(run_path(run))
            RunDirectory(run_path(run)).check_config(run_config(run), provenance.own_files(run.agent))
        try:
            _train(cls, runs, directory, quiet)
        except BaseException as error:
            reason = str(error) if isinstance(error, UserError) else traceback.format_exc()
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            for each in (directory, *(RunDirectory(run_path(run)) for run in runs)):
                each.set_status(state=state, error=reason)
            raise


def _train(cls: type[Agent], runs: Sequence[RunSpec], directory: RunDirectory, quiet: bool) -> None:
    keep_programs()
    task, protocol = _task(runs[0].task), runs[0].protocol
    path = ensure_data(runs[0])
    members = len(runs) * len(runs[0].seeds)
    longest = max(configure(cls, run.settings).chunk_length for run in runs)
    world = open_world(task, path, environments_for(members, protocol.eval_episodes), cls.sampler, longest)
    try:
        made = provenance.collect({"source": data_source(runs[0]), **world.source}, runs[0].agent)
        made |= {"sweep": {"settings": len(runs), "members": members}}
        directory.add_start(made)
        for run in runs:
            RunDirectory(run_path(run)).add_start({**made, "hyperparameters": run.origins})
        data = world.data_for(0)
        agents = [cls(configure(cls, run.settings), data.observation_dim, data.action_dim) for run in runs]
        del data  # one shard of several: only the world may hold it
        title = f"{cls.name} {task.name} x {len(runs)}"
        with RunProgress(title, directory.path / "log.txt", quiet) as progress:
            SweepTraining(agents, runs, world, directory, progress.say, progress.update).run()
    finally:
        world.close()


# ------------------------------------------------------------------------------------------------- the protocol


def tuning_task(domain: Domain) -> Task:
    """The one task of a domain on which agents are tuned."""
    return Task(domain, DEFAULT_TASK.get(domain.name.split("-")[0], 1))


def reporting_tasks(domain: Domain) -> list[Task]:
    """The tasks of a domain on which tuned agents are reported: all others, or a toy's only one."""
    if domain.toy:
        return [tuning_task(domain)]
    return [task for number in range(1, 6) if (task := Task(domain, number)) != tuning_task(domain)]


def _task(name: str) -> Task:
    from envs.tasks import get_task

    return get_task(name)


def check_seeds(tuning: Sequence[int], report: Sequence[int]) -> None:
    """Raise a UserError where a seed would be tuned on and reported."""
    reported = set(report).union(*(suite.seeds for suite in SUITES.values()))
    both = sorted(reported & set(tuning))
    if both:
        raise UserError(
            f"seeds {format_seeds(both)} are reported, so they may not be tuned on (--seeds); "
            f"the default is {TUNING_SEEDS}"
        )


def check_budget(folder: Path, runs: Sequence[Sequence[RunSpec]], limit: int | None) -> None:
    """Fix the folder's budget, or raise a UserError where this sweep's is another. `limit`: most settings a domain."""
    first = runs[0][0]
    asked = {
        "updates": first.protocol.steps,
        "seeds": len(first.seeds),
        "episodes": first.protocol.eval_episodes,
        "evaluated_every": first.protocol.eval_every,
        "tasks_a_domain": 1,
    }
    path = folder / "budget.json"
    known = read_json(path)
    settings = len(runs[0])
    if known is None:
        write_json(path, asked | {"settings_a_domain": max(settings, limit or 0)})
        return
    wrong = [f"{name} {value}, not {known[name]}" for name, value in asked.items() if known.get(name) != value]
    if limit and limit != known["settings_a_domain"]:
        wrong.append(f"--budget {limit}, not {known['settings_a_domain']}")
    if settings > known["settings_a_domain"]:
        wrong.append(f"{settings} settings, at most {known['settings_a_domain']} are allowed")
    if wrong:
        raise UserError(
            f"this sweep has another budget than those in {folder} ({'; '.join(wrong)}); agents compare fairly at one "
            "budget: match it, or choose another --out for all of them"
        )
    if settings < known["settings_a_domain"]:
        console.print(f"note: {settings} settings of the {known['settings_a_domain']} that the budget allows are used")


# ------------------------------------------------------------------------------------------------------- results


def choose(folder: Path, runs: Sequence[RunSpec], sweeps: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The best setting of a domain's runs; writes the table and heat map of all, and prints the table."""
    from analysis.sweeps import best, print_scores, scores, write_scores

    found = scores([run_path(run) for run in runs], list(sweeps))
    print_scores(found, list(sweeps), console)
    for what in sorted(set(map(by_other_code, runs)) - {""}):
        console.print(f"note: these runs were made by {what}; --anew makes them again", soft_wrap=True)
    name = f"{agent_class(runs[0].agent).name}-{_task(runs[0].task).domain.name}"
    for path in write_scores(found, list(sweeps), folder / "tuned", name):
        console.print(f"  {path}", markup=False, soft_wrap=True)
    return best(found, list(sweeps))


def write_tuned(path: Path, text: str, domain: str, setting: Mapping[str, Any]) -> None:
    """Add a domain's tuned setting to a file of the form of benchmark/tuned/; others stay."""
    known = yaml.safe_load(path.read_text()) if path.is_file() else {}
    domains = {**(known or {}).get("domains", {}), domain: dict(setting)}
    lines = [f"# {text}", f'source: "{text}"', "published: false", "domains:"]
    for name, values in domains.items():
        lines.append(f"  {name}: {yaml.safe_dump(dict(values), default_flow_style=True, width=1000).strip()}")
    write_text(path, "\n".join(lines) + "\n")


def tuned_path(folder: Path, cls: type[Agent]) -> Path:
    """Where a sweep writes an agent's tuned settings."""
    return folder / "tuned" / f"{cls.name}.yaml"


def report(options: Sweep) -> int:
    """Train tuned settings on the tasks and seeds that were not tuned on; returns the number of runs that failed."""
    path = tuned_path(options.folder, options.cls)
    if not path.is_file():
        raise UserError(f"no {path}: give the sweep first, without --report")
    domains = yaml.safe_load(path.read_text())["domains"]
    runs: list[RunSpec] = []
    for domain in options.domains:
        check_choice("tuned domain", domain.name, domains)
        tasks = reporting_tasks(domain)
        out = str(options.folder / "report")
        runs += options.plan(tasks, options.report_seeds, out, {**options.settings, **domains[domain.name]})
    if options.anew:
        begin_anew(runs)
    console.print(f"reporting {options.cls.name} on {len(runs)} tasks with seeds {format_seeds(options.report_seeds)}")
    return execute_all(runs)


# -------------------------------------------------------------------------------------------------- command line


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What the command line asks for, checked."""

    agent: str
    cls: type[Agent]
    suite: Suite
    domains: tuple[Domain, ...]
    sweeps: dict[str, list[float]]
    settings: dict[str, str]
    protocol: Any
    seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    folder: Path
    data: Generated | None
    data_dir: str | None
    budget: int | None
    anew: bool

    def plan(self, tasks: Sequence[Task], seeds: Sequence[int], out: str, settings: Mapping[str, Any]) -> list[RunSpec]:
        """A run on each task with these settings."""
        runs = plan(
            self.suite,
            agents=[self.agent],
            tasks=tasks,
            seeds=seeds,
            protocol=self.protocol,
            out=out,
            settings=settings,
            data_dir=self.data_dir,
        )
        return [dataclasses.replace(run, data=self.data) for run in runs]

    def runs(self, domain: Domain) -> list[RunSpec]:
        """The runs of all settings on a domain's tuning task."""
        found = []
        for setting in combinations(self.sweeps):
            out = str(self.folder / "tuning" / setting_name(setting))
            found += self.plan([tuning_task(domain)], self.seeds, out, {**self.settings, **setting})
        return found


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", help="name of an agent, or the path of a file that defines one")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a numeric hyperparameter and its values, separated by commas; repeatable, all combinations are tried",
    )
    parser.add_argument("--domains", help="domains, separated by commas (default: the suite's)")
    parser.add_argument("--suite", default="ogbench", help="whose protocol, data and settings (default: ogbench)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--seeds", default=TUNING_SEEDS, help=f"to tune on (default: {TUNING_SEEDS})")
    parser.add_argument("--report-seeds", default=REPORT_SEEDS, help=f"to report (default: {REPORT_SEEDS})")
    parser.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)} (default: the suite's)")
    parser.add_argument("--steps", help="updates per run, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation and seed, instead of the protocol's")
    parser.add_argument("--budget", help="most settings a domain, for all agents of the folder (default: the first's)")
    parser.add_argument("--out", default="runs/sweep", help="folder for results (default: runs/sweep)")
    parser.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    parser.add_argument("--anew", action="store_true", help="begin again; what the runs' folders hold is moved aside")
    parser.add_argument("--report", action="store_true", help="train what was tuned, on the tasks and seeds to report")
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, as text; `sweep_from` checks it."""
    return parser().parse_args(arguments)


def sweep_from(options: argparse.Namespace) -> Sweep:
    """Check what was asked. Raises a UserError before any work."""
    if not options.agent:
        raise UserError("--agent is needed; `python run_all.py --list` names them")
    cls, suite = agent_class(options.agent), get_suite(options.suite)
    known = {**DOMAINS, **{task.domain.name: task.domain for task in TOY_TASKS}}
    all_names = dict.fromkeys(task.domain.name for task in suite.tasks)
    asked = names("--domains", options.domains) if options.domains else all_names
    domains = tuple(known[check_choice("domain", name, known)] for name in asked)
    protocol = protocol_from(options, suite.protocol, cls.name)
    if not protocol.steps:
        raise UserError(f"--protocol: '{options.protocol}' trains nothing, so nothing can be tuned under it")
    seeds, report_seeds = parse_seeds(options.seeds), parse_seeds(options.report_seeds)
    check_seeds(seeds, report_seeds)
    settings = settings_of(cls.name, parse_settings(options.set), [cls.name])
    sweeps = {} if options.report else parse_sweeps(cls, options.sweep)
    both = sorted(set(settings) & set(sweeps))
    if both:
        raise UserError(f"{both[0]} is given both with --set and with --sweep; choose one")
    count = math.prod(len(values) for values in sweeps.values())
    budget = whole_number("--budget", options.budget) if options.budget else None
    if budget is not None and budget < count:
        raise UserError(f"--budget {budget} is below the {count} settings of this sweep")
    tuned_on = [tuning_task(domain) for domain in domains]
    if options.data_dir:
        folder("--data-dir", options.data_dir)
    sweep = Sweep(
        agent=options.agent,
        cls=cls,
        suite=suite,
        domains=domains,
        sweeps=sweeps,
        settings=settings,
        protocol=protocol,
        seeds=seeds,
        report_seeds=report_seeds,
        folder=folder("--out", options.out),
        data=generated_from(options.generate, tuned_on) if options.generate else suite.data,
        data_dir=options.data_dir,
        budget=budget,
        anew=options.anew,
    )
    run = sweep.plan(tuned_on[:1], report_seeds if options.report else seeds, options.out, settings)[0]
    check_size(run)
    check_memory(cls.name, configure(cls, run.settings), len(run.seeds) * count)
    return sweep


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    options = parse(arguments)
    sweep = sweep_from(options)
    if options.report:
        return 1 if report(sweep) else 0
    runs = [sweep.runs(domain) for domain in sweep.domains]
    print_plan(sweep, runs)
    if options.dry_run:
        return 0
    make_folder(sweep.folder / "tuned")
    check_budget(sweep.folder, runs, sweep.budget)
    path = tuned_path(sweep.folder, sweep.cls)
    for domain, of_domain in zip(sweep.domains, runs, strict=True):
        if sweep.anew:
            RunDirectory(sweep_path(of_domain[0], sweep.folder)).set_aside()
            begin_anew(of_domain)
        sweep_task(of_domain, sweep.folder)
        setting = choose(sweep.folder, of_domain, sweep.sweeps)
        console.print(f"best on {of_domain[0].task}: {setting_name(setting)}")
        text = (
            f"{sweep.cls.name}: best of {len(of_domain)} settings at {sweep.protocol.steps:,} updates, "
            f"seeds {format_seeds(sweep.seeds)}, one task a domain (benchmark.sweep)"
        )
        write_tuned(path, text, domain.name, {**_as_set(sweep, of_domain[0]), **setting})
    console.print(f"best settings: {path}", soft_wrap=True)
    if sweep.agent.endswith(".py"):
        beside = Path(sweep.agent).with_suffix(".yaml")
        console.print(f"to have them used wherever the agent is: cp {path} {beside}", soft_wrap=True)
    return 0


def _as_set(sweep: Sweep, run: RunSpec) -> dict[str, Any]:
    """The hyperparameters given with --set, typed: part of what was tuned."""
    values = describe(configure(sweep.cls, run.settings))
    return {name: values[name] for name in sweep.settings}


def print_plan(sweep: Sweep, runs: Sequence[Sequence[RunSpec]]) -> None:
    """Say what will run."""
    settings, seeds = len(runs[0]), len(sweep.seeds)
    console.print(
        f"{sweep.cls.name}: {settings} settings x {seeds} seeds = {settings * seeds} members of one compiled program, "
        f"{sweep.protocol.steps:,} updates each",
        soft_wrap=True,
    )
    for domain in sweep.domains:
        others = ", ".join(str(task.number) for task in reporting_tasks(domain))
        told = f"tasks {others}" if not domain.toy else "the same, its only task,"
        console.print(
            f"  {domain.name}: tuned on {tuning_task(domain).name} with seeds {format_seeds(sweep.seeds)}; "
            f"--report trains {told} with seeds {format_seeds(sweep.report_seeds)}",
            soft_wrap=True,
        )


if __name__ == "__main__":
    run_main(main)
