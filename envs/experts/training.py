"""Training an expert: a step in the environment, a transition for the replay, an update, compiled calls for each.

The folder of a training, which the same command goes on with:

    config.json             what was asked
    provenance.json         what made it, an entry for every start
    train.csv, eval.csv     losses, returns of its own episodes; returns of episodes without noise
    checkpoint.safetensors  networks, optimiser, replay and counts, replaced whole
    expert.safetensors, card.json  the expert as it was last evaluated
    curve.png               returns over steps

Everything due (a row, an evaluation, a checkpoint) is done at the first end of an episode after its step, and every
episode is seeded by its number: so a training that was killed goes on with the same numbers, and no episode is cut.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import io
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock, Timeout
from flax import struct
from jax import Array
from matplotlib.figure import Figure
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from agents.base import Batch, State
from benchmark.common.errors import Stopped, UserError
from benchmark.common.files import make_folder, write_bytes, write_json, write_text
from benchmark.common.machine import git_state, now, processor
from benchmark.common.reading import Damaged, read_bytes
from envs.data import replay
from envs.data.replay import Transition
from envs.experts.bodies import REPLAY, Body, find_body
from envs.experts.policy import Expert, write_expert
from envs.experts.sac import SAC, SACConfig, named
from envs.experts.walking import EVALUATION, TRAINING, Walk, play

EVAL_EPISODES, FINAL_EPISODES = 10, 50
"""Of an evaluation under way, and of the last, whose result the card has (OGBench plays 50 every time)."""
BATCHES, ACTIONS = 0xBA7C, 0xAC7
"""Folded into a training's key for what an update and a step draw beside the loss's noise."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "ogbench", "mujoco", "gymnasium")
CHECKPOINT = "checkpoint.safetensors"

Say = Callable[[int, str], None]
"""Is told the steps so far and what is new, "" for nothing."""


@struct.dataclass
class Learner:
    """All that a training knows, on the device."""

    state: State
    """SAC's."""
    rows: Transition
    """The replay, a ring: arrays with leading axis M."""
    made: Array
    """Steps so far, () int32."""
    sums: dict[str, Array]
    """Of each metric, over the updates since the last row."""


def begin(agent: SAC, seed: int, capacity: int) -> Learner:
    """A training before its first step."""
    state = agent.init(jax.random.key_data(jax.random.key(seed)))
    rows = replay.empty(capacity, agent.observation_dim, agent.action_dim).transitions
    batch = jax.eval_shape(partial(draw, agent), state, rows, jnp.ones((), jnp.int32))
    _, metrics = jax.eval_shape(agent.update, state, batch)
    return Learner(state, rows, jnp.zeros((), jnp.int32), {name: jnp.zeros(()) for name in metrics})


def draw(agent: SAC, state: State, rows: Transition, size: Array) -> Batch:
    """The batch of the next update, uniform over the first `size` rows."""
    key = jax.random.fold_in(jax.random.fold_in(state.rng, BATCHES), state.step)
    index = jax.random.randint(key, (agent.config.batch_size,), 0, size)
    drawn = jax.tree.map(lambda leaf: leaf[index], rows)
    ones = jnp.ones(agent.config.batch_size)
    return Batch(
        drawn.observations,
        drawn.actions,
        drawn.rewards,
        drawn.masks.astype(jnp.float32),
        drawn.next_observations,
        valid=ones,
        action_weights=jnp.ones_like(drawn.actions),
    )


@jax.jit
def act(agent: SAC, state: State, observation: Array, step: Array) -> Array:
    """The action (d,) of that step, with the policy's own noise, for an observation (O,)."""
    key = jax.random.fold_in(jax.random.fold_in(state.rng, ACTIONS), step)
    return agent.act(state, observation[None], key)[0, 0]


