"""What is asked of Slurm is checked before it is asked; arrays fit its limits. Without Slurm."""

import dataclasses
import json

import pytest

import run_all
from benchmark.common.errors import UserError
from benchmark.launching import slurm
from benchmark.launching.slurm import Limits, RunsJob, limits, runs_per_job
from benchmark.launching.slurm_options import OPTIONS, SlurmOptions, read_options


def test_flags_win_over_the_file_and_both_have_their_types(tmp_path):
    path = tmp_path / "slurm.yaml"
    path.write_text("partition: gpu\ncpus: 8\ntime: 8:00:00\nmemory: 32G\naccount:\nsetup: [module load cuda, date]\n")
    options = read_options(str(path), {"cpus": "4", "gpus": "1", "partition": None})
    expected = SlurmOptions("gpu", gpus=1, cpus=4, memory="32G", time="8:00:00", setup=("module load cuda", "date"))
    assert options == expected
    flags = {"partition": "gpu", "mem": "32G", "cpus_per_task": 4, "gpus_per_node": 1}
    assert options.flags() == flags and options.minutes == 480


@pytest.mark.parametrize(
    "text, minutes", [("30", 30), ("1:30", 2), ("2:30:00", 150), ("1-12", 2160), ("2-0:30", 2910), ("0:05", 1)]
)
def test_times_are_read_as_slurm_reads_them(text, minutes):
    assert SlurmOptions(time=text).minutes == minutes


