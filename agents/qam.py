"""QAM, Q-learning with adjoint matching, and its extensions QAM-F (a distilled one-step policy) and QAM-E (edits).

A slow flow clones the data's behaviour; a fast flow is tuned toward π ∝ π_β exp(β Q) without backpropagation through
time: its SDE is sampled, the critic's gradient at the end is carried back along the path through the *slow* drift
alone (the lean adjoint), and at each step the fast flow is regressed onto the slow one plus that direction. Where
QAM-F's fql_alpha or QAM-E's edit_scale is 0, as published on some domains, they are plain QAM: `distill`, `edit` false.

Paper: Li, Levine, arXiv 2601.14234; Domingo-Enrich et al., arXiv 2409.08861. Tuned: inv_temp, fql_alpha, edit_scale.
Differs from the authors' code: at inv_temp 0 it still acts by the fast flow, which then only follows the slow one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from agents import adjoint, flow
from agents.base import Agent, Config, normal, option, uniform
from agents.fql import one_step_losses
from agents.losses import td_loss
from agents.networks import ensemble_mean, pessimistic
from agents.stochastic import TanhNormal, Temperature, edit_losses, edited_action


@dataclass(frozen=True)
class QAMConfig(Config):
    """QAM's hyperparameters."""

    inv_temp: float = option(3.0, "β: weight of Q against staying at the data's behaviour", low=0)
    flow_steps: int = option(10, "Euler steps of the flows, F", low=1, high=1000)


class QAM(Agent):
    """Critic Q(s, a), behaviour flow u_s ("slow") and policy flow u_f ("fast"), both (s, x, t)."""

    name = "qam"
    Config = QAMConfig
    targets = ("critic", "slow")
    max_gradient_norm = 1.0
    begins_as: ClassVar[dict[str, str]] = {"slow": "flow", "fast": "flow"}

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "slow": (self.vector_field(), "observation action time"),
            "fast": (self.vector_field(), "observation action time"),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {
            "next_latent": normal(B, A),
            "x0": normal(B, A),
            "t": uniform(B, 1),
            "path_start": normal(B, A),
            "path_noise": normal(B, A, count=self.config.flow_steps),
        }

    def loss(self, train, fixed, target, batch, noise):
        terms = dict(
            critic_loss=self.critic_loss(train, fixed, target, batch, noise),
            flow_loss=self.flow_loss(train, batch, noise),
        )
        terms |= self.fast_losses(train, fixed, target, batch, noise)
        return sum(terms.values()), terms

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with the agent's own action at s'."""
        a_next = self.next_actions(fixed, batch.next_observations, noise)
        next_value = pessimistic(target.critic(batch.next_observations, a_next), self.config.pessimism)
        y = self.td_target(batch, next_value)
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def flow_loss(self, train, batch, noise):
        """L_FM: behaviour cloning by the slow flow."""
        return flow.cloning_loss(train.slow, batch, noise)

    def fast_losses(self, train, fixed, target, batch, noise):
        """L_AM: regression of the fast flow, with the path and its adjoints as constants."""
        difference, adjoints = self.matching(train, fixed, target, batch, noise, self.config.inv_temp)
        return dict(adjoint_loss=adjoint.matching_error(difference, adjoints))

    def matching(self, train, fixed, target, batch, noise, inv_temp):
        """u_f - ū_s along the fast flow's path, and the lean adjoints ã of -β Q̄ at its end, both (F, B, A)."""
        s = batch.observations

        def base(x, t):
            return target.slow(s, x, t)

        states, _ = adjoint.rollout(lambda x, t: fixed.fast(s, x, t), base, noise["path_start"], noise["path_noise"])
        slope = jax.grad(lambda x: ensemble_mean(target.critic(s, jnp.clip(x, -1, 1))).sum())(states[-1])
        adjoints = adjoint.lean_adjoint(base, states[:-1], -inv_temp * slope)
        return adjoint.difference(lambda x, t: train.fast(s, x, t), base, states[:-1]), adjoints

    def fast_actions(self, networks, observations, latent):
        """Φ_{u_f}(s, z): no noise on the way."""
        return flow.actions(networks.fast, observations, latent, self.config.flow_steps)

    def next_actions(self, networks, observations, noise):
        """The agent's own actions, for the TD target."""
        return self.fast_actions(networks, observations, noise["next_latent"])

    def sample_actions(self, online, target, observations, rng):
        """As in the TD target, with fresh noise; of the draws, compilation keeps those that are used."""
        return self.next_actions(online, observations, self.draw_noise(rng, observations.shape[0]))


