"""Online fine-tuning after the offline phase, as QAM's authors do it (arXiv 2601.14234), for every agent.

Each step executes one action of the agent's own policy, appends the transition to the replay (which begins as the
dataset), and, after the first 5,000 steps, makes one update on windows drawn uniformly from all of it. That holds for
every agent: those that draw trajectories first offline do not online. A policy acts as in evaluation, a chunk of
actions open loop. Environments are stepped for all seeds together, with a replay a seed on the device.

Steps go on counting from the offline phase's last, and evaluation, rows and checkpoints keep their schedule. At a
checkpoint the episodes under way are cut, as by a time limit, in every run alike: so a run that is stopped goes on
with the same episodes, noise and batches, and ends with the same records. The transitions are kept in replay/, a file
for each checkpoint.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.base import Agent, State
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder
from benchmark.loop.checkpoints import file_digest
from benchmark.loop.segments import SAMPLING, act, named_precision, over_seeds
from benchmark.loop.training import Training
from benchmark.runs.protocol import Online
from benchmark.runs.record import ANEW
from envs.data import replay
from envs.data.dataset import Dataset
from envs.data.replay import Replay, Transition
from envs.play.live import ONLINE, Live, Steps


@partial(jax.jit, donate_argnames="replays")
def append(replays: Replay, transitions: Transition, first: Array) -> Replay:
    """Add a transition to every seed's replay."""
    return jax.vmap(replay.add)(replays, transitions, first)


@partial(jax.jit, static_argnames="name", donate_argnames="states")
def update(agent: Agent, states: State, data: Dataset, replays: Replay, name: str) -> tuple[State, dict[str, Array]]:
    """One update of every seed, by the agent's method of that name, on windows of the dataset and its replay."""
    config = agent.config

    def draw(state: State, own: Replay):
        rng = jax.random.fold_in(jax.random.fold_in(state.rng, state.step), SAMPLING)
        return replay.sample(data, own, rng, config.batch_size, config.chunk_length, config.discount)

    # Batches first, for all seeds: a loop over seeds would copy each one's replay.
    pairs: Any = (states, jax.vmap(draw)(states, replays))
    with named_precision(config.matmul_precision):
        return over_seeds(lambda agent, pair: getattr(agent, name)(*pair), agent, pairs, None)