@pytest.mark.parametrize(
    "text, message",
    [
        ("partiton: gpu", r"unknown Slurm option 'partiton' .*did you mean 'partition'"),
        ("cpus: many", "cpus must be a whole number of at least 1: 'many'"),
        ("gpus: -1", "gpus must be a whole number of at least 0: '-1'"),
        ("memory: lots", "memory must be a size such as 16G, not 'lots'"),
        ("time: soon", "time must be minutes, hours:minutes:seconds or days-hours, not 'soon'"),
        ("setup: {a: b}", "setup must be a list of shell lines"),
        ("partition: [a, b]", "partition must be a word"),
        ("gpus: a100:none", "gpus must be a whole number of at least 0: 'a100:none'"),
        ("sbatch: [[a]]", "sbatch must be flags of sbatch"),
        ("sbatch: {a: [b]}", "sbatch must be flags of sbatch"),
        (
            "sbatch: [--exclude=n1]",
            "sbatch must be NAME or NAME=VALUE, as sbatch names it without --, not '--exclude=n1'",
        ),
        ("sbatch: [partition=gpu]", "sbatch: partition has an option of its own, --partition"),
        ("sbatch: {gpus-per-node: 1}", "sbatch: gpus-per-node has an option of its own, --gpus"),
        ("sbatch: {time: 5}", "sbatch: time has an option of its own, --time"),
        ("sbatch: {array: 0-3}", "sbatch: array is set by the launcher"),
        ("sbatch: [nice=1, nice=2]", "sbatch names nice twice"),
        ("just words", "must hold lines such as"),
        ("a: [", "is not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = tmp_path / "slurm.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_options(str(path), {})
    with pytest.raises(UserError, match="cannot read"):
        read_options(str(tmp_path / "none.yaml"), {})


def test_without_slurm_that_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch on PATH"):
        run_all.main(["--suite=toy", "--agents=bc", "--launcher=slurm", f"--out={tmp_path / 'out'}"])


ANSWERS = {
    "scontrol": "MaxArraySize            = 101\nMaxJobCount             = 5000\n",
    "squeue": "1|PENDING\n2|RUNNING\n",
    "qos": "\n",
}


@pytest.mark.parametrize(
    "of_account, of_qos, expected",
    [
        ("|lab", "", (4998, "MaxJobCount")),
        ("10|lab", "", (8, "MaxSubmitJobs=10")),
        ("10|other", "", (4998, "MaxJobCount")),
        ("10|lab", "5", (3, "MaxSubmitJobsPU=5")),
        ("1|lab", "", (0, "")),
    ],
)
def test_the_clusters_limits_less_what_is_in_the_queue(monkeypatch, of_account, of_qos, expected):
    def ask(*command, **_):
        return of_qos if "qos" in command else of_account if "assoc" in command else ANSWERS[command[0]]

    monkeypatch.setattr(slurm, "ask", ask)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")  # on a machine without Slurm too
    found = limits(SlurmOptions(account="lab"))
    assert (found.array, found.jobs) == (101, expected[0])
    assert found.reason == expected[1] or expected[0] == 0


def test_runs_are_packed_as_the_limits_want():
    assert runs_per_job(12_000, None, 1, Limits()) == 1
    assert runs_per_job(12_000, None, 21, Limits(jobs=10_000)) == 21
    assert runs_per_job(12_000, None, 1, Limits(jobs=5_000)) == 3
    assert runs_per_job(12_000, 3, 1, Limits(jobs=5_000)) == 3
    with pytest.raises(UserError, match=r"6000 jobs are more than the 5000 .*\(X=5000\); --runs-per-job=3 would fit"):
        runs_per_job(12_000, 2, 1, Limits(jobs=5_000, reason="X=5000"))
    with pytest.raises(UserError, match="takes no more jobs now"):
        runs_per_job(1, None, 1, Limits(jobs=0))


def test_a_job_that_is_told_to_end_saves_and_asks_for_the_same_runs_again(monkeypatch):
    job, stopped = RunsJob(1, None, None, 120), []
    job.launcher = type("Launcher", (), {"stop": lambda self, seconds: stopped.append(seconds)})()
    again = job.checkpoint(["run"])
    assert stopped == [105] and again.args == (["run"],) and again.function is job
    assert job.__getstate__()["launcher"] is None


def test_a_job_that_accounting_has_not_seen_end_has_not_ended(monkeypatch):
    said = ["7_0|REQUEUED", "7_0|COMPLETED", "7_1|RUNNING", "7_2|NODE_FAIL", "7_2|PENDING", "7_3|CANCELLED by 0", ""]
    monkeypatch.setattr(slurm, "ask", lambda *words: "\n".join(said))
    assert slurm.ended(["7_0"]) == {"7_0": "COMPLETED", "7_3": "CANCELLED"}
    monkeypatch.setattr(slurm, "ask", lambda *words: None)
    assert slurm.ended(["7_0"]) == {}


def test_every_field_is_a_flag_a_key_of_the_file_and_only_named_ones_are_sbatchs(tmp_path):
    given = {"gpus": "2", "cpus": "3", "parallel": "4", "signal_delay": "60", "memory": "8G", "time": "30"}
    values = {option.name: given.get(option.name, "word") for option in OPTIONS}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    options = run_all.parser().parse_args(flags)
    by_flags = read_options(None, {name: getattr(options, name) for name in values})
    path = tmp_path / "slurm.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    assert by_flags == read_options(str(path), {}) and by_flags.setup == ("word",)
    words = dict.fromkeys(("partition", "account", "qos", "constraint"), "word")
    assert by_flags.flags() == {**words, "gpus_per_node": 2, "cpus_per_task": 3, "mem": "8G"}


def test_what_sbatch_gets_unchanged_is_the_same_by_flags_by_a_list_and_by_a_mapping(tmp_path):
    asked = ("gres=gpu:a100:1", "mail-user=a@b.org", "comment=a = b", "requeue")
    listed, mapped = tmp_path / "list.yaml", tmp_path / "map.yaml"
    listed.write_text("sbatch:\n" + "".join(f"- {line}\n" for line in asked))
    mapped.write_text("sbatch:\n  gres: gpu:a100:1\n  mail-user: a@b.org\n  comment: a = b\n  requeue:\n")
    parsed = run_all.parser().parse_args([f"--sbatch={line}" for line in asked])
    for options in (
        read_options(None, {"sbatch": parsed.sbatch}),
        *(read_options(str(p), {}) for p in (listed, mapped)),
    ):
        assert options.sbatch == asked
        assert options.arguments() == ["--time=1440", *(f"--{line}" for line in asked)]
    again = read_options(
        None, json.loads(json.dumps(dataclasses.asdict(SlurmOptions(sbatch=asked, container="in box"))))
    )
    assert again == SlurmOptions(sbatch=asked, container="in box")


def test_typed_gpus_are_asked_for_and_counted():
    options = read_options(None, {"gpus": "a100:2", "partition": "gpu,long"})
    assert options.arguments() == ["--partition=gpu,long", "--gpus-per-node=a100:2", "--time=1440"]
    assert [SlurmOptions(gpus=gpus).gpus_of_a_job for gpus in (None, 0, 3, "a100:2")] == [0, 0, 3, 2]
