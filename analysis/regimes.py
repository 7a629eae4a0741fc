"""Regimes: what a number was made under, read from the record that is beside it, and which numbers may stand together.

`results/published/regimes.yaml` has the regimes that papers use by name, with their sources.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from analysis import published
from analysis.names import DOMAINS, domain_of
from benchmark.common.errors import check_choice

MILLION = 1_000_000
ACROSS = "¶"
"""Marks what compares or averages figures of several regimes."""
SEVERAL = "several regimes"
"""Begins the regime of an agent whose tasks are not all of one."""
NOT_AVERAGED = "tasks of several regimes are not averaged"
"""What is done, for `why_apart`, where an agent's own tasks are of several."""
LARGER = {"10M": (8 * MILLION, 50 * MILLION), "100M": (50 * MILLION, 10**12)}
"""Transitions, from and below, of the data that are not a domain's standard file; that has at most five million."""


STATED = ("online_steps", "start")
"""Facts of which every source says something: empty is that there is none of it."""


@dataclass(frozen=True)
class Facts:
    """What one agent's number on one task was made under. Empty (0, "") is what the source does not say, but of those
    that are `STATED`.
    """

    data: str = ""
    """ "standard", "10M", "100M", or "generated"."""
    updates: int = 0
    networks: str = ""
    """Widths of the hidden layers, "512x512x512x512"."""
    chunk_length: int = 0
    evaluation: str = ""
    """ "final", or "mean of the last 3"."""
    episodes: int = 0
    environment: str = ""
    """ "ogbench 1.2.2", or the one that a benchmark with several names."""
    mujoco: str = ""
    online_steps: int = 0
    """Environment steps of a phase after the updates that collects data; 0 of a run that is offline alone."""
    start: str = ""
    """Digest of the networks of another run that it began with; "" of one that began anew."""
    fingerprint: str = dataclasses.field(default="", compare=False)
    """Of the data: it tells two agents' data on one task apart, and is another one on every task of a regime."""
    pooled: tuple[Facts, ...] = ()
    """Those of the runs that the number is the mean of, where they differ; the other facts are then the first's."""

    @property
    def each(self) -> tuple[Facts, ...]:
        """Those of all runs that the number is the mean of."""
        return self.pooled or (self,)

    def differing(self, other: Facts) -> list[str]:
        """The names of the facts that both say, and say differently."""

        def differs(name: str) -> bool:
            pairs = [(getattr(x, name), getattr(y, name)) for x in self.each for y in other.each]
            return any(x != y and (name in STATED or all((x, y))) for x, y in pairs)

        return [field.name for field in dataclasses.fields(self) if field.name != "pooled" and differs(field.name)]

    @property
    def of_every_task(self) -> Facts:
        """The same without what each task of one regime may have its own of: chunks, data file, networks to begin with
        (of which it is left whether there are any).
        """
        pooled = tuple(one.of_every_task for one in self.pooled)
        start = "another run's" if self.start else ""
        return dataclasses.replace(self, chunk_length=0, fingerprint="", start=start, pooled=pooled)

    @property
    def of_any_rule(self) -> Facts:
        """The same without the evaluations that it is made of, which are chosen for one's own figures (`--last`)."""
        return dataclasses.replace(self, evaluation="", pooled=tuple(one.of_any_rule for one in self.pooled))


@dataclass(frozen=True)
class Regime:
    """A regime with a name: facts by domain."""

    name: str
    source: str
    entries: Mapping[str, Any]
    domains: tuple[str, ...]
    also: str = ""

    def facts(self, domain: str) -> Facts:
        """What figures on this domain were made under."""

        def value(entry: Any) -> Any:
            return entry.get(domain, entry["default"]) if isinstance(entry, dict) else entry

        return Facts(**{name: value(entry) for name, entry in self.entries.items()})

    def has(self, facts: Mapping[str, Facts]) -> bool:
        """Whether facts by task are those of this regime, as far as it says; they must say at least data and length."""
        return all(
            domain_of(task) in self.domains
            and all(one.data and one.updates for one in of_task.each)
            and not self.facts(domain_of(task)).differing(of_task)
            for task, of_task in facts.items()
        )


