"""Online fine-tuning after the offline phase, as QAM's authors do it (arXiv 2601.14234), for every agent.

Each step executes one action of the agent's own policy, appends the transition to the replay (which begins as the
dataset), and, after the first 5,000 steps, makes one update on windows drawn uniformly from all of it. That holds for
every agent without a sampler of its own: those that draw trajectories first offline do not online. A policy acts as in
evaluation, a chunk of actions open loop. Environments are stepped for all seeds together, with a replay a seed on the
device.

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

from agents.base import Agent, Batch, State
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder
from benchmark.loop.checkpoints import file_digest
from benchmark.loop.evaluator import Evaluator
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.offline import Training
from benchmark.loop.recorder import Recorder
from benchmark.loop.segments import act, named_precision, over_seeds, sample
from benchmark.runs.record import ANEW
from envs.data import replay
from envs.data.dataset import Dataset
from envs.data.replay import Joined, Replay, Transition
from envs.play.live import ONLINE, Live, Steps


@partial(jax.jit, donate_argnames="replays")
def append(replays: Replay, transitions: Transition, first: Array) -> Replay:
    """Add a transition to every seed's replay."""
    return jax.vmap(replay.add)(replays, transitions, first)


def draw(agent: Agent, data: Dataset, states: State, replays: Replay) -> Batch:
    """The batch of every seed's next update, from the dataset and its replay."""
    return jax.vmap(lambda state, own: sample(agent, state, Joined(data, own)))(states, replays)


@partial(jax.jit, static_argnames="name", donate_argnames="states")
def update(agent: Agent, states: State, data: Dataset, replays: Replay, name: str) -> tuple[State, dict[str, Array]]:
    """One update of every seed, by the agent's method of that name, on a batch of the dataset and its replay."""
    # Batches first, for all seeds: a loop over seeds would copy each one's replay.
    with named_precision(agent.config.matmul_precision):
        pairs: Any = (states, draw(agent, data, states, replays))
        return over_seeds(lambda agent, pair: getattr(agent, name)(*pair), agent, pairs)


class KeptReplay:
    """The transitions of every seed: on the device, and in files that end where checkpoints were made."""

    def __init__(self, run: Path, first: int, replays: Replay):
        """`run`: the run's folder; `first`: the step before the phase's first; `replays`: empty ones, stacked."""
        self.folder, self.first, self.replays = run / "replay", first, replays
        self.digests: dict[str, str] = {}
        """Of the files, by name."""

    def files(self) -> list[Path]:
        """In order; each is named after the phase's step at which it ends."""
        return sorted(self.folder.glob("[0-9]*.npz"), key=lambda path: int(path.stem))

    def vouch(self, step: int) -> dict[str, str]:
        """Digests of the files up to a step."""
        return {name: digest for name, digest in self.digests.items() if int(Path(name).stem) <= step - self.first}

    def check(self, step: int, vouched: dict[str, str]) -> None:
        """Raise a UserError where a file is not the one that was written."""
        for name, digest in vouched.items():
            path = self.folder / name
            if not path.is_file() or file_digest(path) != digest:
                raise UserError(
                    f"{path} {'is damaged' if path.exists() else 'is gone'}, so the run cannot go on from its "
                    f"checkpoint of step {step}; put the file back as it was, or begin again with {ANEW}"
                )
        self.digests = dict(vouched)

    def keep_until(self, step: int) -> None:
        """Drop the files after a step, and read the others."""
        for path in self.files():
            if path.name not in self.vouch(step):
                path.unlink()
        parts = [dict(np.load(path)) for path in self.files()]
        if parts:
            arrays = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
            self.replays = replay.from_arrays(self.replays, arrays)

    def write(self, done: int) -> None:
        """Write the transitions up to the phase's step `done` that are in no file yet."""
        kept = max((int(Path(name).stem) for name in self.digests), default=0)
        if done <= kept:
            return
        make_folder(self.folder)
        path = self.folder / f"{done}.npz"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            arrays: dict[str, Any] = replay.to_arrays(self.replays, kept, done)
            np.savez(file, **arrays)
        temporary.replace(path)
        self.digests[path.name] = file_digest(path)