def advance(agent: SAC, learner: Learner, step: Array | np.ndarray, learn: bool) -> tuple[Learner, Array]:
    """Append a step, flat: s, a, r, m, s' (2 O + d + 2,); make an update where it is due; the action at s'.

    Two compiled calls: in one, XLA copies the whole replay, which is read by the update, before it writes the row.
    """
    rows, made, following = append(agent, learner.rows, learner.made, step)
    state, sums = learner.state, learner.sums
    if learn:
        state, sums, action = learn_and_act(agent, state, sums, rows, made, following)
    else:
        action = act(agent, state, following, made)
    return Learner(state, rows, made, sums), action


@partial(jax.jit, donate_argnames="rows")
def append(agent: SAC, rows: Transition, made: Array, step: Array | np.ndarray) -> tuple[Transition, Array, Array]:
    """The replay with a step that is given flat, in place; steps so far; s' (O,)."""
    O, d = agent.observation_dim, agent.action_dim
    s, a, r, m, s_next = jnp.split(step, [O, O + d, O + d + 1, O + d + 2])
    row = Transition(s, a, r[0], m[0] > 0, s_next)
    at = made % rows.rewards.shape[0]
    return jax.tree.map(lambda leaf, new: leaf.at[at].set(new), rows, row), made + 1, s_next


@partial(jax.jit, donate_argnames=("state", "sums"))
def learn_and_act(
    agent: SAC, state: State, sums: dict[str, Array], rows: Transition, made: Array, observation: Array
) -> tuple[State, dict[str, Array], Array]:
    """An update from the replay, the sums of its metrics, and the action (d,) at an observation (O,) after it."""
    state, metrics = agent.update(state, draw(agent, state, rows, jnp.minimum(made, rows.rewards.shape[0])))
    sums = {name: total + metrics[name] for name, total in sums.items()}
    return state, sums, act(agent, state, observation, made)


