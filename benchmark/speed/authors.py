"""How fast the authors' own code trains on this machine: their repositories, driven as their main.py drives them.

`benchmark.throughput --authors DIR ...` asks for it, where each DIR is a checkout that the user has made:

    github.com/aoberai/rql (arXiv 2606.17551), github.com/ColinQiyangLi/qam (arXiv 2601.14234)

Their packages have the names of ours (`agents`, `envs`), so their code runs in a process of its own, begun in DIR, with
a Python that has what their requirements.txt names. Same machine, same call, same random transitions, same settings
where both have a name for them; one seed, one jitted update per Python iteration, each batch drawn by their sampler.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # the checkout, whose `agents` is meant here
    sys.path.append(str(Path(__file__).resolve().parents[2]))

import jax

from benchmark.speed.turns import Loop, random_transitions

WARM_UP = 5  # updates: some of their states change types at the first ones, and are compiled again

MODULES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rql": ("rql", "RQLAgent", {}),
    "fql": ("fql", "FQLAgent", {}),
    "ifql": ("ifql", "IFQLAgent", {}),
    "qam": ("qam", "QAMAgent", {"fql_alpha": 0.0, "edit_scale": 0.0}),
    "qam_f": ("qam", "QAMAgent", {"edit_scale": 0.0}),
    "qam_e": ("qam", "QAMAgent", {"fql_alpha": 0.0}),
    "cgql": ("cgql", "CGQLAgent", {"mode": "simple"}),
    "cgql_m": ("cgql", "CGQLAgent", {"mode": "mse"}),
    "cgql_l": ("cgql", "CGQLAgent", {"mode": "linex"}),
    "dac": ("dcgql", "DCGQLAgent", {"actor_loss_type": "dac", "clip_sampler_before": True}),
    "qsm": ("dcgql", "DCGQLAgent", {"actor_loss_type": "qsm", "clip_sampler_after": True}),
    "bam": ("bam", "BAMAgent", {}),
    "fbrac": ("fbrac", "FBRACAgent", {}),
    "fawac": ("fawac", "FAWACAgent", {}),
    "dsrl": ("dsrl", "DSRLAgent", {}),
    "fedit": ("fedit", "FEditAgent", {}),
    "rebrac": ("rebrac", "ReBRACAgent", {}),
}
"""Of each of our agents: the module and the class in the authors' `agents`, and the switches that make it this one."""

FIELDS = {
    "learning_rate": ("lr",),
    "discount": ("discount",),
    "target_rate": ("tau",),
    "pessimism": ("rho",),
    "chunk_length": ("horizon_length", "h"),
    "batch_size": ("batch_size",),
    "hidden": ("actor_hidden_dims", "value_hidden_dims"),
    "ensemble": ("num_qs", "ensemble_ct"),
    "flow_steps": ("flow_steps",),
    "diffusion_steps": ("diffusion_steps",),
    "step_features": ("time_dim",),
    "expectile": ("expectile", "kappa"),
    "candidates": ("num_samples",),
    "alpha": ("alpha", "alpha_actor"),
    "inv_temp": ("inv_temp",),
    "fql_alpha": ("fql_alpha",),
    "edit_scale": ("edit_scale",),
    "noise_scale": ("noise_scale",),
    "guidance_coef": ("guidance_coef",),
    "noisy_coef": ("noisy_coef",),
    "isd_clip": ("isd_clip",),
    "actor_noise": ("actor_noise",),
    "noise_clip": ("actor_noise_clip",),
    "target_period": ("actor_freq",),
    "ema_rate": ("ema",),
    "target_entropy": ("target_entropy_multiplier", "edit_target_entropy_multiplier"),
}
"""Our names of hyperparameters and theirs. Those of a field that their configuration lacks are passed over."""

CONVERTED: dict[str, Callable[[float], float]] = {
    "ema_rate": lambda rate: 1 - rate,
    "target_entropy": lambda entropy: -entropy,
}
"""What makes theirs of our value, where both are not the same number."""

SWITCHES = {"distill": "fql_alpha", "edit": "edit_scale"}
"""Hyperparameters that switch a part off where they are false, and which of theirs is 0 then."""


