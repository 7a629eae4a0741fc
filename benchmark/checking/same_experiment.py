"""The same experiment by the authors' own code: a run of ours, made again by their main.py, beside ours in every table.

Their main.py is started as their commands start it, for each seed a process, with the task, data file, hyperparameters,
updates, evaluations and seeds of a finished run of ours. Their data, batches, updates and evaluation are theirs. Only
where their data lie (a home folder of its own) and their tracker (a stand-in without a network) are given to them. What
their eval.csv says becomes a run in our store, labelled "<label or agent>-authors", with their commit in its record.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import hashlib
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_json
from benchmark.common.machine import now
from benchmark.common.reading import Damaged, read_json
from benchmark.loop.device import device_name
from benchmark.runs.provenance import command_line
from benchmark.runs.reading import read_records
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import AUTHORS, run_directory
from benchmark.runs.seeds import format_seeds
from benchmark.runs.table import Table
from benchmark.speed.authors import FIELDS, MODULES, SWITCHES, checkout_of, theirs
from envs.data.origin import fingerprint
from envs.tasks import TASKS, Task

TRACKER = '''"""A stand-in for the tracker of the authors' main.py: it keeps nothing and reaches nobody."""


class Image: ...
class Video: ...
class Histogram: ...


class run:
    project = "authors"


def Settings(**_): ...
def init(**_):
    return run
