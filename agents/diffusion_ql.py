"""Diffusion-QL: a denoising policy trained to clone and, through its whole reverse chain, to maximise Q.

Paper: Wang, Hunt, Zhou, arXiv 2208.06193; constants and order of updates as in its authors' code. Tuned: eta.
No values on OGBench are published, so these choices are ours:
* OGBench's batches: y = R + γ^H m min_e Q̄(s', a') on chunks flattened to one action; the validity v weights the
  critics' loss and cloning.
* Critics and initialisation of this repository (GELU with LayerNorm, Glorot, 4 x 512), where the paper has mish,
  no LayerNorm, PyTorch's initialisation, 3 x 256. The noise network keeps mish and the sinusoidal step embedding, of
  steps counted from 1 where theirs are from 0.
* One norm for gradient clipping, 2, where the paper tunes 1 to 10 per task; the learning rate is constant, as it is in
  effect in the authors' code; results are not taken from the best of many evaluations.
* Rewards as they are, where the paper's AntMaze runs learn from 4 (r - 0.5). The cloning and Q terms do not see a
  reward's scale, which |Q| divides out, but the softmax over candidates at acting does, its temperature being 1: with
  rewards four times as large it is four times as greedy.
* Where Q is 0 everywhere (a hidden layer of one unit, critics that have not learned yet), it is divided by 1; the
  authors divide by 0, which makes all parameters NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents.alternating import AlternatingAgent
from agents.base import Config, integers, normal, option, uniform
from agents.diffusion import NoiseNetwork, Schedule, StepEmbedding, denoise, matching_loss
from agents.losses import magnitude, td_loss


@dataclass(frozen=True)
class DiffusionQLConfig(Config):
    """Diffusion-QL's hyperparameters; `pessimism` is unused, the smaller of two critics takes its place."""

    eta: float = option(1.0, "η, weight of the normalised Q: smaller stays closer to the data", low=0)
    ensemble: int = option(2, "members of the critic ensemble, E", low=2, high=2)
    gradient_norm: float = option(2.0, "each network's gradient is scaled down to this norm", low=0)
    diffusion_steps: int = option(5, "steps of the reverse chain, K", low=1, high=1000)
    max_backup: bool = option(False, "whether Q's target takes each critic's best of 10 next actions")
    candidates: int = option(50, "actions drawn per observation at acting", low=1, high=1000)
    average_from: int = option(1000, "update from which on the actor's average follows it", low=0)
    average_every: int = option(5, "updates per step of the actor's average", low=1)


class DiffusionQL(AlternatingAgent):
    """Critic Q(s, a), noise network `actor` ε(s, x, k) with an average that only targets use."""

    name = "diffusion_ql"
    Config = DiffusionQLConfig
    targets = ("critic", "actor")

    def networks(self):
        noise_network = NoiseNetwork(self.config.hidden, self.chunk_dim, StepEmbedding(16, (32, 16)))
        return {"critic": (self.critic(), "observation action"), "actor": (noise_network, "observation action time")}

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return Schedule(self.config.diffusion_steps)

    def optimizers(self):
        return {name: self.adam(self.config.learning_rate, self.config.gradient_norm) for name in self.targets}

    def target_rates(self, step):
        """The actor's average moves at updates 1001, 1006, ...; before, it is the initial network."""
        done = step - 1
        moves = (done >= self.config.average_from) & (done % self.config.average_every == 0)
        return {"critic": self.config.target_rate, "actor": jnp.where(moves, self.config.target_rate, 0.0)}

    def draws(self, batch_size):
        B, A, K, N = batch_size, self.chunk_dim, self.config.diffusion_steps, 10 if self.config.max_backup else 1
        return {
            "next_latent": normal(N, B, A),
            "next_noise": normal(N, B, A, count=K),
            "step": integers(1, K + 1, B, 1),
            "noise": normal(B, A),
            "latent": normal(B, A),
            "reverse_noise": normal(B, A, count=K),
            "coin": uniform(),
        }

    def update(self, state, batch):
        """Train the critic, then the actor on the new critic."""
        noise = self.noise(state, batch)
        state, critic = self.descend(state, batch, noise, critic=self.critic_loss)
        state, actor = self.descend(state, batch, noise, actor=self.actor_loss)
        return state.replace(step=state.step + 1), critic | actor

    def critic_loss(self, train, fixed, target, batch, noise):
        """The *sum* over both critics of mean v (Q - y)², with a' by the averaged actor."""
        s_next = jnp.broadcast_to(batch.next_observations, (*noise["next_latent"].shape[:-1], self.observation_dim))
        a_next = self.chain(target.actor, s_next, noise["next_latent"], noise["next_noise"])
        y = self.td_target(batch, target.critic(s_next, a_next).max(axis=1).min(axis=0))
        values = train.critic(batch.observations, batch.actions)
        return self.config.ensemble * td_loss(values, y, batch.valid), dict(q_mean=values.mean())

    def actor_loss(self, train, fixed, target, batch, noise):
        """L_BC + η L_Q."""
        s = batch.observations
        cloning = matching_loss(
            self.schedule,
            lambda x, k: train.actor(s, x, k),
            batch.actions,
            noise["noise"],
            noise["step"],
            batch.valid,
        )
        action = self.chain(train.actor, s, noise["latent"], noise["reverse_noise"])
        q_loss = normalized_q_loss(fixed.critic(s, action), noise["coin"])
        return cloning + self.config.eta * q_loss, dict(cloning_loss=cloning, q_loss=q_loss)

    def chain(self, actor, s, latent, noise):
        """Actions (..., A) by K reverse steps from the latents, with noise (K, ..., A); differentiable all through."""

        def step(x, k, z):
            return self.schedule.reverse_mean(x, actor(s, x, k), k) + self.schedule.posterior_std[k] * z, None

        return denoise(step, latent, noise)[0]

    def sample_actions(self, online, target, observations, rng):
        """One of 50 actions of the actor itself, with probability softmax(min_e Q̄)."""
        noise_rng, choice_rng = jax.random.split(rng)
        shape = (self.config.candidates, observations.shape[0])
        noise = jax.random.normal(noise_rng, (self.config.diffusion_steps + 1, *shape, self.chunk_dim))
        s = jnp.broadcast_to(observations, (*shape, observations.shape[-1]))
        actions = self.chain(online.actor, s, noise[0], noise[1:])
        choice = jax.random.categorical(choice_rng, target.critic(s, actions).min(axis=0), axis=0)
        return actions[choice, jnp.arange(shape[1])]


def normalized_q_loss(values, coin):
    """L_Q = -mean Q_i / sg[mean |Q_j|] from values (2, B); a fair coin in [0, 1) says which of the two is i."""
    first, second = jnp.where(coin < 0.5, values, values[::-1])
    return -first.mean() / magnitude(second)
