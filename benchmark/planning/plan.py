"""From a suite and what the caller chose to a list of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.base import Agent
from benchmark.common.errors import UserError
from benchmark.planning.configure import configure, following, settings_of, switches, typed
from benchmark.planning.registry import agent_class, check_label
from benchmark.planning.suites import Suite
from benchmark.planning.tuned import suite_settings, tuned, tuned_with_origin
from benchmark.runs.code import own_digests
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.run import RunSpec
from envs.tasks import Task


def settings_for(cls: type[Agent], task: Task, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters of an agent on a task: the domain's protocol, then the tuned values, then `layers`, the caller's
    own. Raises a UserError where these contradict each other (`following`).
    """
    own: dict[str, Any] = {}
    for layer in layers:
        own.update(layer)
    settings = {**_of_domain(cls, task), **tuned(cls.name, task.domain.name), **own}
    return settings | following(cls, settings, own)


def _of_domain(cls: type[Agent], task: Task) -> dict[str, Any]:
    domain = task.domain
    settings = dict(chunk_length=domain.chunk_length, discount=domain.discount, pessimism=domain.pessimism)
    return known_settings(cls, settings)


def choose(
    cls: type[Agent], task: Task, settings: Mapping[str, Any], suite: Suite | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Hyperparameters that a run is given, typed, `settings` being the caller's own; where each of all comes from.

    The latter is "default", "domain" (chunk, discount and pessimism, which the papers fix), "published: <source>",
    "derived: <source>", "ours: <source>" (see `tuned_with_origin`), "suite", or "set": by the caller. A layer that
    repeats a value leaves its origin as it was; a switch that follows a number (`option`) has the number's. Raises a
    UserError for settings that the agent does not take or that contradict each other, and where a default would switch
    off what makes the algorithm.
    """
    values, origin = tuned_with_origin(cls.name, task.domain.name)
    layers: list[tuple[str, Mapping[str, Any]]] = [("domain", _of_domain(cls, task)), (origin, values)]
    if suite is not None:
        layers.append(("suite", known_settings(cls, suite.settings)))
        layers.append(("suite", suite.agent_settings.get(cls.name) or suite_settings(cls, suite.name)))
    chosen: dict[str, Any] = {}
    origins = {field.name: "default" for field in dataclasses.fields(cls.Config)}
    for where, layer in [*layers, ("set", settings)]:
        for name, value in typed(cls, layer).items():
            if name not in chosen or chosen[name] != value:
                origins[name] = where
            chosen[name] = value
    for switch, on in following(cls, chosen, settings).items():
        chosen[switch], origins[switch] = on, origins[switches(cls)[switch]]
    configure(cls, chosen)  # what does not fit into the machine's memory is said now
    for field in dataclasses.fields(cls.Config):
        if field.metadata.get("off") and origins[field.name] == "default":
            raise UserError(
                f"agent '{cls.name}' has no tuned {field.name} for {task.domain.name}, and its default "
                f"({field.default}) switches the algorithm off ({field.metadata['text']}); give it one with "
                f"--set {field.name}=... (beside other agents --set {cls.name}:{field.name}=...)"
            )
    return chosen, origins


def with_run_length(
    cls: type[Agent], settings: Mapping[str, Any], protocol: Protocol, online: Online | None
) -> dict[str, Any]:
    """Settings with, unless they set it, what is as long as the run: its updates after pretraining, both phases'."""
    updates = protocol.steps + (max(0, online.steps - online.start) if online else 0)
    return {**dict.fromkeys(cls.run_length_options, updates), **settings}


def plan(
    suite: Suite,
    *,
    agents: Sequence[str],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    protocol: Protocol,
    out: str,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | None = None,
    seeds_per_process: int | Callable[[type[Agent], Mapping[str, Any], Task], int] | None = None,
    wandb: dict[str, str] | None = None,
    online: Online | None = None,
    label: str | None = None,
    agent_steps: Mapping[str, int] | None = None,
) -> list[RunSpec]:
    """List the runs of a suite: tasks x agents x groups of seeds. Raises a UserError for what cannot be done.

    `settings` are the caller's own and win over the suite's, those named "agent:hyperparameter" for that agent alone;
    `seeds_per_process` splits the seeds into groups that train together (default: all together); it may depend on the
    agent, its settings and the task. `label` is what the results of a single agent are called instead of its name;
    `agent_steps` are the updates of agents that train for another length than the protocol's.
    """
    names = [agent_class(agent).name for agent in agents]
    shown_as = check_label(label, names) if label is not None else None
    runs = []
    for task in tasks:
        for agent in agents:
            cls, code = agent_class(agent), own_digests(agent)
            chosen, origins = choose(cls, task, settings_of(cls.name, settings or {}, names), suite)
            steps = (agent_steps or {}).get(cls.name, protocol.steps)
            chosen = with_run_length(cls, chosen, dataclasses.replace(protocol, steps=steps), online)
            size = seeds_per_process(cls, chosen, task) if callable(seeds_per_process) else seeds_per_process
            for group in grouped(seeds, size or len(seeds)):
                runs.append(
                    RunSpec(
                        *(agent, task.name, group, chosen, dataclasses.replace(protocol, steps=steps), out),
                        *(suite.name, suite.data, data_dir, wandb, online),
                        *(origins, shown_as, cls.name),
                        code=code,
                    )
                )
    return runs


def grouped(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The seeds in groups of that size, the last perhaps smaller."""
    return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]


def known_settings(cls: type[Agent], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an agent has; a suite's apply to many agents, and not all have all of them."""
    names = {field.name for field in dataclasses.fields(cls.Config)}
    return {name: value for name, value in settings.items() if name in names}