class OnlineTraining(Training):
    """A run with an online phase after its offline one."""

    def __init__(self, experiment: Experiment, evaluator: Evaluator, recorder: Recorder, watch: Watch, live: Live):
        """As `Training`, of an experiment with an online phase; `live` has an environment for each seed."""
        super().__init__(experiment, evaluator, recorder, watch)
        assert experiment.online is not None
        self.seeds, self.online, self.live = experiment.seeds, experiment.online, live
        self.end += self.online.steps
        data = self.world.data_for(0)
        room = replay.empty(self.online.steps, data.observation_dim, data.action_dim)
        replays = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(self.seeds)), room)
        self.replay = KeptReplay(recorder.directory.path, self.protocol.steps, replays)
        recorder.further["replay"] = self.replay

    @property
    def done_online(self) -> int:
        """Steps of the phase so far."""
        return max(0, self.progress - self.end_of_updates)

    def checkpoint(self) -> None:
        """Write the transitions since the last checkpoint, then the states.

        Only on schedule in the online phase: a run that is asked to stop elsewhere goes on from the checkpoint before,
        since its episodes are to be cut where those of an undisturbed run are.
        """
        if self.done_online and self.step % self.protocol.checkpoint_every and not self.phase_ends:
            return
        self.replay.write(self.done_online)
        super().checkpoint()

    def learn(self) -> None:
        """The offline phase, where it is not done, and then the online one."""
        self.check_batches()
        super().learn()
        if self.done_online == 0:
            self.begin("online")
        if self.progress < self.end:
            self.begin_episodes()
        while self.progress < self.end:
            started, begun = time.perf_counter(), self.progress
            due = self.protocol.next_due(self.step) - self.step
            metrics = self.interact(min(due, self.end - self.progress))
            self.after_row(metrics, begun, time.perf_counter() - started)
            if self.step % self.protocol.checkpoint_every == 0:
                self.begin_episodes()

    def check_batches(self) -> None:
        """Raise a UserError for an agent that draws no batch, or another, online. In a function of its own: while the
        run learns, the world alone may hold a shard of several.
        """
        data = self.world.data_for(self.progress)
        offline = jax.eval_shape(jax.vmap(lambda state: sample(self.agent, state, data)), self.states)
        both = jax.eval_shape(partial(draw, self.agent, data), self.states, self.replay.replays)
        one, other = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (offline, both))
        if one != other:
            raise UserError(f"{self.agent.name}.sample gives other fields, shapes or types online than offline")

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
            data = self.world.data_for(self.progress)
            taken = self.next_actions()
            made = self.live.step(taken)
            self.remember(taken, made)
            self.progress += 1
            if (made_before := self.done_online - self.online.start - 1) >= 0:
                name = self.agent.cycle(self.end_of_updates + made_before)[0][0]
                self.states, metrics = update(self.agent, self.states, data, self.replay.replays, name)
                for metric, values in metrics.items():
                    rows.setdefault(metric, []).append(values)
            del data  # the world may let go of it
            if made.ended.any():
                episodes += made.success[made.ended].tolist()
                self.observations = self.live.reset(made.ended, self.step)
                self.queue = [[] if over else left for over, left in zip(made.ended, self.queue, strict=True)]
        if episodes:
            self.watch.say(f"step {self.step}: {len(episodes)} episodes of its own, success {np.mean(episodes):.2f}")
        return {name: np.mean(jax.device_get(values), axis=0) for name, values in rows.items()}

    def next_actions(self) -> np.ndarray:
        """The next action (S, d) of every seed; where a chunk is used up the policy is asked for another."""
        if not all(self.queue):
            ids = np.array([[[seed, ONLINE, self.step]] for seed in self.seeds], np.uint32)
            chunks = np.asarray(act(self.agent, self.states, self.observations[:, None], ids))[:, 0]
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
        self.replay.replays = append(self.replay.replays, transitions, jnp.asarray(self.first))
        self.observations, self.first = made.next_observations, made.ended.copy()