class OnlineTraining(Training):
    """A run with an online phase after its offline one."""

    def __init__(self, *arguments: Any, online: Online, live: Live, **options: Any):
        """As `Training`; `live` has an environment for each seed."""
        self.online, self.live = online, live
        self.done_online = 0
        super().__init__(*arguments, **options)
        self.steps = self.protocol.steps + online.steps
        self.folder = self.directory.path / "replay"
        self.kept = 0
        """Transitions a seed that are in files."""
        self.digests: dict[str, str] = {}
        """Of those files, by name."""
        data = self.world.data_for(0)
        room = replay.empty(online.steps, data.observation_dim, data.action_dim)
        self.replays = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(self.seeds)), room)

    # ---- where it is

    @property
    def step(self) -> int:
        """Steps so far, offline and online."""
        return min(self.update, self.total) - self.offset + self.done_online

    @property
    def last(self) -> bool:
        """Whether the phase's last step is done."""
        return self.done_online == self.online.steps or (self.update == self.total and self.done_online == 0)

    @property
    def progress(self) -> int:
        """What a checkpoint is named by: updates of the offline phase and steps of the online one."""
        return self.offset + self.step

    def go_to(self, progress: int) -> None:
        """Be where a checkpoint was made."""
        self.done_online = max(0, progress - self.total)
        self.update = min(progress, self.total) + max(0, self.done_online - self.online.start)
        self.kept = self.done_online

    def record(self, step: int, clocks: dict[str, float]) -> dict[str, Any]:
        """As of any training, with digests of the files of the replay."""
        until = step - self.protocol.steps
        return super().record(step, clocks) | {
            "replay": {name: digest for name, digest in self.digests.items() if int(Path(name).stem) <= until}
        }

    def check(self, record: dict[str, Any]) -> None:
        """As of any training; the files of the replay too are to be those that were written."""
        super().check(record)
        for name, digest in record["replay"].items():
            path = self.folder / name
            if not path.is_file() or (found := file_digest(path)) != digest:
                raise UserError(
                    f"{path} {'is damaged' if path.exists() else 'is gone'}, so the run cannot go on from its "
                    f"checkpoint of step {self.step}; put the file back as it was, or begin again with {ANEW}"
                )
            self.digests[name] = found

    def resume(self) -> None:
        """Continue from the newest checkpoint that is whole, with the replay that it had."""
        super().resume()
        for path in self.parts():
            if path.name not in self.digests:
                path.unlink()
        parts = [dict(np.load(path)) for path in self.parts()]
        if parts:
            arrays = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
            self.replays = replay.from_arrays(self.replays, arrays)

    def parts(self) -> list[Path]:
        """Files of the replay, in order; each is named after the step at which it ends."""
        return sorted(self.folder.glob("[0-9]*.npz"), key=lambda path: int(path.stem))

    def checkpoint(self, step: int) -> None:
        """Write the transitions since the last checkpoint, then the states.

        Only on schedule in the online phase: a run that is asked to stop elsewhere goes on from the checkpoint before,
        since its episodes are to be cut where those of an undisturbed run are.
        """
        if self.done_online and step % self.protocol.checkpoint_every and not self.last:
            return
        if self.done_online > self.kept:
            make_folder(self.folder)
            path = self.folder / f"{self.done_online}.npz"
            temporary = path.with_suffix(".tmp")
            with temporary.open("wb") as file:
                arrays: dict[str, Any] = replay.to_arrays(self.replays, self.kept, self.done_online)
                np.savez(file, **arrays)
            temporary.replace(path)
            self.digests[path.name] = file_digest(path)
            self.kept = self.done_online
        super().checkpoint(step)

    # ---- the phase

    def learn(self) -> None:
        """The offline phase, where it is not done, and then the online one."""
        super().learn()
        if self.done_online == 0:
            self.begin("online")
        if self.done_online < self.online.steps:
            self.begin_episodes()
        while self.done_online < self.online.steps:
            started, begun = time.perf_counter(), self.done_online
            due = self.protocol.log_every - self.step % self.protocol.log_every
            metrics = self.interact(min(due, self.online.steps - self.done_online))
            seconds = time.perf_counter() - started
            self.clocks["train_seconds"] += seconds
            self.after_row(metrics, (self.done_online - begun) / seconds)
            if self.step % self.protocol.checkpoint_every == 0:
                self.begin_episodes()

    def begin_episodes(self) -> None:
        """Begin an episode in every environment; what was under way is cut."""
        count = len(self.seeds)
        self.observations = self.live.reset(np.ones(count, bool), self.step)
        self.first = np.ones(count, bool)
        self.queue: list[list[np.ndarray]] = [[] for _ in self.seeds]

    def interact(self, steps: int) -> dict[str, np.ndarray]:
        """Make some steps; return each metric's mean over the updates, (S,), {} where there were none."""
        rows: dict[str, list[Array]] = {}
        episodes: list[float] = []
        for _ in range(steps):
            data = self.world.data_for(self.total + self.done_online)
            taken = self.next_actions()
            made = self.live.step(taken)
            self.remember(taken, made)
            self.done_online += 1
            if self.done_online > self.online.start:
                name = self.agent.cycle(self.update)[0][0]
                self.states, metrics = update(self.agent, self.states, data, self.replays, name)
                self.update += 1
                for metric, values in metrics.items():
                    rows.setdefault(metric, []).append(values)
            del data  # the world may let go of it
            if made.ended.any():
                episodes += made.success[made.ended].tolist()
                self.observations = self.live.reset(made.ended, self.step)
                self.queue = [[] if over else left for over, left in zip(made.ended, self.queue, strict=True)]
        if episodes:
            self.say(f"step {self.step}: {len(episodes)} episodes of its own, success {np.mean(episodes):.2f}")
        return {name: np.mean(jax.device_get(values), axis=0) for name, values in rows.items()}

    def next_actions(self) -> np.ndarray:
        """The next action (S, d) of every seed; where a chunk is used up the policy is asked for another."""
        if not all(self.queue):
            ids = np.array([[[seed, ONLINE, self.step]] for seed in self.seeds], np.uint32)
            chunks = np.asarray(act(self.agent, self.states, self.observations[:, None], ids, self.agent_axis))[:, 0]
            self.queue = [left or list(chunk) for left, chunk in zip(self.queue, chunks, strict=True)]
        # A seed that diverged stands still: the simulators take numbers only.
        return np.clip(np.nan_to_num([left.pop(0) for left in self.queue]), -1, 1)

    def remember(self, actions: np.ndarray, made: Steps) -> None:
        """Append what happened."""
        transitions = Transition(
            observations=jnp.asarray(self.observations),
            actions=jnp.asarray(actions, jnp.float32),
            rewards=jnp.asarray(made.rewards, jnp.float32),
            masks=jnp.asarray(made.masks),
            next_observations=jnp.asarray(made.next_observations),
        )
        self.replays = append(self.replays, transitions, jnp.asarray(self.first))
        self.observations, self.first = made.next_observations, made.ended.copy()
