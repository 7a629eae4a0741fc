"""The checks by name, and what the toy tasks tell: for `--help`, which does without JAX."""

NAMES = (
    *("interface", "shapes", "purity", "batches", "pairs", "randomness", "options", "losses", "programs", "resume"),
    *("acting", "domains", "gradients", "speed", "toy"),
)
"""In their order; `toy` runs beside those that follow the ones that only read the agent's programs."""
LESSONS = {
    "toy-modes": "toy-modes is one decision among four modes of the data, the best the rarest; nothing bootstraps. "
    "It fails where the critic does not learn rewards of the data's actions, where the policy does not climb the "
    "critic (wrong sign, no gradient, too small a weight) or where it averages modes",
    "toy-detour": "toy-detour is a walk round a wall with -1 a step until the goal, so value must travel 22 decisions "
    "of two actions. It fails, where toy-modes does not, because of the TD target: next_observations, masks, γ^H, the "
    "rate of the target network, or next actions that are not the policy's",
}
"""What each toy task tests, and what a failure there usually means."""
