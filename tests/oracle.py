"""What fixed commands give, to hold a rearrangement of the code against: the same files before and after, to the byte.

    python -m tests.oracle DIR                     run every command, and write what it gives under DIR
    python -m tests.oracle DIR --only plans,helps  some kinds only
    python -m tests.oracle DIR --against OTHER     compare with what stands under OTHER; exit code 1 where they differ

A kind is a function here. Times, folders and machines are replaced by words, so that two recordings may differ in
nothing but what the code decides.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    *("run_all", "benchmark.train", "benchmark.check", "benchmark.sweep", "benchmark.throughput"),
    *("benchmark.evaluation_speed", "benchmark.reversal", "envs.download", "envs.generate", "envs.train_expert"),
    *("analysis.tables", "analysis.figures", "analysis.report", "analysis.import_archive", "analysis.submit"),
    *("analysis.verify", "analysis.failures", "analysis.leaderboard", "analysis.compare", "analysis.seeds"),
    *("benchmark.same_experiment", "benchmark.claims", "benchmark.evaluate", "benchmark.checkpoint_speed"),
    *("benchmark.bundle", "benchmark.gpu", "benchmark.end_to_end", "envs.describe"),
)
RATES = "results/throughput/cpu-amd-epyc-2-cores.json"
KEPT = ("train.csv", "eval.csv", "config.json", "status.json", "tuned/*.yaml", "tuned/*.csv", "budget.json")
CLOCKS = ("updates_per_second", "train_seconds", "eval_seconds", "updated", "code")
"""Fields of a status that measure time, and the digest of the code that is rearranged."""
SMALL = ["--set", "hidden=32,32", "--set", "ensemble=2", "--set", "batch_size=32", "--eval-episodes=2"]


class Recorder:
    """Runs commands in a folder of its own and writes what they give under `out`."""

    def __init__(self, out: Path, work: Path):
        self.out, self.work = out, work

    def words(self, text: str) -> str:
        """Text without what differs from one recording to the next."""
        text = text.replace(str(self.work), "WORK").replace(str(ROOT), "ROOT").replace(str(Path.home()), "HOME")
        return re.sub(r"\d+(\.\d+)? (s|seconds|updates/s)\b", "N \\2", text)

    def command(self, name: str, *arguments: str) -> None:
        """Run a command of the project, and write what it prints and returns."""
        program = [f"{arguments[0]}.py"] if arguments[0] == "run_all" else ["-m", arguments[0]]
        environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *program, *arguments[1:]], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        self.write(f"{name}.txt", f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}\n")

    def write(self, name: str, text: str) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.words(text))

    def keep(self, name: str, folder: Path, patterns: tuple[str, ...] = KEPT) -> None:
        """Copy the records of all runs below a folder."""
        for pattern in patterns:
            for file in sorted(folder.rglob(pattern)):
                text = file.read_text()
                if file.name == "status.json":
                    text = json.dumps({k: v for k, v in json.loads(text).items() if k not in CLOCKS}, indent=1)
                self.write(f"{name}/{file.relative_to(folder)}", text)


def helps(recorder: Recorder) -> None:
    """`--help` of every command."""
    for name in COMMANDS:
        recorder.command(f"helps/{name}", name, "--help")


def plans(recorder: Recorder) -> None:
    """What the suites would run, and the lists of names."""
    recorder.command("plans/list", "run_all", "--list")
    for suite in ("ogbench", "ogbench_quality", "d4rl", "toy", "quickstart"):
        asked = (f"--suite={suite}", "--dry-run", f"--rates={RATES}", f"--data-dir={recorder.work}/none")
        recorder.command(f"plans/{suite}", "run_all", *asked, f"--out={recorder.work}/none")


def tables(recorder: Recorder) -> None:
    """The published tables, and those of simulated runs, in every format; figures and report of these."""
    runs = str(recorder.work / "simulated")
    sizes = ("--agents=4", "--tasks=10", "--seeds=4", "--together=2", "--evaluations=4")
    recorder.command("tables/simulated", "tests.helpers.simulated_runs", runs, *sizes)
    for form in ("md", "csv", "latex", "html"):
        for table in ("domain", "task", "reproduction", "summary"):
            asked = (f"--table={table}", f"--format={form}")
            if table in ("domain", "task"):
                recorder.command(f"tables/published-{table}-{form}", "analysis.tables", "--published", *asked)
            recorder.command(f"tables/own-{table}-{form}", "analysis.tables", "--runs", runs, *asked)
    figures = recorder.work / "figures"
    recorder.command("tables/figures", "analysis.figures", "--runs", runs, "--published", f"--out={figures}")
    digests = (f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in sorted(figures.glob("*.png")))
    recorder.write("tables/figures.sha256", "\n".join(digests) + "\n")
    report = recorder.work / "report.html"
    recorder.command("tables/report", "analysis.report", "--runs", runs, f"--out={report}")
    if report.is_file():
        recorder.write("tables/report.html", re.sub(r"\d{4}-\d\d-\d\d[T ][\d:]+", "TIME", report.read_text()))


def toys(recorder: Recorder) -> None:
    """Twenty updates of every algorithm on both toy tasks, and an online phase."""
    out = recorder.work / "toys"
    asked = ("--steps=20", "--eval-episodes=5", "--jobs=1", "--set", "batch_size=16")
    recorder.command("toys/printed", "run_all", "--suite=toy", *asked, f"--out={out}")
    (recorder.out / "toys/printed.txt").unlink()  # which run is first to end depends on the machine
    recorder.keep("toys", out)
    out = recorder.work / "online"
    asked = ("--agent=rql", "--task=toy-modes", "--steps=20", "--online-steps=60", "--online-start=20", *SMALL)
    recorder.command("online/printed", "benchmark.train", *asked, f"--out={out}")
    recorder.keep("online", out)


def sweeps(recorder: Recorder) -> None:
    """A sweep of two settings, and its report."""
    out = recorder.work / "sweep"
    asked = ("--agent=fql", "--suite=toy", "--domains=toy-modes", "--steps=20", "--eval-episodes=5", f"--out={out}")
    recorder.command("sweep/printed", "benchmark.sweep", *asked, "--sweep", "alpha=0.1,1")
    recorder.command("sweep/reported", "benchmark.sweep", *asked, "--report")
    recorder.keep("sweep", out)


def trained(recorder: Recorder) -> None:
    """Short runs on generated data of a real environment: one file, and shards."""
    data = recorder.work / "data"
    common = ("--steps=30", *SMALL, f"--data-dir={data}")
    for agent in ("bc", "rql"):
        out = recorder.work / "generated"
        task = "--task=cube-single-play-singletask-task1-v0"
        asked = (f"--agent={agent}", task, "--seeds=0,1", "--generate=2000", *common, f"--out={out}")
        recorder.command(f"generated/{agent}", "benchmark.train", *asked)
        recorder.keep("generated", out)
    shards = ("--dataset=cube-quadruple-play", "--shards=2", "--transitions-per-shard=2000", f"--out={data}")
    recorder.command("shards/generate", "envs.generate", *shards)
    out = recorder.work / "shards"
    asked = ("--agent=fql", "--task=cube-quadruple-play-singletask-task2-v0", *common, f"--out={out}")
    recorder.command("shards/printed", "benchmark.train", *asked)
    recorder.keep("shards", out)


KINDS = {kind.__name__: kind for kind in (helps, plans, tables, toys, sweeps, trained)}


def compare(one: Path, other: Path) -> int:
    """Print what differs between two recordings; returns the number of files that do."""
    names = sorted({str(file.relative_to(folder)) for folder in (one, other) for file in folder.rglob("*.*")})
    different = 0
    for name in names:
        texts = [(folder / name).read_text() if (folder / name).is_file() else "" for folder in (other, one)]
        if texts[0] != texts[1]:
            different += 1
            lines = list(difflib.unified_diff(*(text.splitlines() for text in texts), name, name, n=0, lineterm=""))
            print("\n".join(line[:300] for line in lines[:40]))
    print(f"{len(names)} files, {different} differ")
    return different


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--against", type=Path, help="compare with this recording, run nothing")
    options = parser.parse_args()
    if options.against:
        return min(1, compare(options.out, options.against))
    work = Path(tempfile.mkdtemp(prefix="oracle-"))
    try:
        for name in options.only.split(","):
            KINDS[name](Recorder(options.out, work))
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
