"""FQL of a conservative critic on a code of the state, from which rewards, the next code and state are predicted too.

Each of its losses has a mean of its own, so that rewards meet values and predicted rewards alone.
"""

import jax

from agents import flow
from agents.fql import FQL, one_step_losses
from agents.losses import td_loss
from agents.networks import VectorField, pessimistic

CODE = 6


class Encoded(FQL):
    name = "encoded"
    targets = ("critic", "encoder")

    def input_sizes(self):
        return super().input_sizes() | {"code": CODE}

    def networks(self):
        return super().networks() | {
            "critic": (self.critic(), "code action"),
            "encoder": (VectorField(self.config.hidden, CODE), "observation"),
            "dynamics": (VectorField(self.config.hidden, CODE + 1), "code action"),
            "decoder": (VectorField(self.config.hidden, self.observation_dim), "code"),
        }

    def critic_loss(self, train, fixed, target, batch, noise):
        s, a, valid = batch.observations, batch.actions, batch.valid
        code, next_code = train.encoder(s), target.encoder(batch.next_observations)
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        y = self.td_target(batch, pessimistic(target.critic(next_code, a_next), self.config.pessimism))
        values = train.critic(code, a)
        excess = jax.nn.softplus(train.critic(code, fixed.one_step(s, noise["latent"])) - values)
        predicted = train.dynamics(code, a)
        prediction = valid * ((predicted[:, 1:] - next_code) ** 2).mean(axis=-1)
        reward = valid * (predicted[:, 0] - batch.rewards) ** 2
        reconstruction = valid * ((train.decoder(predicted[:, 1:]) - batch.next_observations) ** 2).mean(axis=-1)
        aside = prediction.mean() + reward.mean() + reconstruction.mean()
        return td_loss(values, y, valid) + excess.mean() + aside

    def policy_losses(self, train, fixed, batch, noise):
        s, z = batch.observations, noise["latent"]
        teacher = flow.actions(fixed.flow, s, z, self.config.flow_steps)
        return one_step_losses(train.one_step(s, z), teacher, lambda a: fixed.critic(fixed.encoder(s), a))
