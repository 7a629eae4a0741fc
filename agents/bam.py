"""BAM, basic adjoint matching: QAM's two flows, but the fast one learns by backpropagation through its SDE.

Paper: a baseline of Li, Levine, "Q-learning with Adjoint Matching", arXiv 2601.14234, after Domingo-Enrich et al.,
arXiv 2409.08861. Tuned: inv_temp. Differs from the paper: nothing known; the authors' code was followed, whose path
penalty lacks the step size of a KL and whose critic sees unclipped actions, with pessimism.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents import adjoint
from agents.base import option
from agents.networks import pessimistic
from agents.qam import QAM, QAMConfig


@dataclass(frozen=True)
class BAMConfig(QAMConfig):
    """BAM's hyperparameters."""

    inv_temp: float = option(10.0, "β: weight of Q against staying at the data's behaviour", low=0)


class BAM(QAM):
    """Critic Q(s, a), behaviour flow u_s ("slow") and policy flow u_f ("fast"), both (s, x, t)."""

    name = "bam"
    Config = BAMConfig

    def fast_losses(self, train, fixed, target, batch, noise):
        """L_BAM = mean K - β mean P_ρ[Q(s, X_F)]: the path's distance from the slow flow, and the value at its end."""
        s = batch.observations

        def base(x, t):
            return target.slow(s, x, t)

        states, velocities = adjoint.rollout(
            lambda x, t: train.fast(s, x, t), base, noise["path_start"], noise["path_noise"]
        )
        value = pessimistic(fixed.critic(s, states[-1]), self.config.pessimism)
        penalty = adjoint.path_penalty(velocities, base, states)
        return dict(penalty_loss=penalty.mean(), q_loss=-self.config.inv_temp * value.mean())
