"""Compiled programs are kept on disk, never at the price of a number or of a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.loop import compiled

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