def log(*_, **__): ...
'''
IN_THEIR_CODE = {"matmul_precision": "default", "max_weight": 100.0}
"""Hyperparameters of ours that their code has no name for, and the only values at which both are the same."""
LOOK_SECONDS = 2.0
"""How often to look how far their code is."""


@dataclass(frozen=True)
class Experiment:
    """A run of ours, as their code is to make it."""

    agent: str
    task: Task
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    """Our names of the hyperparameters, with their values."""
    protocol: Mapping[str, int]
    data: Path
    checkout: Path
    config: Mapping[str, Any]
    """Our run's config.json."""
    dataset: Mapping[str, Any]
    """What our run's record says of its data."""

    @property
    def label(self) -> str:
        """What their results are stored and shown under: our run's label, or its agent, and that it is theirs."""
        return f"{self.config.get('label') or self.agent}{AUTHORS}"

    @property
    def evaluations(self) -> list[int]:
        """The updates after which both evaluate."""
        steps, every = self.protocol["steps"], self.protocol["eval_every"]
        return sorted({*range(every, steps + 1, every), steps})


def experiment_of(run: Path, checkouts: Sequence[Path], data: Path | None = None) -> Experiment:
    """Read from a run's records what their code is to do; `data` is the dataset's file, where that is elsewhere now, or
    the records do not say where, as those that are handed on. Raises a UserError where their code cannot do that.
    """
    try:
        records = read_records(run)
    except Damaged as error:
        raise UserError(str(error)) from error
    config, starts = records.config, records.starts
    if config is None or not starts or records.status.get("state") != "done":
        raise UserError(f"{run} is not the folder of a finished run")
    agent, task = config["agent"], TASKS.get(config["task"])
    if agent not in MODULES:
        raise UserError(f"the authors' code is known for {', '.join(MODULES)}; {run} is a run of '{agent}'")
    _check_training(run, config)
    checkout = checkout_of(agent, checkouts)
    if checkout is None:
        raise UserError(f"--authors: none of the folders has agents/{MODULES[agent][0]}.py, the authors' {agent}")
    dataset = starts[-1].get("dataset", {})
    if data is not None and fingerprint([data]) != dataset.get("fingerprint"):
        raise UserError(f"--data: {data} is not the file that {run} was trained on, but one of other content")
    data = data or Path(dataset.get("path") or "")
    if task is None or not data.is_file() or data.suffix != ".npz":
        raise UserError(
            f"{run} was not trained on one dataset file that is still there, which their code needs; --data names it "
            "where it lies elsewhere"
        )
    protocol = {name: value for name, value in config["protocol"].items() if type(value) is int}
    return Experiment(
        agent, task, tuple(config["seeds"]), config["hyperparameters"], protocol, data, checkout, config, dataset
    )


def _check_training(run: Path, config: Mapping[str, Any]) -> None:
    """Raise a UserError where a run was not trained offline from networks made anew, as their code is driven here."""
    if start := config.get("start"):
        raise UserError(f"{run} begins with networks of '{start.get('agent')}'; the authors' code begins with new ones")
    if online := config["protocol"].get("online_steps"):
        raise UserError(f"{run} was trained for {online} steps online; the authors' code is driven offline alone")


def train_authors(
    experiment: Experiment,
    python: Path,
    out: Path,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Have their code make one experiment, as `train_together` makes several; return the folder of the run."""
    (made,) = train_together([experiment], python, out, jobs, on_progress)
    return made


def train_together(
    experiments: Sequence[Experiment],
    python: Path,
    out: Path,
    jobs: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Have their code make experiments, `jobs` at a time of all their seeds; return the folders of the runs it makes.

    A seed that was finished before is not made again. `on_progress` is told how many of all seeds' evaluations are
    there. Raises a UserError for a hyperparameter that their code has not, before any work, and with the last line of
    what their code said where it fails.
    """
    codes = {(experiment.agent, experiment.checkout) for experiment in experiments}
    keys = {code: _their_names(*code, python) for code in codes}
    for experiment in experiments:
        _check_hyperparameters(experiment, keys[experiment.agent, experiment.checkout])
    with contextlib.ExitStack() as held:
        directories = [held.enter_context(_directory(experiment, out)) for experiment in experiments]
        begun = [each for each in zip(experiments, directories, strict=True) if _begin(*each, python)]
        with ThreadPoolExecutor(jobs) as pool:
            ends = [
                pool.submit(_train, each, python, keys[each.agent, each.checkout], _work(each, out, seed), seed)
                for each, _ in begun
                for seed in each.seeds
            ]
            while wait(ends, LOOK_SECONDS).not_done:
                on_progress(*_progress([each for each, _ in begun], out))
        seconds = (end.result() for end in ends)
        for each, directory in begun:
            _keep(each, directory, out, sum(next(seconds) for _ in each.seeds))
    return [directory.path for directory in directories]


def _directory(experiment: Experiment, out: Path) -> RunDirectory:
    """That of the run that their code makes."""
    return RunDirectory(run_directory(out, experiment.label, experiment.task.name, format_seeds(experiment.seeds)))


def _work(experiment: Experiment, out: Path, seed: int) -> Path:
    """The folder in which their code trains a seed."""
    return out / ".authors" / experiment.label.removesuffix(AUTHORS) / experiment.task.name / f"seed-{seed}"


def _begin(experiment: Experiment, directory: RunDirectory, python: Path) -> bool:
    """Write down what is asked, and what is to make it; whether it is not done yet."""
    directory.check_config({**experiment.config, "label": experiment.label, "code": _digests(experiment)})
    if directory.status.get("state") == "done":
        return False
    directory.add_start(_provenance(experiment, python))
    return True


def _progress(experiments: Sequence[Experiment], out: Path) -> tuple[int, int]:
    """How many evaluations are there, of how many."""
    done = sum(len(rows_of(each, _work(each, out, seed))) for each in experiments for seed in each.seeds)
    return done, sum(len(each.seeds) * len(each.evaluations) for each in experiments)


def _keep(experiment: Experiment, directory: RunDirectory, out: Path, seconds: float) -> None:
    """Write what their code found, and that the run is done."""
    table = Table(directory.path / "eval.csv")
    for seed in experiment.seeds:
        for step, values in rows_of(experiment, _work(experiment, out, seed)).items():
            table.add(step, seed, values)
    table.rows.sort(key=lambda row: (row["step"], row["seed"]))
    table.save()
    steps = experiment.protocol["steps"]
    directory.set_status(state="done", step=steps, steps=steps, diverged={}, error=None, train_seconds=seconds)


# ------------------------------------------------------------------------------------------------- their process


def _their_names(agent: str, checkout: Path, python: Path) -> list[str]:
    """Names in the configuration of their agent. Raises a UserError where their code cannot be imported."""
    code = f"import json, agents.{MODULES[agent][0]} as m; print(json.dumps(sorted(m.get_config())))"
    asked = subprocess.run([python, "-c", code], cwd=checkout, capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"the authors' code in {checkout} cannot be imported: {_last_line(asked.stderr)}")
    return json.loads(asked.stdout.splitlines()[-1])


def _check_hyperparameters(experiment: Experiment, keys: Sequence[str]) -> None:
    """Raise a UserError where a hyperparameter of ours has no place among the names in their configuration."""
    for name, value in experiment.settings.items():
        known = name in SWITCHES or any(other in keys for other in FIELDS.get(name, ()))
        if not known and IN_THEIR_CODE.get(name, value) != value:
            raise UserError(f"the authors' {experiment.agent} has {name} {IN_THEIR_CODE[name]}; our run has {value}")
        if not known and name not in IN_THEIR_CODE:
            raise UserError(f"the authors' {experiment.agent} has no {name}, which our run has at {value}")


def command(experiment: Experiment, python: Path, keys: Sequence[str], folder: Path, seed: int) -> list[str]:
    """The command line of their main.py for one seed; `keys` are the names in their agent's configuration."""
    module, _, switches = MODULES[experiment.agent]
    protocol = experiment.protocol
    words = [f"--agent=agents/{module}.py", f"--env_name={experiment.task.name}", f"--seed={seed}"]
    words += [f"--offline_steps={protocol['steps']}", "--online_steps=0", f"--save_dir={folder / 'results'}"]
    words += [f"--eval_interval={protocol['eval_every']}", f"--eval_episodes={protocol['eval_episodes']}"]
    words += [f"--log_interval={protocol['log_every']}", f"--save_interval={10 * protocol['steps']}", "--buffer_size=1"]
    if experiment.task.domain.sparse:
        words.append("--sparse")
    if "'horizon_length'" in (experiment.checkout / "main.py").read_text():
        words.append(f"--horizon_length={experiment.settings['chunk_length']}")
    for name, value in theirs(experiment.settings, switches).items():
        if name in keys:
            words.append(f"--agent.{name}={tuple(value) if isinstance(value, list) else value}")
    return [str(python), "main.py", *words]


def _train(experiment: Experiment, python: Path, keys: Sequence[str], folder: Path, seed: int) -> float:
    """Have their code train one seed, unless the same did; return the seconds that it took, now or then."""
    words = command(experiment, python.absolute(), keys, folder.absolute(), seed)
    asked = {"command": words, "data": experiment.dataset.get("fingerprint"), "code": _digests(experiment)}
    before = read_json(folder / "command.json", {})
    finished = set(rows_of(experiment, folder)) == set(experiment.evaluations)
    if finished and before == asked | {"time": before.get("time")}:
        return _seconds_then(folder)
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / "home"
    for suffix in ("", "-val"):
        link = home / ".ogbench" / "data" / f"{experiment.task.dataset}{suffix}.npz"
        make_folder(link.parent)
        link.symlink_to(experiment.data.with_name(f"{experiment.data.stem}{suffix}.npz").absolute())
    (home / "wandb.py").write_text(TRACKER)
    environment = {**os.environ, "HOME": str(home.absolute()), "PYTHONPATH": str(home.absolute())}
    environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")}
    write_json(folder / "command.json", asked | {"time": now()})
    started = time.perf_counter()
    with (folder / "log.txt").open("w+") as log:
        code = subprocess.call(words, cwd=experiment.checkout, env=environment, stdout=log, stderr=log)
        log.seek(0)
        said = log.read()
    if set(rows_of(experiment, folder)) != set(experiment.evaluations):
        raise UserError(f"the authors' code ended with code {code} at seed {seed}: {_last_line(said)} ({folder})")
    return time.perf_counter() - started


def _seconds_then(folder: Path) -> float:
    """From the start of their code to its last evaluation, of a seed that was finished before."""
    started = datetime.datetime.fromisoformat(read_json(folder / "command.json", {})["time"]).timestamp()
    return max(path.stat().st_mtime for path in folder.glob("results/**/eval.csv")) - started


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def rows_of(experiment: Experiment, folder: Path) -> dict[int, dict[str, float]]:
    """Update to what their eval.csv says of it, under our names; {} where there is none yet."""
    rows: dict[int, dict[str, float]] = {}
    for path in folder.glob("results/**/eval.csv"):
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue  # another experiment's, which is being removed
        for row in csv.DictReader(io.StringIO(text)):
            named = {str(name).rpartition("/")[2]: text for name, text in row.items()}
            if not all(named.get(name) for name in ("step", "success", "episode.return", "episode.length")):
                continue  # a line that is being written
            values = {"episodes": experiment.protocol["eval_episodes"], "success": float(named["success"])}
            values |= {"return": float(named["episode.return"]), "length": float(named["episode.length"])}
            rows[int(named["step"])] = values
    return {step: rows[step] for step in experiment.evaluations if step in rows}


# ----------------------------------------------------------------------------------------------------- the record


def _provenance(experiment: Experiment, python: Path) -> dict[str, Any]:
    """What made their numbers."""
    code = (
        "import importlib.metadata as m, json, platform\n"
        "names = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'ogbench', 'mujoco', 'gymnasium')\n"
        "found = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "print(json.dumps([platform.python_version(), {n: found[n] for n in names if n in found}]))"
    )
    python_version, versions = json.loads(subprocess.check_output([python, "-c", code], text=True))

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=experiment.checkout, capture_output=True, text=True).stdout.strip()

    made: dict[str, Any] = {"time": now(), "command": command_line(), "commit": git("rev-parse", "HEAD") or None}
    made |= {"clean": not git("status", "--porcelain", "--untracked-files=no"), "python": python_version}
    return {**made, "versions": versions, "device": device_name(), "dataset": dict(experiment.dataset)}


def _digests(experiment: Experiment) -> dict[str, str]:
    """The file of their agent, and its digest."""
    name = f"agents/{MODULES[experiment.agent][0]}.py"
    return {name: hashlib.sha256((experiment.checkout / name).read_bytes()).hexdigest()}
