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
    whole number; `like`, what a word looks like, and `form`, that in words; `flag`, what else argparse is told.
    """
    return dataclasses.field(default=default, metadata={"text": text, **metadata})


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks of the cluster; None leaves it to the cluster. A field is all that there is to an option."""

    partition: str | None = _option(sbatch="partition")
    account: str | None = _option(sbatch="account")
    qos: str | None = _option(sbatch="qos")
    gpus: int | None = _option("GPUs of a job", low=0, sbatch="gpus_per_node")
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


OPTIONS = dataclasses.fields(SlurmOptions)
NAMES = tuple(option.name for option in OPTIONS)


def add_flags(group: Any) -> None:
    """Give a group of the command line's options a flag for each of `OPTIONS`."""
    for option in OPTIONS:
        flag = f"--{option.name.replace('_', '-')}"
        group.add_argument(flag, help=option.metadata["text"], **option.metadata.get("flag", {}))


def read_options(path: str | None, given: Mapping[str, Any]) -> SlurmOptions:
    """Options from a YAML file and, stronger, those `given` by flags (None where not); every mistake is named."""
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
    values |= {name: value for name, value in given.items() if value is not None}
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
    if isinstance(value, dict | list) and option.name != "setup":
        raise UserError(f"Slurm option {option.name} must be a word, not several")  # as text they may be endless
    if option.name != "setup" and not str(value).isprintable():
        raise UserError(f"Slurm option {option.name} must be one line without control characters, not {str(value)!r}")
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
