"""Compiled programs are kept on disk, never at the price of a number or of a run."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmark.loop import compiled
from benchmark.loop.worker import execute
from benchmark.planning.plan import plan
from benchmark.planning.protocols import get_protocol
from benchmark.planning.suites import SUITES

PROGRAM = """
import jax, jax.numpy as jnp
from benchmark.loop.compiled import keep_programs
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
keep_programs()
x = jnp.linspace(0, 1, 12).reshape(3, 4)
print(jax.jit(lambda x: jnp.sin(x) @ x.T)(x).tolist(), len(hits))
"""


def run(folder, **environment):
    """What the program computes and how many programs it found, and what it prints beside."""
    environment = {"RQL_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **environment}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    numbers, _, hits = done.stdout.strip().rpartition(" ")
    return numbers, int(hits), done.stderr


def entries(folder):
    return sorted(Path(folder).rglob("*-cache"))


def test_another_process_finds_the_programs_and_computes_the_same(tmp_path):
    first, found, _ = run(tmp_path)
    assert found == 0 and entries(tmp_path)
    second, found, _ = run(tmp_path)
    assert found > 0 and second == first


def test_programs_cut_in_half_are_compiled_anew_without_a_word(tmp_path):
    first, _, _ = run(tmp_path)
    for entry in entries(tmp_path):
        entry.write_bytes(entry.read_bytes()[:100])
    second, found, said = run(tmp_path)
    assert (second, found) == (first, 0)
    assert "Error" not in said


def test_jaxs_own_settings_win(tmp_path):
    run(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"))
    assert entries(tmp_path / "theirs") and not (tmp_path / "ours").exists()
    run(tmp_path / "ours", JAX_ENABLE_COMPILATION_CACHE="0")
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    assert run(tmp_path / "file")[1] == 0


def test_each_kind_of_processor_has_a_folder_of_its_own(monkeypatch):
    here = compiled.folder()
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    assert compiled.folder() != here and compiled.folder().parent == here.parent


@pytest.mark.parametrize("chosen, root", [("/somewhere", Path("/somewhere")), ("", Path.home() / ".cache" / "rql")])
def test_the_folder_is_the_users_choice(monkeypatch, chosen, root):
    monkeypatch.setenv("RQL_CACHE_DIR", chosen)
    assert compiled.folder().parent == root


def test_programs_are_forgotten_where_they_fill_what_a_process_may_map():
    double = jax.jit(lambda x: 2 * x)
    assert double(3) == 6 and double._cache_size() == 1
    assert not compiled.forget_programs_if_many(lambda: (10_000, 65_530)) and double._cache_size() == 1
    assert not compiled.forget_programs_if_many(lambda: (0, 0)), "where the system does not say"
    assert compiled.forget_programs_if_many(lambda: (40_000, 65_530)) and double._cache_size() == 0
    assert double(3) == 6


def test_memory_maps_are_counted_as_linux_does():
    there, most = compiled.memory_maps()
    assert 100 < there < most


@pytest.mark.slow
def test_runs_one_after_the_other_do_not_pile_up_programs(tmp_path, monkeypatch):
    """Some sixty different ones in a process ended it, by a signal."""
    monkeypatch.setattr(compiled, "MOST_OF_THE_MAPS", 0.0)
    suite, maps = SUITES["toy"], []
    for width in (16, 24, 40):
        words = dict(agents=["bc"], tasks=suite.tasks[:1], seeds=[0], settings={"hidden": (width,)})
        (spec,) = plan(suite, **words, protocol=get_protocol("toy").scaled_to(10), out=str(tmp_path / str(width)))
        execute(spec, quiet=True)
        maps.append(compiled.memory_maps()[0])
    assert maps[2] < maps[0] + 100
