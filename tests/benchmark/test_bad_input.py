"""Every option of every command, given values that it cannot have: one line, exit code 2, and nothing is written.

The options are read off the commands' own parsers, so that a new one is tried too: as a name that must be known, unless
TAKES says what else it takes.
"""

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import load_runs
from benchmark.common.errors import run_main
from tests.helpers.simulated_runs import write_run

ROOT = Path(__file__).resolve().parents[2]

ALWAYS_WRONG = ["", "  ", "a\0b", "bc\nrql", "\x1b[31mred", "\x85", "x" * 100_000]
FILES = ["absent", "{folder}", "{text}/x", "x" * 300, "{loop}", ".."]
WRONG = {
    "name": ["no_such_name", "nan", "..", "-1", "1e30", "rql,,bc", ",", "{folder}", "[bold]", "<b>", "$(x)", "y" * 300],
    "label": ["-1", "a b", "a/b", "fql", "..", "rql,bc", ",", "{folder}", "[bold]", "<b>", "$(x)", "y" * 300],
    "agents": [
        "bc,bc",
        "absent.py",
        "{folder}.py",
        "./x",
        "{text}.py",
        "{binary}",
        "{exits}",
        "{raises}",
        "{up}",
        "{c}",
    ],
    "number": ["nan", "inf", "-inf", "-1", "-0.5", "1e30", "1e999", "one", "..", "0x10", "1,5", "{folder}"],
    "count": ["0", "1.5", "99999999999"],
    "counts": ["0", "1.5", "1e30", "-1", "nan", "..", "1,,4", "1,1", "99999999999", "one"],
    "seeds": ["nan", "-1", "1e30", "0-999999999", "0-3,2", "1,1", "3-1", "4294967296", "..", "0,,1", "1.5", "0-1e9"],
    "text": [],
    "data": [*FILES, "{text}", "{binary}"],
    "measurements": [*FILES, "{text}", "{binary}", "{list}", "{rows}", "{deep}"],
    "options": [*FILES, "{binary}", "{list}", "{rows}", "{deep}", "{bomb}"],
    "runs": ["absent", "{text}", "{text}/x", "x" * 300, "{loop}"],
    "written file": ["{folder}", "{text}/x", "x" * 300, ".."],
    "written folder": ["{text}", "{text}/x", "x" * 300],
    "setting": [
        *["alpha", "=3", "alpha=", "no_such=1", "..", "alpha=nan", "alpha=inf", "alpha=1e30", "alpha=-1", "alpha=much"],
        *["batch_size=1e30", "batch_size=-1", "batch_size=1.5", "batch_size=999999999999", "batch_size=2147483647"],
        *["hidden=1000000000,1000000000", "hidden=0", "hidden=1e30", "hidden=x", "hidden=()", "hidden=64,,64"],
        *["flow_steps=999999999", "ensemble=2147483647", "matmul_precision=..", "chunk_length=2147483647"],
    ],
    "flag": [
        "-1",
        "=3",
        "Exclude=n1",
        "..",
        "a b=1",
        "--exclude=n1",
        "partition=gpu",
        "array=0-3",
        "{folder}",
        "p=gpu",
    ],
    "sweep": ["alpha", "alpha=", "alpha=1,1", "alpha=nan", "alpha=1,1e30", "flow_steps=1,2", "x=1", "alpha=,", "=1"],
}
"""Values that are wrong, by what an option takes; {folder} and the like are there when they are tried."""

