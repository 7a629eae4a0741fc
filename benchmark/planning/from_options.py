"""Options that several commands have: protocol, online phase, generated data."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from benchmark.common.errors import UserError
from benchmark.common.options import MOST_EPISODES, MOST_TRANSITIONS, folder, whole_number
from benchmark.planning.configure import parse_settings, settings_of
from benchmark.planning.memory import check_memory
from benchmark.planning.plan import choose, with_run_length
from benchmark.planning.protocols import get_protocol
from benchmark.planning.registry import agent_class, check_label
from benchmark.planning.run import Run
from benchmark.runs.protocol import Generated, Online, Protocol
from benchmark.runs.run import MOST_LETTERS, RunSpec
from benchmark.runs.seeds import parse_seeds
from envs.family import family_of
from envs.tasks import Task, get_task


def online_from(steps: str | None, start: str | None) -> Online | None:
    """The online phase that --online-steps and --online-start ask for."""
    if steps is None:
        if start is not None:
            raise UserError("--online-start needs --online-steps")
        return None
    online = Online(whole_number("--online-steps", steps, high=MOST_TRANSITIONS))
    if start is not None:
        online = Online(online.steps, whole_number("--online-start", start))
    if online.start >= online.steps:
        raise UserError(
            f"nothing would be learned online: the first update is after --online-start {online.start:,} of "
            f"--online-steps {online.steps:,}"
        )
    return online


def protocol_from(options: argparse.Namespace, name: str, agent: str = "") -> Protocol:
    """The protocol that --protocol, --steps and --eval-episodes ask for, as the agent has it; by default `name`."""
    protocol = get_protocol(options.protocol or name, agent)
    for option in ("steps", "eval_episodes"):
        if getattr(options, option) is not None and not protocol.steps:
            raise UserError(f"--{option.replace('_', '-')}: protocol '{options.protocol or name}' trains nothing")
    if options.steps is not None:
        protocol = protocol.scaled_to(whole_number("--steps", options.steps))
    if options.eval_episodes is not None:
        episodes = whole_number("--eval-episodes", options.eval_episodes, high=MOST_EPISODES)
        protocol = dataclasses.replace(protocol, eval_episodes=episodes)
    return protocol


def generated_from(text: str, tasks: Sequence[Task]) -> Generated:
    """The data that --generate asks for. Raises a UserError for a task whose data cannot be generated."""
    data = Generated(whole_number("--generate", text, high=MOST_TRANSITIONS))
    for task in tasks:
        family_of(task).check_generated(task)
    return data


def check_size(spec: RunSpec, here: bool = True) -> None:
    """Raise a UserError for a run that cannot be: of more seeds than its folder's name can hold or, where it is to run
    `here`, than fit into this machine's memory.
    """
    run = Run(spec)
    longest = len(run.path.name)
    if longest > MOST_LETTERS:
        raise UserError(
            f"--seeds: a run's folder would have a name of {longest} letters, at most {MOST_LETTERS} are allowed; give "
            "seeds in ranges, or fewer that train together"
        )
    if here:
        check_memory(run.agent_class.name, run.hyperparameters, len(spec.seeds))


def spec_from(options: argparse.Namespace) -> RunSpec:
    """The run that `benchmark.train` is asked for. Raises a UserError for what cannot be done."""
    folder("--out", options.out)
    if options.data_dir:
        folder("--data-dir", options.data_dir)
    task = get_task(options.task)
    cls = agent_class(options.agent)
    settings, origins = choose(cls, task, settings_of(cls.name, parse_settings(options.set), [cls.name]))
    protocol = protocol_from(options, options.protocol, cls.name)
    online = online_from(options.online_steps, options.online_start)
    spec = RunSpec(
        agent=options.agent,
        task=task.name,
        seeds=parse_seeds(options.seeds),
        settings=with_run_length(cls, settings, protocol, online),
        protocol=protocol,
        out=options.out,
        data=generated_from(options.generate, [task]) if options.generate else None,
        data_dir=options.data_dir,
        online=online,
        origins=origins,
        shown_as=check_label(options.label, [cls.name]) if options.label is not None else None,
        name=cls.name,
        keep_checkpoints=options.keep_checkpoints,
        keep_policies=options.keep_policies,
    )
    check_size(spec)
    return spec
