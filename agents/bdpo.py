"""BDPO, behaviour-regularised diffusion policy optimisation: a KL penalty on every step of the reverse chain.

The KL between the reverse paths of the actor π and of a cloned behaviour policy ν is a sum of Gaussian KLs, one a step.
Each denoising step is a decision with reward -η KL and value V_k(s, x_k); the last is worth Q(s, x_0). The actor is
trained through one step into V, never through the chain, slowly and every fifth update only.

Paper: Gao et al., arXiv 2502.04778; constants and order of updates as in its authors' code. Tuned: eta, pessimism.
No values on OGBench are published (RQL, arXiv 2606.17551, reports BDPO without them), so these choices are ours:
* OGBench's batches: y = R + γ^H m (...) on chunks flattened to one action, the validity v weighting each loss's terms.
* Defaults as in the authors' AntMaze runs (maximum over next actions, LayerNorm on Q), and in mazes their pessimism and
  the behaviour policy's learning rate too; 1M pretraining updates, as RQL reports, instead of 2M. Rewards as they are,
  where AntMaze's are multiplied by 100 there: the loss, and η against Q, depend on that scale.
* Critics and initialisation of this repository (GELU, LayerNorm after it, Glorot, 4 x 512), where the paper has
  mish, LayerNorm before it, orthogonal, 3 x 256. The noise network keeps mish and the sinusoidal step embedding.
* The full update is the last of each five, the authors' the first.
The learning rates of critics and actor fall by a cosine to 0 over as many of each network's own updates as the run has,
as in their script: the critics' to 0 at its end, the actor's, of every fifth update only, to about 0.91 of its start.
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents.alternating import AlternatingAgent
from agents.base import Config, integers, normal, option
from agents.diffusion import NoiseNetwork, Schedule, StepEmbedding, denoise, matching_loss
from agents.losses import td_loss
from agents.networks import MLP, ensemble_mean, ensemble_of, pessimistic


@dataclass(frozen=True)
class BDPOConfig(Config):
    """BDPO's hyperparameters; `learning_rate` is the critics'."""

    eta: float = option(0.3, "η, weight of the KL to the behaviour policy: larger stays closer to the data", low=0)
    actor_learning_rate: float = option(1e-5, "Adam's step size of the actor", low=0)
    behaviour_learning_rate: float = option(3e-4, "Adam's step size of the behaviour policy", low=0)
    diffusion_steps: int = option(5, "steps of the reverse chain, K", low=1, high=1000)
    candidates: int = option(10, "actions drawn per observation, in targets and at acting, N", low=1, high=1000)
    max_backup: bool = option(True, "whether Q's target takes the best of the N next actions instead of their mean")
    actor_every: int = option(5, "updates of the critics per update of the actor", low=1)
    critic_warmup: int = option(50_000, "updates before the actor's first", low=0)
    pretraining_steps: int = option(1_000_000, "updates of the behaviour policy alone, before all others", low=1)
    decay_steps: int = option(
        0, "a network's steps until its learning rate has fallen to 0; 0: constant; unset: the run's updates", low=0
    )


class StepValue(nn.Module):
    """V_k(s, x_k) of one ensemble member: a critic that also sees features of the step."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, observation, x, step):
        """Map (..., O), (..., A), (..., 1) to (...)."""
        features = StepEmbedding(64, (128, 64), activate_final=True, name="step")(step)
        return MLP((*self.hidden, 1), layer_norm=True, name="mlp")(observation, x, features).squeeze(-1)


def gaussian_kl(schedule: Schedule, noise, reference, k):
    """KL, (...), of the reverse steps k that two predictions of the noise (..., A) give: w_k Σ (ε - ε')².

    With w_k = (1 - α_k) / (2 α_k (1 - ᾱ_k)) this is the KL of two Gaussians of variance 1 - α_k with the means of the
    unclipped x̂_0; the authors use it at k = 1 too, where the step is deterministic.
    """
    alpha = schedule.alpha[k].squeeze(-1)
    weight = (1 - alpha) / (2 * alpha * (1 - schedule.alpha_bar[k].squeeze(-1)))
    return weight * ((noise - reference) ** 2).sum(axis=-1)


