"""Value Flows: the whole distribution of returns as a flow of a scalar, and the best of 16 cloned actions.

The flow carries ε ~ N(0, 1) to a sample of the return of (s, a). Two losses tie it to the distributional Bellman
equation: at r + γ m z its field is the target flow's field at z and s' (DCFM), and it matches the line from the noise
to a bootstrapped return (BCFM). A flow's derivative by its noise, integrated along with it, says how far returns
spread; transitions of a large spread weigh more. Offline the best of N actions of a cloned flow acts, by one Euler
step of the return; FQL's one-step policy is trained beside it, and acts once a run is online.

Paper: Dong, Zheng, Finn, Sadigh, Eysenbach, arXiv 2510.07650. Tuned: bootstrap_weight, confidence, return_by, score_by,
discount. This is the authors' code; what differs from the paper, or from the code:
* Q is a step from one noise sample, ε + c(ε, 0, s, a), as in their code; the paper's is the mean of c(ε, 0, s, a).
* Published values are for single actions and, in scene and puzzle, for one point of reward a part, on the smaller data
  of puzzle-4x4; with chunks, the return and γ^H take the reward's and γ's place, and invalid chunks do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.fql import one_step_losses
from agents.networks import Value, combined


@dataclass(frozen=True)
class ValueFlowsConfig(Config):
    """Value Flows' hyperparameters."""

    pessimism: ClassVar[Any] = None  # type: ignore[misc]
    ensemble: ClassVar[Any] = None  # type: ignore[misc]
    # Below 1: returns have the range of rewards over 1 - γ, and in 32 bits 1 - γ is 0 before γ is 1.
    discount: float = option(0.99, "discount γ per environment step", low=0, high=0.999999)
    alpha: float = option(10.0, "weight of the one-step policy's distillation: larger stays closer to the data", low=0)
    flow_steps: int = option(10, "Euler steps of all flows, F", low=1, high=1000)
    candidates: int = option(16, "actions drawn per observation, of which the best is taken, N", low=1, high=1000)
    bootstrap_weight: float = option(1.0, "λ_B: weight of the matching of a whole bootstrapped return", low=0)
    field_weight: float = option(1.0, "λ_D: weight of the matching of the target's field", low=0)
    confidence: float = option(0.3, "T_w: transitions whose returns spread less than this weigh less", low=0)
    return_by: str = option("mean", "how the two flows' returns become one", choices=("mean", "min"))
    score_by: str = option("mean", "how their scores and spreads do", choices=("mean", "min"))
    clip_returns: bool = option(True, "whether a return is clipped to the data's range after every step")
    clip_actions: bool = option(True, "whether an action is clipped after every step, not the last alone")
    normalize_q: bool = option(False, "whether the one-step policy's Q term is divided by the mean |Q|")