COUNT = ("number", "count")
TAKES = {
    **dict.fromkeys(["--agent", "--agents", "agents"], ("name", "agents")),
    **dict.fromkeys(["--steps", "--eval-episodes", "--online-steps", "--jobs", "--runs-per-process"], COUNT),
    **dict.fromkeys(["--run-timeout", "--cpus", "--parallel", "--signal-delay", "--runs-per-job", "--budget"], COUNT),
    **dict.fromkeys(["--generate", "--transitions", "--workers", "--shards", "--transitions-per-shard"], COUNT),
    **dict.fromkeys(["--seeds-per-process", "--episode-length", "--last", "--episodes", "--count"], COUNT),
    **dict.fromkeys(["--online-start", "--gpus", "--seed", "--bold", "--seconds", "--memory", "--time"], ("number",)),
    **dict.fromkeys(["--seeds", "--report-seeds"], ("seeds",)),
    **dict.fromkeys(["--partition", "--account", "--qos", "--constraint", "--setup", "--wandb", "--title"], ("text",)),
    "--container": ("text",),
    "--sbatch": ("flag",),
    **dict.fromkeys(["--archive", "--reversal", "file"], ("data",)),
    **dict.fromkeys(["--runs", "--run", "--authors", "--start-from"], ("runs",)),
    **dict.fromkeys(["--out", "--data-dir", "--profile"], ("written folder",)),
    "--label": ("label",),
    "--rates": ("measurements",),
    "--slurm-config": ("options",),
    "--json": ("written file",),
    "--authors-python": ("data",),
    "--set": ("setting",),
    "--sweep": ("sweep",),
    "--coordinates": ("counts",),
    "--episodes-of": ("number",),
    **dict.fromkeys(["--policy", "--compare", "--results", "folders"], ("runs",)),
    **dict.fromkeys(["--films", "--every"], COUNT),
}
TAKES_HERE = {
    ("analysis.report", "--out"): ("written file",),
    ("envs.describe", "--out"): ("written file",),
    ("analysis.leaderboard", "--out"): ("written file",),
    ("analysis.figures", "--sweep"): ("runs",),
    ("benchmark.evaluate", "--agent"): ("data",),
    ("benchmark.evaluate", "--compare"): ("name",),
    ("benchmark.evaluate", "--video"): ("written file",),
    ("analysis.import_archive", "--out"): ("written file",),
    ("benchmark.reversal", "--out"): ("written file",),
    ("benchmark.throughput", "--seeds"): ("counts",),
    ("benchmark.throughput", "--json"): ("written file", "measurements"),
    ("benchmark.evaluation_speed", "--seeds"): ("counts",),
    ("benchmark.end_to_end", "--at-once"): ("counts",),
    ("benchmark.checkpoint_speed", "--seeds"): ("counts",),
    ("benchmark.bundle", "--data-dir"): ("runs",),
    ("benchmark.evaluation_speed", "--json"): ("written file", "measurements"),
    ("benchmark.gpu", "--blocks"): COUNT,
    ("benchmark.gpu", "--minutes"): COUNT,
    ("benchmark.bundle", "--out"): ("written file",),
    ("benchmark.check", "agents"): ("name",),  # of a file that cannot be imported it says so as what it found
}

COMMANDS = {
    "run_all": ["--suite=quickstart", "--agents=rql", "--dry-run", "--out=new"],
    "run_all on Slurm": ["--suite=quickstart", "--agents=rql", "--dry-run", "--out=new", "--launcher=slurm"],
    "run_all --status": ["--status"],
    "benchmark.train": ["--agent=rql", "--task=cube-single-play-singletask-task1-v0", "--out=new"],
    "benchmark.sweep": ["--agent=rql", "--domains=cube-single-play", "--sweep=alpha=1,3", "--dry-run", "--out=new"],
    "benchmark.check": ["rql", "--only=interface"],
    "benchmark.throughput": ["--agents=rql", "--seeds=1", "--json=new.json"],
    "benchmark.evaluate": ["--run={run}"],
    "benchmark.evaluation_speed": ["--agent=rql", "--seeds=1"],
    "benchmark.checkpoint_speed": ["--agent=rql", "--seeds=1", "--out=new"],
    "benchmark.bundle": ["--for=additions", "--out=new.tar"],
    "benchmark.gpu": ["--tiny", "--out=new"],
    "benchmark.reversal": ["--run={run}", "--out=new.npz"],
    "benchmark.same_experiment": ["--run={run}", "--authors={folder}", "--authors-python={text}", "--out=new"],
    "benchmark.end_to_end": ["--authors={folder}", "--authors-python={text}", "--out=new"],
    "envs.download": ["--domain=cube-single-play", "--dry-run"],
    "envs.describe": ["{text}", "--out=new.png"],
    "envs.generate": ["--dataset=cube-single-play", "--out=new"],
    "analysis.tables": ["--runs={runs}"],
    "analysis.figures": ["--runs={runs}", "--out=new"],
    "analysis.report": ["--runs={runs}", "--out=new.html", "--no-figures"],
    "analysis.import_archive": ["{text}"],
    "analysis.compare": ["--runs={runs}", "--baseline=rql"],
    "analysis.seeds": ["--agents=rql,fql", "--difference=5", "--runs={runs}", "--out=new"],
    "benchmark.claims": ["--runs={run}", "--ablations={runs}", "--out=new.json"],
    "analysis.submit": ["--runs={runs}", "--out=new"],
    "analysis.verify": ["{folder}"],
    "analysis.leaderboard": ["--out=new.html"],
    "analysis.failures": ["{run}"],
    "envs.train_expert": ["--body=ant", "--out=new"],
}
"""Each command as it would be given; what is tried comes in the place of what is given here."""
WITH = {
    "--online-start": ["--online-steps=10000"],
    "--transitions-per-shard": ["--shards=2"],
    "--report-seeds": ["--report"],
}
ONLY = {"run_all --status": ["--out", "--suite"]}
WORK = ["benchmark.loop.worker.execute", "benchmark.speed.updates.run", "benchmark.speed.episodes.measure"]
WORK += ["benchmark.speed.checkpoints.measure", "benchmark.bundling.archive.make_bundle"]
WORK += ["benchmark.speed.blocks.run_blocks", "benchmark.checking.end_to_end.compare"]
WORK += [
    "envs.experts.training.train",
    "envs.generate.generate",
    "envs.generate.generate_shards",
    "analysis.drawing.gallery.write_figures",
]
"""What is not to be reached."""

