"""floq: a critic that is a flow of a scalar, from noise to the value of an action in several steps.

The velocity v(z, t | s, a) is trained by flow matching towards one TD target for each transition, the mean over several
noise samples of where the target flow ends at s': so the critic's depth is its number of steps, each of them
supervised. A plain critic is regressed onto the flow's ends, and the policy, FQL's, climbs that.

Paper: Agrawalla, Nauman, Agrawal, Kumar, arXiv 2509.06863. Tuned: alpha, and where the paper's code does, aggregate,
noise_coverage, velocity_hidden, batch_size. This is the authors' code; what differs from the paper, or from the code:
* The flow's time enters as cos t, one number, as in their code; the paper has 64 features cos kπt (`time_code`).
* Published values are for single actions and, in scene and puzzle, for one point of reward a part, on the smaller data
  of puzzle-4x4; with chunks, the return and γ^H take the reward's and γ's place, and invalid chunks do not count.
* The code of a return that is so far outside the range that all bins are empty is 0, theirs 0 / 0.
Left out: options that none of their commands has (a residual velocity network, training at t = 0 alone).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Config, normal, option, uniform
from agents.fql import FQL, one_step_losses
from agents.losses import td_loss
from agents.networks import Value, combined

BINS, WIDTH = 50, 16
"""Bins of a coded return over the range of returns, and the code's standard deviation in bins."""
REWARD_OFFSET = 0.01
"""Each end of the range of rewards is moved out by this before the bins are laid."""
FREQUENCIES = 64


@dataclass(frozen=True)
class FloQConfig(Config):
    """floq's hyperparameters."""

    pessimism: ClassVar[Any] = None  # type: ignore[misc]
    # Below 1: returns have the range of rewards over 1 - γ, and in 32 bits 1 - γ is 0 before γ is 1.
    discount: float = option(0.99, "discount γ per environment step", low=0, high=0.999999)
    ensemble: int = option(2, "members of the flow critic and of the distilled one, E", low=1)
    alpha: float = option(10.0, "weight of the distillation term: larger stays closer to the data", low=0)
    flow_steps: int = option(10, "Euler steps of the behaviour flow, F", low=1, high=1000)
    aggregate: str = option("mean", "of the members where the target flows end", choices=("mean", "min"))
    normalize_q: bool = option(False, "whether the policy's Q term is divided by the mean |Q|")
    noise_samples: int = option(8, "noise samples per transition, R", low=1, high=1000)
    noise_coverage: float = option(0.1, "κ: the noise is uniform on this share of the range of returns", low=0)
    critic_steps: int = option(8, "Euler steps of the critic's flow, K", low=1, high=1000)
    velocity_hidden: tuple[int, ...] = option((), "widths of the velocity's hidden layers; none: as `hidden`", low=1)
    code_returns: bool = option(True, "whether a return enters as bins of a Gaussian around it, or as one number")
    time_code: str = option("cosine", "how the flow's time enters", choices=("cosine", "fourier", "raw"))


