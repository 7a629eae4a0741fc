"""Soft actor-critic (Haarnoja et al., arXiv 1812.05905) as OGBench trains its experts (arXiv 2410.20092).

A tool for data, not an algorithm of the benchmark: it has no name, so that no run can ask for it.
Differs from the paper, as OGBench's implementation does: target entropy -d/2 instead of -d, GELU, one Adam for all
networks, final layers of the policy that start a tenth as wide, and log-stds of at least -5. OGBench's humanoid also
has LayerNorm in its critics and the mean of both as the bootstrap value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from agents.base import Agent, Config, normal, option
from agents.losses import td_loss
from agents.networks import MLP, combined, ensemble_of, glorot
from agents.stochastic import Temperature, entropy_loss, squashed_sample, temperature_loss

LOG_STD_BOUNDS = (-5.0, 2.0)
HEAD_SCALE = 0.01
"""Of the variance with which the policy's final layers start."""


@dataclass(frozen=True)
class SACConfig(Config):
    """SAC's hyperparameters."""

    learning_rate: float = option(1e-4, "Adam's step size", low=0)
    target_entropy: float = option(-0.5, "𝓗 per action coordinate, held by the temperature")
    chunk_length: int = option(1, "actions per chunk, H", low=1)
    hidden: tuple[int, ...] = option((256, 256), "widths of the policy's hidden layers", low=1)
    critic_hidden: tuple[int, ...] = option((256, 256), "widths of the critics' hidden layers", low=1)
    layer_norm: bool = option(False, "whether the critics have LayerNorm")
    ensemble: int = option(2, "members of the critic ensemble, E", low=1)
    value: str = option("min", "the bootstrap value and the policy's: of both critics the", choices=("min", "mean"))
    pessimism: ClassVar[Any] = None  # type: ignore[misc]


class Actor(nn.Module):
    """Mean μ and log-std log σ of a Gaussian that a caller squashes: a trunk and two linear heads."""

    hidden: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, observations: Array) -> tuple[Array, Array]:
        """Map observations (B, O) to (μ, log σ), both (B, d), the latter clipped to `LOG_STD_BOUNDS`."""
        x = MLP(self.hidden, activate_final=True, name="trunk")(observations)
        mean = nn.Dense(self.action_dim, kernel_init=glorot(HEAD_SCALE), name="mean")(x)
        log_std = nn.Dense(self.action_dim, kernel_init=glorot(HEAD_SCALE), name="log_std")(x)
        return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)


class SAC(Agent):
    """Critics Q(s, a), policy π(s), temperature α."""

    Config = SACConfig

    def networks(self):
        c = self.config
        critics = ensemble_of(MLP, c.ensemble)((*c.critic_hidden, 1), layer_norm=c.layer_norm)
        return {
            "critic": (critics, "observation action"),
            "actor": (Actor(c.hidden, self.action_dim), "observation"),
            "temperature": (Temperature(), ""),
        }

    def draws(self, batch_size):
        return {"next_policy": normal(batch_size, self.action_dim), "policy": normal(batch_size, self.action_dim)}

    def loss(self, train, fixed, target, batch, noise):
        terms = dict(
            critic_loss=self.critic_loss(train, fixed, target, batch, noise["next_policy"]),
            **self.policy_losses(train, fixed, batch, noise["policy"]),
        )
        return terms["critic_loss"] + terms["entropy_loss"] + terms["q_loss"] + terms["temperature_loss"], terms

    def critic_loss(self, train, fixed, target, batch, noise):
        """mean (Q_e(s, a) - r - γ m (Q̄(s', a') - α log π(a' | s')))² with a' ~ π(s')."""
        s, s_next = batch.observations, batch.next_observations
        mean, log_std = fixed.actor(s_next)
        a_next, log_density = squashed_sample(mean, log_std, noise)
        value = combined(target.critic(s_next, a_next).squeeze(-1), self.config.value)
        y = self.td_target(batch, value - fixed.temperature() * log_density)
        return td_loss(train.critic(s, batch.actions).squeeze(-1), y, batch.valid)

    def policy_losses(self, train, fixed, batch, noise):
        """mean (α log π(a | s) - Q(s, a)) with a ~ π(s), in two terms, and L_α; beside them what is logged."""
        s = batch.observations
        mean, log_std = train.actor(s)
        a, log_density = squashed_sample(mean, log_std, noise)
        value = combined(fixed.critic(s, a).squeeze(-1), self.config.value)
        target_entropy = self.config.target_entropy * self.action_dim
        return dict(
            entropy_loss=entropy_loss(fixed.temperature(), log_density),
            q_loss=-value.mean(),
            temperature_loss=temperature_loss(train.temperature(), log_density, target_entropy),
            temperature=fixed.temperature(),
            entropy=-log_density.mean(),
        )

    def sample_actions(self, online, target, observations, rng):
        noise = jax.random.normal(rng, (observations.shape[0], self.action_dim))
        mean, log_std = online.actor(observations)
        return jnp.clip(squashed_sample(mean, log_std, noise)[0], -1, 1)


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths, in its order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
