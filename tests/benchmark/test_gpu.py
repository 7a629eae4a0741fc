"""What is to be measured on a GPU is done block by block; what is there is not measured again."""

import json
import sys
import time

import pytest

from benchmark import gpu
from benchmark.speed import blocks as measuring
from benchmark.speed.blocks import FEW, MANY, Block, Place, blocks, run_block_for, run_blocks, summary

DEVICE = "gpu: NVIDIA Test"
PROGRESS = [
    "rql, 1 seeds",
    "rql, 12 seeds",
    "fql, 1 seeds",
    "fql, 12 seeds",
    "rql, 4 and 24 and 48 seeds",
    "evaluation",
]


def row(agent="rql", seeds=FEW, rate=100.0, error=None, **changes):
    common = dict(device=DEVICE, agent=agent, domain="cube-double-play", size="paper", precision="default", seeds=seeds)
    spread = dict(minimum=rate, median=rate, maximum=rate)
    measured = dict(seed_updates_per_second=rate, spread=spread, peak_share=0.25, memory_bytes=2e9, compile_seconds=30)
    return {**common, "settings": {}, "error": error, **measured, **changes}


def write(place, rows, ending=""):
    place.rates(ending).write_text(json.dumps({"schema": 1, "rows": rows}))


def there(place):
    return [block.name for block in blocks(place) if block.there()]


def test_the_most_telling_come_first_and_each_knows_its_own_rows(tmp_path):
    place = Place(DEVICE, tmp_path)
    assert [block.name for block in blocks(place)][:6] == PROGRESS and there(place) == []
    write(place, [row(), row(seeds=MANY, precision="float32"), row(size="quickstart", seeds=MANY)])
    assert there(place) == ["rql, 1 seeds", "rql, 12 seeds, float32"]
    write(place, [row(), row(seeds=MANY)], "graphs-off")
    assert there(place)[2:] == ["rql, 1 and 12 seeds, graphs-off"]
    run = place.runs / "float32" / "rql" / "task" / "seeds-0-3"
    run.mkdir(parents=True)
    (run / "status.json").write_text('{"state": "interrupted"}')
    assert "returns at float32" not in there(place)
    (run / "status.json").write_text('{"state": "done"}')
    assert "returns at float32" in there(place)
    (run / "eval.csv").write_text("step,seed,success\n50,0,0.1\n100,0,0.5\n100,1,1.0\n")
    assert "float32/rql/task/seeds-0-3: done, 0 s of training, success 0.75 over 2 seeds" in summary(place)


def test_a_case_that_failed_is_a_row_too_and_is_not_tried_for_ever(tmp_path):
    place = Place(DEVICE, tmp_path)
    write(place, [row(error="out of memory")])
    assert there(place) == ["rql, 1 seeds"] and "out of memory" in summary(place)


def test_command_buffers_are_measured_under_xlas_flags_and_beside_those_that_are_set(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_mine=1")
    flags = [block.environment["XLA_FLAGS"] for block in blocks(Place(DEVICE, tmp_path)) if block.environment]
    off, one = "--xla_gpu_enable_command_buffer=", "--xla_gpu_graph_min_graph_size=1"
    assert flags == [f"--xla_mine=1 {off}", f"--xla_mine=1 {one}"]


def block_of(code, path):
    return Block("a block", ["-c", code], path.exists)


def test_a_block_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    beats = tmp_path / "beats"
    child = f"import time\nwhile True:\n    open({str(beats)!r}, 'a').write('.'); time.sleep(0.05)"
    code = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    assert run_block_for(block_of(code, tmp_path / "rows"), 3.0) == "it took more than 3 s"
    time.sleep(0.2)
    count = beats.stat().st_size
    time.sleep(0.3)
    assert count == beats.stat().st_size > 0


def test_blocks_go_on_after_one_that_fails_and_are_done_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "blocks", lambda place: iter(three))
    three = [block_of(f"open({str(tmp_path / name)!r}, 'w')", tmp_path / name) for name in ("one", "three")]
    three.insert(1, block_of("import sys; sys.exit(3)", tmp_path / "two"))
    place = Place(DEVICE, tmp_path)
    assert run_blocks(place, 30, 1) == 0 and (tmp_path / "one").exists() and not (tmp_path / "three").exists()
    assert run_blocks(place, 30, None) == 1 and (tmp_path / "three").exists()
    said = capsys.readouterr().out
    assert "there already: a block" in said and "no rows of a block: it ended with exit code 3" in said


def test_the_summary_sets_what_was_measured_beside_the_goals(tmp_path):
    place = Place(DEVICE, tmp_path)
    authors = dict(authors={"updates_per_second": 50.0}, authors_speedup=4.0)
    rates = {FEW: 100.0, 4: 300.0, MANY: 600.0, 24: 640.0}
    write(place, [row(seeds=seeds, rate=rate, **authors) for seeds, rate in rates.items()])
    write(place, [row(rate=90.0)], "graphs-off")
    text = summary(place)
    assert "| rql | 12 | default | 600 | 50 | 4.00 (goal 10) | 25% (goal 40%) | 2.00 | 30 |" in text
    assert "more than 12 seeds of rql together pay by less than a tenth (of 1, 4, 12, 24)" in text
    assert "graphs-off, rql, 1 seeds: 90 seed-updates/s, 0.90 times the default" in text


@pytest.mark.slow
def test_blocks_run_at_tiny_sizes_without_a_gpu_and_go_on_where_they_were(tmp_path, capfd):
    asked = ["--tiny", f"--out={tmp_path}", f"--authors-python={sys.executable}"]
    assert gpu.main([*asked, "--blocks=1"]) == 0
    assert gpu.main([*asked, "--blocks=1"]) == 0
    said = capfd.readouterr().out
    assert "there already: rql, 1 seeds" in said and "| rql | 12 | default |" in said
    (path,) = tmp_path.glob("cpu-*.md")
    assert "hidden=16,16" in path.read_text()
