"""What the README shows works as written."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmark.configure import agent_class
from benchmark.training import act, init_states, run_segment
from tests.worlds import D, FakeWorld, O

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_agent_trains_and_acts(tmp_path):
    path = tmp_path / "my_agent.py"
    path.write_text(re.search(r"```python\n(.*?)```", README, re.S)[1])
    cls = agent_class(str(path))
    agent = cls(cls.Config(hidden=(8,), chunk_length=2, batch_size=4), O, D)
    states = init_states(agent, jnp.arange(2))
    states, metrics = run_segment(agent, states, FakeWorld().data, 3, ("update",))
    assert jnp.isfinite(metrics["loss"]).all()
    chunks = act(agent, states, jnp.zeros((2, 3, O)), jnp.zeros((2, 3, 4), jnp.uint32))
    assert chunks.shape == (2, 3, 2, D)
    jax.block_until_ready(chunks)


def test_every_command_exists():
    modules = set(re.findall(r"python -m ([a-z_.]+)", README))
    assert {"benchmark.train", "envs.download", "analysis.tables"} <= modules
    for module in sorted(modules):
        done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{module}: {done.stderr}"


def test_every_path_of_the_map_exists():
    for name in re.findall(r"^([a-z_]+(?:/|\.py))", re.search(r"## The house\n\n```\n(.*?)```", README, re.S)[1], re.M):
        assert (ROOT / name).exists(), name
