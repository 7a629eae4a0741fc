"""An agent that does, as it should be done, what a careless check would take for mistakes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents.base import option
from agents.fql import FQL, FQLConfig
from agents.losses import td_loss
from agents.networks import Value, VectorField


@dataclass(frozen=True)
class UnusualConfig(FQLConfig):
    conservatism: float = option(0.1, "weight of the values of the policy's actions", low=0)


class Unusual(FQL):
    """A critic of an encoding that both are trained for, and models of rewards and states."""

    name = "unusual"
    Config = UnusualConfig

    def networks(self):
        return super().networks() | {
            "encoder": (VectorField(self.config.hidden, self.observation_dim), "observation"),
            "reward": (Value(self.config.hidden), "observation"),
            "dynamics": (VectorField(self.config.hidden, self.observation_dim), "observation action"),
            "decoder": (VectorField(self.config.hidden, self.observation_dim), "observation"),
            "next_actor": (VectorField(self.config.hidden, self.chunk_dim), "observation"),
        }

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        s, s_next = batch.observations, batch.next_observations
        reward_model = (train.reward(s_next) - batch.rewards) ** 2
        dynamics = batch.masks * ((train.dynamics(s, batch.actions) - s_next) ** 2).mean(axis=-1)
        reconstruction = ((train.decoder(train.encoder(s)) - s) ** 2).mean(axis=-1)
        improvement = -batch.masks * fixed.critic(s_next, train.next_actor(s_next)).mean(axis=0)
        total = total + (reward_model + dynamics + reconstruction).mean() + improvement.mean()
        return total, metrics

    def critic_loss(self, train, fixed, target, batch, noise):
        code = train.encoder(batch.observations)
        a_next = train.one_step(batch.next_observations, noise["next_latent"])
        next_value = train.critic(train.encoder(batch.next_observations), a_next).mean(axis=0)
        y = jax.lax.stop_gradient(self.td_target(batch, next_value))
        values = train.critic(code, batch.actions)
        excess = train.critic(code, fixed.one_step(batch.observations, noise["latent"])) - values
        return td_loss(values, y, batch.valid) + self.config.conservatism * jax.nn.softplus(excess).mean()

    def sample_actions(self, online, target, observations, rng):
        basis = jax.random.normal(jax.random.fold_in(rng, 3), (observations.shape[0], self.chunk_dim))
        return jnp.clip(online.one_step(observations, basis), -1, 1)
