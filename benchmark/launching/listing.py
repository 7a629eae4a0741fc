"""What `--list` prints."""

from __future__ import annotations

from rich.table import Table

from agents.roster import first_line
from benchmark.common.terminal import console
from benchmark.planning.protocols import AGENT_STEPS, PROTOCOLS
from benchmark.planning.registry import agent_names
from benchmark.planning.suites import SUITES


def list_everything() -> None:
    """Print the names of agents, suites, protocols and tasks."""
    agents = Table("agent", "what it is", title="agents (or the path of your own file)", title_justify="left")
    for name in agent_names():
        agents.add_row(name, first_line(name))
    suites = Table("suite", "agents", "tasks", "seeds", "protocol", "what it is", title="suites", title_justify="left")
    for suite in SUITES.values():
        counts = [str(len(items)) for items in (suite.agents, suite.tasks, suite.seeds)]
        suites.add_row(suite.name, *counts, suite.protocol, suite.text)
    protocols = Table(
        "protocol", "steps", "evaluated every", "episodes", "after step 1", title="protocols", title_justify="left"
    )
    for name, protocol in PROTOCOLS.items():
        first = "yes" if protocol.eval_first else "no"
        episodes = str(protocol.eval_episodes)
        others = "".join(f"\n{agent}: {steps:,}" for agent, steps in AGENT_STEPS.get(name, {}).items())
        protocols.add_row(name, f"{protocol.steps:,}{others}", f"{protocol.eval_every:,}", episodes, first)
    for table in (agents, suites, protocols):
        console.print(table)
    for suite in SUITES.values():
        console.print(f"\ntasks of suite {suite.name}:")
        for domain in dict.fromkeys(task.domain for task in suite.tasks):
            tasks = [task for task in suite.tasks if task.domain == domain]
            numbers = ",".join(str(task.number) for task in tasks)
            name = tasks[0].name if len(tasks) == 1 else f"{domain.name}-singletask-task{{{numbers}}}-v0"
            console.print(f"  {name}", markup=False)
