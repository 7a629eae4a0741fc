"""QSM, Q-score matching: a denoising policy whose noise prediction is regressed on the critic's gradient.

ε(s, x, k) is fitted to -β ∇Q at the noised action, so that the policy's score is that of exp(β Q), beside cloning.

Paper: Psenka et al., arXiv 2312.11752. Tuned: inv_temp, alpha. Differs from the paper, as the QAM paper's baseline
does (arXiv 2601.14234): the cloning term, action chunks, ten critics with pessimism ρ.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from agents.base import option
from agents.dac import DAC, DACConfig


@dataclass(frozen=True)
class QSMConfig(DACConfig):
    """QSM's hyperparameters."""

    alpha: float = option(10.0, "weight of behaviour cloning: larger stays closer to the data", low=0)
    inv_temp: float = option(10.0, "β: larger follows the critic's gradient more", low=0)


class QSM(DAC):
    """DAC with another improvement term and another reverse step."""

    name = "qsm"
    Config = QSMConfig

    def improvement(self, predicted, q_gradient, k):
        """(-β ∇Q - ε)², elementwise (B, A)."""
        return (-self.config.inv_temp * q_gradient - predicted) ** 2

    def reverse_step(self, x, predicted, k, z):
        """clip(x̂_0 + √(1 - α_k) z): as in the authors' code x̂_0 itself, not a posterior mean, is noised again."""
        return jnp.clip(self.schedule.remove_noise(x, predicted, k) + self.schedule.forward_std[k] * z, -1, 1)
