"""A plan that is killed at fifty random moments and started again ends with the records of one that was not.

A few moments are left to chance alone; the others are a random while after a random phase of a run has begun, so that
short phases are hit as often as long ones.
"""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from benchmark.common.reading import read_json
from benchmark.runs.protocol import Protocol
from benchmark.runs.run import RunSpec
from tests.helpers.forked_runs import PHASES

KILLS = 50
PROTOCOL = Protocol(steps=400, eval_every=100, eval_episodes=5, eval_first=True, log_every=20, checkpoint_every=40)
SETTINGS = dict(hidden=[16, 16], flow_steps=2, batch_size=16)


@pytest.fixture
def server(tmp_path):
    """A function that starts runs, which is quick, and the file that says where they are."""
    phase = tmp_path / "phase"
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cache |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.helpers.forked_runs", str(phase)],
        env=os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"},
        **dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True),
    )

    def next_number():
        line = process.stdout.readline()
        assert line, "the server died"
        return int(line)

    def start(runs):
        path = tmp_path / "specs.jsonl"
        path.write_text("".join(spec.to_json() + "\n" for spec in runs))
        print(path, file=process.stdin, flush=True)
        child = next_number()
        assert child > 1, "not a process that may be killed"
        return child

    yield start, next_number, phase
    process.stdin.close()
    process.wait(60)


def plan_of(out):
    runs = [("bc", "toy-modes", (0, 3)), ("bc", "toy-detour", (1,)), ("rebrac", "toy-modes", (2,))]
    settings = {"bc": SETTINGS, "rebrac": dict(hidden=[16, 16], batch_size=16)}
    return [RunSpec(agent, task, seeds, settings[agent], PROTOCOL, str(out), "toy") for agent, task, seeds in runs]


def records(runs):
    return {
        (spec.agent, spec.task, name): (spec.path / name).read_text()
        for spec in runs
        for name in ("train.csv", "eval.csv")
    }


def wait_for_the_moment(chance, phase, most):
    """Wait for a random moment of a run; return the phase in which it is."""

    def now():
        return PHASES[phase.read_bytes()[0]]

    if chance.random() < 0.2:
        time.sleep(chance.uniform(0, most))
    else:
        wanted, deadline = chance.choice(PHASES[:-1]), time.monotonic() + most
        while now() not in (wanted, "ended") and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(chance.choice((0, chance.uniform(0, 0.005), chance.uniform(0, 0.2))))
    return now()


@pytest.mark.slow
def test_a_plan_killed_at_fifty_random_moments_ends_with_the_same_records(server, tmp_path):
    start, ended, phase = server
    whole = plan_of(tmp_path / "whole")
    started = time.monotonic()
    start(whole)
    assert ended() == 0
    most = time.monotonic() - started

    chance, hit, restarts = random.Random(0), Counter(), 0
    for attempt in range(KILLS):  # a plan that ends before all kills are spent is followed by a fresh one
        cut = [dataclasses.replace(spec, out=str(tmp_path / f"cut-{attempt}")) for spec in whole]
        while True:
            process = start(cut)
            if sum(hit.values()) < KILLS:
                at = wait_for_the_moment(chance, phase, most)
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(process, signal.SIGKILL)
            if (code := ended()) == -signal.SIGKILL:
                hit[at] += 1
                continue
            assert code == 0
            break
        assert records(cut) == records(whole)
        assert {read_json(spec.path / "status.json")["state"] for spec in cut} == {"done"}
        restarts += sum(len(read_json(spec.path / "provenance.json")["starts"]) - 1 for spec in cut)
        if sum(hit.values()) == KILLS:
            break
    print(f"{KILLS} kills: {dict(hit)}; {attempt + 1} plans, {restarts} runs started again from their own files")
    assert set(PHASES[:4]) <= set(hit), "some phase was not hit"
    assert restarts > 10