class ValueFlows(Agent):
    """Two return flows c(z, t, s, a), behaviour flow u(s, x, t), one-step policy μ(s, z)."""

    name = "value_flows"
    Config = ValueFlowsConfig

    def networks(self):
        return {
            "critic": (Value(self.config.hidden, 2), "return time observation action"),
            "flow": (self.vector_field(layer_norm=True), "observation action time"),
            "one_step": (self.vector_field(layer_norm=True), "observation action"),
        }

    def input_sizes(self):
        return super().input_sizes() | {"return": 1}

    def init_extra(self):
        return {"is_online": jnp.zeros((), bool)}

    def begin(self, state, phase):
        """Online the one-step policy acts."""
        return state.replace(extra=state.extra | {"is_online": jnp.asarray(phase == "online")})

    def facts(self, data, rng):
        """The range of rewards."""
        return dict(low=data.rewards.min(), high=data.rewards.max())

    def draws(self, batch_size):
        B, A, N = batch_size, self.chunk_dim, self.config.candidates
        candidates = {"next_latent": normal(B, N, A), "next_score": normal(B, N, 1)}
        returns = {"spread": normal(B, 1), "start": normal(B, 1), "return_t": uniform(B, 1)}
        policy = {"x0": normal(B, A), "t": uniform(B, 1), "latent": normal(B, A), "score": normal(B, 1)}
        return candidates | returns | policy

    def loss(self, train, fixed, target, batch, noise):
        critic_loss, weight = self.critic_loss(train, fixed, target, batch, noise)
        flow_loss = flow.cloning_loss(train.flow, batch, noise)
        distillation, q_loss = self.policy_losses(train, fixed, batch, noise)
        total = critic_loss + flow_loss + self.config.alpha * distillation + q_loss
        metrics = dict(critic_loss=critic_loss, flow_loss=flow_loss, distillation_loss=distillation, q_loss=q_loss)
        return total, metrics | {"weight": weight}

    def critic_loss(self, train, fixed, target, batch, noise):
        """mean w (λ_B ℓ_B + λ_D ℓ_D), each summed over the two flows, and the mean weight w."""
        s, a, start, t = batch.observations, batch.actions, noise["start"], noise["return_t"]
        a_next = self.best_actions(fixed, batch.next_observations, noise["next_latent"], noise["next_score"])
        field = field_of(target.critic, batch.next_observations, a_next)

        def backed_up(z):
            return self.td_target(batch, z.squeeze(-1))[:, None]

        def error(z, aim):
            return ((field_of(train.critic, s, a)(z, t) - aim) ** 2).sum(axis=0).squeeze(-1)

        y = backed_up(self.returns(fixed, field, start))
        bootstrapped = error(flow.interpolate(start, y, t), y - start)
        z = self.returns(fixed, flow.until(field, t), start)
        matched = error(backed_up(z), combined(field(z, t), self.config.return_by))
        weight = self.weights(fixed, target, batch, noise)
        errors = self.config.bootstrap_weight * bootstrapped + self.config.field_weight * matched
        return (batch.valid * weight * errors).mean(), weight.mean()

    def returns(self, networks, field, start):
        """Where the two flows of a field carry noise (B, 1), as one return (B, 1)."""
        clip = partial(self.clipped, networks)
        ends = flow.integrate(field, for_both(start), self.config.flow_steps, project=clip)
        return combined(ends, self.config.return_by)

    def weights(self, fixed, target, batch, noise):
        """w = sigmoid(-T_w / σ) + 1/2, (B,), from the spread σ of returns at the data's actions."""

        def clip(pair):
            return self.clipped(fixed, pair[0]), pair[1]

        field = flow.with_derivative(field_of(target.critic, batch.observations, batch.actions))
        start = for_both(noise["spread"])
        _, slope = flow.integrate(field, (start, jnp.ones_like(start)), self.config.flow_steps, project=clip)
        spread = combined(jnp.abs(slope), self.config.score_by).squeeze(-1)
        return jax.nn.sigmoid(-self.config.confidence / spread) + 0.5

    def clipped(self, networks, z):
        """Returns, clipped to what rewards of the data's range can add up to."""
        if not self.config.clip_returns:
            return z
        return jnp.clip(z, networks.low / (1 - self.config.discount), networks.high / (1 - self.config.discount))

    def scores(self, networks, s, a, noise):
        """Q, (...), by one step from noise (..., 1)."""
        values = noise + field_of(networks.critic, s, a)(noise, jnp.zeros_like(noise))
        return combined(self.clipped(networks, values), self.config.score_by).squeeze(-1)

    def cloned_actions(self, networks, s, latent):
        """Φ_u(s, z)."""
        clip = (lambda x: jnp.clip(x, -1, 1)) if self.config.clip_actions else (lambda x: x)
        x = flow.integrate(lambda x, t: networks.flow(s, x, t), latent, self.config.flow_steps, project=clip)
        return jnp.clip(x, -1, 1)

    def best_actions(self, networks, s, latents, noise):
        """Of the actions from latents (B, N, A) that of the best score, (B, A); the first wins a tie."""
        s = jnp.broadcast_to(s[:, None], (*latents.shape[:-1], s.shape[-1]))
        actions = self.cloned_actions(networks, s, latents)
        best = self.scores(networks, s, actions, noise).argmax(axis=1)[:, None, None]
        return jnp.take_along_axis(actions, best, axis=1).squeeze(1)

    def policy_losses(self, train, fixed, batch, noise):
        """L_dist and L_Q of the one-step policy; both see its actions clipped."""
        s, z = batch.observations, noise["latent"]
        action, teacher = jnp.clip(train.one_step(s, z), -1, 1), self.cloned_actions(fixed, s, z)

        def critic(a):
            return self.scores(fixed, s, a, noise["score"])[None]

        return one_step_losses(action, teacher, critic, self.config.normalize_q)

    def sample_actions(self, online, target, observations, rng):
        latent_rng, score_rng = jax.random.split(rng)
        shape = (observations.shape[0], self.config.candidates)
        latents = jax.random.normal(latent_rng, (*shape, self.chunk_dim))
        best = self.best_actions(online, observations, latents, jax.random.normal(score_rng, (*shape, 1)))
        one_step = jnp.clip(online.one_step(observations, latents[:, 0]), -1, 1)
        return jnp.where(online.is_online, one_step, best)


def field_of(critic, s, a):
    """The field of return flows c(z, t, s, a) at states and actions."""
    return lambda z, t: critic(z, t, s, a)[..., None]


def for_both(z):
    """The same (B, 1) for each of the two flows, (2, B, 1)."""
    return jnp.broadcast_to(z, (2, *z.shape))
