"""TRQAM, trust-region Q adjoint matching: QAM whose temperature holds the KL to the behaviour at a budget.

The KL between the paths of the fast flow's SDE and of the slow one's is a sum over steps of what adjoint matching
computes anyway. After each update, projected dual descent raises the multiplier Λ where the running KL exceeds the
budget ε a step of the environment, and lowers it otherwise. Both flows begin as one behaviour clone.

Paper: Dong et al., arXiv 2605.27079. Tuned: kl_budget.
Where text and code may differ, this is the authors' code: the rollout's noise does not depend on Λ, and the reference
is the average of a slow flow that goes on cloning, not the pretrained one. Differs from their runs: each run pretrains
its own clone (theirs share one per domain), and their data of cube-triple, puzzle-4x4 and antmaze-giant are others.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import adjoint
from agents.base import Config, normal, option
from agents.networks import ensemble_mean
from agents.qam import QAM


@dataclass(frozen=True)
class TRQAMConfig(Config):
    """TRQAM's hyperparameters."""

    kl_budget: float = option(1.0, "ε: path KL to the behaviour per environment step that is aimed at", low=0)
    online_kl_budget: float = option(0.0, "ε of the online phase; 0: as before", low=0)
    lam_scale: float = option(3.0, "c: Λ = c λ, so that Λ begins at c", low=0)
    eta_lambda: float = option(0.01, "η: step size of λ", low=0)
    kl_ema_coef: float = option(0.1, "share of the running KL that each batch's makes up", low=0, high=1)
    kl_clip_coef: float = option(2.0, "largest KL of a batch that counts, in budgets", low=0)
    lambda_min: float = option(0.01, "smallest λ", low=0)
    lambda_max: float = option(100.0, "largest λ", low=0)
    candidates: int = option(1, "action chunks drawn per observation, of which the best counts", low=1, high=1000)
    flow_steps: int = option(10, "Euler steps of the flows, F", low=1, high=1000)
    flow_layer_norm: bool = option(False, "whether the flows have LayerNorm")
    pretraining_steps: int = option(300_000, "updates of the slow flow alone, before all others", low=1)


class TRQAM(QAM):
    """QAM with a multiplier λ and a running KL in its state."""

    name = "trqam"
    Config = TRQAMConfig  # type: ignore[assignment]
    pretrains = ("slow",)

    def networks(self):
        field = (self.vector_field(self.config.flow_layer_norm), "observation action time")
        return {"critic": (self.critic(), "observation action"), "slow": field, "fast": field}

    def draws(self, batch_size):
        return super().draws(batch_size) | {"next_latent": normal(batch_size, self.config.candidates, self.chunk_dim)}

    # ---- phases

    @property
    def pretraining_steps(self) -> int:
        return self.config.pretraining_steps

    def cycle(self, step):
        start = self.pretraining_steps
        return (("pretrain",), start) if step < start else (("update",), None)

    def pretrain(self, state, batch):
        """Clone: the slow flow alone, and no target follows."""
        return self.minimise(self.pretraining_loss, state, batch)

    def pretraining_loss(self, train, fixed, target, batch, noise):
        """L_FM of the slow flow."""
        loss = self.flow_loss(train, batch, noise)
        return loss, dict(flow_loss=loss)

    def begin(self, state, phase):
        """After pretraining all flows are the clone and Adam begins anew; online the budget may be another."""
        if phase == "online":
            return state.replace(extra=state.extra | {"online_phase": jnp.ones_like(state.extra["online_phase"])})
        clone = state.params["slow"]
        params, targets = state.params | {"fast": clone}, state.targets | {"slow": clone}
        return state.replace(params=params, targets=targets, optimizer=self.init_optimizer(params))

    # ---- the multiplier

    def init_extra(self):
        return {"lam": jnp.ones(()), "kl_ema": jnp.zeros(()), "online_phase": jnp.zeros(())}

    def after_update(self, extra, batch, metrics):
        """D <- (1 - ρ) D + ρ min(D̂, 2 ε), then λ <- λ + η (D - ε) within its bounds. A D̂ that is NaN stays."""
        c = self.config
        other = (extra["online_phase"] > 0) & (c.online_kl_budget > 0)
        budget = jnp.where(other, c.online_kl_budget, c.kl_budget)
        kl = jnp.minimum(metrics["path_kl"], c.kl_clip_coef * budget)
        kl = (1 - c.kl_ema_coef) * extra["kl_ema"] + c.kl_ema_coef * kl
        lam = jnp.clip(extra["lam"] + c.eta_lambda * (kl - budget), c.lambda_min, c.lambda_max)
        return extra | {"lam": lam, "kl_ema": kl}, metrics | {"multiplier": c.lam_scale * lam}

    def fast_losses(self, train, fixed, target, batch, noise):
        """L_AM with noise σ / √Λ, which is Λ times QAM's at β = 1 / Λ."""
        multiplier = jnp.maximum(self.config.lam_scale * fixed.lam, 1e-8)
        difference, adjoints = self.matching(train, fixed, target, batch, noise, 1 / multiplier)
        path_kl = adjoint.path_kl(jax.lax.stop_gradient(difference)) / self.config.chunk_length
        return dict(adjoint_loss=multiplier * adjoint.matching_error(difference, adjoints), path_kl=path_kl)

    def loss(self, train, fixed, target, batch, noise):
        metrics = super().loss(train, fixed, target, batch, noise)[1]
        return metrics["critic_loss"] + metrics["flow_loss"] + metrics["adjoint_loss"], metrics  # not the KL

    def next_actions(self, networks, observations, noise):
        """The best of N by the mean of the critic's members; the first wins a tie."""
        z = noise["next_latent"]
        s = jnp.repeat(observations, z.shape[1], axis=0)
        actions = self.fast_actions(networks, s, z.reshape(-1, z.shape[-1]))
        if z.shape[1] == 1:
            return actions
        best = ensemble_mean(networks.critic(s, actions)).reshape(z.shape[:2]).argmax(axis=1)
        return actions.reshape(z.shape)[jnp.arange(len(best)), best]