@functools.cache
def named() -> dict[str, Regime]:
    """The regimes of the file, by name."""
    content = yaml.safe_load((published.FOLDER / "regimes.yaml").read_text(encoding="utf-8"))
    fields = {field.name for field in dataclasses.fields(Facts)}
    regimes = {}
    for name, entry in content.items():
        for key in entry:
            check_choice(f"fact of regime {name}", key, (*fields, "source", "domains", "also"))
        entries = {key: value for key, value in entry.items() if key in fields}
        domains = tuple(entry.get("domains", DOMAINS))
        regimes[name] = Regime(name, entry["source"], entries, domains, entry.get("also", ""))
    return regimes


def facts_of(run: Any, last: int = 1) -> Facts:
    """What a run's numbers were made under, from its row of `Runs.runs`; `last` as `final_scores` has it."""
    hidden = run.hyperparameters.get("hidden") or ()
    return Facts(
        data=data_of(run.source, run.transitions),
        updates=int(run.protocol.get("steps", run.steps) or 0),
        networks="x".join(map(str, hidden)),
        chunk_length=int(run.hyperparameters.get("chunk_length") or 0),
        evaluation=evaluation_rule(last),
        episodes=int(run.protocol.get("eval_episodes") or 0),
        environment=environment_of(run),
        mujoco=run.mujoco,
        online_steps=int(run.protocol.get("online_steps") or 0),
        start=run.start,
        fingerprint=run.fingerprint or "",
    )


def environment_of(run: Any) -> str:
    """The environment of a run, from its row of `Runs.runs`: with its version, or the one that has a name."""
    ogbench = (run.versions or {}).get("ogbench", "")
    return run.environment or (f"ogbench {ogbench}" if ogbench else "")


def of_published(regime: str, task: str, last: int = 1) -> Facts:
    """What a published figure of a named regime was made under, scored by the rule of one's own."""
    return dataclasses.replace(named()[regime].facts(domain_of(task)), evaluation=evaluation_rule(last))


def evaluation_rule(last: int) -> str:
    """Which evaluations a score is made of."""
    return "final" if last == 1 else f"mean of the last {last}"


def data_of(source: str | None, transitions: int | None) -> str:
    """Which data a run had: of files that were made here "generated", else by their number of transitions."""
    if source == "generated":
        return "generated"
    if not transitions:
        return ""
    return next((name for name, (low, high) in LARGER.items() if low <= transitions < high), "standard")


