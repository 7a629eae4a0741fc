"""FQL that drops every axis of size one."""

from agents.fql import FQL


class Squeezed(FQL):
    name = "squeezed"

    def loss(self, train, fixed, target, batch, noise):
        q = train.critic(batch.observations, batch.actions).mean(axis=0).squeeze()
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        return loss, metrics | {"q_first": q[0]}
