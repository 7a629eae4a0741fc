"""A run: what is asked of it, where it lies, what its record says of it, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from benchmark.common.errors import UserError
from benchmark.common.files import is_locked, make_folder
from benchmark.common.reading import Damaged
from benchmark.runs.code import code_digest, own_digests
from benchmark.runs.reading import read_records
from benchmark.runs.record import SCHEMA, Busy, RunDirectory, updates_before
from benchmark.runs.run import RunSpec
from envs.data.origin import recorded_fingerprint
from envs.family import family_of
from envs.files.local import data_folder
from envs.ogbench.generating import generate, is_made
from envs.tasks import get_task

if TYPE_CHECKING:
    from agents.base import Agent, Config


class Run:
    """A run on this machine. What is asked of it is worked out when it is first wanted, and once; what its folder says
    is read anew each time. Its agent, and JAX with it, is imported for nobody who does not ask for it.
    """

    def __init__(self, spec: RunSpec, path: Path | None = None):
        """`spec` is all that is asked; nothing of it is looked at yet. `path`: its folder, where that was moved."""
        self.spec, self.path = spec, path or spec.path
        self.directory = RunDirectory(self.path)

    # ---- what is asked

    @cached_property
    def task(self):
        """Its task. Raises a UserError where there is none of that name, as do all below that need it."""
        return get_task(self.spec.task)

    @cached_property
    def agent_class(self) -> type[Agent]:
        """Its agent's class. Raises a UserError where its file cannot be imported, or defines another than planned."""
        from benchmark.planning.registry import agent_class

        cls = agent_class(self.spec.agent)
        if cls.name != self.spec.agent_name:
            raise UserError(
                f"{self.spec.agent} defines agent '{cls.name}', and not '{self.spec.agent_name}' as was planned"
            )
        return cls

    @cached_property
    def hyperparameters(self) -> Config:
        """All hyperparameters. Raises a UserError for those that the agent does not take."""
        from benchmark.planning.configure import configure

        return configure(self.agent_class, self.spec.settings)

    @cached_property
    def config(self) -> dict[str, Any]:
        """What is asked, as its config.json holds it. Raises a UserError for what cannot be done."""
        from benchmark.planning.configure import describe

        spec, own = self.spec, own_digests(self.spec.agent)
        online = asdict(spec.online) if spec.online else {}
        return {
            "schema": SCHEMA,
            "agent": self.agent_class.name,
            **({"label": spec.shown_as} if spec.shown_as else {}),
            **({"code": own} if own else {}),
            "task": self.task.name,
            "domain": self.task.domain.name,
            "suite": spec.suite,
            "seeds": list(spec.seeds),
            "hyperparameters": describe(self.hyperparameters),
            "protocol": asdict(spec.protocol) | {f"online_{name}": value for name, value in online.items()},
            "data": asdict(spec.data) if spec.data else self.data_source,
            **({"start": spec.start.asked} if spec.start else {}),
        }

    # ---- what its folder says

    def is_done(self) -> bool:
        """Whether exactly this run is finished; a UserError if its folder holds another one, `Damaged` if its records
        cannot be used.
        """
        records = read_records(self.path)
        if records.config is None:
            return False
        for name in ("schema", "agent", "task", "seeds"):  # the folder itself says these
            if records.config.get(name) != self.config[name]:
                found, asked = records.config.get(name), self.config[name]
                raise Damaged(self.path / "config.json", f"{name} is {found}, not {asked}")
        self.directory.refuse_another(records.config, self.config)
        self.refuse_other_data()
        longer = updates_before(records.config, self.config) is not None
        return records.status.get("state") == "done" and not longer

    def says_done(self) -> bool:
        """Whether its records say that it is finished, whatever else its configuration. Raises `Damaged`."""
        return self.spec.is_done_by(read_records(self.path).status)

    def step(self) -> int:
        """The step that it has reached. Raises `Damaged`."""
        return max(0, read_records(self.path).status.get("step", 0))

    def other_code(self) -> str:
        """By which code it was made where it is finished, "" where that is today's, or was not recorded."""
        records = read_records(self.path)
        made = records.status.get("code") or []
        if not made or made == [code_digest(self.spec.agent)]:
            return ""
        commits = dict.fromkeys(str(start.get("commit"))[:12] for start in records.starts if start.get("code") in made)
        return f"other code, commit {' and '.join(commits) or 'unknown'}"

    def other_data(self) -> str:
        """As `RunDirectory.other_data`, beside its dataset as far as what is written down beside the files says."""
        return self.directory.other_data(recorded_fingerprint(self.data_files))

    def refuse_changed_agent(self) -> None:
        """Raise a UserError where a file of its agent is not what it was when the run was planned."""
        was, now = self.spec.code, own_digests(self.spec.agent)
        if was and (changed := [name for name in {**was, **now} if was.get(name) != now.get(name)]):
            raise UserError(
                f"{' and '.join(changed)} of {self.spec.agent} changed after this run was planned; to train it as it "
                "is now, launch it again (--retry-failed)"
            )

    def refuse_other_data(self) -> None:
        """As `RunDirectory.refuse_other_data`, in the same way."""
        self.directory.refuse_other_data(recorded_fingerprint(self.data_files))

    def begin_anew(self) -> None:
        """Move its folder aside, where there is one."""
        if kept := self.directory.set_aside():
            print(f"{self.path} begins anew; what it held is kept in {kept}")

    # ---- its data

    @cached_property
    def data_source(self) -> str:
        """Where its data comes from: "generated", "toy" (made in code) or "published"."""
        return "generated" if self.spec.data else family_of(self.task).source

    @cached_property
    def data_path(self) -> Path | None:
        """Where its dataset lies, or will lie; None for a toy, which has no file. What `envs.generate` has left in the
        folder of data as it would be generated for the run is not made again. Raises a UserError for data that cannot
        be.
        """
        data, folder = self.spec.data, self.spec.data_dir
        path = family_of(self.task).data_path(self.task, folder)
        if path is None or data is None:
            return path
        family_of(self.task).check_generated(self.task)
        by_hand = data_folder(folder) / f"{self.task.dataset}.npz"
        made = by_hand.parent / "generated" / f"{data.transitions}-seed{data.seed}" / by_hand.name
        if not made.exists() and is_made(by_hand, self.task.domain.name, data.transitions, data.seed):
            return by_hand
        return made

    @property
    def data_files(self) -> list[Path]:
        """The files of its dataset, which may not be there yet; none of a toy's."""
        path = self.data_path
        if path is None:
            return []
        if path.is_dir():
            from envs.data.shards import shard_files

            return shard_files(path)
        return [path]

    def missing_data(self) -> list[tuple[str, int | None]]:
        """Files that its dataset lacks, each with its bytes where they are known; uses no network."""
        if self.spec.data is None or self.data_path is None:
            return family_of(self.task).missing(self.task, self.spec.data_dir)
        return [] if self.data_path.exists() else [(self.data_path.name, None)]

    @property
    def recorded_data(self) -> str | None:
        """The fingerprint of the data that its records name; None where they name none, or cannot be read."""
        try:
            return self.directory.status.get("data")
        except Damaged:
            return None

    def ensure_data(self) -> Path | None:
        """Make or fetch its dataset if it is not there; processes that ask together do it once.

        Raises a UserError where a file is there that was generated otherwise, as by other versions, unless the run has
        recorded that one.
        """
        data, path = self.spec.data, self.data_path
        if data is None or path is None:
            return family_of(self.task).ensure(self.task, self.spec.data_dir)
        make_folder(path.parent)
        with FileLock(f"{path}.lock"):
            there = recorded_fingerprint([path])
            if there and there == self.recorded_data:
                return path
            otherwise = "move it away, to have it generated anew, or name another --data-dir"
            return generate(self.task.domain.name, data.transitions, data.seed, path, otherwise=otherwise)


def begin_anew(specs: Sequence[RunSpec]) -> None:
    """Move the folders of all these runs aside, where there are any; of none where another process is at one."""
    for spec in specs:
        if is_locked(spec.path / ".lock"):
            raise Busy(spec.path)
    for spec in specs:
        Run(spec).begin_anew()
