"""What a job asks of a Slurm cluster: flags of the front door, keys of a YAML file, parameters of sbatch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark.common.errors import UserError, nearest, summary
from benchmark.common.options import MOST_MINUTES


def _option(text: str | None = None, default: Any = None, **metadata: Any) -> Any:
    """An option whose `--help` is `text`. Metadata: `sbatch`, its name there as submitit has it; `low` and `high` of a
    whole number, `or_like`, what else it may be; `like`, what a word looks like, and `form`, that in words; `flag`,
    what else argparse is told.
    """
    return dataclasses.field(default=default, metadata={"text": text, **metadata})


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks of the cluster; None leaves it to the cluster. A field is all that there is to an option."""

    partition: str | None = _option("one, or several separated by commas", sbatch="partition")
    account: str | None = _option(sbatch="account")
    qos: str | None = _option(sbatch="qos")
    gpus: int | str | None = _option(
        "GPUs of a job, e.g. 2 or a100:2; its runs share them",
        low=0,
        or_like=r"[A-Za-z][\w.-]*:[1-9]\d{0,2}",
        sbatch="gpus_per_node",
    )
    cpus: int | None = _option("cores of a job", low=1, sbatch="cpus_per_task")
    memory: str | None = _option(
        "main memory of a job, e.g. 16G", like=r"\d{1,9}[KMGT]?", form="a size such as 16G", sbatch="mem"
    )
    time: str = _option(
        "a job's time limit, e.g. 4:00:00 (default: 24 hours); it is queued again",
        "24:00:00",
        like=r"(\d{1,9}-)?\d{1,9}(:\d\d){0,2}",
        form="minutes, hours:minutes:seconds or days-hours",
    )
    parallel: int | None = _option("jobs at once", low=1)
    constraint: str | None = _option("features that a node must have", sbatch="constraint")
    setup: tuple[str, ...] = _option(
        "a shell line before each job; repeatable", (), flag={"action": "append", "metavar": "LINE"}
    )
    signal_delay: int = _option("seconds before its end at which a job saves (default: 120)", 120, low=5, high=86_400)
    container: str | None = _option("what jobs run Python in, e.g. 'apptainer exec --nv image.sif'; that in it is used")
    sbatch: tuple[str, ...] = _option(
        "a flag that sbatch gets as it is, e.g. exclude=node7; repeatable",
        (),
        flag={"action": "append", "metavar": "NAME[=VALUE]"},
    )

    @property
    def minutes(self) -> int:
        """The time limit in minutes, as Slurm reads it."""
        days, dash, rest = self.time.rpartition("-")
        parts = [int(part) for part in rest.split(":")]
        if dash:  # days-hours[:minutes[:seconds]]
            hours, minutes, seconds = (*parts, 0, 0, 0)[:3]
        elif len(parts) == 3:
            hours, minutes, seconds = parts
        else:  # minutes[:seconds]
            hours, minutes, seconds = 0, *(*parts, 0)[:2]
        return max(1, int(days or 0) * 1440 + hours * 60 + minutes + (seconds > 0))

    def flags(self) -> dict[str, Any]:
        """What sbatch is to be told, by its names, of what it has an option of its own for; no GPUs are not asked."""
        values = {option.metadata.get("sbatch"): getattr(self, option.name) for option in OPTIONS}
        return {name: value for name, value in values.items() if name and value}

    def further_flags(self) -> dict[str, str | bool]:
        """What sbatch is to be told unchanged, by its names; True for a flag that has no value."""
        pairs = [text.partition("=") for text in self.sbatch]
        return {name: value if equals else True for name, equals, value in pairs}

    def arguments(self) -> list[str]:
        """The command line of sbatch that asks for the same."""
        flags = {name.replace("_", "-"): value for name, value in self.flags().items()} | {"time": self.minutes}
        flags |= self.further_flags()
        return [f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()]

    @property
    def gpus_of_a_job(self) -> int:
        """How many GPUs a job has that --gpus asks for."""
        return int(str(self.gpus or 0).rpartition(":")[2])


OPTIONS = dataclasses.fields(SlurmOptions)
NAMES = tuple(option.name for option in OPTIONS)

HAVE_OPTIONS = {
    option.metadata["sbatch"].replace("_", "-"): option.name for option in OPTIONS if "sbatch" in option.metadata
}
"""Flags of sbatch that have an option of their own, by the name of that."""
OURS = ("array", "error", "hold", "open-mode", "output", "parsable", "signal", "test-only", "wait", "wrap")
"""Flags of sbatch by which jobs are submitted and found again."""


