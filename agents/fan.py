"""FAN, flow-anchored noise-conditioned Q-learning: a one-step policy that a flow anchors without being solved.

On the straight line from noise z to the policy's action μ(s, z) the cloned flow's velocity should be μ(s, z) - z; the
mismatch R at one random point of the line holds the policy near the data, and is a penalty within the TD target. The
critic Q(s, a, n) also sees the noise n that made the next action, so that one sample a row teaches it a distribution;
Z(s, a), an upper expectile of it over n, is what the target bootstraps.

Paper: Lee et al., arXiv 2605.01663. Tuned: alpha1, alpha2, z_agg.
Differs from the authors' code: action chunks where the domain has them (theirs are single actions), invalid ones left
out of the losses of Q, Z and the flow. R sums over a chunk's A dimensions, so alpha2 weighs more there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import expectile_loss, magnitude, td_loss
from agents.networks import combined, ensemble_mean


@dataclass(frozen=True)
class FANConfig(Config):
    """FAN's hyperparameters."""

    pessimism: ClassVar[Any] = None  # type: ignore[misc]
    alpha1: float = option(10.0, "α₁, weight of the anchor: larger stays closer to the data", low=0)
    alpha2: float = option(10.0, "α₂, weight of the next action's mismatch in the TD target", low=0)
    online_alpha1: float = option(10.0, "α₁ of the online phase", low=0)
    online_alpha2: float = option(0.0, "α₂ of the online phase", low=0)
    expectile: float = option(0.9, "κ of Z over the noise: larger is more optimistic", low=0, high=1)
    z_agg: str = option("mean", "what of Z's members the TD target takes", choices=("mean", "min"))
    normalize_value_loss: bool = option(False, "whether the policy's two value terms are divided by their magnitudes")
    ensemble: int = option(2, "members of Q and of Z, E", low=1)


class FAN(Agent):
    """Critic Q(s, a, n), its upper expectile Z(s, a), flow u(s, x, t), one-step policy μ(s, z)."""

    name = "fan"
    Config = FANConfig

    def networks(self):
        return {
            "critic": (self.critic(), "observation action action"),
            "upper": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
            "one_step": (self.vector_field(), "observation action"),
        }

    def draws(self, batch_size):
        array, time = normal(batch_size, self.chunk_dim), uniform(batch_size, 1)
        draws = {"next_latent": array, "next_t": time, "upper_noise": array, "x0": array, "t": time}
        return draws | {"latent": array, "anchor_t": time, "policy_noise": array}

    def init_extra(self):
        return {"online_phase": jnp.zeros(())}

    def begin(self, state, phase):
        """The online phase has weights α of its own; optimiser and targets go on."""
        flag = jnp.full_like(state.extra["online_phase"], phase == "online")
        return state.replace(extra=state.extra | {"online_phase": flag})

    def loss(self, train, fixed, target, batch, noise):
        online, c = fixed.online_phase > 0, self.config
        alpha1, alpha2 = jnp.where(online, c.online_alpha1, c.alpha1), jnp.where(online, c.online_alpha2, c.alpha2)
        critic_loss, next_mismatch = self.critic_loss(train, fixed, batch, noise, alpha2)
        upper_loss = self.upper_loss(train, target, batch, noise)
        flow_loss = flow.cloning_loss(train.flow, batch, noise)
        anchor, q_loss, z_loss = self.policy_losses(train, fixed, batch, noise)
        metrics = dict(critic_loss=critic_loss, upper_loss=upper_loss, flow_loss=flow_loss, anchor_loss=anchor)
        total = critic_loss + upper_loss + flow_loss + alpha1 * anchor + q_loss + z_loss
        return total, metrics | dict(q_loss=q_loss, z_loss=z_loss, next_mismatch=next_mismatch)

    def mismatch(self, fixed, s, z, action, t):
        """(a - z - u(s, x_t, t))² on the straight line from z to a, (B, A)."""
        return flow.matching_error(fixed.flow(s, flow.interpolate(z, action, t), t), z, action)

    def critic_loss(self, train, fixed, batch, noise, alpha2):
        """L_Q of Q(s, a, z') with y = R + γ^H m (Z(s', a') - α₂ R'), where z' made a' = clip(μ(s', z')); mean R'."""
        s_next, z = batch.next_observations, noise["next_latent"]
        a_next = jnp.clip(fixed.one_step(s_next, z), -1, 1)
        mismatch = self.mismatch(fixed, s_next, z, a_next, noise["next_t"]).sum(axis=-1)
        upper = combined(fixed.upper(s_next, a_next), self.config.z_agg)
        y = self.td_target(batch, upper - alpha2 * mismatch)
        return td_loss(train.critic(batch.observations, batch.actions, z), y, batch.valid), mismatch.mean()

    def upper_loss(self, train, target, batch, noise):
        """L_Z: each member of Z is an upper expectile of the members' mean Q̄(s, a, n) over fresh noise n."""
        s, a = batch.observations, batch.actions
        error = ensemble_mean(target.critic(s, a, noise["upper_noise"])) - train.upper(s, a)
        return (batch.valid * expectile_loss(error, self.config.expectile)).mean()

    def policy_losses(self, train, fixed, batch, noise):
        """The anchor at μ(s, z), through which the gradient also passes the flow, and minus Q and Z at its clip."""
        s, z = batch.observations, noise["latent"]
        action = train.one_step(s, z)
        anchor = self.mismatch(fixed, s, z, action, noise["anchor_t"]).mean()
        inside = jnp.clip(action, -1, 1)
        q = ensemble_mean(fixed.critic(s, inside, noise["policy_noise"]))
        upper = ensemble_mean(fixed.upper(s, inside))
        if self.config.normalize_value_loss:
            q, upper = q / magnitude(q), upper / magnitude(upper)
        return anchor, -q.mean(), -upper.mean()

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return jnp.clip(online.one_step(observations, z), -1, 1)