POSSIBLE = {
    ("--data-dir", ".."),
    ("--json", "absent"),
}
"""What is right after all."""


def options_of(command: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every option with a value, and what it takes."""
    for action in importlib.import_module(command.partition(" ")[0]).parser()._actions:
        if action.nargs != 0:
            name = action.option_strings[0] if action.option_strings else action.dest
            yield name, TAKES_HERE.get((command, name), TAKES.get(name, ("name",)))


def tried(command: str) -> Iterator[tuple[str, str, list[str]]]:
    """(option, value, command line) of every mistake."""
    for option, kinds in options_of(command):
        if option not in ONLY.get(command, [option]):
            continue
        for value in dict.fromkeys([*ALWAYS_WRONG, *(wrong for kind in kinds for wrong in WRONG[kind])]):
            if (option, value) in POSSIBLE:
                continue
            named = option.startswith("--")
            given = [word for word in COMMANDS[command] if word.split("=")[0] != option and (named or word[0] == "-")]
            yield option, value, [*given, *WITH.get(option, ()), f"{option}={value}" if named else value]


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> dict[str, str]:
    """Files and folders that are wrong, by what they are called above."""
    folder = tmp_path_factory.mktemp("there")
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 30)
    )
    texts = {
        **{"text": "text", "list": "[1, 2]", "rows": json.dumps({"rows": [{"agent": "rql", "seeds": "many"}]})},
        **{"deep": "[" * 100_000, "bomb": f"{bomb}cpus: *a29\n", "exits.py": "import sys\nsys.exit(0)\n"},
        **{"raises.py": "raise BaseException('no\\nmore')\n", "text.py": "this is no Python\n"},
        **{"up.py": 'from agents.bc import BC\nclass Up(BC):\n    name = ".."\n'},
        **{"c.py": "raise KeyboardInterrupt\n"},
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary.py").write_bytes(bytes(range(256)) * 20)
    (folder / "folder").mkdir()
    (folder / "folder.py").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    run = write_run(folder / "runs")
    load_runs(folder / "runs")  # which leaves a cache there
    places = {name.removesuffix(".py"): str(folder / name) for name in os.listdir(folder)}
    return places | {"folder": str(folder / "folder"), "text": str(folder / "text"), "run": str(run)}


def listing(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {os.path.join(place, name) for place, dirs, files in os.walk(folder) for name in (*dirs, *files)}


def told(command: str, arguments: list[str], capsys) -> tuple[int, str]:
    """(exit code, what is on stderr)."""
    main = importlib.import_module(command.partition(" ")[0]).main
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: main(arguments))
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_mistake_is_told_in_one_line_before_anything_is_written(command, there, tmp_path, monkeypatch, capsys):
    def accepted(*_, **__):
        raise AssertionError("accepted")

    for name in WORK:
        monkeypatch.setattr(name, accepted)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    wrong = []
    before = listing(tmp_path) | listing(Path(there["folder"]).parent)
    for option, value, words in tried(command):
        arguments = [word for word in words]
        for name, place in there.items():
            arguments = [word.replace(f"{{{name}}}", place) for word in arguments]
        try:
            code, said = told(command, arguments, capsys)
        except BaseException as error:
            code, said = -1, f"{type(error).__name__}: {error}"
        after = listing(tmp_path) | listing(Path(there["folder"]).parent)
        made = sorted(after - before)
        before = after
        one_line = said.startswith("error: ") and said.count("\n") == 1 and said[:-1].isprintable()
        names = (
            *(option.strip("-").replace("-", sign) for sign in "-_ "),
            value.split("=")[0],
            *arguments[-1].split("=")[-1:],
        )
        about = (option[0] != "-" and "argument" in said) or any(name and name in said for name in names)
        if code != 2 or not one_line or not about or made:
            wrong.append(f"{option}={value[:60]!r}: {code}, {said[:200]!r}{f', made {made}' if made else ''}")
    assert not wrong, "\n".join([f"{len(wrong)} mistakes of {command}:", *wrong])


def test_every_command_is_tried():
    files = [file for folder in (".", "analysis", "benchmark", "envs") for file in (ROOT / folder).glob("*.py")]
    commands = {".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files if "run_main(main)" in f.read_text()}
    assert commands == {command.partition(" ")[0] for command in COMMANDS}


def test_a_value_that_is_missing_and_an_option_that_is_unknown_are_told_in_one_line(capsys):
    for command in COMMANDS:
        for arguments in (["--no-such-option"], ["--no-such=3"]):
            code, said = told(command, arguments, capsys)
            assert code == 2 and said.startswith("error: ") and said.count("\n") == 1, (command, said)
    assert "did you mean '--suite'" in told("run_all", ["--sutie=toy"], capsys)[1]
    assert told("run_all", ["--suite"], capsys) == (2, "error: --suite: expected one argument\n")