@dataclass(frozen=True)
class QAMFConfig(QAMConfig):
    """QAM-F's hyperparameters."""

    fql_alpha: float = option(30.0, "weight of the distillation term: larger stays closer to the fast flow", low=0)
    distill: bool = option(True, "whether there is a one-step policy; without it this is QAM", follows="fql_alpha")


class QAMF(QAM):
    """QAM that acts by a one-step policy μ(s, z), distilled from the fast flow while it maximises Q."""

    name = "qam_f"
    Config = QAMFConfig

    def networks(self):
        extra = {"one_step": (self.vector_field(), "observation action")}
        return super().networks() | (extra if self.config.distill else {})

    def draws(self, batch_size):
        extra = {"latent": normal(batch_size, self.chunk_dim)}
        return super().draws(batch_size) | (extra if self.config.distill else {})

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        if not self.config.distill:
            return total, metrics
        distillation, q_loss = self.policy_losses(train, fixed, batch, noise)
        total = total + self.config.fql_alpha * distillation + q_loss
        return total, dict(metrics, distillation_loss=distillation, q_loss=q_loss)

    def policy_losses(self, train, fixed, batch, noise):
        """L_dist and L_Q of the one-step policy, with the fast flow as its teacher."""
        s, z = batch.observations, noise["latent"]
        teacher = self.fast_actions(fixed, s, z)
        return one_step_losses(train.one_step(s, z), teacher, lambda a: fixed.critic(s, a))

    def next_actions(self, networks, observations, noise):
        if not self.config.distill:
            return super().next_actions(networks, observations, noise)
        return jnp.clip(networks.one_step(observations, noise["next_latent"]), -1, 1)


@dataclass(frozen=True)
class QAMEConfig(QAMConfig):
    """QAM-E's hyperparameters."""

    edit_scale: float = option(0.1, "c: largest change of an action coordinate by an edit", low=0)
    target_entropy: float = option(-0.5, "𝓗 per action coordinate, held by the temperature")
    edit: bool = option(True, "whether there is an edit policy; without it this is QAM", follows="edit_scale")


class QAME(QAM):
    """QAM whose actions an edit policy π(s, f) changes by at most c, as FEdit does those of a cloned flow."""

    name = "qam_e"
    Config = QAMEConfig

    def networks(self):
        edit = TanhNormal(self.config.hidden, self.chunk_dim)
        extra = {"edit": (edit, "observation action"), "temperature": (Temperature(), "")}
        return super().networks() | (extra if self.config.edit else {})

    def draws(self, batch_size):
        if not self.config.edit:
            return super().draws(batch_size)
        array = normal(batch_size, self.chunk_dim)
        first = {"next_latent": array, "next_edit": array}
        return first | super().draws(batch_size) | {"latent": array, "edit": array}

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        if not self.config.edit:
            return total, metrics
        terms = self.policy_losses(train, fixed, batch, noise)
        return total + sum(terms.values()), metrics | terms

    def policy_losses(self, train, fixed, batch, noise):
        """Edits of f = Φ_{u_f}(s, z), a constant, that raise Q and keep their entropy near A 𝓗."""
        base = self.fast_actions(fixed, batch.observations, noise["latent"])
        target_entropy = self.config.target_entropy * self.chunk_dim
        return edit_losses(
            train, fixed, batch.observations, base, noise["edit"], self.config.edit_scale, target_entropy
        )

    def next_actions(self, networks, observations, noise):
        base = super().next_actions(networks, observations, noise)
        if not self.config.edit:
            return base
        return edited_action(networks.edit, observations, base, noise["next_edit"], self.config.edit_scale)[0]