class Training:
    """One training in its folder, from its last checkpoint on."""

    def __init__(self, asked: dict[str, Any], body: Body, folder: Path, say: Say):
        """`asked` is what config.json has."""
        self.asked, self.body, self.folder, self.say = asked, body, folder, say
        self.seed, self.steps = asked["seed"], asked["steps"]
        self.walk, self.test = Walk(body), Walk(body)
        self.agent = SAC(SACConfig(**body.settings), *self.walk.sizes)
        self.learner = begin(self.agent, self.seed, min(REPLAY, self.steps))
        self.counts: dict[str, Any] = {"step": 0, "episode": 0, "updates": 0, "recent": [], "seconds": 0.0}
        self.tables: dict[str, list[dict[str, Any]]] = {"train": [], "eval": []}
        self.restore()

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self.counts["step"]

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Train to the end. Raises `Stopped`, with a checkpoint written, where `stopped` says so between episodes."""
        started, before = time.monotonic(), self.counts["seconds"]
        while self.step < self.steps:
            begun = self.step
            self.episode()
            self.counts["seconds"] = before + time.monotonic() - started
            if self.due(self.body.log_every, begun):
                self.log()
            evaluating = self.due(self.body.eval_every, begun)
            if evaluating:
                self.evaluate()
                self.publish()
            stopping = stopped()
            if evaluating or stopping:
                self.checkpoint()
            self.say(self.step, "")
            if stopping and self.step < self.steps:
                raise Stopped(f"stopped at step {self.step:,} of {self.steps:,}; the same command goes on")

    def due(self, every: int, begun: int) -> bool:
        """Whether a multiple of `every` was passed since step `begun`, or the end is reached."""
        return self.step // every > begun // every or self.step == self.steps

    def episode(self) -> None:
        """Play an episode and learn from each step; the last is cut where the training ends."""
        counts, body = self.counts, self.body
        uniform = np.random.Generator(np.random.PCG64([self.seed, counts["episode"]]))
        observation = self.walk.reset(self.seed, TRAINING, counts["episode"])
        action = act(self.agent, self.learner.state, np.asarray(observation, np.float32), np.int32(self.step))
        total, length, over = 0.0, 0, False
        while not over and self.step < self.steps:
            number = self.step + 1
            if number < body.random_steps:
                action = uniform.uniform(-1, 1, self.walk.sizes[1]).astype(np.float32)
            taken = np.asarray(action)
            following, reward, fell, over = self.walk.step(taken)
            row = np.concatenate([observation, taken, [reward, not fell], following], dtype=np.float32)
            learn = number >= body.random_steps and number % body.update_every == 0
            self.learner, action = advance(self.agent, self.learner, row, learn)
            observation, total, length = following, total + reward, length + 1
            counts["step"] = number
            counts["updates"] += learn
        counts["episode"] += 1
        counts["recent"].append([total, length])

    def log(self) -> None:
        """A row of train.csv: means since the last."""
        returns, lengths = np.transpose(self.counts["recent"])
        updates = self.counts["updates"]
        metrics = {name: float(total) / max(updates, 1) for name, total in self.learner.sums.items()} if updates else {}
        row = {
            "step": self.step,
            "episodes": len(returns),
            "return": returns.mean(),
            "length": lengths.mean(),
            **metrics,
        }
        if not np.isfinite(list(row.values())).all():
            raise UserError(f"the training diverged by step {self.step:,}: {row}")
        self.tables["train"].append(row)
        self.learner = dataclasses.replace(self.learner, sums=jax.tree.map(jnp.zeros_like, self.learner.sums))
        self.counts |= {"recent": [], "updates": 0}
        self.write("train")

    def evaluate(self) -> None:
        """A row of eval.csv."""
        count = FINAL_EPISODES if self.step == self.steps else EVAL_EPISODES
        expert = self.expert()
        played = [play(self.test, expert, self.seed, EVALUATION, self.step, number) for number in range(count)]
        returns, lengths = np.transpose(played)
        row = {"step": self.step, "episodes": count, "return": returns.mean(), "return_std": returns.std()}
        self.tables["eval"].append({**row, "length": lengths.mean()})
        self.write("eval")
        self.say(self.step, f"return {row['return']:.1f} ± {row['return_std']:.1f}, length {lengths.mean():.0f}")

    def parameters(self) -> dict[str, np.ndarray]:
        """The policy's, by path."""
        return {name: np.asarray(leaf) for name, leaf in named(self.learner.state.params["actor"]).items()}

    def expert(self) -> Expert:
        """The policy as it is now, without noise."""
        return Expert(self.parameters())

    def write(self, table: str) -> None:
        """Write a table."""
        rows = self.tables[table]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in rows)
        write_text(self.folder / f"{table}.csv", text.getvalue())

    def checkpoint(self) -> None:
        """Write everything that going on needs; of the replay what is filled."""
        arrays = {name: np.asarray(leaf) for name, leaf in named(self.learner).items()}
        arrays |= {name: arrays[name][: self.step] for name in arrays if name.startswith("rows/")}
        facts = {"asked": self.asked, "counts": self.counts, "tables": self.tables}
        write_bytes(self.folder / CHECKPOINT, save(arrays, metadata={"facts": json.dumps(facts)}))

    def restore(self) -> None:
        """Go on from the checkpoint where there is one."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            with safe_open(path, "numpy") as file:
                facts = json.loads(file.metadata()["facts"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error}); move {self.folder} away to begin again") from error
        if facts["asked"] != self.asked:  # of another config.json, which is gone
            raise UserError(f"{path} is of another training: {facts['asked']}; move {self.folder} away to begin again")
        self.counts, self.tables = facts["counts"], facts["tables"]
        room = named(self.learner)
        for name, leaf in room.items():
            kept = arrays[name]
            room[name] = leaf.at[: len(kept)].set(kept) if name.startswith("rows/") else jnp.asarray(kept)
        self.learner = jax.tree.unflatten(jax.tree.structure(self.learner), room.values())
        for table in self.tables:
            self.write(table)

    def publish(self) -> None:
        """Write the expert as it is now, with a card that says how it was made and what the last evaluation gave."""
        made = starts(self.folder)
        evaluated = {name: round(float(value), 2) for name, value in self.tables["eval"][-1].items() if name != "step"}
        card = {
            **self.asked,
            "trained": self.step,
            "commits": sorted({str(start["commit"]) for start in made}),
            **{name: made[-1][name] for name in ("versions", "device")},
            "hours": round(self.counts["seconds"] / 3600, 2),
            "time": now(),
            "evaluated": evaluated,
        }
        write_expert(self.folder, self.parameters(), card)


def draw_curve(folder: Path) -> None:
    """Draw the returns of both tables over steps, those without noise with the deviation of their episodes."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for table, label in (("train", "episodes of training"), ("eval", "without noise, mean and deviation of episodes")):
        with (folder / f"{table}.csv").open(newline="") as file:
            rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]
        steps, returns = ([row[name] for row in rows] for name in ("step", "return"))
        axes.errorbar(steps, returns, [row.get("return_std", 0) for row in rows], label=label, marker=".", capsize=2)
    axes.set(xlabel="environment steps", ylabel="return")
    axes.legend(frameon=False)
    figure.savefig(folder / "curve.png", dpi=120)