def checkout_of(agent: str, checkouts: Sequence[Path]) -> Path | None:
    """The first checkout that has the authors' code of an agent; None where none has."""
    if agent not in MODULES:
        return None
    return next((folder for folder in checkouts if (folder / "agents" / f"{MODULES[agent][0]}.py").is_file()), None)


class AuthorsLoop:
    """The authors' code for one of our agents, in a process that trains when asked. To be closed, or used by `with`."""

    def __init__(self, python: Path, checkout: Path, agent: str, settings: Mapping[str, Any], sizes: Sequence[int]):
        """Start, and wait for the first updates. `sizes` are O, d and the transitions.

        Raises a RuntimeError with the last line of what the process said where it fails, here and in `repeat`.
        """
        self.checkout = checkout
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
        self.process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve())],
            cwd=checkout,
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},  # this process is on the device too
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            self.facts = self._ask(dict(agent=agent, settings=dict(settings), sizes=list(sizes)))
        except BaseException:
            self.close()
            raise

    def _ask(self, question: Any) -> Any:
        """The answer to a question, each a line of JSON."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and said why
        answer = self.process.stdout.readline()
        if answer:
            return json.loads(answer)
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or [f"exit code {code}"]
        raise RuntimeError(f"the authors' code in {self.checkout}: {said[-1]}")

    def repeat(self, seconds: float) -> float:
        """Updates per second over at least `seconds`."""
        return self._ask(seconds)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def __enter__(self) -> AuthorsLoop:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# ------------------------------------------------------------------------ in the process that runs the authors' code


def begin(agent: str, settings: Mapping[str, Any], sizes: Sequence[int]) -> tuple[Loop, dict[str, Any]]:
    """The training loop of the authors' agent, in whose checkout this process runs, after its first updates.

    And first_update_seconds (creation, first batch, compilation, first update) and the checkout's commit.
    """
    module_name, class_name, switches = MODULES[agent]
    module = importlib.import_module(f"agents.{module_name}")
    config = module.get_config()
    for name, value in theirs(settings, switches).items():
        if name in config:
            config[name] = tuple(value) if isinstance(value, list) else value
    started = time.perf_counter()
    example, batch = sampler(random_transitions(*sizes), config)
    learner, info = getattr(module, class_name).create(0, *example, config), None

    def advance() -> int:
        nonlocal learner, info
        learner, info = learner.update(batch())
        return 1

    loop = Loop(advance, lambda: jax.block_until_ready((learner.network.params, info)))
    advance()
    loop.wait()
    first = time.perf_counter() - started
    for _ in range(WARM_UP):
        advance()
    loop.wait()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    return loop, dict(first_update_seconds=first, commit=commit)


def theirs(settings: Mapping[str, Any], switches: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings under the authors' names, with chunks of actions as both papers have them."""
    named = {name: CONVERTED.get(key, _same)(value) for key, value in settings.items() for name in FIELDS.get(key, ())}
    named |= {name: 0.0 for key, name in SWITCHES.items() if settings.get(key) is False}
    return {**named, "action_chunking": True, **switches}


def _same(value: Any) -> Any:
    return value


def sampler(data: dict[str, Any], config: Any) -> tuple[tuple[Any, Any], Callable[[], Any]]:
    """The authors' example of (observations, actions) for `create`, and a function that draws a batch as they do."""
    from utils.datasets import Dataset  # type: ignore[import-not-found]  # noqa: PLC0415  (theirs: in a checkout alone)

    stored = Dataset.create(**data)
    if "h" in config:  # RQL: windows by trajectory, their length from the configuration
        stored.config = config
        one = stored.get_subset([0])
        return (one["observations"], one["actions"]), lambda: stored.sample(config["batch_size"])
    words = dict(sequence_length=config["horizon_length"], discount=config["discount"])
    return (data["observations"][0], data["actions"][0]), lambda: stored.sample_sequence(config["batch_size"], **words)


def main() -> None:
    """Answer a line of JSON on standard input each: first `begin`'s arguments, then how long to train."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what their code prints is no answer
    loop, facts = begin(**json.loads(sys.stdin.readline()))
    print(json.dumps(facts), file=answers)
    for line in sys.stdin:
        print(json.dumps(loop.repeat(json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