class FloQ(FQL):
    """Flow critic v(s, a, z, t), distilled critic Q(s, a), behaviour flow u(s, x, t), one-step policy μ(s, z)."""

    name = "floq"
    Config = FloQConfig  # type: ignore[assignment]
    targets = ("velocity",)

    def networks(self):
        velocity = Value(self.config.velocity_hidden or self.config.hidden, self.config.ensemble)
        return super().networks() | {"velocity": (velocity, "observation action return clock")}

    def input_sizes(self):
        sizes = {"return": BINS if self.config.code_returns else 1}
        return super().input_sizes() | sizes | {"clock": FREQUENCIES if self.config.time_code == "fourier" else 1}

    def facts(self, data, rng):
        """The range of rewards, which 0 always belongs to: it is taken over a buffer that begins as zeros."""
        return dict(low=jnp.minimum(data.rewards.min(), 0), high=jnp.maximum(data.rewards.max(), 0))

    def draws(self, batch_size):
        B, A, R = batch_size, self.chunk_dim, self.config.noise_samples
        samples = {"next_latent": normal(B * R, A), "next_start": uniform(B * R, 1), "start": uniform(B * R, 1)}
        policy = {"x0": normal(B, A), "t": uniform(B, 1), "latent": normal(B, A)}
        return samples | {"start_t": uniform(B * R, 1)} | policy

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_v + L_d."""
        return self.velocity_loss(train, fixed, target, batch, noise) + self.distilled_loss(train, fixed, batch, noise)

    def velocity_loss(self, train, fixed, target, batch, noise):
        """L_v: flow matching towards y, summed over the noise samples."""
        s, a, s_next, valid = map(self.repeated, (*batch[:2], batch.next_observations, batch.valid))
        a_next = jnp.clip(fixed.one_step(s_next, noise["next_latent"]), -1, 1)
        ends = self.ends(target.velocity, fixed, s_next, a_next, self.starts(fixed, noise["next_start"]))
        values = combined(ends, self.config.aggregate).reshape(-1, self.config.noise_samples).mean(axis=1)
        y = self.repeated(self.td_target(batch, values))[:, None]
        start, t = self.starts(fixed, noise["start"]), noise["start_t"]
        z = flow.interpolate(start, y, t)
        velocity = train.velocity(s, a, self.coded(fixed, z), self.clock(t))
        error = flow.matching_error(velocity, start.squeeze(-1), y.squeeze(-1))
        return self.config.noise_samples * (valid * error).mean()

    def distilled_loss(self, train, fixed, batch, noise):
        """L_d: Q follows the mean of where the online flow's members end."""
        s, a = map(self.repeated, batch[:2])
        ends = self.ends(fixed.velocity, fixed, s, a, self.starts(fixed, noise["start"])).mean(axis=0)
        values = ends.reshape(-1, self.config.noise_samples).mean(axis=1)
        return td_loss(train.critic(batch.observations, batch.actions), values, batch.valid)

    def repeated(self, rows):
        """Each row once for each of its noise samples: (B, ...) to (B R, ...)."""
        return jnp.repeat(rows, self.config.noise_samples, axis=0)

    def starts(self, fixed, share):
        """Noise on the part κ of the range of returns that begins at 0, from uniform numbers."""
        scale = self.config.noise_coverage / (1 - self.config.discount)
        return scale * (fixed.low + (fixed.high - fixed.low) * share)

    def ends(self, velocity, fixed, s, a, start):
        """Where each member's flow carries z from the common starts (B, 1), in K steps: (E, B)."""

        def field(z, t):
            return velocity(s, a, self.coded(fixed, z), self.clock(t))[..., None]

        start = jnp.broadcast_to(start, (self.config.ensemble, *start.shape))
        return flow.integrate(field, start, self.config.critic_steps).squeeze(-1)

    def coded(self, fixed, z):
        """A return (..., 1) as the shares of a Gaussian around it that fall into the bins, (..., 50)."""
        low = (fixed.low - REWARD_OFFSET) / (1 - self.config.discount)
        high = (fixed.high + REWARD_OFFSET) / (1 - self.config.discount)
        if not self.config.code_returns:
            return (z - low) / (high - low)
        edges = low + (high - low) * jnp.arange(BINS + 1) / BINS
        shares = jax.lax.erf((edges - z) / (2**0.5 * WIDTH * (high - low) / BINS))
        total = shares[..., -1:] - shares[..., :1]
        return jnp.diff(shares) / jnp.where(total == 0, 1, total)

    def clock(self, t):
        """How the velocity sees its time (..., 1)."""
        if self.config.time_code == "fourier":
            return jnp.cos(jnp.pi * t * jnp.arange(1, FREQUENCIES + 1))
        return t if self.config.time_code == "raw" else jnp.cos(t)

    def policy_losses(self, train, fixed, batch, noise):
        """L_dist and L_Q of the one-step policy, the latter normalised if asked."""
        s, z = batch.observations, noise["latent"]
        teacher = flow.actions(fixed.flow, s, z, self.config.flow_steps)
        return one_step_losses(train.one_step(s, z), teacher, lambda a: fixed.critic(s, a), self.config.normalize_q)