def starts(folder: Path) -> list[dict[str, Any]]:
    """What provenance.json has. Raises a UserError as `recorded`."""
    return recorded(folder / "provenance.json", [])


def recorded(path: Path, default: Any) -> Any:
    """What a JSON file of a training's folder has, `default` where there is none.

    Raises a UserError where it cannot be read, or is not of the default's type.
    """
    try:
        content = read_bytes(path)
        found = default if content is None else json.loads(content)
        if not isinstance(found, type(default)):
            raise ValueError(f"not a {type(default).__name__}")
    except (Damaged, ValueError, RecursionError) as error:
        reason = error.brief if isinstance(error, Damaged) else error
        raise UserError(f"{path} cannot be read ({reason}); move {path.parent} away to begin again") from error
    return found


def open_folder(folder: Path, asked: dict[str, Any]) -> None:
    """Note what is asked, and this start. Raises a UserError as `recorded`, and where another training is there."""
    path, before = folder / "config.json", starts(folder)
    found = recorded(path, asked)
    different = [
        f"{name} {found.get(name)} (asked: {value})" for name, value in asked.items() if found.get(name) != value
    ]
    if different:
        raise UserError(f"{folder} has a training with {', '.join(different)}; choose another --out")
    write_json(path, asked)
    commit, clean = git_state()
    start = {
        "time": now(),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "commit": commit,
        "clean": clean,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": f"{jax.default_backend()}: {processor()}",
    }
    write_json(folder / "provenance.json", [*before, start])


def train(
    body: str,
    folder: Path,
    seed: int = 0,
    steps: int | None = None,
    say: Say = lambda step, news: None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Train the expert of a body in a folder, or go on with it; nothing is done where it is trained.

    Raises a UserError where the folder has another training or one under way, `Stopped` where `stopped` says so.
    """
    recipe = find_body(body)
    settings = dataclasses.asdict(SACConfig(**recipe.settings))
    del settings["matmul_precision"]  # of no effect on a CPU
    asked = {"body": body, "env": recipe.env_id, "seed": seed, "steps": steps or recipe.steps, "settings": settings}
    asked |= {"redraw_every": recipe.redraw_every, "update_every": recipe.update_every}
    asked = json.loads(json.dumps(asked))
    make_folder(folder)
    try:
        with FileLock(folder / ".lock", timeout=0):
            open_folder(folder, asked)
            Training(asked, recipe, folder, say).run(stopped)
            draw_curve(folder)
    except Timeout as error:
        raise UserError(f"another process is training in {folder}") from error