class BDPO(AlternatingAgent):
    """Critic Q(s, a), value V(s, x, k), noise networks `behaviour` ν(s, x, k) and `actor` π(s, x, k)."""

    name = "bdpo"
    Config = BDPOConfig
    targets = ("critic", "value", "behaviour", "actor")
    max_gradient_norm = 1.0
    run_length_options = ("decay_steps",)
    pretrains = ("behaviour",)

    def networks(self):
        embedding = StepEmbedding(64, (64, 64), activate_final=True)
        noise_network = NoiseNetwork(self.config.hidden, self.chunk_dim, embedding)
        value = ensemble_of(StepValue, self.config.ensemble)(self.config.hidden)
        return {
            "critic": (self.critic(), "observation action"),
            "value": (value, "observation action time"),
            "behaviour": (noise_network, "observation action time"),
            "actor": (noise_network, "observation action time"),
        }

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return Schedule(self.config.diffusion_steps)

    def optimizers(self):
        c = self.config
        rates = {"critic": c.learning_rate, "value": c.learning_rate, "actor": c.actor_learning_rate}
        if c.decay_steps:
            rates = {name: optax.cosine_decay_schedule(rate, c.decay_steps) for name, rate in rates.items()}
        rates["behaviour"] = c.behaviour_learning_rate
        return {name: self.adam(rate, self.max_gradient_norm) for name, rate in rates.items()}

    def draws(self, batch_size):
        B, A, K, N = batch_size, self.chunk_dim, self.config.diffusion_steps, self.config.candidates
        draws = {"next_latent": normal(N, B, A), "next_noise": normal(N, B, A, count=K)}
        for loss in ("value", "actor"):
            draws |= {f"{loss}_step": integers(1, K + 1, B, 1), f"{loss}_noise": normal(B, A)}
            draws |= {f"{loss}_reverse_noise": normal(N, B, A)}
        return draws | {"behaviour_step": integers(1, K + 1, B, 1), "behaviour_noise": normal(B, A)}

    # ---- the fixed pattern of updates

    @property
    def pretraining_steps(self) -> int:
        return self.config.pretraining_steps

    def cycle(self, step):
        """Cloning; then critics only; then, in the last of every few updates, the actor and behaviour policy too."""
        start, warm, every = self.pretraining_steps, self.config.critic_warmup, self.config.actor_every
        if step < start:
            return ("pretrain",), start
        if step < start + warm:
            return ("update_critics",), start + warm
        done = (step - start - warm) % every
        pattern = (*["update_critics"] * (every - 1), "update")
        return pattern[done:] + pattern[:done], None

    def pretrain(self, state, batch):
        """Clone. The actor and its average are the averaged behaviour policy until its own first update."""
        state, metrics = self.descend(state, batch, self.noise(state, batch), behaviour=self.behaviour_loss)
        return self.begin(state.replace(step=state.step + 1), "training"), metrics

    def begin(self, state, phase):
        """The actor and its average are the averaged behaviour policy, also where that was another run's."""
        if phase == "online":
            return state
        clone = state.targets["behaviour"]
        params, targets = ({**tree, "actor": clone} for tree in (state.params, state.targets))
        return state.replace(params=params, targets=targets)

    def update_critics(self, state, batch):
        """Train Q and V."""
        noise = self.noise(state, batch)
        state, metrics = self.descend(state, batch, noise, critic=self.critic_loss, value=self.value_loss)
        return state.replace(step=state.step + 1), metrics

    def update(self, state, batch):
        """Train Q and V; then the actor on their new targets, and the behaviour policy."""
        noise = self.noise(state, batch)
        state, critics = self.descend(state, batch, noise, critic=self.critic_loss, value=self.value_loss)
        state, actors = self.descend(state, batch, noise, actor=self.actor_loss, behaviour=self.behaviour_loss)
        return state.replace(step=state.step + 1), critics | actors

    # ---- losses

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_Q with y = R + γ^H m (P_ρ[max_n or mean_n Q̄(s', a'_n)] - η mean_n Σ_k KL_k), a' by π̄."""
        s_next = jnp.broadcast_to(batch.next_observations, (self.config.candidates, *batch.next_observations.shape))
        a_next, kl = self.chain(target, s_next, noise["next_latent"], noise["next_noise"])
        q = target.critic(s_next, a_next)
        q = pessimistic(q.max(axis=1) if self.config.max_backup else q.mean(axis=1), self.config.pessimism)
        kl = kl.sum(axis=0).mean(axis=0)
        values = train.critic(batch.observations, batch.actions)
        loss = td_loss(values, self.td_target(batch, q - self.config.eta * kl), batch.valid)
        return loss, dict(q_mean=values.mean(), kl_mean=kl.mean())

    def value_loss(self, train, fixed, target, batch, noise):
        """L_V: V_k(s, x_k) is fitted to the value of one step of π̄ from the noised data action x_k."""
        k = noise["value_step"]
        x = self.schedule.add_noise(batch.actions, noise["value_noise"], k)
        y = self.step_value(target.actor, target, batch.observations, x, k, noise["value_reverse_noise"])
        return td_loss(train.value(batch.observations, x, k), y, batch.valid), {}

    def actor_loss(self, train, fixed, target, batch, noise):
        """L_π: minus the value of one step of π from the noised data action x_k."""
        k = noise["actor_step"]
        x = self.schedule.add_noise(batch.actions, noise["actor_noise"], k)
        value = self.step_value(train.actor, target, batch.observations, x, k, noise["actor_reverse_noise"])
        return -(batch.valid * value).mean(), {}

    def behaviour_loss(self, train, fixed, target, batch, noise):
        """L_BC of ν."""
        loss = matching_loss(
            self.schedule,
            lambda x, k: train.behaviour(batch.observations, x, k),
            batch.actions,
            noise["behaviour_noise"],
            noise["behaviour_step"],
            batch.valid,
        )
        return loss, {}

    def step_value(self, actor, target, s, x, k, z):
        """P_ρ[mean_n V̄_{k-1}(s, x_{k-1}^n)] - η KL_k, (B,), with Q̄ for V̄_0; the N next x come from one prediction."""
        predicted = actor(s, x, k)
        x_next = self.schedule.reverse_mean(x, predicted, k) + self.schedule.forward_std[k] * z
        s_next, k_next = (jnp.broadcast_to(y, (*x_next.shape[:-1], y.shape[-1])) for y in (s, k - 1))
        partial = pessimistic(target.value(s_next, x_next, k_next).mean(axis=1), self.config.pessimism)
        complete = pessimistic(target.critic(s_next, x_next).mean(axis=1), self.config.pessimism)
        kl = gaussian_kl(self.schedule, predicted, target.behaviour(s, x, k), k)
        return jnp.where(k.squeeze(-1) > 1, partial, complete) - self.config.eta * kl

    # ---- acting

    def chain(self, target, s, latent, noise):
        """Actions of π̄ (..., A) from the latents, and the KL of each step (K, ...), for noise (K, ..., A)."""

        def step(x, k, z):
            predicted = target.actor(s, x, k)
            kl = gaussian_kl(self.schedule, predicted, target.behaviour(s, x, k), k)
            return self.schedule.reverse_mean(x, predicted, k) + self.schedule.forward_std[k] * z, kl

        return denoise(step, latent, noise)

    def sample_actions(self, online, target, observations, rng):
        """The best of N by the mean of Q̄."""
        shape = (self.config.candidates, observations.shape[0])
        noise = jax.random.normal(rng, (self.config.diffusion_steps + 1, *shape, self.chunk_dim))
        s = jnp.broadcast_to(observations, (*shape, observations.shape[-1]))
        actions, _ = self.chain(target, s, noise[0], noise[1:])
        best = ensemble_mean(target.critic(s, actions)).argmax(axis=0)
        return actions[best, jnp.arange(shape[1])]