def folder_name(regime: str, longest: int = 120) -> str:
    """A regime as the name of a folder or file: "qam"; "12000-updates-generated-data-networks-256x256-50-episodes".

    Where that has more than the `longest` characters it is cut, and ends with a digest of all of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", regime.lower().replace(",", "")).strip("-") or "not-recorded"
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(regime.encode()).hexdigest()[:8]
    return f"{name[: longest - len(digest) - 1].rstrip('-')}-{digest}"


def why_apart(regimes: Mapping[str, str], done: str) -> str:
    """The sentence beside what shows several regimes: why they are apart, what was `done`, who is of which.

    Args:
        regimes: by name in print.
        done: "each is averaged among its own only".
    """
    lines: dict[str, list[str]] = {}
    for name, regime in regimes.items():
        lines.setdefault(regime or "not said", []).append(name)
    why = "Figures of different regimes (data, length, networks, evaluation) differ for other reasons than the agents"
    return f"{why}, so {done}; " + "; ".join(f"{regime}: {', '.join(names)}" for regime, names in lines.items()) + "."


def facts_by_agent(runs: pd.DataFrame, evaluations: pd.DataFrame, last: int = 1) -> dict[str, dict[str, Facts]]:
    """What one's own agents' figures were made under, by agent and task.

    Args:
        runs: `Runs.runs`.
        evaluations: what may be averaged of them, with the columns agent, task and run.
        last: of how many evaluations a score is made.
    """
    rows = {row.run: row for row in runs.itertuples()}
    found: dict[str, dict[str, list[Facts]]] = {}
    for agent, task, run in evaluations[["agent", "task", "run"]].drop_duplicates().itertuples(index=False):
        found.setdefault(agent, {}).setdefault(task, []).append(facts_of(rows[run], last))
    return {agent: {task: _joined(each) for task, each in tasks.items()} for agent, tasks in found.items()}


def _joined(facts: Iterable[Facts]) -> Facts:
    """The facts of a number that is the mean of runs with these."""
    different = list({(one, one.fingerprint): one for one in facts}.values())
    return dataclasses.replace(different[0], pooled=tuple(different)) if len(different) > 1 else different[0]


def name_of(facts: Mapping[str, Facts]) -> str:
    """The regime of an agent's facts by task: the first named one that has them all, else what they say, in words.

    Tasks may differ in what `Facts.of_every_task` leaves out; where they do in more, the text begins with `SEVERAL`.
    """
    if found := _named(facts):
        return found
    alike = {one.of_every_task for of_task in facts.values() for one in of_task.each}
    return f"{SEVERAL}: {_spelled(facts.values())}" if len(alike) > 1 else _spelled(facts.values())


def _named(facts: Mapping[str, Facts]) -> str:
    """The first regime with a name that has facts by task, "" where none has."""
    return next((regime.name for regime in named().values() if facts and regime.has(facts)), "")


def by_regime(facts: Mapping[str, Facts]) -> list[tuple[str, list[str]]]:
    """The tasks that may be averaged together, of an agent's facts by task: each group with the name of its regime."""
    if not name_of(facts).startswith(SEVERAL):
        return [(name_of(facts), list(facts))]
    groups: dict[str | Facts, list[str]] = {}
    for task, one in facts.items():
        groups.setdefault(_named({task: one}) or one.of_every_task, []).append(task)
    return [(name_of({task: facts[task] for task in tasks}), tasks) for tasks in groups.values()]


def _spelled(facts: Iterable[Facts]) -> str:
    """ "4,000 updates, generated data, networks 64x64, chunks of 5, 50 episodes"; several values with "or"."""
    every = [one for of_task in facts for one in of_task.each]
    form = {"updates": "{} updates", "online_steps": "{} online steps", "start": "begun with networks {}"}
    form |= {"data": "{} data", "networks": "networks {}", "chunk_length": "chunks of {}", "episodes": "{} episodes"}
    parts = []
    for name, text in form.items():
        if saying := [one for one in every if getattr(one, name)]:
            lacking = " or none" if name in STATED and len(saying) < len(every) else ""
            parts.append(text.format(_values(saying, name, 8 if name == "start" else 40)) + lacking)
    return ", ".join(parts) or "not recorded"


def _values(facts: Iterable[Facts], name: str, digits: int = 40) -> str:
    """What facts say of one thing: "1,000 or 2,000", so many digits of a digest, "none" of what there is none of."""
    found = dict.fromkeys(getattr(one, name) for one in facts)
    texts = [f"{v:,}" if isinstance(v, int) else v.removeprefix("sha256:")[:digits] for v in found if v]
    return " or ".join([*texts, *([] if all(found) else ["none"])])


def reason(x: Mapping[str, Facts], y: Mapping[str, Facts], tasks: Collection[str]) -> str:
    """Why two agents' numbers on these tasks do not compare, "updates 7,000 against 1,000,000"; "" where they do.

    Tasks on which nothing is known of one of them tell nothing.
    """
    said: dict[str, None] = {}
    for task in (task for task in tasks if task in x and task in y):
        ours, theirs = x[task], y[task]
        for name in ours.differing(theirs):
            texts = [_values(side.each, name) for side in (ours, theirs)]
            said[f"{name.replace('_', ' ')} {texts[0]} against {texts[1]}"] = None
    return ", ".join(said)


def apart_from_published(facts: Mapping[str, Facts], method: str) -> str:
    """Why a method's numbers with these facts by task do not compare with its published ones; "" where they do.

    Which evaluations they are made of is one's own choice (`--last`), and in captions.
    """
    regime = published.regime(method)
    theirs = {task: dataclasses.replace(of_published(regime, task), evaluation="") for task in facts}
    return reason(facts, theirs, facts.keys())
