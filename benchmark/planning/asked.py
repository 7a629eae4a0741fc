"""What is asked of a run, as its config.json holds it, and whether that is done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmark.common.errors import UserError
from benchmark.common.reading import Damaged
from benchmark.planning.data import data_source
from benchmark.runs.protocol import Online
from benchmark.runs.reading import read_records
from benchmark.runs.run import RunSpec, run_path
from envs.tasks import get_task


def run_config(spec: RunSpec) -> dict[str, Any]:
    """What is asked of a run, as its config.json holds it. Raises a UserError for what cannot be done."""
    from benchmark.planning.configure import configure, describe
    from benchmark.planning.registry import agent_class
    from benchmark.runs.code import own_digests
    from benchmark.runs.record import SCHEMA

    task = get_task(spec.task)
    cls = agent_class(spec.agent)
    if cls.name != spec.agent_name:
        raise UserError(f"{spec.agent} defines agent '{cls.name}', and not '{spec.agent_name}' as was planned")
    own = own_digests(spec.agent)
    return {
        "schema": SCHEMA,
        "agent": cls.name,
        **({"label": spec.shown_as} if spec.shown_as else {}),
        **({"code": own} if own else {}),
        "task": task.name,
        "domain": task.domain.name,
        "suite": spec.suite,
        "seeds": list(spec.seeds),
        "hyperparameters": describe(configure(cls, spec.settings)),
        "protocol": asdict(spec.protocol) | online_config(spec.online),
        "data": asdict(spec.data) if spec.data else data_source(spec),
    }


def online_config(online: Online | None) -> dict[str, int]:
    """What a run's protocol says of its online phase; nothing where it has none."""
    return {f"online_{name}": value for name, value in asdict(online).items()} if online else {}


def is_done(spec: RunSpec) -> bool:
    """Whether a run of exactly this configuration is finished; a UserError if the folder holds another one, `Damaged`
    if its records cannot be used.
    """
    from benchmark.runs.record import RunDirectory

    directory = RunDirectory(run_path(spec))
    records = read_records(directory.path)
    if records.config is None:
        return False
    asked = run_config(spec)
    for name in ("schema", "agent", "task", "seeds"):  # the folder itself says these
        if records.config.get(name) != asked[name]:
            raise Damaged(directory.path / "config.json", f"{name} is {records.config.get(name)}, not {asked[name]}")
    directory.refuse_another(records.config, asked)
    return records.status.get("state") == "done"


def by_other_code(spec: RunSpec) -> str:
    """By which code a finished run was made, "" where it is today's, or was not recorded."""
    from benchmark.runs.code import code_digest

    records = read_records(run_path(spec))
    made = records.status.get("code") or []
    if not made or made == [code_digest(spec.agent)]:
        return ""
    commits = dict.fromkeys(str(start.get("commit"))[:12] for start in records.starts if start.get("code") in made)
    return f"other code, commit {' and '.join(commits) or 'unknown'}"


def begin_anew(specs: Sequence[RunSpec]) -> None:
    """Move the folders of the runs aside, where there are any."""
    from benchmark.runs.record import RunDirectory

    for spec in specs:
        kept = RunDirectory(run_path(spec)).set_aside()
        if kept:
            print(f"{run_path(spec)} begins anew; what it held is kept in {kept}")