def add_flags(group: Any) -> None:
    """Give a group of the command line's options a flag for each of `OPTIONS`."""
    for option in OPTIONS:
        flag = f"--{option.name.replace('_', '-')}"
        group.add_argument(flag, help=option.metadata["text"], **option.metadata.get("flag", {}))


def read_options(path: str | None, given: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> SlurmOptions:
    """Options of a launch `before`, stronger than these from a YAML file, and strongest those `given` by flags (None
    where not); every mistake is named.
    """
    values: dict[str, Any] = {}
    if path:
        try:
            # As text: YAML would read 8:00:00 as a number of seconds.
            values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{path} is not YAML: {summary(error)}") from error
        if not isinstance(values, dict):
            raise UserError(f"{path} must hold lines such as 'partition: gpu'")
    values = {**(before or {}), **values} | {name: value for name, value in given.items() if value is not None}
    for name in values:
        if name not in NAMES:
            raise UserError(
                f"unknown Slurm option '{name}' in {path}{nearest(str(name), NAMES)}; allowed: {', '.join(NAMES)}"
            )
    given = {name: value for name, value in values.items() if value not in (None, "")}
    return SlurmOptions(
        **{option.name: _checked(option, given[option.name]) for option in OPTIONS if option.name in given}
    )


def _checked(option: dataclasses.Field, value: Any) -> Any:
    """An option's value in its own type, or a UserError."""
    rules = option.metadata
    if option.name == "sbatch":
        return _flags_of_sbatch(value)
    if isinstance(value, dict | list) and option.name != "setup":
        raise UserError(f"Slurm option {option.name} must be a word, not several")  # as text they may be endless
    if option.name != "setup" and not str(value).isprintable():
        raise UserError(f"Slurm option {option.name} must be one line without control characters, not {str(value)!r}")
    if "or_like" in rules and re.fullmatch(rules["or_like"], str(value)):
        return str(value)
    if "low" in rules:
        low, high = rules["low"], rules.get("high", 1_000_000)
        if not re.fullmatch(r"[0-9]{1,9}", str(value)) or not low <= int(value) <= high:
            bound = f"at least {low}" + (f", at most {high:,}" if str(value).isdigit() else "")
            raise UserError(f"Slurm option {option.name} must be a whole number of {bound}: '{value}'")
        return int(value)
    if option.name == "setup":
        lines = [value] if isinstance(value, str) else value
        if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
            raise UserError("Slurm option setup must be a list of shell lines")
        lines = [part for line in lines for part in re.split(r"\r?\n", line) if part]
        for line in lines:
            if not line.replace("\t", " ").isprintable():
                raise UserError(f"Slurm option setup has a control character in {line!r}")
        return tuple(lines)
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise UserError(f"Slurm option {option.name} must be a word, not '{value}'")
    if "like" in rules and not re.fullmatch(rules["like"], str(value)):
        raise UserError(f"Slurm option {option.name} must be {rules['form']}, not '{value}'")
    if option.name == "time" and SlurmOptions(time=str(value)).minutes > MOST_MINUTES:
        raise UserError(f"Slurm option time must be at most a year, not '{value}'")
    return str(value)


def _flags_of_sbatch(value: Any) -> tuple[str, ...]:
    """What sbatch gets unchanged, "name=value" or "name" each, of a list of these or a YAML mapping; or a UserError."""
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        value = [f"{name}={text}" if text else name for name, text in value.items()]
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise UserError("Slurm option sbatch must be flags of sbatch, such as 'exclude: node7' or [exclude=node7]")
    own = {**HAVE_OPTIONS, "time": "time"}
    names = [line.partition("=")[0] for line in lines]
    for line, name in zip(lines, names, strict=True):
        if not re.fullmatch(r"[a-z][a-z0-9-]+", name) or not line.isprintable():
            raise UserError(
                f"Slurm option sbatch must be NAME or NAME=VALUE, as sbatch names it without --, not {line!r}"
            )
        if name in own:
            raise UserError(f"Slurm option sbatch: {name} has an option of its own, --{own[name]}")
        if name in OURS:
            raise UserError(f"Slurm option sbatch: {name} is set by the launcher, which finds its jobs by it")
        if names.count(name) > 1:
            raise UserError(f"Slurm option sbatch names {name} twice")
    return tuple(lines)
