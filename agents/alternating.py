"""Agents whose networks are trained in turn, each by an Adam of its own; their targets track the *new* parameters.

`Agent.update` is one step on one sum of losses. BDPO and Diffusion-QL instead have a learning rate and a clipping norm
for each network, let a later loss see what an earlier one has changed, and update some networks more often.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import optax
from jax import Array

from agents.base import Agent, Batch, State, track


class AlternatingAgent(Agent):
    """Subclasses define `optimizers` and `update`, the latter by calls of `descend`."""

    def optimizers(self) -> dict[str, optax.GradientTransformation]:
        """The optimiser of each network."""
        raise NotImplementedError

    def init_optimizer(self, params: dict) -> Any:
        """One optimiser state a network."""
        return {name: adam.init(params[name]) for name, adam in self.optimizers().items()}

    def noise(self, state: State, batch: Batch) -> dict[str, Array]:
        """All arrays of `draws` for this update; what an update leaves unused costs nothing once compiled."""
        return self.draw_noise(jax.random.fold_in(state.rng, state.step), batch.actions.shape[0])

    def descend(self, state: State, batch: Batch, noise: dict[str, Array], **losses) -> tuple[State, dict[str, Array]]:
        """One step of each named network on its own loss, all from the same state; then their targets follow.

        A loss maps (train, fixed, target, batch, noise) to a scalar and metrics; `train` has the named network only.
        The count of updates is left to the caller.
        """
        fixed, target = self.bind(state.params, state.extra), self.bind(state.targets)
        rates = self.target_rates(state.step + 1)
        params, targets, optimizer = dict(state.params), dict(state.targets), dict(state.optimizer)
        metrics: dict[str, Array] = {}
        for name, loss in losses.items():

            def objective(trained):
                return loss(self.bind({name: trained}), fixed, target, batch, noise)

            (value, extra), gradient = jax.value_and_grad(objective, has_aux=True)(state.params[name])
            own = state.params[name]
            steps, optimizer[name] = self.optimizers()[name].update(gradient, state.optimizer[name], own)
            params[name] = optax.apply_updates(own, steps)
            if name in targets:
                targets[name] = track(state.targets[name], params[name], rates[name])
            metrics |= {f"{name}_loss": value, **extra}
        return dataclasses.replace(state, params=params, targets=targets, optimizer=optimizer), metrics
